//! The guard of every call to a service: a timeout, retries from a budget, the circuit breaker, and metrics.
//!
//! Retries here cover failures of a moment. During an outage, Temporal retries the activity later and occupies no
//! slot for it. So one timeout covers a call with its retries, and retries are limited to a share of the calls. A
//! service that keeps failing is not called during a cooldown. The calls in flight at its beginning are given up: to a
//! service that is silent, each would hold a slot until its timeout.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout_at};
use tower::retry::{
    backoff::{Backoff as _, ExponentialBackoffMaker, MakeBackoff as _},
    budget::{Budget as _, TpsBudget},
};
use tracing::{info, warn};

use super::{
    Blame, Fault, Service,
    breaker::{Admission, Breaker, Ending, Limits},
};
use crate::{
    config::ExternalConfig,
    metrics::{ExternalMetrics, Outcome},
};

/// Window of the retry budget.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Retries per second that are always granted. With one document a minute, a share of the calls would be none.
const BUDGET_FLOOR: u32 = 1;

/// The longest cooldown of a service that documents wait for, in first cooldowns. Whatever the length of an outage,
/// its end is noticed within about the time that it lasted, and at most within this.
const MAX_COOLDOWNS: u32 = 32;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E> {
    /// The circuit is open: nothing was sent.
    #[error("{service} is not called for now, because it failed too often (circuit open)")]
    CircuitOpen {
        /// Name of the service.
        service: &'static str,
        /// How long it stays so, at least.
        blocked_for: Duration,
    },
    /// The timeout expired.
    #[error("{service} did not answer within {timeout:?}")]
    TimedOut {
        /// Name of the service.
        service: &'static str,
        /// The timeout.
        timeout: Duration,
    },
    /// The error of the service or of the connection to it.
    #[error(transparent)]
    Service(E),
}

/// The guard of one service. Clones share its breaker and its budget.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    service: Service,
    timeout: Duration,
    retries: u32,
    budget: TpsBudget,
    breaker: Mutex<Breaker>,
    /// Wakes the calls in flight when the circuit opens.
    opened: Notify,
    metrics: ExternalMetrics,
}

/// Creates guards with the same limits. Each guard counts for itself.
#[derive(Debug)]
pub struct Guards {
    limits: ExternalConfig,
    metrics: ExternalMetrics,
}

impl Guards {
    /// Guards with these limits.
    pub fn new(limits: &ExternalConfig, metrics: &ExternalMetrics) -> Self {
        Self { limits: limits.clone(), metrics: metrics.clone() }
    }

    /// Guards with the default limits and metrics of their own.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let metrics = crate::metrics::Metrics::new(Duration::ZERO).expect("no name is used twice");
        Self::new(&ExternalConfig::default(), metrics.external())
    }

    /// The guard of a service. `timeout` covers a call with its retries.
    pub fn of(&self, service: Service, timeout: Duration) -> Guard {
        let Self { limits, metrics } = self;
        metrics.announce(service.label(), service.operations());
        // A result that is missing in Redis can be computed, so a retry would cost more than a miss. The pool of
        // Postgres connects again by itself.
        let retries = match service {
            Service::Redis | Service::Postgres => 0,
            Service::S3 | Service::Llm => limits.retries,
        };
        let share = f32::from(limits.retry_percent) / 100.0;
        let cooldown = Duration::from_secs(limits.circuit_open_seconds);
        // A document waits for S3 and Postgres in any case. It does not wait for the others, so they are tried again
        // soon.
        let max_cooldown = match service {
            Service::S3 | Service::Postgres => cooldown.saturating_mul(MAX_COOLDOWNS),
            Service::Redis | Service::Llm => cooldown,
        };
        let breaker =
            Limits { failures: limits.circuit_failures, percent: limits.circuit_percent, cooldown, max_cooldown };
        Guard(Arc::new(Shared {
            service,
            timeout,
            retries,
            budget: TpsBudget::new(BUDGET_WINDOW, BUDGET_FLOOR, share),
            breaker: Mutex::new(Breaker::new(breaker)),
            opened: Notify::new(),
            metrics: metrics.clone(),
        }))
    }
}

impl Guard {
    /// Calls the service. Retries an attempt whose failure is the service's fault, within the budget.
    ///
    /// # Errors
    /// The last attempt's error, the timeout, or an open circuit.
    pub async fn call<T, E, F>(
        &self,
        operation: &'static str,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, CallError<E>>
    where
        E: Fault,
        F: Future<Output = Result<T, E>>,
    {
        let deadline = tokio::time::Instant::now() + self.0.timeout;
        let mut pauses = ExponentialBackoffMaker::default().make_backoff();
        self.0.budget.deposit();
        for _ in 0..self.0.retries {
            match self.attempt_once(operation, deadline, &mut attempt).await {
                Err(CallError::Service(error)) if error.blame() == Blame::Service && self.may_retry() => {
                    let pause = timeout_at(deadline, pauses.next_backoff());
                    if pause.await.is_err() {
                        return Err(CallError::Service(error));
                    }
                }
                result => return result,
            }
        }
        self.attempt_once(operation, deadline, &mut attempt).await
    }

    /// Fails as a call would that the open circuit blocks. It sends nothing and counts nothing.
    ///
    /// # Errors
    /// The circuit is open, and not yet to be probed.
    pub fn check<E>(&self) -> Result<(), CallError<E>> {
        let blocked_for = self.0.breaker().blocked_for(Instant::now());
        if blocked_for.is_zero() { Ok(()) } else { Err(self.circuit_open()) }
    }

    fn circuit_open<E>(&self) -> CallError<E> {
        let blocked_for = self.0.breaker().blocked_for(Instant::now());
        CallError::CircuitOpen { service: self.0.service.label(), blocked_for }
    }

    fn may_retry(&self) -> bool {
        let granted = self.0.budget.withdraw();
        self.0.metrics.count_retry(self.0.service.label(), granted);
        granted
    }

    async fn attempt_once<T, E, F>(
        &self,
        operation: &'static str,
        deadline: tokio::time::Instant,
        attempt: impl FnOnce() -> F,
    ) -> Result<T, CallError<E>>
    where
        E: Fault,
        F: Future<Output = Result<T, E>>,
    {
        let service = self.0.service.label();
        // From here on no opening is missed.
        let opened = self.0.opened.notified();
        let Some(permit) = self.0.admit() else {
            self.0.metrics.count_unserved(service, operation);
            return Err(self.circuit_open());
        };
        let started = Instant::now();
        let answer = tokio::select! {
            biased;
            answer = timeout_at(deadline, attempt()) => answer,
            () = opened => {
                self.0.metrics.count_unserved(service, operation);
                return Err(self.circuit_open());
            }
        };
        let (outcome, result) = match answer {
            Ok(Ok(value)) => (Outcome::Ok, Ok(value)),
            Ok(Err(error)) => (outcome_of(&error), Err(CallError::Service(error))),
            Err(_) => {
                let timeout = self.0.timeout;
                (Outcome::Timeout, Err(CallError::TimedOut { service, timeout }))
            }
        };
        permit.end(match outcome {
            Outcome::Ok | Outcome::Refused => Ending::Answered,
            _ => Ending::Failed,
        });
        self.0.metrics.observe(service, operation, outcome, started.elapsed());
        result
    }
}

fn outcome_of(error: &impl Fault) -> Outcome {
    match error.blame() {
        Blame::Request => Outcome::Refused,
        Blame::Service | Blame::Load => Outcome::Failed,
    }
}

impl Shared {
    fn admit(&self) -> Option<Permit<'_>> {
        let admission = self.breaker().admit(Instant::now())?;
        Some(Permit { shared: self, admission: Some(admission) })
    }

    fn end(&self, admission: Admission, ending: Ending) {
        let mut breaker = self.breaker();
        let before = breaker.is_open();
        breaker.end(admission, ending, Instant::now());
        let open = breaker.is_open();
        drop(breaker);
        if open == before {
            return;
        }
        let service = self.service.label();
        self.metrics.set_open(service, open);
        if open {
            self.opened.notify_waiters();
            warn!(service, "circuit open: the service keeps failing and is only probed now and then");
        } else {
            info!(service, "circuit closed: the service works again");
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission for one attempt. Dropping it, as a cancelled activity does, counts as [`Ending::Abandoned`].
struct Permit<'a> {
    shared: &'a Shared,
    admission: Option<Admission>,
}

impl Permit<'_> {
    fn end(mut self, ending: Ending) {
        if let Some(admission) = self.admission.take() {
            self.shared.end(admission, ending);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            self.shared.end(admission, Ending::Abandoned);
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.admission).finish()
    }
}
