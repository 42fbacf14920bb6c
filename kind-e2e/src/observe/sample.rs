//! What the observer writes down: one timestamped sample a second, with every gap explicit.
//!
//! Values only. A reading that failed is a [`Reading::Gap`] with its reason, never a zero; what a
//! sample means is decided elsewhere.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One reading of one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading<T> {
    /// The source answered.
    Seen(T),
    /// The source did not answer, or not with what was asked for.
    Gap(String),
}

impl<T> Reading<T> {
    /// The value, if there is one.
    pub fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(value) => Some(value),
            Self::Gap(_) => None,
        }
    }
}

impl<T> From<anyhow::Result<T>> for Reading<T> {
    fn from(result: anyhow::Result<T>) -> Self {
        match result {
            Ok(value) => Self::Seen(value),
            Err(error) => Self::Gap(format!("{error:#}")),
        }
    }
}

/// The worker Deployment's replica counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// `spec.replicas`: what the autoscaler asked for.
    pub wanted: i32,
    /// `status.replicas`: pods that exist and are not being deleted.
    pub present: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
}

impl Fleet {
    /// Whether exactly `count` replicas are wanted, present and ready.
    pub fn is_settled_at(&self, count: i32) -> bool {
        self.wanted == count && self.present == count && self.ready == count
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} wanted, {} present, {} ready",
            self.wanted, self.present, self.ready
        )
    }
}

/// The HorizontalPodAutoscaler's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Autoscaler {
    /// `status.currentReplicas`.
    pub current: i32,
    /// `status.desiredReplicas`.
    pub desired: i32,
}

/// One worker pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// The pod's name.
    pub name: String,
    /// `status.phase`.
    pub phase: String,
    /// Whether its Ready condition is true.
    pub ready: bool,
    /// Whether it is being deleted.
    pub leaving: bool,
    /// The sum of its containers' restart counts.
    pub restarts: i32,
    /// The reason of the last termination, e.g. `OOMKilled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<String>,
    /// Why a container waits, e.g. `ErrImagePull`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// What the load had done when the sample was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadCounts {
    /// Starts whose time has come.
    pub scheduled: u64,
    /// Starts that Temporal acknowledged.
    pub acknowledged: u64,
    /// Starts that were refused or whose outcome is not known.
    pub failed: u64,
}

/// Everything that was read in one second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the run began.
    pub at: f64,
    /// Scenario and phase, e.g. `step/out`.
    pub phase: String,
    /// The Deployment's counts.
    pub fleet: Reading<Fleet>,
    /// What they became between this sample and the one before, and when: a watch tells it within milliseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<(f64, Fleet)>,
    /// The HPA's counts.
    pub autoscaler: Reading<Autoscaler>,
    /// The worker pods.
    pub pods: Reading<Vec<PodState>>,
    /// Depth by queue as Prometheus has it.
    pub depth: Reading<BTreeMap<String, f64>>,
    /// Slots in use by queue, all workers together, as Prometheus has them.
    pub slots_used: Reading<BTreeMap<String, f64>>,
    /// The same by worker, all queues together.
    #[serde(default = "not_asked_for")]
    pub slots_by_worker: Reading<BTreeMap<String, f64>>,
    /// Backlog by queue as Temporal itself reports it; asked for in some samples only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<Reading<BTreeMap<String, f64>>>,
    /// Documents of this scenario that are stored.
    pub stored: Reading<u64>,
    /// What the load had done.
    pub load: LoadCounts,
}

/// Of samples that were taken before there was such a reading.
fn not_asked_for<T>() -> Reading<T> {
    Reading::Gap("not asked for".to_owned())
}

/// The Deployment's counts over time: every reading, and every change between two of them.
pub fn fleets(samples: &[Sample]) -> Vec<(f64, Fleet)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_survives_the_file_and_is_no_number() {
        let reading = Reading::<u64>::from(Err(anyhow::anyhow!("refused").context("reading documents")));
        let text = serde_json::to_string(&reading).unwrap();
        assert_eq!(text, r#"{"gap":"reading documents: refused"}"#);
        assert_eq!(serde_json::from_str::<Reading<u64>>(&text).unwrap(), reading);
        assert_eq!(reading.seen(), None);
    }

    #[test]
    fn settled_means_wanted_present_and_ready() {
        assert!(
            Fleet {
                wanted: 3,
                present: 3,
                ready: 3
            }
            .is_settled_at(3)
        );
        assert!(
            !Fleet {
                wanted: 3,
                present: 4,
                ready: 3
            }
            .is_settled_at(3)
        );
        assert!(
            !Fleet {
                wanted: 4,
                present: 3,
                ready: 3
            }
            .is_settled_at(3)
        );
        assert!(
            !Fleet {
                wanted: 3,
                present: 3,
                ready: 2
            }
            .is_settled_at(3)
        );
    }
}
