//! The environment and flags as layers: which variable sets which key, and how its text is parsed.

use std::{collections::BTreeMap, ffi::OsString};

use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{Faults, documents::OTHER_CREDENTIALS, names};

/// Names of the layers.
pub(super) const ENVIRONMENT: &str = "environment";
pub(super) const FLAG: &str = "flag";

/// How the text of a variable is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Used as it is, even if it looks like a number.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// `text` or `json`.
    LogFormat,
}

impl Kind {
    /// The expected kind of value, for an error message.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "a whole number",
            Self::Switch => "true or false",
            Self::LogFormat => "text or json",
        }
    }
}

/// One variable: its name, the key that it sets, and how its text is parsed.
#[derive(Debug)]
pub struct Variable {
    /// Name in the environment.
    pub name: &'static str,
    /// `section.key`.
    pub key: &'static str,
    pub(super) kind: Kind,
}

impl Variable {
    /// The section and the key within it.
    pub fn section_and_key(&self) -> (&'static str, &'static str) {
        self.key.split_once('.').unwrap_or((self.key, ""))
    }
}

const fn text(name: &'static str, key: &'static str) -> Variable {
    Variable { name, key, kind: Kind::Text }
}

const fn number(name: &'static str, key: &'static str) -> Variable {
    Variable { name, key, kind: Kind::Number }
}

/// All variables with their keys. The keys of a section stand together.
pub const VARIABLES: &[Variable] = &[
    text("TEMPORAL_ADDRESS", "temporal.address"),
    text("TEMPORAL_NAMESPACE", "temporal.namespace"),
    text("TEMPORAL_WORKFLOW_QUEUE", "temporal.workflow_queue"),
    text("TEMPORAL_IO_ACTIVITY_QUEUE", "temporal.io_activity_queue"),
    text("TEMPORAL_CPU_ACTIVITY_QUEUE", "temporal.cpu_activity_queue"),
    number("TEMPORAL_CONNECT_TIMEOUT_SECONDS", "temporal.connect_timeout_seconds"),
    text("TEMPORAL_DEPLOYMENT_NAME", "deployment.name"),
    text("TEMPORAL_WORKER_BUILD_ID", "deployment.build_id"),
    number("TEMPORAL_WORKFLOW_CONCURRENCY", "concurrency.workflow_slots"),
    number("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "concurrency.io_slots"),
    number("TEMPORAL_CPU_ACTIVITY_CONCURRENCY", "concurrency.cpu_slots"),
    number("TEMPORAL_WORKFLOW_POLLS", "concurrency.workflow_polls"),
    number("TEMPORAL_IO_ACTIVITY_POLLS", "concurrency.io_polls"),
    number("TEMPORAL_CPU_ACTIVITY_POLLS", "concurrency.cpu_polls"),
    number("TEMPORAL_CACHED_WORKFLOWS", "concurrency.cached_workflows"),
    number("TEMPORAL_KEPT_TOKENS_KIB", "concurrency.kept_tokens_kib"),
    number("TEMPORAL_IO_THREAD_POOL_SIZE", "pools.io_threads"),
    number("TEMPORAL_CPU_THREAD_POOL_SIZE", "pools.cpu_threads"),
    text("DATABASE_URL", "database.url"),
    text("DATABASE_URL_FILE", "database.url_file"),
    Variable { name: "DB_MIGRATE_AT_START", key: "database.migrate_at_start", kind: Kind::Switch },
    number("DB_POOL_SIZE", "database.pool_size"),
    number("DB_MAX_OVERFLOW", "database.max_overflow"),
    number("DB_ACQUIRE_TIMEOUT_SECONDS", "database.acquire_timeout_seconds"),
    number("DB_STATEMENT_TIMEOUT_SECONDS", "database.statement_timeout_seconds"),
    number("DB_RETENTION_DAYS", "database.retention_days"),
    Variable { name: "DB_RECORD_FIRST_ATTEMPTS", key: "database.record_first_attempts", kind: Kind::Switch },
    text("DOCUMENT_STORE_URL", "documents.store_url"),
    text("AWS_ENDPOINT_URL", "documents.s3_endpoint"),
    text("AWS_REGION", "documents.s3_region"),
    text("AWS_ACCESS_KEY_ID", "documents.s3_access_key_id"),
    text("AWS_SECRET_ACCESS_KEY", "documents.s3_secret_access_key"),
    Variable { name: "AWS_ALLOW_HTTP", key: "documents.s3_allow_http", kind: Kind::Switch },
    number("DOCUMENT_REQUEST_TIMEOUT_SECONDS", "documents.request_timeout_seconds"),
    number("DOCUMENT_MAX_BYTES", "documents.max_bytes"),
    number("DOCUMENT_MAX_CPU_SECONDS", "documents.max_cpu_seconds"),
    number("DOCUMENT_INLINE_BYTES", "documents.inline_bytes"),
    number("DOCUMENT_PASSAGE_WORDS", "documents.passage_words"),
    number("EXTERNAL_RETRIES", "external.retries"),
    number("EXTERNAL_RETRY_PERCENT", "external.retry_percent"),
    number("EXTERNAL_CIRCUIT_FAILURES", "external.circuit_failures"),
    number("EXTERNAL_CIRCUIT_PERCENT", "external.circuit_percent"),
    number("EXTERNAL_CIRCUIT_OPEN_SECONDS", "external.circuit_open_seconds"),
    text("REDIS_URL", "cache.url"),
    number("CACHE_TTL_SECONDS", "cache.ttl_seconds"),
    number("CACHE_TIMEOUT_MILLISECONDS", "cache.timeout_milliseconds"),
    number("CACHE_MAX_BYTES", "cache.max_bytes"),
    text("LLM_BASE_URL", "summary.base_url"),
    text("LLM_MODEL", "summary.model"),
    text("LLM_API_KEY", "summary.api_key"),
    number("LLM_TIMEOUT_SECONDS", "summary.timeout_seconds"),
    number("LLM_MAX_INPUT_WORDS", "summary.max_input_words"),
    number("LLM_MAX_TOKENS", "summary.max_tokens"),
    text("METRICS_ADDRESS", "service.metrics_address"),
    number("START_RETRY_SECONDS", "service.start_retry_seconds"),
    number("DEPTH_INTERVAL_SECONDS", "service.depth_interval_seconds"),
    Variable { name: "LOG_FORMAT", key: "service.log_format", kind: Kind::LogFormat },
    text("RUST_LOG", "service.log_filter"),
    number("MEMORY_LIMIT_BYTES", "service.memory_limit_bytes"),
    number("SHUTDOWN_GRACE_SECONDS", "service.shutdown_grace_seconds"),
    text("OTEL_EXPORTER_OTLP_ENDPOINT", "traces.endpoint"),
    text("OTEL_SERVICE_NAME", "traces.service_name"),
];

/// Other names of variables, as all AWS clients know them: the layer of each, and the key that it sets.
const BEFORE_OURS: [(&str, &str, &str); 1] =
    [("AWS_DEFAULT_REGION", "environment AWS_DEFAULT_REGION", "documents.s3_region")];
const AFTER_OURS: [(&str, &str, &str); 1] =
    [("AWS_ENDPOINT_URL_S3", "environment AWS_ENDPOINT_URL_S3", "documents.s3_endpoint")];

/// The variable of a key; `None` if the key is unknown.
pub(super) fn variable_of(key: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.key == key)
}

/// Variables and their values.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process. An empty variable counts as unset.
    ///
    /// Of other programs' variables only the names are kept, to find misspelt ones.
    pub fn of_process() -> Self {
        let others = BEFORE_OURS.iter().chain(&AFTER_OURS).map(|(name, ..)| *name);
        let others = others.chain(["AWS_PROFILE"]).chain(OTHER_CREDENTIALS);
        let ours: Vec<_> = VARIABLES.iter().map(|variable| variable.name).chain(others).collect();
        let value_of_ours = |name: &str, value: OsString| match ours.contains(&name) {
            true => value.to_string_lossy().into_owned(),
            false => String::new(),
        };
        std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                let value = value_of_ours(&name, value);
                Some((name, value))
            })
            .collect()
    }

    /// Adds a fault for every variable that looks like a misspelling of one of Temporal's.
    pub(super) fn report_misspelt(&self, faults: &mut Faults) {
        self.misspelt().filter(|(name, _)| names::is_temporals(name)).for_each(|(name, meant)| {
            faults.add(format!(
                "the environment has the unknown variable {name}: did you mean {meant}? Rename or unset it"
            ));
        });
    }

    /// A warning for every other variable that looks like a misspelling. It may belong to another program, so it
    /// must not keep a worker from starting.
    pub fn warnings(&self) -> Vec<String> {
        let foreign = self.misspelt().filter(|(name, _)| !names::is_temporals(name));
        foreign
            .map(|(name, meant)| {
                format!("the environment has the variable {name}, which is ignored: did you mean {meant}?")
            })
            .collect()
    }

    fn misspelt(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.0.keys().filter_map(|name| Some((name.as_str(), names::misspelt(name)?)))
    }

    /// Whether a variable is set. An empty one is not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The value of a variable without line breaks at its end, which a Secret that is made from a file often has.
    fn value(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?.trim_end_matches(['\r', '\n']);
        (!value.is_empty()).then_some(value)
    }

    /// The layers of the environment, the weakest first.
    pub(super) fn layers(&self, faults: &mut Faults) -> Vec<Layer> {
        let of = |names: &[(&'static str, &'static str, &'static str)]| -> Vec<Layer> {
            let given = names.iter().filter_map(|(name, layer, key)| Some((*layer, *key, self.value(name)?)));
            given.map(|(layer, key, value)| Layer::new(layer, [(key, value)])).collect()
        };
        let mut layers = of(&BEFORE_OURS);
        layers.push(self.provider(faults));
        layers.extend(of(&AFTER_OURS));
        layers
    }

    fn provider(&self, faults: &mut Faults) -> Layer {
        let mut values = Vec::new();
        for variable in VARIABLES {
            let Some(raw) = self.value(variable.name) else {
                continue;
            };
            match read(raw, variable.kind) {
                Ok(value) => values.push((variable.key, value)),
                Err(expected) => faults.add(format!("{} is {raw:?}: it must be {expected}", variable.name)),
            }
        }
        Layer::new(ENVIRONMENT, values)
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// The layer of one flag.
pub(super) fn flag(variable: &Variable, raw: &str, faults: &mut Faults) -> Layer {
    let value = read(raw, variable.kind);
    if let Err(expected) = value {
        faults.add(format!("the flag for {} is {raw:?}: it must be {expected}", variable.key));
    }
    Layer::new(FLAG, value.map(|value| (variable.key, value)))
}

fn read(raw: &str, kind: Kind) -> Result<Value, &'static str> {
    let value = match kind {
        Kind::Text => Some(Value::from(raw)),
        Kind::Number => raw.trim().parse::<u64>().ok().map(Value::from),
        Kind::Switch => match raw.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Some(Value::from(true)),
            "false" | "0" | "no" => Some(Value::from(false)),
            _ => None,
        },
        Kind::LogFormat => match raw.trim() {
            format @ ("text" | "json") => Some(Value::from(format)),
            _ => None,
        },
    };
    value.ok_or(kind.expected())
}

/// The values of one origin, named for `temporal-worker config`.
#[derive(Debug)]
pub(super) struct Layer {
    name: &'static str,
    values: Dict,
}

impl Layer {
    /// A layer of values by `section.key`.
    pub(super) fn new<V: Into<Value>>(name: &'static str, given: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        let mut values = Dict::new();
        for (path, value) in given {
            let (section, key) = path.split_once('.').unwrap_or(("", path));
            let section = values.entry(section.to_owned()).or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, entries) = section {
                entries.insert(key.to_owned(), value.into());
            }
        }
        Self { name, values }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}
