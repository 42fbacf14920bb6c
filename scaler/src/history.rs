//! What was read of one queue in the last minutes, and the means, rates and times that follow from it.

use std::collections::VecDeque;

use crate::readings::{QueueReading, Reading};
use crate::tuning::Tuning;

/// Tasks that a rate has to have counted before a time is derived from it.
const ENOUGH_TASKS: f64 = 10.0;
/// More than any count or rate.
const MOST: f64 = 1e12;
/// Seconds over which Temporal counts its rates: 30 to 35.
const RATE_WINDOW: f64 = 32.5;

/// Seconds after which an answer of Temporal that has not changed counts as a new one. It may come from a cache.
const UNCHANGED: f64 = 10.0;

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
    /// Whether most attempts fail: then neither time nor throughput says what the fleet can do.
    pub(crate) is_failing: bool,
    /// Mean of the work in the system over the window that ends here.
    mean: f64,
    /// Whether Temporal's answer is new, and not from its cache.
    is_fresh: bool,
}

impl Sample {
    /// Takes in what was read. What is no number counts as not read.
    pub(crate) fn new(reading: &Reading, queue: &QueueReading) -> Self {
        let known = |value: Option<f64>| value.filter(|value| value.is_finite()).map(|value| value.clamp(0.0, MOST));
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
            is_failing: failures > 0.5 * known(queue.dispatch_rate).unwrap_or(0.0),
            mean: 0.0,
            is_fresh: false,
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
    /// The service time, by the newest answer of Temporal.
    time: Option<f64>,
    /// When Temporal's answer was new.
    fresh_at: f64,
}

impl History {
    /// Adds a sample that is newer than all others, and forgets what is too old.
    pub(crate) fn push(&mut self, sample: Sample, tuning: &Tuning) {
        let rates = |sample: &Sample| (sample.backlog, sample.arrivals, sample.throughput);
        let changed = self.samples.back().is_none_or(|before| rates(before) != rates(&sample));
        self.samples.push_back(sample);
        let mean = self.mean(tuning.window, Sample::work).unwrap_or(0.0);
        let is_fresh = changed || sample.at - self.fresh_at > UNCHANGED;
        if let Some(newest) = self.samples.back_mut() {
            (newest.mean, newest.is_fresh) = (mean, is_fresh);
        }
        while self.samples.front().is_some_and(|oldest| sample.at - oldest.at > tuning.memory) {
            self.samples.pop_front();
        }
        if is_fresh {
            self.fresh_at = sample.at;
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

    /// How much the work rises a second, over at least so many seconds between two new answers of Temporal. A backlog
    /// from a cache stands still, and then jumps. So the newest sample counts, or the new answer before it.
    pub(crate) fn rise(&self, seconds: f64) -> f64 {
        let since = |end: &Sample| {
            let start = self.samples.iter().rev().find(|sample| sample.is_fresh && sample.at <= end.at - seconds)?;
            Some((end.work() - start.work()) / (end.at - start.at))
        };
        let newest = self.latest().and_then(since);
        let before = self.samples.iter().rev().skip(1).find(|sample| sample.is_fresh).and_then(since);
        newest.into_iter().chain(before).fold(0.0, f64::max)
    }

    /// Seconds that a task holds its slot, by Little's law: slots in use over throughput. None where too few tasks
    /// were counted, unless many would have ended at the usual time.
    pub(crate) fn service_time(&self) -> Option<f64> {
        self.time
    }

    /// Measures the service time, if the newest answer of Temporal is not an old one from its cache.
    pub(crate) fn measure(&mut self, usual: Option<f64>) {
        if self.latest().is_some_and(|latest| latest.is_fresh) {
            self.time = self.measure_time(usual);
        }
    }

    fn measure_time(&self, usual: Option<f64>) -> Option<f64> {
        let latest = self.latest()?;
        let begun = latest.throughput? * RATE_WINDOW;
        let first = self.before(RATE_WINDOW)?;
        let held = self.mean(RATE_WINDOW, |sample| sample.used)? * RATE_WINDOW;
        let ended = begun - (latest.used - first.used);
        let expected = usual.map_or(0.0, |usual| held / usual);
        if latest.at - first.at < 0.8 * RATE_WINDOW || ended.max(expected) < ENOUGH_TASKS {
            return None;
        }
        // The tasks in slots at the end have begun and not ended, those at the start have ended and not begun.
        let tasks = ((begun + ended) / 2.0).max(begun / 2.0).max(1.0);
        Some(held / tasks).filter(|time| time.is_finite() && *time > 0.0)
    }
}
