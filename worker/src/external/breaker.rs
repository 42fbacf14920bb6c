//! The circuit breaker: after a number of failures in a row it blocks calls for a cooldown, then lets one probe
//! through.
//!
//! Pure: the time is a parameter.

use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls pass; this number has failed in a row.
    Closed { failures: u32 },
    /// No call passes until then.
    Open { until: Instant },
    /// A probe is in flight; no other call passes.
    HalfOpen,
}

/// Why a call was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// The circuit is closed.
    Regular,
    /// The cooldown is over, and this call probes the service.
    Probe,
}

/// How a call ended, with regard to the service's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The service answered, possibly with a refusal.
    Answered,
    /// The service did not answer, or reported that it cannot.
    Failed,
    /// The caller was cancelled.
    Abandoned,
}

/// The breaker of one service.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    cooldown: Duration,
    state: State,
}

impl Breaker {
    /// Opens after `failures` in a row, for `cooldown`.
    pub(super) fn new(failures: u32, cooldown: Duration) -> Self {
        Self { failures, cooldown, state: State::Closed { failures: 0 } }
    }

    /// Admits or blocks a call. The caller must pass each admission to [`Breaker::end`].
    pub(super) fn admit(&mut self, now: Instant) -> Option<Admission> {
        match self.state {
            State::Closed { .. } => Some(Admission::Regular),
            State::Open { until } if now >= until => {
                self.state = State::HalfOpen;
                Some(Admission::Probe)
            }
            State::Open { .. } | State::HalfOpen => None,
        }
    }

    /// Records how a call ended. A call that began before the circuit opened does not change an open circuit.
    pub(super) fn end(&mut self, admission: Admission, ending: Ending, now: Instant) {
        let open = State::Open { until: now + self.cooldown };
        self.state = match (self.state, admission, ending) {
            (State::HalfOpen, Admission::Probe, Ending::Answered) => State::Closed { failures: 0 },
            (State::HalfOpen, Admission::Probe, Ending::Failed) => open,
            // The next call becomes the probe.
            (State::HalfOpen, Admission::Probe, Ending::Abandoned) => State::Open { until: now },
            (State::Closed { .. }, _, Ending::Answered) => State::Closed { failures: 0 },
            (State::Closed { failures }, _, Ending::Failed) if failures + 1 >= self.failures => open,
            (State::Closed { failures }, _, Ending::Failed) => State::Closed { failures: failures + 1 },
            (state, _, _) => state,
        };
    }

    /// Whether calls are blocked: from the opening until a probe is answered.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use Admission::{Probe, Regular};
    use Ending::{Abandoned, Answered, Failed};

    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(5);

    /// A breaker of three failures after one call for each ending, all at one time.
    fn after(endings: &[Ending], now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3, COOLDOWN);
        for ending in endings {
            let admission = breaker.admit(now).expect("the circuit is closed");
            breaker.end(admission, *ending, now);
        }
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_the_circuit() {
        let cases: [(&[Ending], bool); 5] = [
            (&[], false),
            (&[Failed, Failed], false),
            (&[Failed, Failed, Answered, Failed, Failed], false),
            (&[Failed, Abandoned, Failed, Abandoned], false),
            (&[Failed, Failed, Failed], true),
        ];
        for (endings, open) in cases {
            assert_eq!(after(endings, Instant::now()).is_open(), open, "{endings:?}");
        }
    }

    #[test]
    fn an_open_circuit_blocks_calls_during_its_cooldown_and_admits_one_after_it() {
        let opened = Instant::now();
        let mut breaker = after(&[Failed; 3], opened);
        assert_eq!(breaker.admit(opened), None);
        assert_eq!(breaker.admit(opened + COOLDOWN - Duration::from_millis(1)), None);
        assert_eq!(breaker.admit(opened + COOLDOWN), Some(Probe));
        assert_eq!(breaker.admit(opened + 10 * COOLDOWN), None, "a second probe");
    }

    #[test]
    fn the_probe_decides() {
        let opened = Instant::now();
        let tried = opened + COOLDOWN;
        let cases = [(Answered, false, Some(Regular)), (Failed, true, None), (Abandoned, true, Some(Probe))];
        for (ending, open, next) in cases {
            let mut breaker = after(&[Failed; 3], opened);
            let probe = breaker.admit(tried).unwrap();
            breaker.end(probe, ending, tried);
            assert_eq!(breaker.is_open(), open, "{ending:?}");
            assert_eq!(breaker.admit(tried), next, "{ending:?}");
        }
    }

    #[test]
    fn a_probe_that_fails_begins_a_new_cooldown() {
        let opened = Instant::now();
        let mut breaker = after(&[Failed; 3], opened);
        let probe = breaker.admit(opened + COOLDOWN).unwrap();
        breaker.end(probe, Failed, opened + COOLDOWN);
        assert_eq!(breaker.admit(opened + 2 * COOLDOWN - Duration::from_millis(1)), None);
        assert_eq!(breaker.admit(opened + 2 * COOLDOWN), Some(Probe));
    }

    #[test]
    fn a_call_from_before_the_opening_does_not_change_an_open_circuit() {
        let now = Instant::now();
        for ending in [Answered, Failed, Abandoned] {
            let mut breaker = after(&[Failed; 2], now);
            let slow = breaker.admit(now).unwrap();
            let last = breaker.admit(now).unwrap();
            breaker.end(last, Failed, now);
            breaker.end(slow, ending, now + COOLDOWN / 2);
            assert!(breaker.is_open(), "{ending:?}");
            assert_eq!(breaker.admit(now + COOLDOWN), Some(Probe), "{ending:?}");
            breaker.end(slow, ending, now + COOLDOWN);
            assert!(breaker.is_open(), "{ending:?} while the probe is under way");
        }
    }
}
