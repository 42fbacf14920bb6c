//! Log lines: readable on a terminal, JSON in a cluster.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, ServiceConfig};

/// Starts logging to standard error.
///
/// # Errors
/// The filter cannot be read, or logging was started before.
pub fn start(config: &ServiceConfig) -> anyhow::Result<()> {
    let filter: EnvFilter = config.log_filter.parse()?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr);
    let started = match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("starting the logs: {error}"))
}
