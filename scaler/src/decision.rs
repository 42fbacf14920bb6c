//! The decision: readings and time in, a number of workers and its reason out.

use serde::{Deserialize, Serialize};

use crate::readings::{QueueReading, QueueSettings, Reading};

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
    /// Slots in use and tasks that wait, as the decision took them: a mean, or the work of a step.
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
    latest: Option<Reading>,
}

impl Scaler {
    /// A scaler that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Self { settings, latest: None }
    }

    /// Takes in the readings of a moment. Readings that are not newer than the latest are ignored.
    pub fn observe(&mut self, reading: Reading) {
        if self.latest.as_ref().is_none_or(|latest| reading.at > latest.at) {
            self.latest = Some(reading);
        }
    }

    /// The workers that are wanted at a moment, in seconds on the clock of the readings.
    ///
    /// # Errors
    /// Nothing is known of the fleet at this moment.
    pub fn answer(&self, at: f64) -> Result<Answer, Unknown> {
        let reading = self.latest.as_ref().ok_or_else(|| Unknown("no reading yet".into()))?;
        if at - reading.at > 10.0 {
            return Err(Unknown(format!("the last reading is {:.0} s old", at - reading.at)));
        }
        let pairs = self.settings.queues.iter().zip(&reading.queues);
        let queues: Vec<_> = pairs.map(|(settings, queue)| self.queue(settings, queue, reading.read)).collect();
        let most = queues.iter().max_by_key(|queue| queue.workers).ok_or_else(|| Unknown("no queue".into()))?;
        let reason = format!("{}: {:.0} slots in use or wanted: {} workers", most.queue, most.demand, most.workers);
        Ok(Answer { workers: most.workers, reason, queues, partly: None, bottleneck: None })
    }

    fn queue(&self, settings: &QueueSettings, queue: &QueueReading, read: u32) -> QueueAnswer {
        let slots = if read > 0 { queue.slots / f64::from(read) } else { settings.slots };
        let demand = queue.used + queue.backlog.unwrap_or(0.0);
        let workers = (demand / (self.settings.utilization * slots)).ceil() as u32;
        QueueAnswer { queue: settings.name.clone(), demand, workers }
    }
}
