//! Metrics of the calls to external services. All services share the same metrics, so one query covers them.

use std::time::Duration;

use anyhow::Context as _;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::names;

/// Histogram buckets of a call in seconds: from a hit in Redis to a slow answer of an LLM.
const CALL_BUCKETS: &[f64] = &[0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Outcome of an attempt at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The service answered.
    Ok,
    /// The service refused, and would refuse again.
    Refused,
    /// The service or the connection to it failed.
    Failed,
    /// The timeout expired.
    Timeout,
    /// Nothing was sent, or no answer was waited for: the circuit is open.
    CircuitOpen,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Ok, Self::Refused, Self::Failed, Self::Timeout, Self::CircuitOpen];

    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::CircuitOpen => "circuit_open",
        }
    }
}

/// The metrics of all external services.
#[derive(Debug, Clone)]
pub struct ExternalMetrics {
    calls: IntCounterVec,
    seconds: HistogramVec,
    open: IntGaugeVec,
    retries: IntCounterVec,
}

impl ExternalMetrics {
    pub(super) fn register(registry: &Registry) -> anyhow::Result<Self> {
        let opts = |metric: &names::Name| Opts::new(metric.name, metric.help);
        let seconds = HistogramOpts::from(opts(&names::EXTERNAL_SECONDS)).buckets(CALL_BUCKETS.to_vec());
        let metrics = Self {
            calls: IntCounterVec::new(opts(&names::EXTERNAL_CALLS), names::EXTERNAL_CALLS.labels)?,
            seconds: HistogramVec::new(seconds, names::EXTERNAL_SECONDS.labels)?,
            open: IntGaugeVec::new(opts(&names::EXTERNAL_CIRCUIT_OPEN), names::EXTERNAL_CIRCUIT_OPEN.labels)?,
            retries: IntCounterVec::new(opts(&names::EXTERNAL_RETRIES), names::EXTERNAL_RETRIES.labels)?,
        };
        let registered = registry
            .register(Box::new(metrics.calls.clone()))
            .and_then(|()| registry.register(Box::new(metrics.seconds.clone())))
            .and_then(|()| registry.register(Box::new(metrics.open.clone())))
            .and_then(|()| registry.register(Box::new(metrics.retries.clone())));
        registered.context("registering the metrics of external services")?;
        Ok(metrics)
    }

    /// Creates the series of a service with the value 0, so that a share of failures is 0 and not absent.
    pub fn announce(&self, service: &str, operations: &[&str]) {
        for operation in operations {
            self.seconds.with_label_values(&[service, operation]);
            for outcome in Outcome::ALL {
                self.calls.with_label_values(&[service, operation, outcome.label()]);
            }
        }
        for granted in [true, false] {
            self.retries.with_label_values(&[service, budget(granted)]);
        }
        self.set_open(service, false);
    }

    /// Records an attempt.
    pub fn observe(&self, service: &str, operation: &str, outcome: Outcome, took: Duration) {
        self.calls.with_label_values(&[service, operation, outcome.label()]).inc();
        self.seconds.with_label_values(&[service, operation]).observe(took.as_secs_f64());
    }

    /// Counts a call that was not sent, or given up, because the circuit is open.
    pub fn count_unserved(&self, service: &str, operation: &str) {
        self.calls.with_label_values(&[service, operation, Outcome::CircuitOpen.label()]).inc();
    }

    /// Counts a retry, and whether the budget granted it.
    pub fn count_retry(&self, service: &str, granted: bool) {
        self.retries.with_label_values(&[service, budget(granted)]).inc();
    }

    /// Records whether the circuit of a service is open.
    pub fn set_open(&self, service: &str, open: bool) {
        self.open.with_label_values(&[service]).set(i64::from(open));
    }
}

fn budget(granted: bool) -> &'static str {
    if granted { "granted" } else { "exhausted" }
}
