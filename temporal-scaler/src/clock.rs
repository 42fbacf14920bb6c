//! Notices a wall clock that jumps and a process that stood still. Neither harms the decision, which uses a clock that
//! never goes back; both explain what else looks odd.

use std::time::{Duration, Instant, SystemTime};

use crate::conditions::{Condition, Kind};

/// The difference between the clocks that is a jump. Time servers correct less than that smoothly.
const JUMP: f64 = 2.0;
/// The time between two rounds after which the process stood still. A round takes at most some 8 s.
const STOOD_STILL: Duration = Duration::from_secs(15);
/// How long the condition lasts, so that it is seen.
const SHOWN: Duration = Duration::from_secs(60);

/// The clocks at the last round.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    last: Option<(Instant, SystemTime)>,
    reported: Option<(Instant, String)>,
}

impl Clocks {
    /// Compares the clocks at a round with those at the last one.
    pub(crate) fn check(&mut self, now: Instant, wall: SystemTime) -> Option<Condition> {
        let last = self.last.replace((now, wall));
        if let Some(text) = last.and_then(|(then, wall_then)| what_happened(now.duration_since(then), wall_then, wall))
        {
            self.reported = Some((now, text));
        }
        let shown = self.reported.as_ref().filter(|(since, _)| now.duration_since(*since) < SHOWN);
        shown.map(|(_, text)| Condition::new(Kind::Clock, text.clone()))
    }
}

fn what_happened(passed: Duration, from: SystemTime, to: SystemTime) -> Option<String> {
    let by_wall = match to.duration_since(from) {
        Ok(forth) => forth.as_secs_f64(),
        Err(back) => -back.duration().as_secs_f64(),
    };
    let jump = by_wall - passed.as_secs_f64();
    if jump.abs() > JUMP {
        return Some(format!("the wall clock jumped by {jump:+.1} s; the decision does not use it"));
    }
    (passed > STOOD_STILL)
        .then(|| format!("no reading for {:.0} s: this process stood still, or lacks CPU time", passed.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_jump_is_shown_for_a_minute_and_a_steady_clock_is_not() {
        let (mut clocks, start, wall) = (Clocks::default(), Instant::now(), SystemTime::UNIX_EPOCH + SECOND * 10_000);
        assert_eq!(clocks.check(start, wall), None);
        assert_eq!(clocks.check(start + SECOND, wall + SECOND), None);
        let back = clocks.check(start + 2 * SECOND, wall - 3598 * SECOND).unwrap();
        assert_eq!(back.text, "the wall clock jumped by -3600.0 s; the decision does not use it");
        assert_eq!(clocks.check(start + 3 * SECOND, wall - 3597 * SECOND), Some(back));
        for second in 4..62 {
            clocks.check(start + second * SECOND, wall - 3600 * SECOND + second * SECOND);
        }
        assert_eq!(clocks.check(start + 62 * SECOND, wall - 3538 * SECOND), None);
        let forth = clocks.check(start + 63 * SECOND, wall).unwrap();
        assert!(forth.text.contains("+3537.0 s"), "{}", forth.text);
    }

    #[test]
    fn a_process_that_stood_still_says_so() {
        let mut clocks = Clocks::default();
        let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        clocks.check(start, wall);
        let found = clocks.check(start + 40 * SECOND, wall + 40 * SECOND).unwrap();
        assert!(found.text.starts_with("no reading for 40 s"), "{}", found.text);
    }
}
