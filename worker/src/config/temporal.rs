//! The address of Temporal, and the three task queues.

use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use url::Url;

use super::Faults;

/// The `[temporal]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TemporalConfig {
    /// Address of the frontend: `host:port` or a URL. Without a scheme, the connection uses TLS if TLS is
    /// configured, else plain text.
    pub address: String,
    /// Namespace, which must exist.
    pub namespace: String,
    /// Queue of workflow tasks.
    pub workflow_queue: String,
    /// Queue of the activities that wait for the network: fetch, summarise and store.
    pub io_activity_queue: String,
    /// Queue of the activities that compute: extract.
    pub cpu_activity_queue: String,
    /// Timeout of a connection in seconds. At start, also the timeout of Temporal's first answer.
    pub connect_timeout_seconds: u64,
}

impl Default for TemporalConfig {
    fn default() -> Self {
        Self {
            address: "localhost:7233".into(),
            namespace: "default".into(),
            workflow_queue: "document-workflow-queue".into(),
            io_activity_queue: "document-io-activity-queue".into(),
            cpu_activity_queue: "document-cpu-activity-queue".into(),
            connect_timeout_seconds: 5,
        }
    }
}

impl TemporalConfig {
    /// The three queues: workflow, IO, CPU.
    pub fn queues(&self) -> [&str; 3] {
        [&self.workflow_queue, &self.io_activity_queue, &self.cpu_activity_queue]
    }

    /// Timeout of a connection.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_seconds)
    }

    /// The address as a URL. Without a scheme, `tls` decides between https and http.
    ///
    /// # Errors
    /// The address is not a URL, or has no host.
    pub fn url(&self, tls: bool) -> anyhow::Result<Url> {
        let address = &self.address;
        let url = match address.contains("://") {
            true => address.to_owned(),
            false => format!("{}://{address}", if tls { "https" } else { "http" }),
        };
        let hint = || format!("temporal.address (TEMPORAL_ADDRESS) is {address:?}: set it to host:port, or to a URL");
        let url = Url::parse(&url).with_context(hint)?;
        anyhow::ensure!(matches!(url.scheme(), "http" | "https") && url.has_host(), hint());
        Ok(url)
    }

    pub(super) fn validate(&self, faults: &mut Faults) {
        if let Err(error) = self.url(false) {
            faults.add(error.to_string());
        }
        faults.require_at_least("temporal.connect_timeout_seconds", self.connect_timeout_seconds, 1);
        faults.require_text("temporal.namespace", &self.namespace);
        let [workflow, io, cpu] = self.queues();
        faults.require_text("temporal.workflow_queue", workflow);
        faults.require_text("temporal.io_activity_queue", io);
        faults.require_text("temporal.cpu_activity_queue", cpu);
        if io == cpu {
            faults.add(format!(
                "temporal.io_activity_queue and temporal.cpu_activity_queue are both {io:?}: activities of one \
                 would be sent to the worker of the other; set TEMPORAL_IO_ACTIVITY_QUEUE and \
                 TEMPORAL_CPU_ACTIVITY_QUEUE to two names"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(address: &str, tls: bool) -> anyhow::Result<String> {
        let config = TemporalConfig { address: address.into(), ..TemporalConfig::default() };
        config.url(tls).map(String::from)
    }

    #[test]
    fn an_address_without_a_scheme_gets_it_from_the_tls_settings() {
        assert_eq!(url("temporal:7233", false).unwrap(), "http://temporal:7233/");
        assert_eq!(url("temporal:7233", true).unwrap(), "https://temporal:7233/");
        assert_eq!(url("https://temporal:7233", false).unwrap(), "https://temporal:7233/");
    }

    #[test]
    fn the_error_of_an_invalid_address_names_its_variable() {
        for address in ["", "http://", "temporal:port", "ftp://temporal"] {
            let error = url(address, false).unwrap_err().to_string();
            assert!(error.contains("TEMPORAL_ADDRESS"), "{address:?}: {error}");
        }
    }
}
