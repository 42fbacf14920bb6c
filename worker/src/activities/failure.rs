//! How a step fails (permanently, transiently or by cancellation), and how the failure is reported to Temporal.

use std::time::Duration;

use temporalio_sdk::{ApplicationFailure, activities::ActivityError};
use tower::util::rng::{HasherRng, Rng as _};

use crate::{
    cpu::NoResult,
    memory::NoMemory,
    store::{self, ClaimLost, StoreError},
    text::{ExtractError, PoisonError},
};

/// Type of the failures that Temporal retries.
const TRANSIENT: &str = "Transient";

/// Type of the failure of a step that needs an earlier one to run again. The workflow does that.
pub(crate) const CLAIM_LOST: &str = "ClaimLost";

/// Maximum retry delay that a service may ask for. It equals the maximum interval of the workflow's retry policy.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// The documents that wait for a circuit come back within this part of the time that it was still open for, and within
/// at least so long. If all came at once, the probe would still be under way, and they would have to come again. And
/// Temporal answers with a depth for 5 s, so that a queue of a moment would look like a load.
const SPREAD: f64 = 0.25;
const SHORTEST_SPREAD: Duration = Duration::from_secs(5);

/// The delay of a step for which the worker had no memory. Another worker may have it.
const ROOM: Duration = Duration::from_secs(1);

/// Maximum characters of a failure. Temporal rejects failures of some kilobytes.
const MAX_CHARACTERS: usize = 1000;

/// Why a step did not finish.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The document cannot be processed: not retried.
    #[error(transparent)]
    Poison(#[from] PoisonError),
    /// The next attempt may succeed: retried with backoff.
    #[error("{0:#}")]
    Transient(anyhow::Error),
    /// A service asked for a pause, or its circuit is open: retried after that.
    #[error("{error:#}")]
    Busy {
        /// The error of the service.
        error: anyhow::Error,
        /// The delay until the next attempt.
        pause: Duration,
    },
    /// A body of an earlier step cannot be read: not retried, but the workflow runs the steps again.
    #[error(transparent)]
    ClaimLost(#[from] ClaimLost),
    /// The activity was cancelled, for example with its workflow.
    #[error("the activity was cancelled")]
    Cancelled,
    /// An operator paused or reset the activity. The server decides on the next attempt.
    #[error("{0}")]
    Stopped(Stop),
}

/// How an operator stopped an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// No attempt begins until the activity is unpaused.
    #[error("the activity was paused")]
    Pause,
    /// The attempts begin again with the first.
    #[error("the activity was reset")]
    Reset,
}

impl Stop {
    /// The type of the failure, as in Temporal's other SDKs.
    fn type_name(self) -> &'static str {
        match self {
            Self::Pause => "ActivityPause",
            Self::Reset => "ActivityReset",
        }
    }
}

impl StepError {
    /// Label value of the metric.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Poison(_) => "poison",
            Self::Transient(_) | Self::Busy { .. } | Self::ClaimLost(_) => "failed",
            Self::Cancelled => "cancelled",
            Self::Stopped(_) => "stopped",
        }
    }

    /// The failure of a service that asks for a pause.
    pub(super) fn busy(error: impl Into<anyhow::Error>, pause: Duration) -> Self {
        Self::Busy { error: error.into(), pause: pause.min(MAX_RETRY_DELAY) }
    }
}

/// The delay until a circuit that is open for this long may be closed, a little more for each document.
fn after_cooldown(blocked_for: Duration) -> Duration {
    let spread = blocked_for.mul_f64(SPREAD).max(SHORTEST_SPREAD);
    blocked_for + spread.mul_f64(HasherRng::new().next_f64())
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Poison(poison) => Self::Poison(poison),
            StoreError::ClaimLost(lost) => Self::ClaimLost(lost),
            StoreError::Memory(error) => error.into(),
            other => {
                // Its message is complete. Its sources repeat the key and the address.
                let text = anyhow::anyhow!("{other}");
                match (other.blocked_for(), other.retry_after()) {
                    (Some(blocked_for), _) => Self::Busy { error: text, pause: after_cooldown(blocked_for) },
                    (_, Some(pause)) => Self::busy(text, pause),
                    (None, None) => Self::Transient(text),
                }
            }
        }
    }
}

impl From<NoMemory> for StepError {
    fn from(error: NoMemory) -> Self {
        match error {
            NoMemory::Never(poison) => Self::Poison(poison),
            error @ NoMemory::NotNow(_) => Self::busy(error, ROOM),
        }
    }
}

impl From<ExtractError> for StepError {
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::Poison(poison) => Self::Poison(poison),
            ExtractError::Cancelled(_) => Self::Cancelled,
        }
    }
}

impl From<sqlx::Error> for StepError {
    fn from(error: sqlx::Error) -> Self {
        if let Some(poison) = store::poison(&error) {
            return Self::Poison(poison);
        }
        let blocked_for = store::blocked_for(&error);
        let error = anyhow::Error::new(error).context("database");
        match blocked_for {
            Some(blocked_for) => Self::Busy { error, pause: after_cooldown(blocked_for) },
            None => Self::Transient(error),
        }
    }
}

impl From<NoResult> for StepError {
    /// A reader that panics on a document, or takes too long for it, does so at every attempt.
    fn from(error: NoResult) -> Self {
        Self::Poison(match error {
            NoResult::Panicked(message) => PoisonError::ReaderPanicked { message },
            NoResult::OverLimit(limit) => PoisonError::TooMuchCpu { seconds: limit.as_secs() },
        })
    }
}

impl From<serde_json::Error> for StepError {
    fn from(error: serde_json::Error) -> Self {
        Self::Transient(anyhow::Error::new(error).context("reading or writing a claim"))
    }
}

/// The error as the SDK expects it. A function and not a `From`: the SDK's own `From` for every error would make
/// poison retryable.
pub(super) fn into_activity_error(error: StepError) -> ActivityError {
    let text: String = error.to_string().chars().take(MAX_CHARACTERS).collect();
    let failure = ApplicationFailure::builder(anyhow::anyhow!(text));
    let failure = match error {
        StepError::Cancelled => return ActivityError::cancelled(),
        StepError::Poison(poison) => failure.type_name(poison.kind().to_owned()).non_retryable(true).build(),
        StepError::ClaimLost(_) => failure.type_name(CLAIM_LOST.to_owned()).non_retryable(true).build(),
        StepError::Busy { pause, .. } => failure.type_name(TRANSIENT.to_owned()).next_retry_delay(pause).build(),
        StepError::Stopped(stop) => failure.type_name(stop.type_name().to_owned()).build(),
        StepError::Transient(_) => failure.type_name(TRANSIENT.to_owned()).build(),
    };
    ActivityError::application(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::external::CallError;

    fn failure(error: StepError) -> ApplicationFailure {
        match into_activity_error(error) {
            ActivityError::Application(failure) => *failure,
            other => panic!("not an application failure: {other:?}"),
        }
    }

    #[test]
    fn poison_is_typed_and_not_retried() {
        let failure = failure(PoisonError::TooBig { bytes: 100, limit: 10 }.into());
        assert!(failure.is_non_retryable());
        assert_eq!(failure.type_name(), Some("DocumentTooBig"));
        assert!(failure.to_string().contains("100 bytes"), "{failure}");
    }

    #[test]
    fn a_transient_fault_is_retried_and_names_its_causes() {
        let failure = failure(sqlx::Error::PoolTimedOut.into());
        assert!(!failure.is_non_retryable());
        assert!(failure.to_string().starts_with("database: "), "{failure}");
    }

    #[test]
    fn a_pause_that_a_service_asks_for_is_limited() {
        for (asked, kept) in [(7, 7), (3600, 30)] {
            let failure = failure(StepError::busy(anyhow::anyhow!("busy"), Duration::from_secs(asked)));
            assert!(!failure.is_non_retryable());
            assert_eq!(failure.next_retry_delay(), Some(Duration::from_secs(kept)));
        }
    }

    #[test]
    fn a_reader_that_panics_or_takes_too_long_is_poison() {
        let error = StepError::from(NoResult::Panicked("index out of bounds".into()));
        assert_eq!(error.outcome(), "poison");
        assert_eq!(failure(error).type_name(), Some("ReaderPanicked"));
        let failure = failure(NoResult::OverLimit(Duration::from_secs(60)).into());
        assert_eq!(failure.type_name(), Some("DocumentNeedsTooMuchCpu"));
        assert!(failure.to_string().contains("60 s of CPU time"), "{failure}");
    }

    #[test]
    fn documents_come_back_when_the_circuit_may_close_and_not_all_at_once() {
        let circuit = |seconds| CallError::CircuitOpen { service: "s3", blocked_for: Duration::from_secs(seconds) };
        let mut delays = Vec::new();
        for _ in 0..20 {
            let source = Box::new(circuit(160));
            let error = StoreError::Transient { act: "reading", key: "a".into(), source };
            let failure = failure(error.into());
            assert!(!failure.is_non_retryable());
            delays.push(failure.next_retry_delay().unwrap().as_secs());
        }
        assert!(delays.iter().all(|delay| (160..=200).contains(delay)), "{delays:?}");
        assert!(delays.iter().max() > delays.iter().min(), "{delays:?}");
    }

    #[test]
    fn a_lost_claim_ends_the_step_with_a_type_for_the_workflow() {
        let failure = failure(ClaimLost::Missing("ab".into()).into());
        assert!(failure.is_non_retryable());
        assert_eq!(failure.type_name(), Some(CLAIM_LOST));
    }

    #[test]
    fn a_pause_or_a_reset_is_a_failure_that_is_retried() {
        for (stop, name) in [(Stop::Pause, "ActivityPause"), (Stop::Reset, "ActivityReset")] {
            let failure = failure(StepError::Stopped(stop));
            assert!(!failure.is_non_retryable());
            assert_eq!(failure.type_name(), Some(name));
        }
    }

    #[test]
    fn a_failure_is_short_whatever_its_error() {
        let failure = failure(StepError::Transient(anyhow::anyhow!("ü".repeat(5000))));
        assert_eq!(failure.to_string().chars().count(), MAX_CHARACTERS);
    }

    #[test]
    fn cancellation_is_not_a_failure() {
        assert!(matches!(into_activity_error(StepError::Cancelled), ActivityError::Cancelled { .. }));
    }
}
