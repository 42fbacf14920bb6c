//! What a simulation came to.

use serde::Serialize;

use super::scenario::{Fault, Scenario};

/// Documents that wait when a fleet has recovered: the guide's bound.
const RECOVERED: f64 = 10.0;
/// Seconds of the smallest bucket of latencies, and the ratio of two buckets.
const SMALLEST: f64 = 0.001;
const RATIO: f64 = 1.01;

/// What one way did in one scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The scenario.
    pub scenario: String,
    /// The way to scale.
    pub way: &'static str,
    /// Seconds between two syncs of the HPA.
    pub hpa: f64,
    /// Seconds between two scrapes, for a way that reads through Prometheus.
    pub scrape: Option<f64>,
    /// Documents that arrived.
    pub documents: u64,
    /// Documents that were not stored until the end.
    pub unfinished: u64,
    /// Attempts that were lost because a worker left.
    pub lost: u64,
    /// Median of the seconds from arrival to the end. None if the document was not stored until the end.
    pub p50: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
    /// Most tasks that waited in one queue.
    pub depth: f64,
    /// Most workers that were wanted.
    pub wanted: u32,
    /// Workers wanted at the end.
    pub last: u32,
    /// Hours of all workers, those that start and leave included.
    pub worker_hours: f64,
    /// Hours of a fleet that always has the number of workers that the load needs.
    pub oracle_hours: f64,
    /// How often growth and shrinking took turns.
    pub turns: u32,
    /// Seconds from the step until all workers are Ready that carry it at the guide's 80 %.
    pub all_needed: Option<f64>,
    /// Seconds from the end of an overload or a fault until no more than 10 tasks wait, for good.
    pub recovery: Option<f64>,
    /// Seconds in which fewer workers were wanted than had their slots in use.
    pub below_use: u32,
    /// Seconds in which the scaler said that the bottleneck is elsewhere.
    pub bottleneck: u32,
    /// The course, one row a second, or fewer rows of a long simulation.
    pub course: Vec<Moment>,
}

impl Outcome {
    /// Worker-hours as a multiple of the oracle's.
    pub fn cost(&self) -> f64 {
        self.worker_hours / self.oracle_hours.max(f64::MIN_POSITIVE)
    }
}

/// One second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Moment {
    /// Seconds since the start.
    pub at: f64,
    /// Documents a second that arrive.
    pub rate: f64,
    /// Workers that an oracle would have.
    pub oracle: u32,
    /// Workers wanted.
    pub wanted: u32,
    /// Ready workers.
    pub ready: u32,
    /// Tasks that wait, in the deepest queue.
    pub depth: f64,
    /// Share of the slots in use, in the busiest queue.
    pub used: f64,
}

/// Latencies in buckets that are 1 % apart.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

impl Latencies {
    pub(super) fn record(&mut self, seconds: f64) {
        let bucket = ((seconds / SMALLEST).max(1.0).ln() / RATIO.ln()) as usize;
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
    }

    /// A quantile among all documents. Those that were not stored are later than every other.
    pub(super) fn quantile(&self, part: f64, unfinished: u64) -> Option<f64> {
        let rank = ((self.count + unfinished) as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(SMALLEST * RATIO.powf(bucket as f64 + 0.5))
    }
}

/// Workers that an oracle has in each second: those that the load needs at the wanted utilization.
pub(super) fn oracle(scenario: &Scenario, seconds: usize) -> Vec<u32> {
    let rates = scenario.load.known(seconds);
    let workers = |(second, rate): (usize, &f64)| {
        let at = second as f64;
        let slow = scenario.outages.iter().filter(|outage| (outage.from..outage.to).contains(&at));
        let slow = slow.filter_map(|outage| match outage.fault {
            Fault::Slow(times) => Some(times),
            _ => None,
        });
        // What the shared cores do not carry needs no workers.
        let rate = rate.min(scenario.fleet.capacity(1.0));
        scenario.fleet.workers(rate, slow.fold(1.0, f64::max), scenario.fleet.utilization)
    };
    rates.iter().enumerate().map(workers).collect()
}

/// When the workers were Ready that carry the step at 80 %.
pub(super) fn all_needed(scenario: &Scenario, course: &[Moment]) -> Option<f64> {
    let step = scenario.step?;
    let needed = scenario.fleet.workers(scenario.load.rate(step + 1.0).min(scenario.fleet.capacity(1.0)), 1.0, 0.8);
    let there = course.iter().find(|moment| moment.at >= step && moment.ready >= needed)?;
    Some(there.at - step)
}

/// When the last queue was short again for good.
pub(super) fn recovery(scenario: &Scenario, course: &[Moment]) -> Option<f64> {
    let from = scenario.recovers?;
    let late = course.iter().rfind(|moment| moment.depth > RECOVERED);
    match late {
        Some(late) if course.last().is_some_and(|last| last.at <= late.at) => None,
        Some(late) => Some((late.at + 1.0 - from).max(0.0)),
        None => Some(0.0),
    }
}

/// How often growth and shrinking took turns.
pub(super) fn turns(course: &[Moment]) -> u32 {
    let mut turns = 0;
    let mut direction = 0;
    for pair in course.windows(2) {
        let next = (i64::from(pair[1].wanted) - i64::from(pair[0].wanted)).signum();
        if next != 0 {
            turns += u32::from(direction != 0 && next != direction);
            direction = next;
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_that_never_came_are_later_than_all_others() {
        let mut latencies = Latencies::default();
        for _ in 0..98 {
            latencies.record(2.0);
        }
        let p99 = latencies.quantile(0.99, 0).unwrap();
        assert!((p99 / 2.0 - 1.0).abs() < 0.011, "{p99}");
        assert_eq!(latencies.quantile(0.99, 2), None);
        assert!(latencies.quantile(0.5, 2).is_some());
    }

    #[test]
    fn turns_are_counted_once_a_change_of_direction() {
        let course = |counts: &[u32]| -> Vec<Moment> {
            counts.iter().map(|wanted| Moment { wanted: *wanted, ..Moment::default() }).collect()
        };
        assert_eq!(turns(&course(&[3, 5, 9, 9, 12])), 0);
        assert_eq!(turns(&course(&[3, 9, 9, 5, 3, 4])), 2);
    }
}
