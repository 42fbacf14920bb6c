//! OpenTelemetry traces, sent over OTLP if an endpoint is configured: a span for each workflow, activity and step.
//!
//! The SDK's plugin carries the trace context from the client through the workflow to its activities. The worker's
//! own spans are children of the activity's span (see [`crate::activities`]). An unreachable collector costs only
//! spans, and the log says so.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig as _, WithTonicConfig as _, tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter as Export},
};
use temporalio_sdk::opentelemetry::{WorkflowIdGenerator, WorkflowSpanProcessor};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::{config::TracesConfig, faults::Faults};

/// Timeout for the export of one batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for the last export at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The exporter of spans.
#[derive(Debug, Clone)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Starts the exporter if an endpoint is configured, without connecting yet. Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// The endpoint is invalid.
    pub fn start(config: &TracesConfig) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &config.endpoint else {
            return Ok(None);
        };
        let mut exporter =
            SpanExporter::builder().with_tonic().with_endpoint(endpoint.expose()).with_timeout(EXPORT_TIMEOUT);
        if endpoint.expose().starts_with("https:") {
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_native_roots());
        }
        let exporter = exporter.build().with_context(|| format!("sending traces to {endpoint:?}"))?;
        let exporter = Reported { exporter, faults: Mutex::default() };
        let resource = Resource::builder().with_service_name(config.service_name.clone()).build();
        let processor = WorkflowSpanProcessor::new(BatchSpanProcessor::builder(exporter).build());
        let provider = SdkTracerProvider::builder()
            .with_id_generator(WorkflowIdGenerator::default())
            .with_resource(resource)
            .with_span_processor(processor)
            .build();
        // The SDK's plugin uses the global tracer provider.
        global::set_tracer_provider(provider.clone());
        Ok(Some(Self { provider }))
    }

    /// Exports the worker's own spans and none of the SDK's. The SDK creates spans for its logs too, which do not
    /// belong to the document's trace; its plugin exports the right ones.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("temporal-worker"))
            .with_filter(Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::TRACE))
    }

    /// Exports the remaining spans.
    ///
    /// # Errors
    /// The collector did not accept them within the timeout.
    pub async fn end(self) -> anyhow::Result<()> {
        let ending = move || self.provider.shutdown_with_timeout(FLUSH_TIMEOUT);
        tokio::task::spawn_blocking(ending)
            .await
            .context("stopping the trace exporter")?
            .context("exporting the last spans")
    }
}

/// An exporter that logs when its exports begin to fail, and when they work again.
#[derive(Debug)]
struct Reported {
    exporter: SpanExporter,
    faults: Mutex<Faults>,
}

impl Export for Reported {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        let exported = self.exporter.export(spans).await;
        let error = exported.as_ref().err().map(|error| anyhow::anyhow!("{error}"));
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).report("exporting traces", error);
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn traces_need_an_endpoint_and_a_missing_collector_does_no_harm() {
        assert!(Traces::start(&TracesConfig::default()).unwrap().is_none());
        crate::tls::install_provider();
        let unreachable = TracesConfig { endpoint: Some("http://127.0.0.1:1".into()), ..TracesConfig::default() };
        let traces = Traces::start(&unreachable).unwrap().unwrap();
        assert!(traces.end().await.is_ok(), "there was nothing to send");
    }
}
