//! What every call to a service goes through: a time-out, retries out of a budget, the circuit breaker, and metrics.
//!
//! Retries here bridge what passes within a moment; an outage is Temporal's to bridge, which retries the activity later and
//! keeps no slot for it. So the time-out covers a call with its retries, retries are a share of the calls, and a service that
//! keeps failing is not called at all for a while.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::timeout_at;
use tower::retry::{
    backoff::{Backoff as _, ExponentialBackoffMaker, MakeBackoff as _},
    budget::{Budget as _, TpsBudget},
};
use tracing::{info, warn};

use super::{
    Blame, Fault, Service,
    breaker::{Admission, Breaker, Ending},
};
use crate::{
    config::ExternalConfig,
    metrics::{ExternalMetrics, Outcome},
};

/// How long a call counts towards the budget of retries.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Retries a second that are granted whatever the number of calls: with one document a minute a share of the calls is none.
const BUDGET_FLOOR: u32 = 1;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E> {
    /// Nothing was sent.
    #[error("{service} failed too often and is left alone for a while")]
    CircuitOpen {
        /// Which service.
        service: &'static str,
    },
    /// The call was given up.
    #[error("{service} gave no answer within {timeout:?}")]
    TimedOut {
        /// Which service.
        service: &'static str,
        /// The time-out.
        timeout: Duration,
    },
    /// What the service, or the way to it, said.
    #[error(transparent)]
    Service(E),
}

/// The guard of one service; clones share its breaker and its budget.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    service: Service,
    timeout: Duration,
    retries: u32,
    budget: TpsBudget,
    breaker: Mutex<Breaker>,
    metrics: ExternalMetrics,
}

/// Makes the guards: all have the same limits, and each counts for itself.
#[derive(Debug)]
pub struct Guards {
    limits: ExternalConfig,
    metrics: ExternalMetrics,
}

impl Guards {
    /// Guards with these limits.
    pub fn new(limits: &ExternalConfig, metrics: &ExternalMetrics) -> Self {
        Self {
            limits: limits.clone(),
            metrics: metrics.clone(),
        }
    }

    /// Guards with the default limits, whose metrics nobody sees.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let metrics = crate::metrics::Metrics::new(Duration::ZERO).expect("no name is used twice");
        Self::new(&ExternalConfig::default(), metrics.external())
    }

    /// The guard of a service that is used; its calls, retries included, take `timeout` at most.
    pub fn of(&self, service: Service, timeout: Duration) -> Guard {
        let Self { limits, metrics } = self;
        metrics.announce(service.label(), service.operations());
        // Redis is asked for what can be made without it: asking twice costs more than a miss.
        let retries = match service {
            Service::Redis => 0,
            Service::S3 | Service::Llm => limits.retries,
        };
        let share = f32::from(limits.retry_percent) / 100.0;
        let rest = Duration::from_secs(limits.circuit_open_seconds);
        Guard(Arc::new(Shared {
            service,
            timeout,
            retries,
            budget: TpsBudget::new(BUDGET_WINDOW, BUDGET_FLOOR, share),
            breaker: Mutex::new(Breaker::new(limits.circuit_failures, rest)),
            metrics: metrics.clone(),
        }))
    }
}

impl Guard {
    /// Calls the service; the attempt is made again where the service is to blame and the budget allows it.
    ///
    /// # Errors
    /// The last attempt's error, the time-out, or an open circuit.
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
            match self.once(operation, deadline, &mut attempt).await {
                Err(CallError::Service(error)) if error.blame() == Blame::Service && self.may_retry() => {
                    let pause = timeout_at(deadline, pauses.next_backoff());
                    if pause.await.is_err() {
                        return Err(CallError::Service(error));
                    }
                }
                result => return result,
            }
        }
        self.once(operation, deadline, &mut attempt).await
    }

    fn may_retry(&self) -> bool {
        let granted = self.0.budget.withdraw();
        self.0.metrics.count_retry(self.0.service.label(), granted);
        granted
    }

    async fn once<T, E, F>(
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
        let Some(permit) = self.0.admit() else {
            self.0.metrics.count_unsent(service, operation);
            return Err(CallError::CircuitOpen { service });
        };
        let started = Instant::now();
        let (outcome, result) = match timeout_at(deadline, attempt()).await {
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
        self.0
            .metrics
            .observe(service, operation, outcome, started.elapsed());
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
        Some(Permit {
            shared: self,
            admission: Some(admission),
        })
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
            warn!(
                service,
                "fails: left alone, but for one call now and then to try it"
            );
        } else {
            info!(service, "works again");
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to make one attempt. Dropping it, as a cancelled activity does, lets another call try the service.
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
