//! What the observer writes down: one timestamped sample a second, with every gap explicit. Values only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::host::HostUse;
use crate::cluster::kubernetes::{Fleet, PodState};
use crate::cluster::reading::Reading;

/// A figure by queue, or by worker.
pub type Figures = BTreeMap<String, f64>;

/// What the load had done when the sample was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadCounts {
    /// Starts whose time has come.
    pub scheduled: u64,
    /// Starts that Temporal acknowledged.
    pub acknowledged: u64,
    /// Starts that were refused, or that got no answer.
    pub failed: u64,
}

/// Everything that was read in one second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the run began.
    pub at: f64,
    /// Scenario and phase, such as `step/out`.
    pub phase: String,
    /// The Deployment's counts.
    pub fleet: Reading<Fleet>,
    /// The counts' changes since the sample before, with their times; a watch sees them within milliseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<(f64, Fleet)>,
    /// The worker pods.
    pub pods: Reading<Vec<PodState>>,
    /// Depth by queue, from Prometheus.
    pub depth: Reading<Figures>,
    /// Slots in use by queue over all workers, from Prometheus.
    pub slots_used: Reading<Figures>,
    /// Slots in use by worker over all queues, from Prometheus.
    pub slots_by_worker: Reading<Figures>,
    /// Backlog by queue as Temporal itself reports it; read in some samples only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<Reading<Figures>>,
    /// Memory by worker in bytes, from the metrics API; read in some samples only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Reading<BTreeMap<String, u64>>>,
    /// What used this host's CPU since the sample before.
    #[serde(default)]
    pub host: Reading<HostUse>,
    /// Documents of this load that are stored.
    pub stored: Reading<u64>,
    /// What the load had done.
    pub load: LoadCounts,
}

impl Sample {
    /// A figure of `queue`, where the reading was seen; a queue that it does not name has 0.
    pub fn of_queue(reading: &Reading<Figures>, queue: &str) -> Option<f64> {
        Some(reading.seen()?.get(queue).copied().unwrap_or(0.0))
    }
}

/// The Deployment's counts over time: every reading, and every change between two of them.
pub fn changes(samples: &[Sample]) -> Vec<(f64, Fleet)> {
    let mut fleets: Vec<(f64, Fleet)> = samples
        .iter()
        .flat_map(|sample| {
            let read = sample.fleet.seen().map(|fleet| (sample.at, *fleet));
            sample.changes.iter().copied().chain(read)
        })
        .collect();
    fleets.sort_by(|one, other| one.0.total_cmp(&other.0));
    fleets
}
