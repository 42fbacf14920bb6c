//! What the worker runs with: defaults, then temporal.toml, then the file, then the environment, then flags.
//!
//! One file a section. A value is read once, here; no other module looks at the environment. [`Config::validate`] reports
//! every fault at once, so that a deployment is corrected in one go.
//!
//! A new key is a field and a row of [`VARIABLES`]; a new section is a file, a field of [`Config`], and a line each in
//! [`Config::load`] and [`Config::validate`]. What is printed, the hints on misspelt names and docs/reference follow from these.

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

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Config {
    /// Temporal and its queues.
    pub temporal: TemporalConfig,
    /// The version of the worker.
    pub deployment: DeploymentConfig,
    /// Slots and polls.
    pub concurrency: ConcurrencyConfig,
    /// Threads.
    pub pools: PoolsConfig,
    /// Postgres.
    pub database: DatabaseConfig,
    /// The store, and what a document may be.
    pub documents: DocumentsConfig,
    /// Retries and circuit breakers of S3, Redis and the LLM.
    pub external: ExternalConfig,
    /// Redis.
    pub cache: CacheConfig,
    /// The LLM.
    pub summary: SummaryConfig,
    /// The program itself.
    pub service: ServiceConfig,
    /// Traces.
    pub traces: TracesConfig,
}

/// Where the layers over the defaults come from.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// A TOML file with the sections of [`Config`].
    pub file: Option<&'a Path>,
    /// The process environment, or what a test puts in its place.
    pub environment: Environment,
    /// `section.key` and its value, from flags; the last one wins.
    pub flags: Vec<(String, String)>,
    /// Whether temporal.toml, the SDK's own file, may give address and namespace.
    pub temporal_toml: bool,
}

/// Every reason why a configuration cannot be used.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Adds one.
    pub fn add(&mut self, fault: String) {
        self.0.push(fault);
    }

    /// The faults, in the order in which they were found.
    #[cfg(test)]
    pub fn list(&self) -> &[String] {
        &self.0
    }

    fn require_text(&mut self, key: &str, value: &str) {
        if value.trim().is_empty() {
            self.add(format!("{} is empty: give it a value", with_variable(key)));
        }
    }

    fn require_at_least<T: PartialOrd + fmt::Display + Copy>(&mut self, key: &str, value: T, minimum: T) {
        if value < minimum {
            self.add(format!(
                "{} is {value}: it must be at least {minimum}",
                with_variable(key)
            ));
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
    /// Reads and checks all layers; the figment holds what they gave, and knows where each value came from.
    ///
    /// # Errors
    /// All faults found: values of the wrong type, unknown keys, and combinations that cannot work.
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
        if faults.0.is_empty() {
            Ok((config, figment))
        } else {
            Err(faults)
        }
    }

    /// Adds every fault of the values and of their combinations.
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
    }
}

/// What was given, in order; the defaults are the types' own.
fn layers(sources: &Sources<'_>, faults: &mut Faults) -> Figment {
    let mut figment = Figment::new();
    if sources.temporal_toml {
        figment = temporal_toml(figment, faults);
    }
    if let Some(path) = sources.file {
        let file = Toml::file_exact(path);
        match file.data() {
            Ok(_) => figment = figment.merge(file),
            // Merged, it would make every other layer unreadable too.
            Err(_) if !path.is_file() => {
                faults.add(format!("there is no file {}: correct --config", path.display()));
            }
            Err(error) => faults.add(format!("{} cannot be read: {error}", path.display())),
        }
    }
    figment = figment.merge(sources.environment.provider(faults));
    for (key, value) in &sources.flags {
        match environment::variable_of(key) {
            Some(variable) => figment = figment.merge(environment::flag(variable, value, faults)),
            None => faults.add(names::unknown_key(key)),
        }
    }
    figment
}

/// Address and namespace of the SDK's own configuration file, where there is one. Its TLS settings are read on connecting.
fn temporal_toml(figment: Figment, faults: &mut Faults) -> Figment {
    let profile = std::env::var("TEMPORAL_PROFILE")
        .ok()
        .filter(|name| !name.is_empty());
    let options = LoadClientConfigProfileOptions::builder()
        .maybe_config_file_profile(profile)
        .disable_env(true)
        .build();
    match load_client_config_profile(options, None) {
        Ok(profile) => {
            let given = [
                ("temporal.address", profile.address),
                ("temporal.namespace", profile.namespace),
            ];
            let given = given.into_iter().filter_map(|(key, value)| Some((key, value?)));
            figment.merge(environment::Layer::new(TEMPORAL_TOML, given))
        }
        Err(error) => {
            faults.add(format!("temporal.toml cannot be read: {error}"));
            figment
        }
    }
}

/// One section over its defaults. Each value is tried by itself, so that a fault does not hide the next.
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
                // The error shows the value, which of a text may be a secret.
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

/// What the layers give for a section.
fn given(figment: &Figment, name: &str, faults: &mut Faults) -> Dict {
    match figment.find_value(name) {
        Ok(Value::Dict(_, values)) => values,
        Ok(_) => {
            faults.add(format!(
                "{name} is not a section: write [{name}], and its keys below"
            ));
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
