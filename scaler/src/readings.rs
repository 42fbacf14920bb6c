//! What is known of a fleet at one moment.

use serde::{Deserialize, Serialize};

/// A task queue, and the slots that one worker has for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// The queue in sentences for people: `io`.
    pub name: String,
    /// Slots of one worker, until a worker's page says how many there are.
    pub slots: f64,
}

/// The readings of one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Seconds on a clock that never goes back.
    pub at: f64,
    /// Workers that exist and are not being deleted, Ready or not.
    pub workers: u32,
    /// Workers whose slots were read. They are Ready.
    pub read: u32,
    /// Ready workers whose slots could not be read.
    pub unread: u32,
    /// The queues, in the order of the settings.
    pub queues: Vec<QueueReading>,
}

/// What is known of one queue at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueReading {
    /// Tasks that wait for a slot, by Temporal. None where Temporal did not answer.
    pub backlog: Option<f64>,
    /// Tasks added a second, by Temporal.
    pub add_rate: Option<f64>,
    /// Tasks dispatched to workers a second, by Temporal.
    pub dispatch_rate: Option<f64>,
    /// Attempts that failed a second, by the workers' pages. They come back as added tasks. None counts as 0.
    #[serde(default)]
    pub failure_rate: Option<f64>,
    /// Slots in use, of all workers that were read. Workers that leave and still work are in it.
    pub used: f64,
    /// Slots of all workers that were read and stay.
    pub slots: f64,
}
