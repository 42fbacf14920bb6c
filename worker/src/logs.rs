//! Log lines: text for a terminal, JSON for a cluster. If traces are enabled, spans also go to the collector.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    config::{LogFormat, ServiceConfig},
    traces::Traces,
};

/// Starts logging to standard error, and passes spans to the traces.
///
/// # Errors
/// The filter is invalid, or logging was started before.
pub fn start(config: &ServiceConfig, traces: Option<&Traces>) -> anyhow::Result<()> {
    let filter: EnvFilter = config.log_filter.parse()?;
    let lines = tracing_subscriber::fmt::layer().with_ansi(stderr().is_terminal()).with_writer(stderr);
    let lines: Box<dyn Layer<_> + Send + Sync> = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    Registry::default()
        .with(lines)
        .with(traces.map(Traces::layer))
        .with(filter)
        .try_init()
        .map_err(|error| anyhow::anyhow!("starting the logs: {error}"))
}
