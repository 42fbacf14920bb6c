//! The circuit breaker: when enough of the latest attempts failed, it blocks calls for a cooldown, then lets one
//! probe through.
//!
//! Pure: the time is a parameter.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The attempts that decide: the latest ones, and none that is older than [`MAX_AGE`].
pub(crate) const WINDOW: usize = 20;

/// An attempt takes up to half a minute if the service does not answer, so several of them fit.
const MAX_AGE: Duration = Duration::from_secs(120);

/// When the circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// The failures among the latest attempts that it takes.
    pub(super) failures: u32,
    /// The share of the latest attempts that have to be failures, in percent.
    pub(super) percent: u8,
    /// The first cooldown. Each probe that fails doubles it.
    pub(super) cooldown: Duration,
    /// The longest cooldown.
    pub(super) max_cooldown: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls pass.
    Closed,
    /// No call passes until then.
    Open { until: Instant, cooldown: Duration },
    /// A probe is in flight; no other call passes.
    HalfOpen { since: Instant, cooldown: Duration },
}

/// Why a call was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// The circuit is closed.
    Regular {
        /// When it was admitted.
        sent: Instant,
    },
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
    limits: Limits,
    /// The latest attempts while the circuit was closed: when each ended, and whether it failed.
    latest: VecDeque<(Instant, bool)>,
    state: State,
}

impl Breaker {
    /// A closed circuit.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, latest: VecDeque::with_capacity(WINDOW), state: State::Closed }
    }

    /// Admits or blocks a call. The caller must pass each admission to [`Breaker::end`].
    pub(super) fn admit(&mut self, now: Instant) -> Option<Admission> {
        match self.state {
            State::Closed => Some(Admission::Regular { sent: now }),
            State::Open { until, cooldown } if now >= until => {
                self.state = State::HalfOpen { since: now, cooldown };
                Some(Admission::Probe)
            }
            State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Records how a call ended. A call that began before the circuit opened does not change an open circuit.
    pub(super) fn end(&mut self, admission: Admission, ending: Ending, now: Instant) {
        match (self.state, admission, ending) {
            (State::HalfOpen { .. }, Admission::Probe, Ending::Answered) => self.state = State::Closed,
            (State::HalfOpen { cooldown, .. }, Admission::Probe, Ending::Failed) => {
                self.open(self.longer(cooldown), now);
            }
            // The next call becomes the probe.
            (State::HalfOpen { cooldown, .. }, Admission::Probe, Ending::Abandoned) => {
                self.state = State::Open { until: now, cooldown };
            }
            (State::Closed, _, Ending::Answered) => self.record(false, now),
            (State::Closed, Admission::Regular { sent }, Ending::Failed) => {
                self.record(true, now);
                if self.fails(None) || self.fails(Some(sent)) {
                    self.open(self.limits.cooldown, now);
                }
            }
            _ => {}
        }
    }

    /// Whether calls are blocked: from the opening until a probe is answered.
    pub(super) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// How long a call that comes now is blocked; zero if it would be admitted. While a probe is in flight, its end
    /// is not known. The guess is the shortest cooldown. A probe that has taken longer than that is likely to fail:
    /// then it is the cooldown that follows, or all documents would come back every few seconds to a service that is
    /// silent.
    pub(super) fn blocked_for(&self, now: Instant) -> Duration {
        match self.state {
            State::Closed => Duration::ZERO,
            State::Open { until, .. } => until.saturating_duration_since(now),
            State::HalfOpen { since, .. } if now.saturating_duration_since(since) < self.limits.cooldown => {
                self.limits.cooldown
            }
            State::HalfOpen { cooldown, .. } => self.longer(cooldown),
        }
    }

    /// The cooldown after one whose probe failed.
    fn longer(&self, cooldown: Duration) -> Duration {
        cooldown.saturating_mul(2).min(self.limits.max_cooldown)
    }

    fn open(&mut self, cooldown: Duration, now: Instant) {
        self.state = State::Open { until: now + cooldown, cooldown };
        self.latest.clear();
    }

    fn record(&mut self, failed: bool, now: Instant) {
        self.latest.push_back((now, failed));
        let is_old = |(ended, _): &(Instant, bool)| now.saturating_duration_since(*ended) > MAX_AGE;
        while self.latest.len() > WINDOW || self.latest.front().is_some_and(is_old) {
            self.latest.pop_front();
        }
    }

    /// Whether the latest attempts are enough to open the circuit: all of them, or those that ended since a call was
    /// sent that failed. A call to a service that is silent fails after its timeout. What was answered before it was
    /// sent says nothing of the time since, in which all calls may hold slots for nothing.
    fn fails(&self, since: Option<Instant>) -> bool {
        let looked_at = self.latest.iter().filter(|(ended, _)| since.is_none_or(|since| *ended >= since));
        let (mut attempts, mut failures) = (0, 0);
        for (_, failed) in looked_at {
            attempts += 1;
            failures += usize::from(*failed);
        }
        let wanted = usize::try_from(self.limits.failures).unwrap_or(usize::MAX);
        failures >= wanted && 100 * failures >= usize::from(self.limits.percent) * attempts
    }
}

#[cfg(test)]
mod tests {
    use Admission::Probe;
    use Ending::{Abandoned, Answered, Failed};

    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(5);
    const LIMITS: Limits = Limits { failures: 3, percent: 50, cooldown: COOLDOWN, max_cooldown: COOLDOWN };

    /// A breaker of three failures after one call for each ending, all at one time, until it opens.
    fn after(endings: &[Ending], now: Instant) -> Breaker {
        let mut breaker = Breaker::new(LIMITS);
        for ending in endings {
            let admission = breaker.admit(now).expect("the circuit is closed");
            breaker.end(admission, *ending, now);
        }
        breaker
    }

    #[test]
    fn a_share_of_the_latest_attempts_opens_the_circuit() {
        let half: Vec<_> = [Answered, Failed].repeat(3);
        let third: Vec<_> = [Answered, Answered, Failed].repeat(20);
        let cases: [(&[Ending], bool); 7] = [
            (&[], false),
            (&[Failed, Failed], false),
            (&[Failed, Failed, Failed], true),
            (&[Failed, Failed, Answered, Failed], true),
            (&[Failed, Abandoned, Failed, Abandoned], false),
            (&half, true),
            (&third, false),
        ];
        for (endings, open) in cases {
            assert_eq!(after(endings, Instant::now()).is_open(), open, "{endings:?}");
        }
    }

    #[test]
    fn what_was_long_ago_or_many_attempts_ago_does_not_count() {
        let start = Instant::now();
        let mut breaker = after(&[Failed, Failed], start);
        let later = start + MAX_AGE + Duration::from_secs(1);
        let admission = breaker.admit(later).unwrap();
        breaker.end(admission, Failed, later);
        assert!(!breaker.is_open(), "two failures are too old");
        let mut many = vec![Answered; 100];
        many.extend([Failed; WINDOW / 2]);
        assert!(after(&many, start).is_open(), "half of the latest attempts failed");
        many.pop();
        assert!(!after(&many, start).is_open());
    }

    #[test]
    fn an_open_circuit_blocks_calls_during_its_cooldown_and_admits_one_after_it() {
        let opened = Instant::now();
        let mut breaker = after(&[Failed; 3], opened);
        assert_eq!((breaker.admit(opened), breaker.blocked_for(opened)), (None, COOLDOWN));
        let before = opened + COOLDOWN - Duration::from_millis(1);
        assert_eq!((breaker.admit(before), breaker.blocked_for(before)), (None, Duration::from_millis(1)));
        let due = opened + COOLDOWN;
        assert_eq!((breaker.blocked_for(due), breaker.admit(due)), (Duration::ZERO, Some(Probe)));
        assert_eq!(breaker.admit(opened + 10 * COOLDOWN), None, "a second probe");
        assert_eq!(breaker.blocked_for(due), COOLDOWN, "the probe has not ended");
    }

    #[test]
    fn the_probe_decides() {
        let opened = Instant::now();
        let tried = opened + COOLDOWN;
        let regular = Some(Admission::Regular { sent: tried });
        let cases = [(Answered, false, regular), (Failed, true, None), (Abandoned, true, Some(Probe))];
        for (ending, open, next) in cases {
            let mut breaker = after(&[Failed; 3], opened);
            let probe = breaker.admit(tried).unwrap();
            breaker.end(probe, ending, tried);
            assert_eq!(breaker.is_open(), open, "{ending:?}");
            assert_eq!(breaker.admit(tried), next, "{ending:?}");
        }
    }

    #[test]
    fn each_probe_that_fails_doubles_the_cooldown_up_to_its_limit() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(Limits { failures: 1, max_cooldown: 3 * COOLDOWN, ..LIMITS });
        let first = breaker.admit(now).unwrap();
        breaker.end(first, Failed, now);
        for expected in [1, 2, 3, 3] {
            assert_eq!(breaker.blocked_for(now), expected * COOLDOWN);
            now += expected * COOLDOWN;
            let probe = breaker.admit(now).unwrap();
            breaker.end(probe, Failed, now);
        }
        now += 3 * COOLDOWN;
        let probe = breaker.admit(now).unwrap();
        breaker.end(probe, Answered, now);
        let next = breaker.admit(now).unwrap();
        breaker.end(next, Failed, now);
        assert_eq!(breaker.blocked_for(now), COOLDOWN, "a circuit that was closed begins again");
    }

    #[test]
    fn a_probe_without_an_answer_is_taken_for_one_that_fails() {
        let opened = Instant::now();
        let mut breaker = Breaker::new(Limits { failures: 1, max_cooldown: 3 * COOLDOWN, ..LIMITS });
        let first = breaker.admit(opened).unwrap();
        breaker.end(first, Failed, opened);
        let sent = opened + COOLDOWN;
        breaker.admit(sent).unwrap();
        for (waited, expected) in [(Duration::ZERO, COOLDOWN), (COOLDOWN / 2, COOLDOWN), (COOLDOWN, 2 * COOLDOWN)] {
            assert_eq!(breaker.blocked_for(sent + waited), expected, "{waited:?}");
        }
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

    #[test]
    fn what_was_answered_before_the_failed_calls_were_sent_does_not_hide_that_a_service_is_silent() {
        const TIMEOUT: Duration = Duration::from_secs(30);
        // How many other calls are answered while three calls wait for their timeout, and whether it opens.
        for (answered, open) in [(0, true), (3, true), (4, false)] {
            let sent = Instant::now();
            let mut breaker = after(&[Answered; WINDOW], sent.checked_sub(Duration::from_secs(1)).unwrap());
            let silent = [(); 3].map(|()| breaker.admit(sent).unwrap());
            for _ in 0..answered {
                let other = breaker.admit(sent).unwrap();
                breaker.end(other, Answered, sent + TIMEOUT / 2);
            }
            for call in silent {
                assert!(!breaker.is_open(), "{answered} answered");
                breaker.end(call, Failed, sent + TIMEOUT);
            }
            assert_eq!(breaker.is_open(), open, "{answered} answered");
        }
    }
}
