//! Retries and circuit breakers of all external services.

use serde::{Deserialize, Serialize};

use super::Faults;
use crate::external::CIRCUIT_WINDOW;

/// The `[external]` section. S3, Redis and the LLM each have their own budget and circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ExternalConfig {
    /// Maximum retries of one call; calls to Redis are never retried (`EXTERNAL_RETRIES`).
    pub retries: u32,
    /// Maximum retries in percent of the calls, in addition to one per second (`EXTERNAL_RETRY_PERCENT`).
    pub retry_percent: u8,
    /// Failures that open the circuit of a service: so many of the latest 20 attempts of the last two minutes
    /// (`EXTERNAL_CIRCUIT_FAILURES`).
    pub circuit_failures: u32,
    /// The percentage of these attempts that the failures have to be as well, or of those that ended since a failed one
    /// was sent (`EXTERNAL_CIRCUIT_PERCENT`).
    pub circuit_percent: u8,
    /// Seconds for which an open circuit blocks calls before it lets one probe through. For S3, each probe that fails
    /// doubles them, up to 32 times as long (`EXTERNAL_CIRCUIT_OPEN_SECONDS`).
    pub circuit_open_seconds: u64,
}

impl Default for ExternalConfig {
    fn default() -> Self {
        Self { retries: 2, retry_percent: 20, circuit_failures: 5, circuit_percent: 50, circuit_open_seconds: 5 }
    }
}

impl ExternalConfig {
    pub(super) fn validate(&self, faults: &mut Faults) {
        if self.retry_percent > 100 {
            faults.add(format!(
                "external.retry_percent (EXTERNAL_RETRY_PERCENT) is {}: it must be 0 to 100",
                self.retry_percent
            ));
        }
        if usize::try_from(self.circuit_failures).is_ok_and(|failures| failures > CIRCUIT_WINDOW) {
            faults.add(format!(
                "external.circuit_failures (EXTERNAL_CIRCUIT_FAILURES) is {}: it must be at most {CIRCUIT_WINDOW}, \
                 the number of attempts that are looked at",
                self.circuit_failures
            ));
        }
        if !(1..=100).contains(&self.circuit_percent) {
            faults.add(format!(
                "external.circuit_percent (EXTERNAL_CIRCUIT_PERCENT) is {}: it must be 1 to 100",
                self.circuit_percent
            ));
        }
        faults.require_at_least("external.circuit_failures", self.circuit_failures, 1);
        faults.require_at_least("external.circuit_open_seconds", self.circuit_open_seconds, 1);
    }
}
