//! How a step fails (permanently, transiently or by cancellation), and how the failure is reported to Temporal.

use std::time::Duration;

use temporalio_sdk::{ApplicationFailure, activities::ActivityError};

use crate::{
    cpu::Panicked,
    store::StoreError,
    text::{ExtractError, PoisonError},
};

/// Type of the failures that Temporal retries.
const TRANSIENT: &str = "Transient";

/// Maximum retry delay that a service may ask for. It equals the maximum interval of the workflow's retry policy.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// Why a step did not finish.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The document cannot be processed: not retried.
    #[error(transparent)]
    Poison(#[from] PoisonError),
    /// The next attempt may succeed: retried with backoff.
    #[error("{0:#}")]
    Transient(anyhow::Error),
    /// A service asked for a pause: retried after it.
    #[error("{error:#}")]
    Busy {
        /// The error of the service.
        error: anyhow::Error,
        /// The delay until the next attempt.
        pause: Duration,
    },
    /// The activity was cancelled, for example with its workflow.
    #[error("the activity was cancelled")]
    Cancelled,
}

impl StepError {
    /// Label value of the metric.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Poison(_) => "poison",
            Self::Transient(_) | Self::Busy { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Poison(poison) => Self::Poison(poison),
            transient @ StoreError::Transient { .. } => Self::Transient(transient.into()),
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
        Self::Transient(anyhow::Error::new(error).context("database"))
    }
}

impl From<Panicked> for StepError {
    /// A reader that panics on a document does so at every attempt.
    fn from(Panicked(message): Panicked) -> Self {
        Self::Poison(PoisonError::ReaderPanicked { message })
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
    let failure = match error {
        StepError::Cancelled => return ActivityError::cancelled(),
        StepError::Poison(poison) => {
            let kind = poison.kind().to_owned();
            ApplicationFailure::builder(poison).type_name(kind).non_retryable(true).build()
        }
        StepError::Busy { error, pause } => ApplicationFailure::builder(error)
            .type_name(TRANSIENT.to_owned())
            .next_retry_delay(pause.min(MAX_RETRY_DELAY))
            .build(),
        transient @ StepError::Transient(_) => {
            ApplicationFailure::builder(transient).type_name(TRANSIENT.to_owned()).build()
        }
    };
    ActivityError::application(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let failure =
                failure(StepError::Busy { error: anyhow::anyhow!("busy"), pause: Duration::from_secs(asked) });
            assert!(!failure.is_non_retryable());
            assert_eq!(failure.next_retry_delay(), Some(Duration::from_secs(kept)));
        }
    }

    #[test]
    fn a_reader_that_panics_is_poison() {
        let error = StepError::from(Panicked("index out of bounds".into()));
        assert_eq!(error.outcome(), "poison");
        assert_eq!(failure(error).type_name(), Some("ReaderPanicked"));
    }

    #[test]
    fn cancellation_is_not_a_failure() {
        assert!(matches!(into_activity_error(StepError::Cancelled), ActivityError::Cancelled { .. }));
    }
}
