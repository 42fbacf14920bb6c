//! Traces by OpenTelemetry, where an endpoint is configured: a span for each workflow, activity and step, sent over OTLP.
//!
//! The SDK's plugin carries the context from the client that started a workflow through the workflow to its activities; the
//! worker's own spans (see [`crate::activities`]) hang below the activity's. A collector that is away costs its spans only.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchSpanProcessor, SdkTracerProvider},
};
use temporalio_sdk::opentelemetry::{WorkflowIdGenerator, WorkflowSpanProcessor};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::config::TracesConfig;

/// Time for one batch of spans to be sent.
const SEND: Duration = Duration::from_secs(5);
/// Time for what was not sent yet when the worker leaves.
const FLUSH: Duration = Duration::from_secs(2);

/// Spans on their way to a collector.
#[derive(Debug, Clone)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Starts sending, if an endpoint is configured. Nothing is connected yet. Needs a runtime of tokio around it.
    ///
    /// # Errors
    /// The endpoint cannot be used.
    pub fn start(config: &TracesConfig) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &config.endpoint else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(SEND)
            .build()
            .with_context(|| format!("sending traces to {endpoint}"))?;
        let resource = Resource::builder()
            .with_service_name(config.service_name.clone())
            .build();
        let processor = WorkflowSpanProcessor::new(BatchSpanProcessor::builder(exporter).build());
        let provider = SdkTracerProvider::builder()
            .with_id_generator(WorkflowIdGenerator::default())
            .with_resource(resource)
            .with_span_processor(processor)
            .build();
        // The SDK's plugin takes its tracer from here.
        global::set_tracer_provider(provider.clone());
        Ok(Some(Self { provider }))
    }

    /// The worker's own spans as spans of the trace. Not the SDK's: it makes one for each workflow and activity for the logs,
    /// beside that of its plugin, and knows nothing there of the trace that it belongs to.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("temporal-worker"))
            .with_filter(Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::TRACE))
    }

    /// Sends what is left.
    ///
    /// # Errors
    /// The collector did not take it in time.
    pub async fn end(self) -> anyhow::Result<()> {
        let ending = move || self.provider.shutdown_with_timeout(FLUSH);
        tokio::task::spawn_blocking(ending)
            .await
            .context("ending the traces")?
            .context("sending the last traces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_an_endpoint_nothing_is_traced_and_with_one_a_missing_collector_harms_nothing() {
        assert!(Traces::start(&TracesConfig::default()).unwrap().is_none());
        crate::tls::install_provider();
        let away = TracesConfig {
            endpoint: Some("http://127.0.0.1:1".into()),
            ..TracesConfig::default()
        };
        let traces = Traces::start(&away).unwrap().unwrap();
        assert!(traces.end().await.is_ok(), "there was nothing to send");
    }
}
