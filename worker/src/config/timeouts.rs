//! The timeouts of the services together: those that a step needs in turn have to fit into one attempt at it. Otherwise
//! Temporal would end the attempt first, and the failure would name no service.

use super::{Config, Faults, with_variable};
use crate::{
    activities::{ATTEMPT_TIMEOUT, names},
    memory,
};

/// What is left of an attempt for its own work, in seconds.
const WORK_SECONDS: u64 = 10;

/// A setting, and how often a step may need it in turn.
type Use = (&'static str, u64);

/// The steps, and what they may wait for. Each use of the database waits for a connection and for one slow statement.
/// The record of the attempt is one use. A body for which there is no memory at first is requested twice. Calls that a
/// step makes at the same time count once.
const STEPS: [(&str, &[Use]); 4] = [
    (names::FETCH, &[(ACQUIRE, 1), (STATEMENT, 1), (REQUEST, 3)]),
    (names::EXTRACT, &[(ACQUIRE, 1), (STATEMENT, 1), (REQUEST, 3)]),
    (names::SUMMARIZE, &[(ACQUIRE, 1), (STATEMENT, 1), (REQUEST, 2), (LLM, 1)]),
    (names::STORE, &[(ACQUIRE, 2), (STATEMENT, 2), (REQUEST, 2)]),
];

const ACQUIRE: &str = "database.acquire_timeout_seconds";
const STATEMENT: &str = "database.statement_timeout_seconds";
const REQUEST: &str = "documents.request_timeout_seconds";
const LLM: &str = "summary.timeout_seconds";

impl Config {
    /// Adds a fault for the step that exceeds an attempt by most, if any does.
    pub(super) fn validate_timeouts(&self, faults: &mut Faults) {
        let limit = (ATTEMPT_TIMEOUT - memory::WAIT).as_secs() - WORK_SECONDS;
        let sums = STEPS.map(|(step, uses)| (self.sum(uses), step, uses));
        let Some((sum, step, uses)) =
            sums.into_iter().rev().max_by_key(|(sum, ..)| *sum).filter(|(sum, ..)| *sum > limit)
        else {
            return;
        };
        let terms = uses.iter().map(|(key, times)| match times {
            1 => format!("{} {}", with_variable(key), self.seconds(key)),
            times => format!("{times} × {} {}", with_variable(key), self.seconds(key)),
        });
        let terms = terms.collect::<Vec<_>>().join(" + ");
        faults.add(format!(
            "the timeouts of the step {step} are {sum} s together, more than the {limit} s that an attempt has for \
             them: {terms}; lower one of them"
        ));
    }

    fn sum(&self, uses: &[Use]) -> u64 {
        let seconds = uses.iter().map(|(key, times)| self.seconds(key).saturating_mul(*times));
        seconds.fold(0, u64::saturating_add)
    }

    /// A timeout in seconds. A statement timeout of 0 leaves it to the server, and is not known here.
    fn seconds(&self, key: &str) -> u64 {
        match key {
            ACQUIRE => self.database.acquire_timeout_seconds,
            STATEMENT => self.database.statement_timeout_seconds,
            LLM if self.summary.base_url.is_none() => 0,
            LLM => self.summary.timeout_seconds,
            _ => self.documents.request_timeout_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretUrl;

    fn fault(change: impl FnOnce(&mut Config)) -> Option<String> {
        let mut config = Config::default();
        change(&mut config);
        let mut faults = Faults::default();
        config.validate_timeouts(&mut faults);
        assert!(faults.list().len() < 2, "{faults}");
        faults.list().first().cloned()
    }

    #[test]
    fn the_defaults_fit_into_an_attempt_with_and_without_summaries() {
        assert_eq!(fault(|_| {}), None);
        assert_eq!(fault(|config| config.summary.base_url = Some(SecretUrl::from("http://llm/v1"))), None);
        assert_eq!(fault(|config| config.summary.timeout_seconds = 1000), None);
    }

    #[test]
    fn timeouts_that_do_not_fit_together_are_a_fault_with_settings_and_values() {
        let store = fault(|config| config.database.statement_timeout_seconds = 31).unwrap();
        assert_eq!(
            store,
            "the timeouts of the step store_document are 142 s together, more than the 140 s that an attempt has for \
             them: 2 × database.acquire_timeout_seconds (DB_ACQUIRE_TIMEOUT_SECONDS) 10 + 2 × \
             database.statement_timeout_seconds (DB_STATEMENT_TIMEOUT_SECONDS) 31 + 2 × \
             documents.request_timeout_seconds (DOCUMENT_REQUEST_TIMEOUT_SECONDS) 30; lower one of them"
        );
        let fetch = fault(|config| config.documents.request_timeout_seconds = 60).unwrap();
        assert!(fetch.starts_with("the timeouts of the step fetch_document are 220 s"), "{fetch}");
        let summarize = fault(|config| {
            config.summary.base_url = Some(SecretUrl::from("http://llm/v1"));
            config.summary.timeout_seconds = 41;
        });
        let summarize = summarize.unwrap();
        assert!(summarize.starts_with("the timeouts of the step summarize_document are 141 s"), "{summarize}");
        assert!(summarize.contains("summary.timeout_seconds (LLM_TIMEOUT_SECONDS) 41"), "{summarize}");
        assert!(fault(|config| config.documents.request_timeout_seconds = u64::MAX).is_some());
    }

    #[test]
    fn a_statement_timeout_that_is_left_to_the_server_does_not_count() {
        let fits = |config: &mut Config| {
            config.database.statement_timeout_seconds = 0;
            config.documents.request_timeout_seconds = 40;
        };
        assert_eq!(fault(fits), None);
    }
}
