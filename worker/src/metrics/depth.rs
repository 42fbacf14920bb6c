//! Depths as a metric that is absent rather than wrong: a reading that failed or is too old is not shown, and never as 0.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus::{
    IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::names::{ACTIVITY_DEPTH, Name, WORKFLOW_DEPTH};

/// A queue and what waits in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    /// Name of the queue.
    pub name: String,
    /// Whether activity tasks wait in it, or workflow tasks.
    pub activities: bool,
}

impl Queue {
    /// A queue of workflow tasks.
    pub fn workflow(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            activities: false,
        }
    }

    /// A queue of activity tasks.
    pub fn activity(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            activities: true,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    depth: i64,
    at: Instant,
}

/// The last reading of each queue.
#[derive(Debug, Clone)]
pub struct DepthReadings {
    readings: Arc<Mutex<BTreeMap<Queue, Reading>>>,
    lifetime: Duration,
    workflow: IntGaugeVec,
    activity: IntGaugeVec,
}

impl DepthReadings {
    /// No readings yet; each will be shown for `lifetime`.
    ///
    /// # Errors
    /// The names are not names of metrics.
    pub(super) fn new(lifetime: Duration) -> prometheus::Result<Self> {
        let gauge = |metric: &Name| IntGaugeVec::new(Opts::new(metric.name, metric.help), metric.labels);
        Ok(Self {
            readings: Arc::default(),
            lifetime,
            workflow: gauge(&WORKFLOW_DEPTH)?,
            activity: gauge(&ACTIVITY_DEPTH)?,
        })
    }

    /// Notes a depth that was read just now.
    pub fn record(&self, queue: &Queue, depth: i64) {
        self.lock().insert(
            queue.clone(),
            Reading {
                depth,
                at: Instant::now(),
            },
        );
    }

    /// Forgets a queue whose depth cannot be read.
    pub fn forget(&self, queue: &Queue) {
        self.lock().remove(queue);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Queue, Reading>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for DepthReadings {
    fn desc(&self) -> Vec<&Desc> {
        [self.workflow.desc(), self.activity.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // The gauges only carry the values to the registry: what they show is what is valid now.
        let readings = self.lock();
        self.workflow.reset();
        self.activity.reset();
        for (queue, reading) in readings
            .iter()
            .filter(|(_, reading)| reading.at.elapsed() < self.lifetime)
        {
            let gauge = if queue.activities {
                &self.activity
            } else {
                &self.workflow
            };
            gauge.with_label_values(&[&queue.name]).set(reading.depth);
        }
        let families = [self.workflow.collect(), self.activity.collect()].concat();
        families
            .into_iter()
            .filter(|family| !family.get_metric().is_empty())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(readings: &DepthReadings) -> Vec<(String, f64)> {
        let families = readings.collect();
        let metrics = families.iter().flat_map(|family| family.get_metric());
        metrics
            .map(|metric| {
                (
                    metric.get_label()[0].value().to_owned(),
                    metric.get_gauge().get_value(),
                )
            })
            .collect()
    }

    #[test]
    fn a_depth_is_shown_until_it_cannot_be_read() {
        let readings = DepthReadings::new(Duration::from_secs(60)).unwrap();
        assert!(shown(&readings).is_empty());
        readings.record(&Queue::workflow("w"), 0);
        readings.record(&Queue::activity("a"), 16);
        assert_eq!(shown(&readings), [("w".to_owned(), 0.0), ("a".to_owned(), 16.0)]);
        readings.forget(&Queue::workflow("w"));
        assert_eq!(shown(&readings), [("a".to_owned(), 16.0)]);
    }

    #[test]
    fn a_depth_that_is_too_old_is_absent() {
        let readings = DepthReadings::new(Duration::ZERO).unwrap();
        readings.record(&Queue::workflow("w"), 11);
        assert!(shown(&readings).is_empty());
    }
}
