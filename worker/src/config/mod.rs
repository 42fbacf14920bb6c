//! The configuration in layers: defaults, then temporal.toml, then the file, then the environment, then flags.
//!
//! Each section has a file. Values are read once, here; no other module reads the environment. [`Config::validate`]
//! reports all faults at once, so that one correction fixes them all.
//!
//! A new key needs a field and a row in [`VARIABLES`]. A new section needs a file, a field of [`Config`], and a
//! line each in [`Config::load`] and [`Config::validate`]. The printed configuration, the hints on misspelt names
//! and docs/reference follow from these.

mod cache;
mod concurrency;
mod database;
mod deployment;
mod documents;
mod environment;
mod external;
mod names;
mod pools;
mod print;
mod secret;
mod service;
mod summary;
mod temporal;
mod timeouts;
mod traces;

#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

use figment::{
    Figment, Provider as _,
    providers::{Format as _, Toml},
    value::{Dict, Value},
};
use serde::{Serialize, de::DeserializeOwned};
use temporalio_common::envconfig::{LoadClientConfigProfileOptions, load_client_config_profile};

use crate::memory;

pub use cache::CacheConfig;
pub use concurrency::ConcurrencyConfig;
pub use database::DatabaseConfig;
pub use deployment::DeploymentConfig;
pub use documents::DocumentsConfig;
pub use environment::{Environment, VARIABLES};
pub use external::ExternalConfig;
pub use pools::PoolsConfig;
pub use print::render;
pub use secret::{Secret, SecretUrl};
pub use service::{LogFormat, ServiceConfig};
pub use summary::SummaryConfig;
pub use temporal::TemporalConfig;
pub use traces::TracesConfig;

/// The SDK's own configuration file, as an origin of values.
const TEMPORAL_TOML: &str = "temporal.toml";

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Config {
    /// Temporal and its queues.
    pub temporal: TemporalConfig,
    /// The version of this worker.
    pub deployment: DeploymentConfig,
    /// Slots and polls.
    pub concurrency: ConcurrencyConfig,
    /// Threads.
    pub pools: PoolsConfig,
    /// Postgres.
    pub database: DatabaseConfig,
    /// The document store, and the limits on a document.
    pub documents: DocumentsConfig,
    /// Retries and circuit breakers of S3, Redis and the LLM.
    pub external: ExternalConfig,
    /// The Redis cache.
    pub cache: CacheConfig,
    /// The LLM that writes summaries.
    pub summary: SummaryConfig,
    /// The program itself.
    pub service: ServiceConfig,
    /// Traces.
    pub traces: TracesConfig,
}

/// The sources of the layers above the defaults.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// A TOML file with the sections of [`Config`].
    pub file: Option<&'a Path>,
    /// The environment of the process, or of a test.
    pub environment: Environment,
    /// Pairs of `section.key` and value from flags; the last one wins.
    pub flags: Vec<(String, String)>,
    /// Whether temporal.toml, the SDK's own file, may set address and namespace.
    pub temporal_toml: bool,
}

/// All faults of a configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Adds a fault.
    pub fn add(&mut self, fault: String) {
        self.0.push(fault);
    }

    /// The faults, in the order of detection.
    #[cfg(test)]
    pub fn list(&self) -> &[String] {
        &self.0
    }

    fn require_text(&mut self, key: &str, value: &str) {
        if value.trim().is_empty() {
            self.add(format!("{} is empty: set a value", with_variable(key)));
        }
    }

    /// Adds a fault if the URL's user or password has a reserved character. Returns whether it has none.
    fn require_escaped(&mut self, key: &str, url: &SecretUrl) -> bool {
        let Some(reserved) = url.unescaped() else { return true };
        self.add(format!(
            "{} has the character {reserved:?} in its user or password: percent-encode it as %{:02X}",
            with_variable(key),
            u32::from(reserved)
        ));
        false
    }

    fn require_at_least<T: PartialOrd + fmt::Display + Copy>(&mut self, key: &str, value: T, minimum: T) {
        if value < minimum {
            self.add(format!("{} is {value}: it must be at least {minimum}", with_variable(key)));
        }
    }
}

/// A key as a fault names it: `section.key (VARIABLE)`.
fn with_variable(key: &str) -> String {
    match environment::variable_of(key) {
        Some(variable) => format!("{key} ({})", variable.name),
        None => key.to_owned(),
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} fault(s):", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

impl std::error::Error for Faults {}

impl Config {
    /// Reads and validates all layers. The figment holds their values and the origin of each.
    ///
    /// # Errors
    /// All faults: values of the wrong type, unknown keys, and invalid combinations.
    pub fn load(sources: &Sources<'_>) -> Result<(Self, Figment), Faults> {
        let mut faults = Faults::default();
        let figment = layers(sources, &mut faults);
        report_unknown_sections(&figment, &mut faults);
        sources.environment.report_misspelt(&mut faults);
        let config = Self {
            temporal: section(&figment, "temporal", &mut faults),
            deployment: section(&figment, "deployment", &mut faults),
            concurrency: section(&figment, "concurrency", &mut faults),
            pools: section(&figment, "pools", &mut faults),
            database: section(&figment, "database", &mut faults),
            documents: section(&figment, "documents", &mut faults),
            external: section(&figment, "external", &mut faults),
            cache: section(&figment, "cache", &mut faults),
            summary: section(&figment, "summary", &mut faults),
            service: section(&figment, "service", &mut faults),
            traces: section(&figment, "traces", &mut faults),
        };
        config.validate(&mut faults);
        config.documents.validate_profile(&sources.environment, &mut faults);
        if faults.0.is_empty() { Ok((config, figment)) } else { Err(faults) }
    }

    /// Adds all faults of the values and of their combinations.
    pub fn validate(&self, faults: &mut Faults) {
        self.temporal.validate(faults);
        self.deployment.validate(faults);
        self.concurrency.validate(faults);
        self.pools.validate(&self.concurrency, faults);
        self.database.validate(&self.concurrency, faults);
        self.documents.validate(faults);
        self.external.validate(faults);
        self.cache.validate(faults);
        self.summary.validate(faults);
        self.service.validate(faults);
        self.traces.validate(faults);
        self.validate_timeouts(faults);
        self.validate_memory(faults);
    }

    /// Slots of the activities, each of which may have a large body.
    pub fn activity_slots(&self) -> usize {
        self.concurrency.io_slots.saturating_add(self.concurrency.cpu_slots)
    }

    /// The largest document has to fit into the memory, or it would be refused with another name.
    fn validate_memory(&self, faults: &mut Faults) {
        let (limit, largest) = (self.service.memory_limit_bytes, self.documents.max_bytes);
        let budget = memory::budget(limit, self.activity_slots());
        if budget < largest {
            faults.add(format!(
                "{} is {limit}, which leaves {budget} bytes for large documents, fewer than {}, {largest}: raise the first \
                 or lower the second",
                with_variable("service.memory_limit_bytes"),
                with_variable("documents.max_bytes"),
            ));
        }
    }
}

/// The layers in order, without the defaults, which are in the types.
fn layers(sources: &Sources<'_>, faults: &mut Faults) -> Figment {
    let mut figment = Figment::new();
    if sources.temporal_toml {
        figment = temporal_toml(figment, faults);
    }
    if let Some(path) = sources.file {
        let file = Toml::file_exact(path);
        match file.data() {
            Ok(_) => figment = figment.merge(file),
            // A missing file that is merged would make every other layer unreadable.
            Err(_) if !path.is_file() => {
                faults.add(format!("there is no file {}: correct --config", path.display()));
            }
            Err(error) => faults.add(format!("{} cannot be read: {error}", path.display())),
        }
    }
    for layer in sources.environment.layers(faults) {
        figment = figment.merge(layer);
    }
    for (key, value) in &sources.flags {
        match environment::variable_of(key) {
            Some(variable) => figment = figment.merge(environment::flag(variable, value, faults)),
            None => faults.add(names::unknown_key(key)),
        }
    }
    figment
}

/// Address and namespace from the SDK's own configuration file, if it exists. The SDK reads its TLS settings when
/// it connects.
fn temporal_toml(figment: Figment, faults: &mut Faults) -> Figment {
    let profile = std::env::var("TEMPORAL_PROFILE").ok().filter(|name| !name.is_empty());
    let options =
        LoadClientConfigProfileOptions::builder().maybe_config_file_profile(profile).disable_env(true).build();
    match load_client_config_profile(options, None) {
        Ok(profile) => {
            let given = [("temporal.address", profile.address), ("temporal.namespace", profile.namespace)];
            let given = given.into_iter().filter_map(|(key, value)| Some((key, value?)));
            figment.merge(environment::Layer::new(TEMPORAL_TOML, given))
        }
        Err(error) => {
            faults.add(format!("temporal.toml cannot be read: {error}"));
            figment
        }
    }
}

/// One section on top of its defaults. Each value is parsed separately, so that one fault does not hide the next.
fn section<T: DeserializeOwned + Default>(figment: &Figment, name: &str, faults: &mut Faults) -> T {
    let mut section = T::default();
    let mut accepted = Dict::new();
    for (key, value) in given(figment, name, faults) {
        let path = format!("{name}.{key}");
        let Some(variable) = environment::variable_of(&path) else {
            faults.add(names::unknown_key(&path));
            continue;
        };
        let mut with_it = accepted.clone();
        with_it.insert(key, value);
        match Value::from(with_it.clone()).deserialize() {
            Ok(read) => {
                section = read;
                accepted = with_it;
            }
            Err(error) => {
                let (origin, expected) = (print::origin(figment, &path), variable.kind.expected());
                // The error quotes the value, and a text may be a secret.
                let why = match variable.kind {
                    environment::Kind::Text => String::new(),
                    _ => format!(": {}", error.kind),
                };
                faults.add(format!("{path} of {origin} must be {expected}{why}"));
            }
        }
    }
    section
}

/// The values of a section from all layers.
fn given(figment: &Figment, name: &str, faults: &mut Faults) -> Dict {
    match figment.find_value(name) {
        Ok(Value::Dict(_, values)) => values,
        Ok(_) => {
            faults.add(format!("{name} is not a section: write [{name}], and its keys below"));
            Dict::new()
        }
        Err(_) => Dict::new(),
    }
}

fn report_unknown_sections(figment: &Figment, faults: &mut Faults) {
    let known = names::sections();
    match figment.extract::<Dict>() {
        Ok(values) => values
            .keys()
            .filter(|name| !known.contains(&name.as_str()))
            .for_each(|name| faults.add(names::unknown_section(name))),
        Err(error) => error.into_iter().for_each(|fault| faults.add(fault.to_string())),
    }
}
