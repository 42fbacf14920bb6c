//! The decision: readings and time in, a number of workers and its reason out.

use serde::{Deserialize, Serialize};

use crate::bottleneck::{Bottleneck, Wanted};
use crate::history::{History, Sample};
use crate::readings::{QueueReading, QueueSettings, Reading};
use crate::tuning::Tuning;

/// Seconds after which a reading says nothing any more.
const STALE: f64 = 10.0;
/// Seconds that slots have to be in use before they count, while others are free.
const HELD: f64 = 2.0;
/// Seconds, and the part of the highest work in them, below which the work is falling.
const PEAK: f64 = 15.0;
const BELOW_PEAK: f64 = 0.95;
/// More workers than any cluster has.
const MOST: f64 = 1e6;

/// What the decision needs to know about the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The task queues that the fleet serves.
    pub queues: Vec<QueueSettings>,
    /// The share of its slots that a fleet should have in use, above 0 and at most 1.
    pub utilization: f64,
}

/// How many workers are wanted, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Workers wanted. The HPA's minimum and maximum are not applied.
    pub workers: u32,
    /// The reason, in a sentence: `io: 31 slots in use, 4 tasks waiting, 35 slots: 10 workers`.
    pub reason: String,
    /// What each queue asks for, in the order of the settings.
    pub queues: Vec<QueueAnswer>,
    /// Why the answer is not below the workers that there are, if a part of the fleet is unknown.
    pub partly: Option<String>,
    /// Why more workers do not help, if they do not: `12 workers complete 7.1/s as 8 did`.
    pub bottleneck: Option<String>,
}

/// What one queue asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueAnswer {
    /// The queue.
    pub queue: String,
    /// Slots that its tasks need, as the decision took them: a mean, or the work of a step.
    pub demand: f64,
    /// Workers that this queue alone asks for.
    pub workers: u32,
}

/// Nothing is known, so there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no answer: {0}")]
pub struct Unknown(pub String);

/// The decision with what it remembers.
#[derive(Debug, Clone)]
pub struct Scaler {
    settings: Settings,
    tuning: Tuning,
    queues: Vec<Queue>,
    latest: Option<(f64, Result<Answer, Unknown>)>,
}

/// What is remembered of a queue.
#[derive(Debug, Clone)]
struct Queue {
    history: History,
    bottleneck: Bottleneck,
    wanted: Wanted,
    per_worker: f64,
}

impl Scaler {
    /// A scaler that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Self::with(settings, Tuning::default())
    }

    /// A scaler with other constants than those that ship.
    pub fn with(settings: Settings, tuning: Tuning) -> Self {
        let queue = |queue: &QueueSettings| Queue {
            history: History::default(),
            bottleneck: Bottleneck::new(&tuning),
            wanted: Wanted::default(),
            per_worker: positive(queue.slots).unwrap_or(1.0),
        };
        Self { queues: settings.queues.iter().map(queue).collect(), settings, tuning, latest: None }
    }

    /// Takes in the readings of a moment. Readings that are not newer than the latest are ignored.
    #[expect(clippy::needless_pass_by_value, reason = "a reading is made for each call")]
    pub fn observe(&mut self, reading: Reading) {
        let newer = self.latest.as_ref().is_none_or(|(at, _)| reading.at > *at);
        if reading.at.is_finite() && newer {
            let answer = self.decide(&reading);
            self.latest = Some((reading.at, answer));
        }
    }

    /// The workers that are wanted at a moment, in seconds on the clock of the readings.
    ///
    /// # Errors
    /// Nothing is known of the fleet at this moment.
    pub fn answer(&self, at: f64) -> Result<Answer, Unknown> {
        let (read, answer) = self.latest.as_ref().ok_or_else(|| Unknown("no reading yet".into()))?;
        if at - read > STALE {
            return Err(Unknown(format!("the last reading is {:.0} s old", at - read)));
        }
        answer.clone()
    }

    fn decide(&mut self, reading: &Reading) -> Result<Answer, Unknown> {
        if self.queues.is_empty() {
            return Err(Unknown("no queue is configured".into()));
        }
        let utilization = positive(self.settings.utilization).map_or(1.0, |share| share.min(1.0));
        let mut answers = Vec::with_capacity(self.queues.len());
        let mut most = 0;
        let mut samples = Vec::with_capacity(self.queues.len());
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let name = &self.settings.queues[index].name;
            let read = reading.queues.get(index).copied().unwrap_or_default();
            let (demand, workers, sample) = queue.decide(reading, &read, utilization, &self.tuning);
            if answers.get(most).is_some_and(|largest: &QueueAnswer| workers > largest.workers) {
                most = index;
            }
            answers.push(QueueAnswer { queue: name.clone(), demand, workers });
            samples.push(sample);
        }
        // A queue that waits for the same bottleneck has no reason of its own to grow.
        if let Some(limit) = self.queues.iter().filter_map(|queue| queue.bottleneck.limit()).reduce(f64::max) {
            for (queue, answer) in self.queues.iter().zip(&mut answers) {
                if queue.bottleneck.has_grown(queue.history.service_time(), &self.tuning) {
                    answer.workers = answer.workers.min(limit.max(queue.wanted.by_load).clamp(0.0, MOST) as u32);
                }
            }
            most = (0..answers.len()).rev().max_by_key(|index| answers[*index].workers).unwrap_or(most);
        }
        self.conclude(reading, answers, most, &samples)
    }

    fn conclude(
        &self,
        reading: &Reading,
        queues: Vec<QueueAnswer>,
        most: usize,
        read: &[Sample],
    ) -> Result<Answer, Unknown> {
        let unasked = read.iter().zip(&queues).find(|(sample, _)| sample.backlog.is_none());
        if reading.read == 0 && read.iter().all(|sample| sample.backlog.is_none() && sample.arrivals.is_none()) {
            return Err(Unknown("no worker was read, and Temporal did not answer".into()));
        }
        let history = self.queues[most].history.seconds();
        let partly = if reading.unread > 0 {
            Some(format!("{} of {} Ready workers could not be read", reading.unread, reading.unread + reading.read))
        } else if let Some((_, queue)) = unasked {
            Some(format!("the backlog of {} is unknown", queue.queue))
        } else if history < self.tuning.window - 1.5 {
            Some(format!(
                "the history is {history:.0} s short of the {:.0} s of the mean",
                self.tuning.window - history
            ))
        } else {
            None
        };
        let wanted = &queues[most];
        let mut workers = wanted.workers;
        let seen = &read[most];
        let mut reason = format!(
            "{}: {:.0} slots in use, {} tasks waiting, {:.0} slots: {workers} workers",
            wanted.queue,
            seen.used,
            seen.backlog.map_or("unknown".into(), |backlog| format!("{backlog:.0}")),
            seen.slots,
        );
        let of_any = || self.queues.iter().find_map(|queue| queue.bottleneck.message());
        let bottleneck = self.queues[most].bottleneck.message().or_else(of_any);
        if let Some(bottleneck) = &bottleneck {
            reason = format!("{reason}; bottleneck elsewhere: {bottleneck}");
        }
        if let Some(partly) = &partly
            && reading.workers > workers
        {
            workers = reading.workers;
            reason = format!("{reason}, and {workers} are kept because {partly}");
        }
        Ok(Answer { workers, reason, queues, partly, bottleneck })
    }
}

impl Queue {
    /// Demand in slots, the workers that the queue asks for, and what was read.
    fn decide(
        &mut self,
        reading: &Reading,
        read: &QueueReading,
        utilization: f64,
        tuning: &Tuning,
    ) -> (f64, u32, Sample) {
        // The newest sample takes part from the next reading on, so that more work never means a lower answer.
        self.history.measure(self.bottleneck.usual_time());
        self.bottleneck.watch(&self.history, self.wanted, self.per_worker * utilization, tuning);
        let sample = Sample::new(reading, read);
        if reading.read > 0 && sample.slots > 0.0 {
            self.per_worker = sample.slots / f64::from(reading.read);
        }
        self.history.push(sample, tuning);
        let demand = self.demand(utilization, tuning);
        let workers = |slots: f64| (slots / self.per_worker - 1e-9).ceil().clamp(0.0, MOST);
        let (by_load, by_work) = (demand.by_load / utilization, (demand.by_work / utilization).max(demand.to_drain));
        self.wanted = Wanted { by_load: workers(by_load), by_work: workers(by_work) };
        let mut granted = self.bottleneck.grant(self.wanted);
        if self.bottleneck.message().is_none() {
            let exact = Wanted { by_load: by_load / self.per_worker, by_work: by_work / self.per_worker };
            let (exact, present) = (self.bottleneck.grant(exact), f64::from(reading.workers));
            if (exact - present).abs() <= tuning.tolerance * present {
                granted = present;
            }
            granted = granted.max(workers(sample.used));
        }
        if reading.read == 0 && (sample.work() > 0.0 || sample.arrivals.is_some_and(|rate| rate > 0.0)) {
            granted = granted.max(1.0);
        }
        (demand.by_work.max(demand.by_load).min(MOST), granted as u32, sample)
    }

    fn demand(&self, utilization: f64, tuning: &Tuning) -> Demand {
        let Some(latest) = self.history.latest() else { return Demand::default() };
        let usual = self.bottleneck.usual_time();
        let time = self.bottleneck.time(self.history.service_time(), latest.throughput, tuning);
        let steady = self.steady(time, tuning);
        let mut demand = Demand { by_work: steady, by_load: 0.0, to_drain: 0.0 };
        if let (Some(arrivals), Some(usual)) = (latest.arrivals, usual) {
            demand.by_load = arrivals * usual;
        }
        if !self.is_step(latest, utilization, tuning) {
            return demand;
        }
        let work = latest.work();
        // A task may be the first of several on this queue, so its growth counts more than once. The work that there
        // is bounds it: all of it may be needed at once, and no more.
        let needed = time.map_or(work, |time| (self.arriving(time, tuning.follow_up, tuning) * time).min(work));
        if latest.is_full() {
            demand.by_work = demand.by_work.max(needed);
            if let Some(time) = time {
                let arriving = self.arriving(time, 1.0, tuning);
                demand.to_drain = arriving * time + latest.backlog.unwrap_or(0.0) * time / tuning.drain;
            }
            if let Some(usual) = usual {
                demand.by_load = demand.by_load.max(self.arriving(usual, 1.0, tuning) * usual);
            }
        } else {
            let held = self.history.last(HELD).map(Sample::work).reduce(f64::min);
            demand.by_work = demand.by_work.max(needed.min(tuning.free_share * held.unwrap_or(0.0)));
        }
        demand
    }

    /// Slots that the tasks of the window need. A backlog that has waited is not in it, only its growth.
    fn steady(&self, time: Option<f64>, tuning: &Tuning) -> f64 {
        let history = &self.history;
        let mean = |of: fn(&Sample) -> f64| history.mean(tuning.window, of).unwrap_or(0.0);
        let (Some(time), Some(latest), Some(first)) = (time, history.latest(), history.before(tuning.window)) else {
            return mean(Sample::work);
        };
        let (Some(now), Some(then)) = (latest.backlog, first.backlog) else { return mean(Sample::work) };
        let seconds = (latest.at - first.at).max(1.0);
        // What waits has to be worked off once, in the time of a task each: that is the most that it counts.
        let growth = ((now - then) * time / seconds).min(mean(|sample| sample.backlog.unwrap_or(0.0)).max(now));
        (mean(|sample| sample.used) + growth).max(0.0)
    }

    /// Whether the work is more than chance makes of the usual work.
    fn is_step(&self, latest: &Sample, utilization: f64, tuning: &Tuning) -> bool {
        let slots = utilization * latest.slots;
        let usual = self.history.usual(tuning).map_or(slots, |usual| usual.min(slots));
        latest.work() > usual + tuning.deviations * usual.sqrt()
    }

    /// Tasks that arrive a second, by what the work in the system rose in the last seconds and what was completed. A
    /// rise counts `times` as much.
    fn arriving(&self, time: f64, times: f64, tuning: &Tuning) -> f64 {
        let history = &self.history;
        let Some(latest) = history.latest() else { return 0.0 };
        // The tasks that end now began a service time ago. A throughput is the mean of half a minute: after a step it
        // is still too low, and in a bottleneck it is right.
        let begun = history.before(time).map_or(latest.used, |then| then.used) / time;
        let completed = latest.throughput.map_or(begun, |throughput| throughput.min(begun));
        let highest = history.last(PEAK).map(Sample::work).fold(0.0, f64::max);
        if latest.work() < BELOW_PEAK * highest {
            // A backlog is worked off: less arrives than is completed.
            return latest.arrivals.map_or(completed, |arrivals| arrivals.min(completed));
        }
        completed + times * history.rise(tuning.rate_window)
    }
}

/// Slots that a queue needs.
#[derive(Debug, Clone, Copy, Default)]
struct Demand {
    /// By the tasks that arrive, at their usual service time.
    by_load: f64,
    /// By the work in the system.
    by_work: f64,
    /// With every slot in use, to work off the backlog in time.
    to_drain: f64,
}

fn positive(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then_some(value)
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
