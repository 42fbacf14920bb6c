//! The program itself: its port, its logs and its shutdown.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::Faults;

/// Time for which a depth is shown at most, unless the interval is longer than a third of it.
const DEPTH_AGE: Duration = Duration::from_secs(30);

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// The `[service]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ServiceConfig {
    /// Address of /metrics, /livez and /readyz (`METRICS_ADDRESS`). `[::]` is every address of the host, IPv4
    /// included; on a host without IPv6 it is `0.0.0.0`.
    pub metrics_address: String,
    /// Seconds between two attempts to reach Postgres or Temporal at start. The number of attempts is unlimited.
    pub start_retry_seconds: u64,
    /// Least number of seconds between two questions of a worker about a queue's depth (`DEPTH_INTERVAL_SECONDS`). From
    /// 6 workers on they are further apart. A depth is shown for 30 s at most, or for three of these intervals if that is
    /// more.
    pub depth_interval_seconds: u64,
    /// `text` or `json` (`LOG_FORMAT`).
    pub log_format: LogFormat,
    /// Filter of log lines, in the syntax of `RUST_LOG` (`RUST_LOG`).
    pub log_filter: String,
    /// Memory in bytes that the process may use: the limit of its container (`MEMORY_LIMIT_BYTES`). Large documents
    /// wait until what they need fits.
    pub memory_limit_bytes: u64,
    /// Maximum seconds from SIGTERM to the exit (`SHUTDOWN_GRACE_SECONDS`).
    pub shutdown_grace_seconds: u64,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            metrics_address: "[::]:9464".into(),
            start_retry_seconds: 2,
            depth_interval_seconds: 1,
            log_format: LogFormat::Text,
            log_filter: "info,temporalio_sdk_core=warn,temporalio_client=warn".into(),
            memory_limit_bytes: 300 << 20,
            shutdown_grace_seconds: 60,
        }
    }
}

impl ServiceConfig {
    /// Maximum time from the first signal to the exit.
    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_seconds)
    }

    /// Interval of connection attempts at start.
    pub fn start_retry(&self) -> Duration {
        Duration::from_secs(self.start_retry_seconds)
    }

    /// Least interval of depth readings.
    pub fn depth_interval(&self) -> Duration {
        Duration::from_secs(self.depth_interval_seconds)
    }

    /// Time for which a depth is shown.
    pub fn depth_lifetime(&self) -> Duration {
        DEPTH_AGE.max(3 * self.depth_interval())
    }

    pub(super) fn validate(&self, faults: &mut Faults) {
        if let Err(error) = self.metrics_address.parse::<SocketAddr>() {
            faults.add(format!(
                "service.metrics_address is {:?} ({error}): set METRICS_ADDRESS to an address and a port, such as \
                 [::]:9464",
                self.metrics_address
            ));
        }
        faults.require_at_least("service.start_retry_seconds", self.start_retry_seconds, 1);
        faults.require_at_least("service.depth_interval_seconds", self.depth_interval_seconds, 1);
        faults.require_at_least("service.shutdown_grace_seconds", self.shutdown_grace_seconds, 1);
        if let Err(error) = self.log_filter.parse::<tracing_subscriber::EnvFilter>() {
            faults.add(format!(
                "service.log_filter is {:?} ({error}): set RUST_LOG to a level such as info",
                self.log_filter
            ));
        }
    }
}
