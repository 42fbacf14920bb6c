//! All metrics of :9464/metrics in one exposition: queue depths, the worker's own metrics and the SDK's.
//!
//! [`names`] declares the worker's own metrics.

mod depth;
mod external;
pub mod names;
mod sdk;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use prometheus::{Encoder as _, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

pub use depth::{DepthReadings, Queue, Reading};
pub use external::{ExternalMetrics, Outcome};
pub use sdk::{PollCounts, SdkMeter};

/// Histogram buckets of a step in seconds, up to its timeout.
const STEP_BUCKETS: &[f64] = &[0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// Histogram buckets of the wait for a connection in seconds: none, the time to open one, up to the timeout.
const ACQUIRE_BUCKETS: &[f64] = &[0.0001, 0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// State of the connection pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Connections that are in use, being opened or being closed.
    pub in_use: usize,
    /// Open connections that are idle.
    pub idle: usize,
    /// Callers that wait for a connection.
    pub waiters: usize,
}

/// All metrics of the process.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    sdk: Arc<SdkMeter>,
    depths: DepthReadings,
    documents: IntCounterVec,
    retries: IntCounterVec,
    steps: HistogramVec,
    polls_failing: IntGaugeVec,
    threads: IntGaugeVec,
    connections: IntGaugeVec,
    waiters: IntGaugeVec,
    acquires: HistogramVec,
    external: ExternalMetrics,
    cache: IntCounterVec,
    summaries: IntCounterVec,
}

impl Metrics {
    /// Registers all metrics. A depth reading expires after `depth_lifetime`.
    ///
    /// # Errors
    /// Two metrics have the same name.
    pub fn new(depth_lifetime: Duration) -> anyhow::Result<Self> {
        let registry = Registry::new();
        let depths = DepthReadings::new(depth_lifetime)?;
        registry.register(Box::new(depths.clone())).context("registering the depths")?;
        Ok(Self {
            sdk: Arc::default(),
            depths,
            documents: counter(&registry, &names::DOCUMENTS)?,
            retries: counter(&registry, &names::STEP_RETRIES)?,
            steps: histogram(&registry, &names::STEP_SECONDS, STEP_BUCKETS)?,
            polls_failing: gauge(&registry, &names::POLLS_FAILING)?,
            threads: gauge(&registry, &names::CPU_THREADS)?,
            connections: gauge(&registry, &names::DATABASE_CONNECTIONS)?,
            waiters: gauge(&registry, &names::DATABASE_WAITERS)?,
            acquires: histogram(&registry, &names::DATABASE_ACQUIRE_SECONDS, ACQUIRE_BUCKETS)?,
            external: ExternalMetrics::register(&registry)?,
            cache: counter(&registry, &names::CACHE)?,
            summaries: counter(&registry, &names::SUMMARIES)?,
            registry,
        })
    }

    /// The meter of the SDK.
    pub fn sdk(&self) -> Arc<SdkMeter> {
        Arc::clone(&self.sdk)
    }

    /// The readings of the queues.
    pub fn depths(&self) -> &DepthReadings {
        &self.depths
    }

    /// Records the duration and the outcome of an attempt at a step.
    pub fn observe_step(&self, step: &str, outcome: &str, took: Duration) {
        self.steps.with_label_values(&[step, outcome]).observe(took.as_secs_f64());
    }

    /// Counts a document that a store step is done with, by what it did.
    pub fn count_stored(&self, outcome: &str) {
        self.documents.with_label_values(&[outcome, ""]).inc();
    }

    /// Counts a document that cannot be processed, by the kind of poison.
    pub fn count_refused(&self, poison: &str) {
        self.documents.with_label_values(&["refused", poison]).inc();
    }

    /// Counts an attempt at a step after the first.
    pub fn count_retry(&self, step: &str) {
        self.retries.with_label_values(&[step]).inc();
    }

    /// Records whether the process's polls of a queue fail.
    pub fn set_polls_failing(&self, queue: &Queue, failing: bool) {
        self.polls_failing.with_label_values(&[queue.kind(), &queue.name]).set(failing.into());
    }

    /// The metrics of calls to external services.
    pub fn external(&self) -> &ExternalMetrics {
        &self.external
    }

    /// Counts a cache lookup by its outcome.
    pub fn count_lookup(&self, outcome: &str) {
        self.cache.with_label_values(&[outcome]).inc();
    }

    /// Counts a summary by its outcome.
    pub fn count_summary(&self, outcome: &str) {
        self.summaries.with_label_values(&[outcome]).inc();
    }

    /// Records the number of busy and of all CPU threads.
    pub fn set_threads(&self, busy: usize, all: usize) {
        set(&self.threads, "busy", busy);
        set(&self.threads, "idle", all.saturating_sub(busy));
    }

    /// Records the state of the connection pool.
    pub fn set_connections(&self, pool: PoolState) {
        set(&self.connections, "idle", pool.idle);
        set(&self.connections, "in_use", pool.in_use);
        self.waiters.with_label_values::<&str>(&[]).set(i64::try_from(pool.waiters).unwrap_or(i64::MAX));
    }

    /// Records the wait for a database connection and its outcome.
    pub fn observe_acquire(&self, outcome: &str, took: Duration) {
        self.acquires.with_label_values(&[outcome]).observe(took.as_secs_f64());
    }

    /// The exposition as text.
    ///
    /// # Errors
    /// A metric cannot be encoded.
    pub fn exposition(&self) -> anyhow::Result<String> {
        let mut families = self.registry.gather();
        families.extend(self.sdk.gather());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text).context("writing the metrics")?;
        String::from_utf8(text).context("writing the metrics")
    }
}

fn counter(registry: &Registry, metric: &names::Name) -> anyhow::Result<IntCounterVec> {
    let counter = IntCounterVec::new(Opts::new(metric.name, metric.help), metric.labels)?;
    registry.register(Box::new(counter.clone())).with_context(|| format!("registering {}", metric.name))?;
    Ok(counter)
}

fn gauge(registry: &Registry, metric: &names::Name) -> anyhow::Result<IntGaugeVec> {
    let gauge = IntGaugeVec::new(Opts::new(metric.name, metric.help), metric.labels)?;
    registry.register(Box::new(gauge.clone())).with_context(|| format!("registering {}", metric.name))?;
    Ok(gauge)
}

fn histogram(registry: &Registry, metric: &names::Name, buckets: &[f64]) -> anyhow::Result<HistogramVec> {
    let options = HistogramOpts::new(metric.name, metric.help).buckets(buckets.to_vec());
    let histogram = HistogramVec::new(options, metric.labels)?;
    registry.register(Box::new(histogram.clone())).with_context(|| format!("registering {}", metric.name))?;
    Ok(histogram)
}

fn set(gauge: &IntGaugeVec, state: &str, value: usize) {
    gauge.with_label_values(&[state]).set(i64::try_from(value).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus::proto::MetricFamily;
    use temporalio_common::telemetry::metrics::{CoreMeter, MetricParameters, NewAttributes};

    use super::*;

    const READING: Reading =
        Reading { depth: 11, backlog_age_seconds: 2.5, add_rate: 4.0, dispatch_rate: 3.0, pollers: 3 };

    #[test]
    fn one_exposition_holds_the_depths_the_own_metrics_and_the_sdks() {
        let metrics = Metrics::new(Duration::from_secs(15)).unwrap();
        let queue = Queue::workflow("document-workflow-queue");
        metrics.depths().record(&queue, READING);
        metrics.observe_step("fetch_document", "done", Duration::from_millis(20));
        metrics.set_threads(1, 4);
        let meter = metrics.sdk();
        meter.counter(MetricParameters::from("request")).add(1, &meter.new_attributes(NewAttributes::default()));
        let text = metrics.exposition().unwrap();
        for line in [
            "temporal_workflow_task_queue_depth{queue=\"document-workflow-queue\"} 11",
            "document_step_duration_seconds_count{outcome=\"done\",step=\"fetch_document\"} 1",
            "document_cpu_threads{state=\"idle\"} 3",
            "temporal_request 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn registered_metrics_equal_the_declared_ones() {
        let metrics = Metrics::new(Duration::from_secs(15)).unwrap();
        metrics.depths().record(&Queue::workflow("w"), READING);
        metrics.depths().record(&Queue::activity("a"), READING);
        metrics.observe_step("fetch_document", "done", Duration::ZERO);
        metrics.set_polls_failing(&Queue::workflow("w"), false);
        metrics.set_threads(1, 4);
        metrics.set_connections(PoolState::default());
        metrics.observe_acquire("acquired", Duration::ZERO);
        metrics.count_stored("stored");
        metrics.count_refused("EmptyDocument");
        metrics.count_retry("fetch_document");
        metrics.external().announce("s3", &["get"]);
        metrics.count_lookup("hit");
        metrics.count_summary("written");
        let mut shown: Vec<_> = metrics.registry.gather().iter().map(described).collect();
        let mut declared: Vec<_> = names::ALL.iter().map(declared).collect();
        shown.sort();
        declared.sort();
        assert_eq!(shown, declared);
    }

    type Described = (String, String, BTreeSet<String>);

    fn described(family: &MetricFamily) -> Described {
        let labels = family.get_metric()[0].get_label().iter();
        let labels = labels.map(|label| label.name().to_owned()).collect();
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        (family.name().to_owned(), kind, labels)
    }

    fn declared(metric: &names::Name) -> Described {
        let labels = metric.labels.iter().map(ToString::to_string).collect();
        (metric.name.to_owned(), metric.kind.to_string(), labels)
    }

    #[test]
    fn no_name_is_used_twice() {
        let metrics = Metrics::new(Duration::from_secs(15)).unwrap();
        metrics.depths().record(&Queue::workflow("w"), READING);
        metrics.depths().record(&Queue::activity("a"), READING);
        let families = metrics.exposition().unwrap();
        let mut types: Vec<_> = families.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let all = types.len();
        types.dedup();
        assert_eq!(types.len(), all);
    }
}
