//! The SDK's own metrics, stored here so that they appear in the worker's exposition and not on a second port.
//!
//! The SDK uses different label sets for the same metric name, which a `prometheus::Registry` rejects. Here a name
//! maps to a set of series, each with its own labels. Durations are in seconds, and their names end in `_seconds`.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, Opts, core::Collector, proto::MetricFamily};
use temporalio_common::telemetry::metrics::{
    self as core, CoreMeter, CounterBase, GaugeBase, GaugeF64Base, HistogramBase, HistogramDurationBase,
    HistogramF64Base, MetricAttributable, MetricAttributes, MetricKeyValue, MetricParameters, NewAttributes,
    OrderedPromLabelSet, UpDownCounterBase,
};

/// Prefix of the SDK's names, which come without one (see [`crate::temporal`]).
const PREFIX: &str = "temporal_";

/// Gauge of the polls in flight, by `task_queue`.
const POLLERS: &str = "temporal_num_pollers";

/// Durations of the polls that have ended, and the counter of those that failed, by `task_queue`.
const POLLS_ENDED: &str = "temporal_long_request_latency_seconds";
const POLLS_FAILED: &str = "temporal_long_request_failure";

/// Label with the name of a queue.
const TASK_QUEUE: &str = "task_queue";

type Labels = BTreeMap<String, String>;

/// One series.
#[derive(Debug, Clone)]
enum Series {
    Counter(IntCounter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Series {
    fn collect(&self) -> Vec<MetricFamily> {
        match self {
            Self::Counter(series) => series.collect(),
            Self::Gauge(series) => series.collect(),
            Self::Histogram(series) => series.collect(),
        }
    }
}

/// Polls of a queue that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PollCounts {
    /// Temporal answered, with or without a task.
    pub answered: u64,
    /// Temporal refused, or could not be reached.
    pub failed: u64,
}

/// The series of all metrics, by name and labels.
#[derive(Debug, Default)]
struct Store {
    series: Mutex<BTreeMap<String, BTreeMap<Labels, Series>>>,
    sticky: Mutex<StickyQueue>,
}

impl Store {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeMap<Labels, Series>>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sticky(&self) -> std::sync::MutexGuard<'_, StickyQueue> {
        self.sticky.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of the workflow tasks that only this process gets. The SDK gives it a random name, and tells the name in
/// the label `task_queue` alone.
#[derive(Debug, Default)]
struct StickyQueue {
    /// How its name begins.
    prefix: String,
    /// The workflow queue, which is shown in its place.
    shown: String,
    name: String,
}

impl StickyQueue {
    /// Shows the workflow queue in place of the sticky queue, and notes the name of that.
    fn replace(&mut self, labels: &mut Labels) {
        let Some(queue) = labels.get_mut(TASK_QUEUE) else { return };
        if !self.prefix.is_empty() && queue.starts_with(&self.prefix) {
            self.name = std::mem::replace(queue, self.shown.clone());
        }
    }
}

/// A meter of the SDK that writes into this process's exposition.
#[derive(Debug, Default)]
pub struct SdkMeter {
    store: Arc<Store>,
}

impl SdkMeter {
    /// All recorded metrics, one family per name.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        let store = self.store.lock();
        store.values().filter_map(|series| merged(series.values())).collect()
    }

    /// Whether the SDK polls a queue.
    pub fn polls(&self, queue: &str) -> bool {
        self.of_queue(POLLERS, queue).iter().any(|series| matches!(series, Series::Gauge(gauge) if gauge.get() > 0.0))
    }

    /// The polls of a queue that have ended.
    pub fn poll_counts(&self, queue: &str) -> PollCounts {
        let count = |series: &Series| match series {
            Series::Counter(counter) => counter.get(),
            Series::Histogram(histogram) => histogram.get_sample_count(),
            Series::Gauge(_) => 0,
        };
        let count = |name| self.of_queue(name, queue).iter().map(count).sum::<u64>();
        // The SDK records the duration first. In this order, a failure in between never adds an answer.
        let (ended, failed) = (count(POLLS_ENDED), count(POLLS_FAILED));
        PollCounts { answered: ended.saturating_sub(failed), failed }
    }

    /// Says how the SDK names the sticky queue of a worker with this identity and workflow queue.
    pub fn expect_sticky_queue(&self, identity: &str, workflow_queue: &str) {
        let (prefix, shown) = (format!("{identity}-"), workflow_queue.to_owned());
        *self.store.sticky() = StickyQueue { prefix, shown, name: String::new() };
    }

    /// The name of the sticky queue; empty until it was polled.
    pub fn sticky_queue(&self) -> String {
        self.store.sticky().name.clone()
    }

    /// The series of one name that belong to a queue.
    fn of_queue(&self, name: &str, queue: &str) -> Vec<Series> {
        let store = self.store.lock();
        let series = store.get(name).into_iter().flatten();
        let of_queue = series.filter(|(labels, _)| labels.get(TASK_QUEUE).is_some_and(|found| found == queue));
        of_queue.map(|(_, series)| series.clone()).collect()
    }

    fn instrument(&self, parameters: &MetricParameters, make: Make) -> Instrument {
        let name = format!("{PREFIX}{}", parameters.name.replace('-', "_"));
        let help = if parameters.description.is_empty() { name.clone() } else { parameters.description.to_string() };
        Instrument { store: Arc::clone(&self.store), name, help, make }
    }

    fn histogram_of(&self, parameters: &MetricParameters, suffix: &str, seconds: bool) -> Instrument {
        let buckets = core::default_buckets_for(&parameters.name, seconds);
        let mut instrument = self.instrument(parameters, Make::Histogram(buckets));
        instrument.name.push_str(suffix);
        instrument
    }
}

/// Merges the families of one name.
fn merged<'a>(series: impl Iterator<Item = &'a Series>) -> Option<MetricFamily> {
    let mut families = series.flat_map(Series::collect);
    let mut family = families.next()?;
    let mut metrics = family.take_metric();
    metrics.extend(families.flat_map(|mut other| other.take_metric()));
    family.set_metric(metrics);
    Some(family)
}

/// The kind of series that an instrument creates.
#[derive(Debug, Clone, Copy)]
enum Make {
    Counter,
    Gauge,
    Histogram(&'static [f64]),
}

/// A metric of the SDK, not yet bound to labels.
#[derive(Clone)]
struct Instrument {
    store: Arc<Store>,
    name: String,
    help: String,
    make: Make,
}

impl fmt::Debug for Instrument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instrument({})", self.name)
    }
}

impl Instrument {
    /// The series of these labels, created on first use.
    fn series(&self, attributes: &MetricAttributes) -> Result<Series, Box<dyn Error>> {
        let mut labels = labels(attributes)?;
        self.store.sticky().replace(&mut labels);
        let mut store = self.store.lock();
        let all = store.entry(self.name.clone()).or_default();
        if let Some(series) = all.get(&labels) {
            return Ok(series.clone());
        }
        let series = self.make(&labels)?;
        all.insert(labels, series.clone());
        Ok(series)
    }

    fn make(&self, labels: &Labels) -> prometheus::Result<Series> {
        let labels = labels.clone().into_iter().collect();
        let options = || Opts::new(&self.name, &self.help);
        Ok(match self.make {
            Make::Counter => Series::Counter(IntCounter::with_opts(options().const_labels(labels))?),
            Make::Gauge => Series::Gauge(Gauge::with_opts(options().const_labels(labels))?),
            Make::Histogram(buckets) => {
                let options = HistogramOpts::from(options().const_labels(labels)).buckets(buckets.to_vec());
                Series::Histogram(Histogram::with_opts(options)?)
            }
        })
    }
}

fn labels(attributes: &MetricAttributes) -> Result<Labels, Box<dyn Error>> {
    match attributes {
        MetricAttributes::Empty => Ok(Labels::new()),
        MetricAttributes::Prometheus { labels } => {
            Ok(labels.as_prom_labels().into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        }
        other => Err(format!("labels of another meter: {other:?}").into()),
    }
}

/// A series. Records of another kind than the instrument's are ignored.
struct Bound(Series);

impl CounterBase for Bound {
    fn adds(&self, value: u64) {
        if let Series::Counter(counter) = &self.0 {
            counter.inc_by(value);
        }
    }
}

impl UpDownCounterBase for Bound {
    fn adds(&self, value: i64) {
        if let Series::Gauge(gauge) = &self.0 {
            gauge.add(value as f64);
        }
    }
}

impl GaugeBase for Bound {
    fn records(&self, value: u64) {
        GaugeF64Base::records(self, value as f64);
    }
}

impl GaugeF64Base for Bound {
    fn records(&self, value: f64) {
        if let Series::Gauge(gauge) = &self.0 {
            gauge.set(value);
        }
    }
}

impl HistogramBase for Bound {
    fn records(&self, value: u64) {
        HistogramF64Base::records(self, value as f64);
    }
}

impl HistogramF64Base for Bound {
    fn records(&self, value: f64) {
        if let Series::Histogram(histogram) = &self.0 {
            histogram.observe(value);
        }
    }
}

impl HistogramDurationBase for Bound {
    fn records(&self, value: Duration) {
        HistogramF64Base::records(self, value.as_secs_f64());
    }
}

macro_rules! attributable {
    ($($base:ident),*) => {$(
        impl MetricAttributable<Box<dyn $base>> for Instrument {
            fn with_attributes(&self, attributes: &MetricAttributes) -> Result<Box<dyn $base>, Box<dyn Error>> {
                Ok(Box::new(Bound(self.series(attributes)?)))
            }
        }
    )*};
}

attributable!(
    CounterBase,
    UpDownCounterBase,
    GaugeBase,
    GaugeF64Base,
    HistogramBase,
    HistogramF64Base,
    HistogramDurationBase
);

impl CoreMeter for SdkMeter {
    fn new_attributes(&self, attributes: NewAttributes) -> MetricAttributes {
        MetricAttributes::Prometheus { labels: Arc::new(attributes.into()) }
    }

    fn extend_attributes(&self, existing: MetricAttributes, attributes: NewAttributes) -> MetricAttributes {
        let mut labels = match existing {
            MetricAttributes::Prometheus { labels } => Arc::unwrap_or_clone(labels),
            _ => OrderedPromLabelSet::new(),
        };
        attributes.attributes.into_iter().for_each(|label: MetricKeyValue| labels.add_kv(label));
        MetricAttributes::Prometheus { labels: Arc::new(labels) }
    }

    fn counter(&self, parameters: MetricParameters) -> core::Counter {
        core::Counter::new(Arc::new(self.instrument(&parameters, Make::Counter)))
    }

    fn histogram(&self, parameters: MetricParameters) -> core::Histogram {
        core::Histogram::new(Arc::new(self.histogram_of(&parameters, "", false)))
    }

    fn histogram_f64(&self, parameters: MetricParameters) -> core::HistogramF64 {
        core::HistogramF64::new(Arc::new(self.histogram_of(&parameters, "", false)))
    }

    fn histogram_duration(&self, parameters: MetricParameters) -> core::HistogramDuration {
        core::HistogramDuration::new(Arc::new(self.histogram_of(&parameters, "_seconds", true)))
    }

    fn gauge(&self, parameters: MetricParameters) -> core::Gauge {
        core::Gauge::new(Arc::new(self.instrument(&parameters, Make::Gauge)))
    }

    fn gauge_f64(&self, parameters: MetricParameters) -> core::GaugeF64 {
        core::GaugeF64::new(Arc::new(self.instrument(&parameters, Make::Gauge)))
    }

    fn up_down_counter(&self, parameters: MetricParameters) -> core::UpDownCounter {
        core::UpDownCounter::new(Arc::new(self.instrument(&parameters, Make::Gauge)))
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder as _, TextEncoder};

    use super::*;

    fn attributes(meter: &SdkMeter, labels: &[(&'static str, &'static str)]) -> MetricAttributes {
        meter.new_attributes(labels.iter().map(|(key, value)| MetricKeyValue::new(*key, *value)).into())
    }

    fn text(meter: &SdkMeter) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&meter.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn one_name_may_have_series_with_different_labels() {
        let meter = SdkMeter::default();
        let counter = meter.counter("request".into());
        counter.add(2, &attributes(&meter, &[("operation", "poll")]));
        counter.add(3, &attributes(&meter, &[("operation", "poll"), ("task-queue", "q")]));
        let text = text(&meter);
        assert!(text.contains("temporal_request{operation=\"poll\"} 2"), "{text}");
        assert!(text.contains("temporal_request{operation=\"poll\",task_queue=\"q\"} 3"), "{text}");
        assert_eq!(text.matches("# TYPE").count(), 1, "{text}");
    }

    #[test]
    fn durations_are_in_seconds_and_named_so() {
        let meter = SdkMeter::default();
        let latency = meter.histogram_duration("activity_execution_latency".into());
        latency.record(Duration::from_millis(2500), &attributes(&meter, &[]));
        let text = text(&meter);
        assert!(text.contains("temporal_activity_execution_latency_seconds_sum 2.5"), "{text}");
        assert!(text.contains("temporal_activity_execution_latency_seconds_bucket{le=\"5\"} 1"), "{text}");
        assert!(text.contains("temporal_activity_execution_latency_seconds_bucket{le=\"1\"} 0"), "{text}");
    }

    #[test]
    fn a_queue_is_polled_once_a_poller_is_counted() {
        let meter = SdkMeter::default();
        let pollers = meter.gauge("num_pollers".into());
        pollers.record(0, &attributes(&meter, &[("task_queue", "q"), ("poller_type", "workflow_task")]));
        assert!(!meter.polls("q"));
        pollers.record(1, &attributes(&meter, &[("task_queue", "q"), ("poller_type", "sticky_workflow_task")]));
        assert!(meter.polls("q"));
        assert!(!meter.polls("other"));
    }

    #[test]
    fn the_sticky_queue_is_shown_as_the_workflow_queue() {
        let meter = SdkMeter::default();
        meter.expect_sticky_queue("7@host", "q");
        let requests = meter.counter("request".into());
        for queue in ["7@host-00ff", "q", "other"] {
            requests.add(1, &attributes(&meter, &[("task_queue", queue)]));
        }
        let text = text(&meter);
        assert!(text.contains("temporal_request{task_queue=\"q\"} 2"), "{text}");
        assert!(!text.contains("7@host"), "{text}");
        assert_eq!(meter.sticky_queue(), "7@host-00ff");
    }

    #[test]
    fn ended_polls_are_counted_by_their_outcome() {
        let meter = SdkMeter::default();
        let (ended, failed) =
            (meter.histogram_duration("long_request_latency".into()), meter.counter("long_request_failure".into()));
        for operation in ["PollWorkflowTaskQueue", "PollActivityTaskQueue"] {
            let labels = [("task_queue", "q"), ("operation", operation)];
            ended.record(Duration::from_secs(1), &attributes(&meter, &labels));
            ended.record(Duration::from_secs(1), &attributes(&meter, &labels));
        }
        failed.add(1, &attributes(&meter, &[("task_queue", "q"), ("status_code", "PERMISSION_DENIED")]));
        assert_eq!(meter.poll_counts("q"), PollCounts { answered: 3, failed: 1 });
        assert_eq!(meter.poll_counts("other"), PollCounts::default());
    }
}
