//! Metrics of the queues. A failed or expired reading makes them absent, never 0.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus::{
    GaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::names::{
    ACTIVITY_DEPTH, BACKLOG_AGE, Name, QUEUE_ADD_RATE, QUEUE_DISPATCH_RATE, QUEUE_POLLERS, WORKFLOW_DEPTH,
};

/// A task queue and its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    /// Name of the queue.
    pub name: String,
    /// Whether the queue holds activity tasks; otherwise it holds workflow tasks.
    pub activities: bool,
}

impl Queue {
    /// A queue of workflow tasks.
    pub fn workflow(name: &str) -> Self {
        Self { name: name.to_owned(), activities: false }
    }

    /// A queue of activity tasks.
    pub fn activity(name: &str) -> Self {
        Self { name: name.to_owned(), activities: true }
    }

    /// The kind of its tasks.
    pub fn kind(&self) -> &'static str {
        if self.activities { "activity" } else { "workflow" }
    }
}

/// What Temporal reports of a queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Tasks in the backlog.
    pub depth: i64,
    /// Age of the oldest task in seconds.
    pub backlog_age_seconds: f64,
    /// Tasks added per second, over the last 30 s.
    pub add_rate: f64,
    /// Tasks dispatched to workers per second, over the last 30 s.
    pub dispatch_rate: f64,
    /// Workers that poll the queue.
    pub pollers: i64,
}

/// The last reading of each queue, as metrics.
#[derive(Debug, Clone)]
pub struct DepthReadings {
    readings: Arc<Mutex<BTreeMap<Queue, (Reading, Instant)>>>,
    lifetime: Duration,
    workflow: GaugeVec,
    activity: GaugeVec,
    age: GaugeVec,
    add_rate: GaugeVec,
    dispatch_rate: GaugeVec,
    pollers: GaugeVec,
}

impl DepthReadings {
    /// No readings yet. Each one will be shown for `lifetime`.
    ///
    /// # Errors
    /// A metric name is invalid.
    pub(super) fn new(lifetime: Duration) -> prometheus::Result<Self> {
        let gauge = |metric: &Name| GaugeVec::new(Opts::new(metric.name, metric.help), metric.labels);
        Ok(Self {
            readings: Arc::default(),
            lifetime,
            workflow: gauge(&WORKFLOW_DEPTH)?,
            activity: gauge(&ACTIVITY_DEPTH)?,
            age: gauge(&BACKLOG_AGE)?,
            add_rate: gauge(&QUEUE_ADD_RATE)?,
            dispatch_rate: gauge(&QUEUE_DISPATCH_RATE)?,
            pollers: gauge(&QUEUE_POLLERS)?,
        })
    }

    /// Records a reading of this moment.
    pub fn record(&self, queue: &Queue, reading: Reading) {
        self.lock().insert(queue.clone(), (reading, Instant::now()));
    }

    /// Removes the reading of a queue that cannot be read.
    pub fn forget(&self, queue: &Queue) {
        self.lock().remove(queue);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Queue, (Reading, Instant)>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gauges(&self) -> [&GaugeVec; 6] {
        [&self.workflow, &self.activity, &self.age, &self.add_rate, &self.dispatch_rate, &self.pollers]
    }

    fn set(&self, queue: &Queue, reading: &Reading) {
        let depth = if queue.activities { &self.activity } else { &self.workflow };
        depth.with_label_values(&[queue.name.as_str()]).set(reading.depth as f64);
        let labels = [queue.kind(), queue.name.as_str()];
        self.age.with_label_values(&labels).set(reading.backlog_age_seconds);
        self.add_rate.with_label_values(&labels).set(reading.add_rate);
        self.dispatch_rate.with_label_values(&labels).set(reading.dispatch_rate);
        self.pollers.with_label_values(&labels).set(reading.pollers as f64);
    }
}

impl Collector for DepthReadings {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // The gauges hold no state: each collection sets them to the valid readings.
        let readings = self.lock();
        self.gauges().into_iter().for_each(GaugeVec::reset);
        for (queue, (reading, at)) in readings.iter() {
            if at.elapsed() < self.lifetime {
                self.set(queue, reading);
            }
        }
        let families = self.gauges().into_iter().flat_map(Collector::collect);
        families.filter(|family| !family.get_metric().is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READING: Reading =
        Reading { depth: 16, backlog_age_seconds: 2.5, add_rate: 4.0, dispatch_rate: 3.0, pollers: 3 };

    fn shown(readings: &DepthReadings) -> Vec<(String, String, f64)> {
        let families = readings.collect();
        let named = families.iter().flat_map(|family| {
            let metrics = family.get_metric().iter();
            metrics.map(|metric| {
                let queue = metric.get_label()[0].value().to_owned();
                (family.name().to_owned(), queue, metric.get_gauge().get_value())
            })
        });
        named.filter(|(name, ..)| name.ends_with("_depth")).collect()
    }

    fn depth(kind: &str, queue: &str, value: f64) -> (String, String, f64) {
        (format!("temporal_{kind}_task_queue_depth"), queue.to_owned(), value)
    }

    #[test]
    fn a_depth_is_shown_until_a_reading_fails() {
        let readings = DepthReadings::new(Duration::from_secs(60)).unwrap();
        assert!(readings.collect().is_empty());
        let empty = Reading { depth: 0, ..READING };
        readings.record(&Queue::workflow("w"), empty);
        readings.record(&Queue::activity("a"), READING);
        assert_eq!(shown(&readings), [depth("workflow", "w", 0.0), depth("activity", "a", 16.0)]);
        assert_eq!(readings.collect().len(), 6, "both depths, age, two rates, pollers");
        readings.forget(&Queue::workflow("w"));
        assert_eq!(shown(&readings), [depth("activity", "a", 16.0)]);
    }

    #[test]
    fn an_expired_reading_is_absent() {
        let readings = DepthReadings::new(Duration::ZERO).unwrap();
        readings.record(&Queue::workflow("w"), READING);
        assert!(readings.collect().is_empty());
    }
}
