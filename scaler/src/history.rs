//! What was read of one queue in the last minutes, and the means, rates and times that follow from it.

use std::collections::VecDeque;

use crate::readings::{QueueReading, Reading};
use crate::tuning::Tuning;

/// Tasks that a rate has to have counted before a time is derived from it.
const ENOUGH_TASKS: f64 = 10.0;
/// Seconds over which Temporal counts its rates: 30 to 35.
const RATE_WINDOW: f64 = 32.5;

/// What was read of a queue at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Seconds.
    pub(crate) at: f64,
    /// Workers that were read.
    pub(crate) read: u32,
    /// Slots in use.
    pub(crate) used: f64,
    /// Slots of the workers that stay.
    pub(crate) slots: f64,
    /// Tasks that wait, if known.
    pub(crate) backlog: Option<f64>,
    /// New tasks a second, if known. Retries of tasks that failed are not in it.
    pub(crate) arrivals: Option<f64>,
    /// Tasks a second that are begun and do not fail, if known.
    pub(crate) throughput: Option<f64>,
    /// Mean of the work in the system over the window that ends here.
    mean: f64,
}

impl Sample {
    /// Takes in what was read. What is no number counts as not read.
    pub(crate) fn new(reading: &Reading, queue: &QueueReading) -> Self {
        let known = |value: Option<f64>| value.filter(|value| value.is_finite()).map(|value| value.max(0.0));
        let failures = known(queue.failure_rate).unwrap_or(0.0);
        let without_failures = |rate: Option<f64>| known(rate).map(|rate| (rate - failures).max(0.0));
        Self {
            at: reading.at,
            read: reading.read,
            used: known(Some(queue.used)).unwrap_or(0.0),
            slots: known(Some(queue.slots)).unwrap_or(0.0),
            backlog: known(queue.backlog),
            arrivals: without_failures(queue.add_rate),
            throughput: without_failures(queue.dispatch_rate),
            mean: 0.0,
        }
    }

    /// Work in the system: slots in use, and tasks that wait as far as they are known.
    pub(crate) fn work(&self) -> f64 {
        self.used + self.backlog.unwrap_or(0.0)
    }

    /// Whether no slot is free for another task.
    pub(crate) fn is_full(&self) -> bool {
        self.work() >= self.slots
    }
}

/// The samples of one queue, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    samples: VecDeque<Sample>,
}

impl History {
    /// Adds a sample that is newer than all others, and forgets what is too old.
    pub(crate) fn push(&mut self, mut sample: Sample, tuning: &Tuning) {
        self.samples.push_back(sample);
        sample.mean = self.mean(tuning.window, Sample::work).unwrap_or(0.0);
        *self.samples.back_mut().expect("just pushed") = sample;
        while self.samples.front().is_some_and(|oldest| sample.at - oldest.at > tuning.memory) {
            self.samples.pop_front();
        }
    }

    /// The newest sample.
    pub(crate) fn latest(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// The samples of the last so many seconds, newest first.
    pub(crate) fn last(&self, seconds: f64) -> impl Iterator<Item = &Sample> {
        let from = self.samples.back().map_or(0.0, |latest| latest.at - seconds);
        self.samples.iter().rev().take_while(move |sample| sample.at >= from)
    }

    /// The sample from so many seconds ago, or the oldest after it.
    pub(crate) fn before(&self, seconds: f64) -> Option<&Sample> {
        self.last(seconds).last()
    }

    /// Seconds between the oldest sample and the newest.
    pub(crate) fn seconds(&self) -> f64 {
        match (self.samples.front(), self.samples.back()) {
            (Some(oldest), Some(latest)) => latest.at - oldest.at,
            _ => 0.0,
        }
    }

    /// Mean over the last so many seconds.
    pub(crate) fn mean(&self, seconds: f64, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0.0);
        for sample in self.last(seconds) {
            sum += of(sample);
            count += 1.0;
        }
        (count > 0.0).then(|| sum / count)
    }

    /// The highest mean of the work, from a minute ago until a step that happens now begins to show.
    pub(crate) fn usual(&self, tuning: &Tuning) -> Option<f64> {
        let newest = self.latest()?.at - tuning.step_seen;
        let means = self.last(tuning.usual).filter(|sample| sample.at <= newest).map(|sample| sample.mean);
        means.reduce(f64::max)
    }

    /// Seconds that a task holds its slot, by Little's law: slots in use over throughput. None where too few tasks
    /// were counted, unless many would have ended at the usual time.
    pub(crate) fn service_time(&self, usual: Option<f64>) -> Option<f64> {
        let latest = self.latest()?;
        let begun = latest.throughput? * RATE_WINDOW;
        let first = self.before(RATE_WINDOW)?;
        let held = self.mean(RATE_WINDOW, |sample| sample.used)? * RATE_WINDOW;
        let expected = usual.map_or(0.0, |usual| held / usual);
        if latest.at - first.at < 0.8 * RATE_WINDOW || begun.max(expected) < ENOUGH_TASKS {
            return None;
        }
        // The tasks in slots at the end have begun and not ended, those at the start have ended and not begun.
        let tasks = (begun - (latest.used - first.used) / 2.0).max(begun / 2.0).max(1.0);
        Some(held / tasks).filter(|time| time.is_finite() && *time > 0.0)
    }
}
