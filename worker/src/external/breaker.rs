//! The circuit breaker: a service that fails some times in a row is left alone for a while, then one call tries it.
//!
//! Pure: the time is given, and nothing is waited for.

use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls pass; so many have failed in a row.
    Closed { failures: u32 },
    /// No call passes until then.
    Open { until: Instant },
    /// One call is under way to try the service; no other passes.
    HalfOpen,
}

/// How a call came to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// As one of many.
    Regular,
    /// As the one that tries a service after its rest.
    Probe,
}

/// How a call ended, as far as the service's health goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The service answered, were it with a no.
    Answered,
    /// It did not, or said that it cannot.
    Failed,
    /// Nobody waited for the answer.
    Abandoned,
}

/// The breaker of one service.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    rest: Duration,
    state: State,
}

impl Breaker {
    /// Opens after this many failures in a row, for that long.
    pub(super) fn new(failures: u32, rest: Duration) -> Self {
        Self {
            failures,
            rest,
            state: State::Closed { failures: 0 },
        }
    }

    /// Lets a call pass, or not. Each admission must be followed by its [`Breaker::end`].
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

    /// Takes note of how a call ended. What began before the circuit opened says nothing of the service after that.
    pub(super) fn end(&mut self, admission: Admission, ending: Ending, now: Instant) {
        let open = State::Open {
            until: now + self.rest,
        };
        self.state = match (self.state, admission, ending) {
            (State::HalfOpen, Admission::Probe, Ending::Answered) => State::Closed { failures: 0 },
            (State::HalfOpen, Admission::Probe, Ending::Failed) => open,
            // The next call tries in its place.
            (State::HalfOpen, Admission::Probe, Ending::Abandoned) => State::Open { until: now },
            (State::Closed { .. }, _, Ending::Answered) => State::Closed { failures: 0 },
            (State::Closed { failures }, _, Ending::Failed) if failures + 1 >= self.failures => open,
            (State::Closed { failures }, _, Ending::Failed) => State::Closed {
                failures: failures + 1,
            },
            (state, _, _) => state,
        };
    }

    /// Whether the service is left alone: from the opening until a probe was answered.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use Admission::{Probe, Regular};
    use Ending::{Abandoned, Answered, Failed};

    use super::*;

    const REST: Duration = Duration::from_secs(5);

    /// A breaker of three failures, after one call for each ending, at one moment.
    fn after(endings: &[Ending], now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3, REST);
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
    fn an_open_circuit_lets_nothing_pass_before_its_rest_and_one_call_after_it() {
        let opened = Instant::now();
        let mut breaker = after(&[Failed; 3], opened);
        assert_eq!(breaker.admit(opened), None);
        assert_eq!(breaker.admit(opened + REST - Duration::from_millis(1)), None);
        assert_eq!(breaker.admit(opened + REST), Some(Probe));
        assert_eq!(breaker.admit(opened + 10 * REST), None, "a second probe");
    }

    #[test]
    fn the_probe_decides() {
        let opened = Instant::now();
        let tried = opened + REST;
        let cases = [
            (Answered, false, Some(Regular)),
            (Failed, true, None),
            (Abandoned, true, Some(Probe)),
        ];
        for (ending, open, next) in cases {
            let mut breaker = after(&[Failed; 3], opened);
            let probe = breaker.admit(tried).unwrap();
            breaker.end(probe, ending, tried);
            assert_eq!(breaker.is_open(), open, "{ending:?}");
            assert_eq!(breaker.admit(tried), next, "{ending:?}");
        }
    }

    #[test]
    fn a_probe_that_fails_begins_a_new_rest() {
        let opened = Instant::now();
        let mut breaker = after(&[Failed; 3], opened);
        let probe = breaker.admit(opened + REST).unwrap();
        breaker.end(probe, Failed, opened + REST);
        assert_eq!(breaker.admit(opened + 2 * REST - Duration::from_millis(1)), None);
        assert_eq!(breaker.admit(opened + 2 * REST), Some(Probe));
    }

    #[test]
    fn a_call_from_before_the_opening_changes_nothing() {
        let now = Instant::now();
        for ending in [Answered, Failed, Abandoned] {
            let mut breaker = after(&[Failed; 2], now);
            let slow = breaker.admit(now).unwrap();
            let last = breaker.admit(now).unwrap();
            breaker.end(last, Failed, now);
            breaker.end(slow, ending, now + REST / 2);
            assert!(breaker.is_open(), "{ending:?}");
            assert_eq!(breaker.admit(now + REST), Some(Probe), "{ending:?}");
            breaker.end(slow, ending, now + REST);
            assert!(breaker.is_open(), "{ending:?} while the probe is under way");
        }
    }
}
