//! What the worker runs with: defaults, then temporal.toml, then the file, then the environment, then flags.
//!
//! One file a section. A value is read once, here; no other module looks at the environment. [`Config::validate`] reports
//! every fault at once, so that a deployment is corrected in one go.

mod concurrency;
mod database;
mod documents;
mod environment;
mod pools;
mod print;
mod secret;
mod service;
mod temporal;

#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use temporalio_common::envconfig::{LoadClientConfigProfileOptions, load_client_config_profile};

pub use concurrency::ConcurrencyConfig;
pub use database::DatabaseConfig;
pub use documents::DocumentsConfig;
pub use environment::{Environment, VARIABLES};
pub use pools::PoolsConfig;
pub use print::render;
pub use secret::{Secret, SecretUrl};
pub use service::{LogFormat, ServiceConfig};
pub use temporal::TemporalConfig;

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Temporal and its queues.
    pub temporal: TemporalConfig,
    /// Slots and polls.
    pub concurrency: ConcurrencyConfig,
    /// Threads.
    pub pools: PoolsConfig,
    /// Postgres.
    pub database: DatabaseConfig,
    /// The store, and what a document may be.
    pub documents: DocumentsConfig,
    /// The program itself.
    pub service: ServiceConfig,
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
            self.add(format!("{key} is empty: give it a value"));
        }
    }

    fn require_at_least<T: PartialOrd + fmt::Display + Copy>(&mut self, key: &str, value: T, minimum: T) {
        if value < minimum {
            let variable = environment::variable_of(key).map_or(String::new(), |name| format!(" ({name})"));
            self.add(format!(
                "{key}{variable} is {value}: it must be at least {minimum}"
            ));
        }
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
    /// Reads and checks all layers; the figment knows where each value came from.
    ///
    /// # Errors
    /// All faults found: values of the wrong type, unknown keys, and combinations that cannot work.
    pub fn load(sources: &Sources<'_>) -> Result<(Self, Figment), Faults> {
        let mut faults = Faults::default();
        let figment = layers(sources, &mut faults);
        report_unknown_sections(&figment, &mut faults);
        let config = Self {
            temporal: section(&figment, "temporal", &mut faults),
            concurrency: section(&figment, "concurrency", &mut faults),
            pools: section(&figment, "pools", &mut faults),
            database: section(&figment, "database", &mut faults),
            documents: section(&figment, "documents", &mut faults),
            service: section(&figment, "service", &mut faults),
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
        self.concurrency.validate(faults);
        self.pools.validate(&self.concurrency, faults);
        self.database.validate(faults);
        self.documents.validate(faults);
        self.service.validate(faults);
    }
}

fn layers(sources: &Sources<'_>, faults: &mut Faults) -> Figment {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    // The printed form masks secrets, so the defaults of secrets are laid in as they are.
    let database = DatabaseConfig::default();
    figment = figment.merge(Serialized::default("database.url", database.url.expose()));
    if sources.temporal_toml {
        figment = temporal_toml(figment, faults);
    }
    if let Some(file) = sources.file {
        if !file.is_file() {
            faults.add(format!("there is no file {}: correct --config", file.display()));
        }
        figment = figment.merge(Toml::file_exact(file));
    }
    figment = figment.merge(sources.environment.provider(faults));
    for (key, value) in &sources.flags {
        if environment::kind_of_key(key).is_none() {
            faults.add(format!(
                "there is no setting {key:?}: `temporal-worker config` lists them all"
            ));
            continue;
        }
        figment = figment.merge(environment::flag(key, value, faults));
    }
    figment
}

/// Address and namespace of the SDK's own configuration file, where there is one. Its TLS settings are read on connecting.
fn temporal_toml(figment: Figment, faults: &mut Faults) -> Figment {
    let options = LoadClientConfigProfileOptions::builder()
        .disable_env(true)
        .build();
    match load_client_config_profile(options, None) {
        Ok(profile) => {
            let named = |figment: Figment, key: &str, value: Option<String>| match value {
                Some(value) => figment.merge(Serialized::default(key, value)),
                None => figment,
            };
            let figment = named(figment, "temporal.address", profile.address);
            named(figment, "temporal.namespace", profile.namespace)
        }
        Err(error) => {
            faults.add(format!("temporal.toml cannot be read: {error}"));
            figment
        }
    }
}

/// One section; a fault in it leaves its defaults in place so that the other sections are still checked.
fn section<T: DeserializeOwned + Default>(figment: &Figment, name: &str, faults: &mut Faults) -> T {
    figment.extract_inner(name).unwrap_or_else(|error| {
        for fault in error {
            faults.add(format!("in section [{name}]: {fault}"));
        }
        T::default()
    })
}

fn report_unknown_sections(figment: &Figment, faults: &mut Faults) {
    const SECTIONS: [&str; 6] = [
        "temporal",
        "concurrency",
        "pools",
        "database",
        "documents",
        "service",
    ];
    match figment.extract::<figment::value::Dict>() {
        Ok(values) => {
            for name in values.keys().filter(|name| !SECTIONS.contains(&name.as_str())) {
                faults.add(format!(
                    "there is no section [{name}]: the sections are {}",
                    SECTIONS.join(", ")
                ));
            }
        }
        Err(error) => error.into_iter().for_each(|fault| faults.add(fault.to_string())),
    }
}
