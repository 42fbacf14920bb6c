//! The settings: names, defaults, and how each text is read. All faults are reported at once.
//!
//! There is one layer, the environment. `TEMPORAL_*` is not here: the SDK reads these variables and temporal.toml
//! itself, when [`crate::temporal`] connects.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use scaler::QueueSettings;

use crate::{
    queue::{Kind, Queue},
    tls::Files,
};

/// Slots of a worker for a queue, if neither the setting nor a worker says how many: the default of Temporal's SDKs.
const DEFAULT_SLOTS: f64 = 100.0;

/// Prefix of this program's own variables.
const PREFIX: &str = "SCALER_";

/// One variable.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// The default. Empty means unset.
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
}

const fn setting(name: &'static str, default: &'static str, about: &'static str) -> Setting {
    Setting { name, default, about }
}

/// All variables.
pub(crate) const SETTINGS: &[Setting] = &[
    setting(
        "SCALER_QUEUES",
        "",
        "queues, as kind:name[=slots] with commas between: workflow:orders,activity:invoices=5",
    ),
    setting("SCALER_POD_SELECTOR", "", "labels of the workers' pods, such as app=temporal-worker"),
    setting("SCALER_POD_NAMESPACE", "", "namespace of the pods; if unset, this program's own"),
    setting("SCALER_METRICS_PORT", "metrics", "port of a pod's /metrics: the name of a container port, or a number"),
    setting("SCALER_UTILIZATION", "0.7", "share of the slots that should be in use: above 0, at most 1"),
    setting("SCALER_INTERVAL_SECONDS", "1", "seconds between two readings: 0.1 to 3"),
    setting("SCALER_DEPLOYMENT", "", "Worker Deployment; with SCALER_BUILD_ID, only this version's backlog is read"),
    setting("SCALER_BUILD_ID", "", "build id of the version"),
    setting("SCALER_DELETION_COSTS", "false", "whether busy pods get a deletion cost, so that idle pods leave first"),
    setting("SCALER_ADDRESS", "[::]:9464", "address of /metrics, /healthz, /readyz, and of /scale without TLS"),
    setting("SCALER_TLS_ADDRESS", "[::]:9465", "address of /scale with TLS"),
    setting(
        "SCALER_TLS_CERT_PATH",
        "",
        "certificate of /scale; with the next two, only clients with a certificate get it",
    ),
    setting("SCALER_TLS_KEY_PATH", "", "private key of the certificate"),
    setting("SCALER_TLS_CLIENT_CA_PATH", "", "authorities of the clients' certificates"),
    setting("LOG_FORMAT", "text", "text or json"),
    setting("RUST_LOG", "info,temporalio_client=warn", "filter of log lines"),
];

impl Queue {
    /// Reads `kind:name` or `kind:name=slots`.
    fn parse(text: &str) -> Result<Self, String> {
        let wanted = || format!("{text:?} must be workflow:NAME or activity:NAME, with =SLOTS after it or not");
        let (kind, rest) = text.split_once(':').ok_or_else(wanted)?;
        let kind = match kind {
            "workflow" => Kind::Workflow,
            "activity" => Kind::Activity,
            _ => return Err(wanted()),
        };
        let (name, slots) = match rest.rsplit_once('=') {
            None => (rest, DEFAULT_SLOTS),
            Some((name, slots)) => {
                let number = slots.parse().ok().filter(|slots| (1.0..=1e6).contains(slots));
                (name, number.ok_or_else(|| format!("{text:?} has {slots:?} slots: a worker has 1 to 1000000"))?)
            }
        };
        if name.is_empty() {
            return Err(wanted());
        }
        Ok(Self { kind, name: name.to_owned(), slots })
    }

    fn list(text: &str) -> Result<Vec<Self>, String> {
        let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        let mut queues: Vec<Self> = Vec::new();
        for queue in texts.map(Self::parse) {
            let queue = queue?;
            if queues.iter().any(|other| (other.kind, &other.name) == (queue.kind, &queue.name)) {
                return Err(format!("it names {queue} twice"));
            }
            queues.push(queue);
        }
        if queues.is_empty() {
            return Err("it names no queue".into());
        }
        Ok(queues)
    }

    /// The queue as the decision sees it.
    pub(crate) fn settings(&self) -> QueueSettings {
        QueueSettings { name: self.to_string(), slots: self.slots }
    }
}

/// The port of a pod's metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetricsPort {
    /// The container port with this name.
    Name(String),
    /// This port, declared or not.
    Number(u16),
}

impl MetricsPort {
    fn parse(text: &str) -> Result<Self, String> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse().ok().filter(|port| *port > 0);
            return number.map(Self::Number).ok_or_else(|| "a port is 1 to 65535".into());
        }
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match text.len() <= 15 && text.bytes().all(valid) {
            true => Ok(Self::Name(text.to_owned())),
            false => Err("the name of a container port has at most 15 characters of a-z, 0-9 and -".into()),
        }
    }
}

/// A version of a Worker Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) deployment: String,
    pub(crate) build_id: String,
}

/// The port with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) address: SocketAddr,
    pub(crate) files: Files,
}

/// All settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) queues: Vec<Queue>,
    pub(crate) pod_selector: String,
    pub(crate) pod_namespace: Option<String>,
    pub(crate) metrics_port: MetricsPort,
    pub(crate) utilization: f64,
    pub(crate) interval: Duration,
    /// The version whose backlog is read. `None`: the backlog of the whole queue.
    pub(crate) version: Option<Version>,
    pub(crate) deletion_costs: bool,
    pub(crate) address: SocketAddr,
    /// How /scale is served with TLS. `None`: at `address`, without.
    pub(crate) tls: Option<Tls>,
    pub(crate) log_json: bool,
    pub(crate) log_filter: String,
}

/// All faults of the settings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} fault(s):", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

/// The environment, or that of a test.
pub(crate) type Variables = BTreeMap<String, String>;

/// Reads variables and collects the faults.
struct Reader<'a> {
    variables: &'a Variables,
    faults: Vec<String>,
}

impl Reader<'_> {
    /// The text of a variable, or its default. `None` if both are empty.
    fn text(&self, name: &str) -> Option<String> {
        let given = self.variables.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
        let default = || SETTINGS.iter().find(|setting| setting.name == name).map(|setting| setting.default);
        given.or_else(default).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The value of a variable. What is returned after a fault is not used.
    fn value<T>(&mut self, name: &str, example: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let Some(text) = self.text(name) else {
            self.faults.push(format!("{name} is not set: set it, for example to {example}"));
            return None;
        };
        match read(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.faults.push(format!("{name} is {text:?}: {why}; an example is {example}"));
                None
            }
        }
    }

    fn number(&mut self, name: &str, example: &str, least: f64, most: f64) -> Option<f64> {
        self.value(name, example, |text| {
            let number = text.parse().ok().filter(|number| (least..=most).contains(number));
            number.ok_or_else(|| format!("it must be a number from {least} to {most}"))
        })
    }

    fn one_of(&mut self, name: &str, no: &str, yes: &str) -> Option<bool> {
        self.value(name, no, |text| match text {
            _ if text == no => Ok(false),
            _ if text == yes => Ok(true),
            _ => Err(format!("it must be {no} or {yes}")),
        })
    }

    fn tls(&mut self) -> Option<Tls> {
        const FILES: [&str; 3] = ["SCALER_TLS_CERT_PATH", "SCALER_TLS_KEY_PATH", "SCALER_TLS_CLIENT_CA_PATH"];
        let address = self.value("SCALER_TLS_ADDRESS", "[::]:9465", socket);
        match FILES.map(|name| self.text(name).map(PathBuf::from)) {
            [Some(certificate), Some(key), Some(clients)] => {
                Some(Tls { address: address?, files: Files { certificate, key, clients } })
            }
            [None, None, None] => None,
            some => {
                let of = |set: bool| {
                    let those = FILES.iter().zip(&some).filter(|(_, path)| path.is_some() == set);
                    those.map(|(name, _)| *name).collect::<Vec<_>>().join(" and ")
                };
                let fault = format!("{} is set without {}: set all three, or none", of(true), of(false));
                self.faults.push(fault);
                None
            }
        }
    }

    fn version(&mut self) -> Option<Version> {
        match (self.text("SCALER_DEPLOYMENT"), self.text("SCALER_BUILD_ID")) {
            (Some(deployment), Some(build_id)) => Some(Version { deployment, build_id }),
            (None, None) => None,
            (Some(_), None) => {
                self.faults.push("SCALER_DEPLOYMENT is set without SCALER_BUILD_ID: set both, or none".into());
                None
            }
            (None, Some(_)) => {
                self.faults.push("SCALER_BUILD_ID is set without SCALER_DEPLOYMENT: set both, or none".into());
                None
            }
        }
    }
}

/// An address with a port.
fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "it must be an IP address and a port".to_owned())
}

/// What a label selector may consist of. The API server checks the rest.
fn selector(text: &str) -> Result<String, String> {
    let valid = |letter: char| letter.is_ascii_alphanumeric() || "-_./=!,() ".contains(letter);
    match text.chars().all(valid) {
        true => Ok(text.to_owned()),
        false => Err("it is not a label selector".into()),
    }
}

impl Config {
    /// Reads all variables.
    ///
    /// # Errors
    /// All faults.
    pub(crate) fn load(variables: &Variables) -> Result<Self, Faults> {
        let mut reader = Reader { variables, faults: Vec::new() };
        let queues = reader.value("SCALER_QUEUES", "workflow:orders,activity:orders=10", Queue::list);
        let pod_selector = reader.value("SCALER_POD_SELECTOR", "app=temporal-worker", selector);
        let metrics_port = reader.value("SCALER_METRICS_PORT", "metrics", MetricsPort::parse);
        // The least: a fleet of which one slot in a hundred is in use.
        let utilization = reader.number("SCALER_UTILIZATION", "0.7", 0.01, 1.0);
        // Two rounds of at most 3 s and an interval have to fit into the 10 s after which readings are none.
        let interval = reader.number("SCALER_INTERVAL_SECONDS", "1", 0.1, 3.0);
        let deletion_costs = reader.one_of("SCALER_DELETION_COSTS", "false", "true");
        let address = reader.value("SCALER_ADDRESS", "[::]:9464", socket);
        let tls = reader.tls();
        let log_json = reader.one_of("LOG_FORMAT", "text", "json");
        let log_filter = reader.value("RUST_LOG", "info", |text| {
            let parsed: Result<tracing_subscriber::EnvFilter, _> = text.parse();
            parsed.map(|_| text.to_owned()).map_err(|error| error.to_string())
        });
        let version = reader.version();
        let read = || {
            Some(Self {
                queues: queues?,
                pod_selector: pod_selector?,
                pod_namespace: reader.text("SCALER_POD_NAMESPACE"),
                metrics_port: metrics_port?,
                utilization: utilization?,
                interval: Duration::from_secs_f64(interval?),
                version,
                deletion_costs: deletion_costs?,
                address: address?,
                tls,
                log_json: log_json?,
                log_filter: log_filter?,
            })
        };
        match read() {
            Some(config) if reader.faults.is_empty() => Ok(config),
            _ => Err(Faults(reader.faults)),
        }
    }
}

/// The variables that look like this program's own and are not. They do not stop it, because Kubernetes sets such
/// variables for a Service with the name `scaler`.
pub(crate) fn unknown(variables: &Variables) -> Vec<&str> {
    let ours = variables.keys().filter(|name| name.starts_with(PREFIX));
    ours.filter(|name| SETTINGS.iter().all(|setting| setting.name != *name)).map(String::as_str).collect()
}

/// All settings in force and their origins, in the form of a file of variables.
pub(crate) fn render(variables: &Variables) -> String {
    let reader = Reader { variables, faults: Vec::new() };
    let line = |setting: &Setting| {
        let given = variables.get(setting.name).is_some_and(|text| !text.trim().is_empty());
        let origin = if given { "environment" } else { "default" };
        match reader.text(setting.name) {
            Some(text) => format!("{}={text}  # {origin}\n", setting.name),
            None => format!("# {} is unset\n", setting.name),
        }
    };
    SETTINGS.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        let needed = [("SCALER_QUEUES", "workflow:w,activity:a=5"), ("SCALER_POD_SELECTOR", "app=w")];
        needed.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn two_variables_are_enough() {
        let config = Config::load(&variables(&[])).unwrap();
        let queue = |kind, name: &str, slots| Queue { kind, name: name.into(), slots };
        assert_eq!(config.queues, [queue(Kind::Workflow, "w", DEFAULT_SLOTS), queue(Kind::Activity, "a", 5.0)]);
        assert_eq!(config.metrics_port, MetricsPort::Name("metrics".into()));
        assert_eq!((config.utilization, config.interval), (0.7, Duration::from_secs(1)));
        assert_eq!((config.version, config.pod_namespace, config.deletion_costs), (None, None, false));
    }

    #[test]
    fn names_of_queues_may_have_colons_and_blanks() {
        let queues = Queue::list(" activity:eu:orders urgent , activity:a=b=3 ,").unwrap();
        assert_eq!(queues[0].name, "eu:orders urgent");
        assert_eq!((queues[1].name.as_str(), queues[1].slots), ("a=b", 3.0));
    }

    #[test]
    fn each_fault_names_its_variable_its_value_and_the_way_out() {
        let table = [
            ("SCALER_QUEUES", "orders", "workflow:NAME"),
            ("SCALER_QUEUES", "nexus:orders", "workflow:NAME"),
            ("SCALER_QUEUES", "activity:", "workflow:NAME"),
            ("SCALER_QUEUES", "activity:a=0", "1 to 1000000"),
            ("SCALER_QUEUES", "activity:a=NaN", "1 to 1000000"),
            ("SCALER_QUEUES", "activity:a,activity:a=3", "activity:a twice"),
            ("SCALER_QUEUES", " , ", "no queue"),
            ("SCALER_POD_SELECTOR", "app=\"w\"", "label selector"),
            ("SCALER_METRICS_PORT", "0", "1 to 65535"),
            ("SCALER_METRICS_PORT", "99999", "1 to 65535"),
            ("SCALER_METRICS_PORT", "Metrics", "container port"),
            ("SCALER_UTILIZATION", "70", "0.01 to 1"),
            ("SCALER_UTILIZATION", "0", "0.01 to 1"),
            ("SCALER_UTILIZATION", "NaN", "0.01 to 1"),
            ("SCALER_INTERVAL_SECONDS", "60", "0.1 to 3"),
            ("SCALER_DELETION_COSTS", "yes", "false or true"),
            ("SCALER_ADDRESS", ":9464", "IP address"),
            ("SCALER_TLS_ADDRESS", "9465", "IP address"),
            ("LOG_FORMAT", "logfmt", "text or json"),
            ("RUST_LOG", "a=b=c", "RUST_LOG"),
        ];
        for (name, value, part) in table {
            let Faults(faults) = Config::load(&variables(&[(name, value)])).unwrap_err();
            assert_eq!(faults.len(), 1, "{name}={value}: {faults:?}");
            let named = faults[0].starts_with(&format!("{name} is {:?}", value.trim()));
            assert!(named && faults[0].contains(part), "{name}={value}: {faults:?}");
        }
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let table = [("SCALER_BUILD_ID", "1.2"), ("SCALER_UTILIZATION", "2")];
        let given = table.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let faults = Config::load(&given.into()).unwrap_err().to_string();
        let parts =
            ["4 fault", "SCALER_QUEUES is not set", "SCALER_POD_SELECTOR is not set", "SCALER_BUILD_ID", "\"2\""];
        for part in parts {
            assert!(faults.contains(part), "{part:?} is not in {faults}");
        }
    }

    #[test]
    fn a_version_has_a_deployment_and_a_build_id() {
        let config = Config::load(&variables(&[("SCALER_DEPLOYMENT", "d"), ("SCALER_BUILD_ID", "1")])).unwrap();
        assert_eq!(config.version, Some(Version { deployment: "d".into(), build_id: "1".into() }));
        let faults = Config::load(&variables(&[("SCALER_DEPLOYMENT", "d")])).unwrap_err();
        assert!(faults.to_string().contains("without SCALER_BUILD_ID"), "{faults}");
    }

    #[test]
    fn tls_needs_all_of_its_files() {
        let files =
            [("SCALER_TLS_CERT_PATH", "/c"), ("SCALER_TLS_KEY_PATH", "/k"), ("SCALER_TLS_CLIENT_CA_PATH", "/a")];
        let tls = Config::load(&variables(&files)).unwrap().tls.unwrap();
        assert_eq!((tls.address.port(), tls.files.clients.as_path()), (9465, std::path::Path::new("/a")));
        assert_eq!(Config::load(&variables(&[])).unwrap().tls, None);
        let faults = Config::load(&variables(&files[..1])).unwrap_err().to_string();
        assert!(faults.contains("without SCALER_TLS_KEY_PATH and SCALER_TLS_CLIENT_CA_PATH"), "{faults}");
    }

    /// The value of a variable in a manifest.
    fn in_manifest(path: &str, name: &str) -> String {
        let path = format!("{}/../manifests/{path}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().map(str::trim).skip_while(|line| *line != format!("- name: {name}"));
        let value = lines.nth(1).and_then(|line| line.strip_prefix("value: "));
        value.unwrap_or_else(|| panic!("{path} has no value of {name}")).trim_matches('"').to_owned()
    }

    #[test]
    fn the_shipped_scaler_has_the_slots_of_the_shipped_worker() {
        let manifest = "base/temporal-scaler.yaml";
        let names = ["SCALER_QUEUES", "SCALER_POD_SELECTOR", "SCALER_UTILIZATION", "SCALER_DELETION_COSTS"];
        let variables = names.map(|name| (name.to_owned(), in_manifest(manifest, name)));
        let queues = Config::load(&variables.into()).unwrap().queues;
        let worker = |name: &str| in_manifest("base/temporal-worker-deployment.yaml", name).parse().unwrap();
        let expected: [f64; 3] = [
            worker("TEMPORAL_WORKFLOW_CONCURRENCY"),
            worker("TEMPORAL_IO_ACTIVITY_CONCURRENCY"),
            worker("TEMPORAL_CPU_ACTIVITY_CONCURRENCY"),
        ];
        assert_eq!(queues.iter().map(|queue| queue.slots).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_setting_is_documented_with_its_default() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/temporal-scaler.md");
        let page = std::fs::read_to_string(page).unwrap();
        for Setting { name, default, .. } in SETTINGS {
            let row = page.lines().find(|line| line.starts_with("| `") && line.contains(&format!("`{name}`")));
            let row = row.unwrap_or_else(|| panic!("{name} is not in the table of docs/temporal-scaler.md"));
            assert!(default.is_empty() || row.contains(&format!("`{default}`")), "the default of {name}: {row}");
        }
    }

    #[test]
    fn settings_are_printed_with_their_origins() {
        let variables = variables(&[("SCALER_UTILISATION", "1"), ("SCALER_UTILIZATION", "0.5")]);
        let text = render(&variables);
        assert!(text.contains("SCALER_UTILIZATION=0.5  # environment\n"), "{text}");
        assert!(text.contains("SCALER_ADDRESS=[::]:9464  # default\n"), "{text}");
        assert!(text.contains("# SCALER_BUILD_ID is unset\n"), "{text}");
        assert_eq!(unknown(&variables), ["SCALER_UTILISATION"]);
    }
}
