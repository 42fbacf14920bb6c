//! Everything that :9464/metrics shows, in one exposition: the depth of the queues, the worker's own figures, the SDK's.
//!
//! [`names`] describes each metric of ours in one place.

mod depth;
pub mod names;
mod sdk;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use prometheus::{Encoder as _, HistogramOpts, HistogramVec, IntGaugeVec, Opts, Registry, TextEncoder};

pub use depth::{DepthReadings, Queue};
pub use sdk::SdkMeter;

/// Bounds of the buckets of a step, in seconds: a step waits for a network, up to its time-out.
const STEP_BUCKETS: &[f64] = &[
    0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

/// All metrics of the process.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    sdk: Arc<SdkMeter>,
    depths: DepthReadings,
    steps: HistogramVec,
    threads: IntGaugeVec,
    connections: IntGaugeVec,
}

impl Metrics {
    /// Registers every metric; a depth that is older than `depth_lifetime` is not shown.
    ///
    /// # Errors
    /// Two metrics have one name.
    pub fn new(depth_lifetime: Duration) -> anyhow::Result<Self> {
        let registry = Registry::new();
        let depths = DepthReadings::new(depth_lifetime)?;
        registry
            .register(Box::new(depths.clone()))
            .context("registering the depths")?;
        let steps = HistogramOpts::new(names::STEP_SECONDS.name, names::STEP_SECONDS.help)
            .buckets(STEP_BUCKETS.to_vec());
        let steps = HistogramVec::new(steps, &["step", "outcome"])?;
        registry
            .register(Box::new(steps.clone()))
            .context("registering the steps")?;
        let threads = gauge(&registry, &names::CPU_THREADS)?;
        let connections = gauge(&registry, &names::DATABASE_CONNECTIONS)?;
        Ok(Self {
            registry,
            sdk: Arc::default(),
            depths,
            steps,
            threads,
            connections,
        })
    }

    /// Where the SDK writes its metrics.
    pub fn sdk(&self) -> Arc<SdkMeter> {
        Arc::clone(&self.sdk)
    }

    /// Where readings of a queue's depth go.
    pub fn depths(&self) -> &DepthReadings {
        &self.depths
    }

    /// Notes how long an attempt at a step took and how it ended.
    pub fn observe_step(&self, step: &str, outcome: &str, took: Duration) {
        self.steps
            .with_label_values(&[step, outcome])
            .observe(took.as_secs_f64());
    }

    /// Notes the state of the threads that compute.
    pub fn set_threads(&self, busy: usize, all: usize) {
        set(&self.threads, "busy", busy);
        set(&self.threads, "idle", all.saturating_sub(busy));
    }

    /// Notes the state of the connections to the database.
    pub fn set_connections(&self, open: usize, idle: usize) {
        set(&self.connections, "idle", idle);
        set(&self.connections, "in_use", open.saturating_sub(idle));
    }

    /// The text of the exposition.
    ///
    /// # Errors
    /// A metric cannot be written as text.
    pub fn exposition(&self) -> anyhow::Result<String> {
        let mut families = self.registry.gather();
        families.extend(self.sdk.gather());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&families, &mut text)
            .context("writing the metrics")?;
        String::from_utf8(text).context("writing the metrics")
    }
}

fn gauge(registry: &Registry, metric: &names::Name) -> anyhow::Result<IntGaugeVec> {
    let gauge = IntGaugeVec::new(Opts::new(metric.name, metric.help), &["state"])?;
    registry
        .register(Box::new(gauge.clone()))
        .with_context(|| format!("registering {}", metric.name))?;
    Ok(gauge)
}

fn set(gauge: &IntGaugeVec, state: &str, value: usize) {
    gauge
        .with_label_values(&[state])
        .set(i64::try_from(value).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use temporalio_common::telemetry::metrics::{CoreMeter, MetricParameters, NewAttributes};

    use super::*;

    #[test]
    fn one_exposition_holds_the_depths_our_own_metrics_and_the_sdks() {
        let metrics = Metrics::new(Duration::from_secs(15)).unwrap();
        metrics
            .depths()
            .record(&Queue::workflow("document-workflow-queue"), 11);
        metrics.observe_step("fetch_document", "done", Duration::from_millis(20));
        metrics.set_threads(1, 4);
        let meter = metrics.sdk();
        meter
            .counter(MetricParameters::from("request"))
            .add(1, &meter.new_attributes(NewAttributes::default()));
        let text = metrics.exposition().unwrap();
        for line in [
            "temporal_workflow_task_queue_depth{queue=\"document-workflow-queue\"} 11",
            "document_step_duration_seconds_count{outcome=\"done\",step=\"fetch_document\"} 1",
            "document_cpu_threads{state=\"idle\"} 3",
            "temporal_request 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line:?} is missing in:\n{text}"
            );
        }
    }

    #[test]
    fn no_name_is_used_twice() {
        let metrics = Metrics::new(Duration::from_secs(15)).unwrap();
        metrics.depths().record(&Queue::workflow("w"), 1);
        metrics.depths().record(&Queue::activity("a"), 1);
        let families = metrics.exposition().unwrap();
        let mut types: Vec<_> = families
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        let all = types.len();
        types.dedup();
        assert_eq!(types.len(), all);
    }
}
