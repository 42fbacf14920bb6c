//! The environment and flags as layers: which variable sets which key, and how its text is read.

use std::collections::BTreeMap;

use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::Faults;

/// How the text of a variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Taken as it is, even where it looks like a number.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// `text` or `json`.
    LogFormat,
}

/// One variable: its name, the key it sets, how it is read.
#[derive(Debug)]
pub struct Variable {
    /// Name in the environment.
    pub name: &'static str,
    /// `section.key`.
    pub key: &'static str,
    kind: Kind,
}

const fn text(name: &'static str, key: &'static str) -> Variable {
    Variable {
        name,
        key,
        kind: Kind::Text,
    }
}

const fn number(name: &'static str, key: &'static str) -> Variable {
    Variable {
        name,
        key,
        kind: Kind::Number,
    }
}

/// Every key, with the variable that sets it.
pub const VARIABLES: &[Variable] = &[
    text("TEMPORAL_ADDRESS", "temporal.address"),
    text("TEMPORAL_NAMESPACE", "temporal.namespace"),
    text("TEMPORAL_WORKFLOW_QUEUE", "temporal.workflow_queue"),
    text("TEMPORAL_IO_ACTIVITY_QUEUE", "temporal.io_activity_queue"),
    text("TEMPORAL_CPU_ACTIVITY_QUEUE", "temporal.cpu_activity_queue"),
    number("TEMPORAL_WORKFLOW_CONCURRENCY", "concurrency.workflow_slots"),
    number("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "concurrency.io_slots"),
    number("TEMPORAL_CPU_ACTIVITY_CONCURRENCY", "concurrency.cpu_slots"),
    number("TEMPORAL_WORKFLOW_POLLS", "concurrency.workflow_polls"),
    number("TEMPORAL_IO_ACTIVITY_POLLS", "concurrency.io_polls"),
    number("TEMPORAL_CPU_ACTIVITY_POLLS", "concurrency.cpu_polls"),
    number("TEMPORAL_CACHED_WORKFLOWS", "concurrency.cached_workflows"),
    number("TEMPORAL_IO_THREAD_POOL_SIZE", "pools.io_threads"),
    number("TEMPORAL_CPU_THREAD_POOL_SIZE", "pools.cpu_threads"),
    text("DATABASE_URL", "database.url"),
    number("DB_POOL_SIZE", "database.pool_size"),
    number("DB_MAX_OVERFLOW", "database.max_overflow"),
    number("DB_ACQUIRE_TIMEOUT_SECONDS", "database.acquire_timeout_seconds"),
    text("DOCUMENT_STORE_URL", "documents.store_url"),
    text("AWS_ENDPOINT_URL", "documents.s3_endpoint"),
    text("AWS_REGION", "documents.s3_region"),
    text("AWS_ACCESS_KEY_ID", "documents.s3_access_key_id"),
    text("AWS_SECRET_ACCESS_KEY", "documents.s3_secret_access_key"),
    Variable {
        name: "AWS_ALLOW_HTTP",
        key: "documents.s3_allow_http",
        kind: Kind::Switch,
    },
    number(
        "DOCUMENT_REQUEST_TIMEOUT_SECONDS",
        "documents.request_timeout_seconds",
    ),
    number("DOCUMENT_MAX_BYTES", "documents.max_bytes"),
    number("DOCUMENT_INLINE_BYTES", "documents.inline_bytes"),
    number("DOCUMENT_PASSAGE_WORDS", "documents.passage_words"),
    text("METRICS_ADDRESS", "service.metrics_address"),
    number("DEPTH_INTERVAL_SECONDS", "service.depth_interval_seconds"),
    Variable {
        name: "LOG_FORMAT",
        key: "service.log_format",
        kind: Kind::LogFormat,
    },
    text("RUST_LOG", "service.log_filter"),
    number("SHUTDOWN_GRACE_SECONDS", "service.shutdown_grace_seconds"),
];

/// How the value of a key is read; none where there is no such key.
pub(super) fn kind_of_key(key: &str) -> Option<Kind> {
    VARIABLES
        .iter()
        .find(|variable| variable.key == key)
        .map(|variable| variable.kind)
}

/// The variable that sets a key.
pub(super) fn variable_of(key: &str) -> Option<&'static str> {
    VARIABLES
        .iter()
        .find(|variable| variable.key == key)
        .map(|variable| variable.name)
}

/// Variables and their values.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process. A variable that is set but empty counts as unset.
    pub fn of_process() -> Self {
        let known = VARIABLES.iter().map(|variable| variable.name);
        known
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect()
    }

    pub(super) fn provider(&self, faults: &mut Faults) -> Layer {
        let mut values = Dict::new();
        for variable in VARIABLES {
            let Some(raw) = self.0.get(variable.name).filter(|raw| !raw.is_empty()) else {
                continue;
            };
            match read(raw, variable.kind) {
                Ok(value) => insert(&mut values, variable.key, value),
                Err(expected) => faults.add(format!("{} is {raw:?}: it must be {expected}", variable.name)),
            }
        }
        Layer {
            name: "environment".into(),
            values,
        }
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// The layer of one flag.
pub(super) fn flag(key: &str, raw: &str, faults: &mut Faults) -> Layer {
    let mut values = Dict::new();
    match read(raw, kind_of_key(key).unwrap_or(Kind::Text)) {
        Ok(value) => insert(&mut values, key, value),
        Err(expected) => faults.add(format!("the flag for {key} is {raw:?}: it must be {expected}")),
    }
    Layer {
        name: "flag".into(),
        values,
    }
}

fn read(raw: &str, kind: Kind) -> Result<Value, &'static str> {
    match kind {
        Kind::Text => Ok(Value::from(raw)),
        Kind::Number => raw
            .trim()
            .parse::<u64>()
            .map(Value::from)
            .map_err(|_| "a whole number"),
        Kind::Switch => match raw.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(Value::from(true)),
            "false" | "0" | "no" => Ok(Value::from(false)),
            _ => Err("true or false"),
        },
        Kind::LogFormat => match raw.trim() {
            format @ ("text" | "json") => Ok(Value::from(format)),
            _ => Err("text or json"),
        },
    }
}

fn insert(values: &mut Dict, path: &str, value: Value) {
    let Some((section, key)) = path.split_once('.') else {
        return;
    };
    let section = values
        .entry(section.to_owned())
        .or_insert_with(|| Value::from(Dict::new()));
    if let Value::Dict(_, entries) = section {
        entries.insert(key.to_owned(), value);
    }
}

/// Values of one origin, named for `temporal-worker config`.
#[derive(Debug)]
pub(super) struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}
