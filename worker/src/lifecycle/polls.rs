//! Readiness of a worker that has polled: it follows the polls. A worker whose client certificate has expired, or whose
//! access was withdrawn, is not ready, because it takes no work.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::{
    health::{Health, Phase},
    metrics::{Metrics, PollCounts, Queue},
};

/// Interval of the checks.
const CHECK: Duration = Duration::from_secs(1);

/// Polls fail once failures without an answer are this far apart. Temporal closes each connection at some age, which
/// fails a poll or two at once.
const LASTING: Duration = Duration::from_secs(10);

/// A poll that has not failed for so long is open, and Temporal holds it until there is a task. The SDK repeats a poll
/// after at most 12 s, and a connection takes 5 s.
const OPEN: Duration = Duration::from_secs(20);

/// Keeps the readiness and the metric up to date until the process exits.
pub(super) async fn follow(metrics: Metrics, health: Health, queues: [Queue; 3]) {
    let mut checks = interval(CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut polls = queues.map(|queue| (queue, Polls::default()));
    let mut ready = true;
    loop {
        checks.tick().await;
        let mut failing = Vec::new();
        for (queue, polls) in &mut polls {
            let fail = polls.observe(metrics.sdk().poll_counts(&queue.name), Instant::now());
            metrics.set_polls_failing(queue, fail);
            if fail {
                failing.push(queue.name.as_str());
            }
        }
        let failing = failing.join(",");
        match (ready, failing.is_empty()) {
            (true, false) => warn!(queues = failing, "not ready: the polls fail"),
            (false, true) => info!("ready: the polls work again"),
            _ => {}
        }
        ready = failing.is_empty();
        health.enter(match ready {
            true => Phase::Ready,
            false => Phase::Waiting(format!("the polls of {failing} fail")),
        });
    }
}

/// The polls of one queue.
#[derive(Debug, Default)]
struct Polls {
    counts: PollCounts,
    /// Times of the first and the last failure since the last answer.
    failures: Option<(Instant, Instant)>,
}

impl Polls {
    /// Takes the counts of polls that have ended. Returns whether the polls fail.
    fn observe(&mut self, counts: PollCounts, now: Instant) -> bool {
        let failed = counts.failed > self.counts.failed;
        let answered = counts.answered > self.counts.answered;
        // A failure that was counted between two reads must not look like an answer in the next.
        self.counts = PollCounts { answered: counts.answered.max(self.counts.answered), ..counts };
        self.failures = match self.failures {
            _ if answered => None,
            Some((first, _)) if failed => Some((first, now)),
            None if failed => Some((now, now)),
            Some((_, last)) if now.duration_since(last) > OPEN => None,
            unchanged => unchanged,
        };
        self.failures.is_some_and(|(first, last)| last.duration_since(first) >= LASTING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_fail_after_lasting_failures_until_an_answer_or_an_open_poll() {
        /// Seconds since the step before, failures and answers since then, and whether the polls fail.
        type Step = (u64, u64, u64, bool);
        let cases: [(&str, &[Step]); 6] = [
            ("no poll has ended", &[(1, 0, 0, false), (60, 0, 0, false)]),
            ("a connection was closed", &[(1, 2, 0, false), (9, 0, 0, false), (30, 0, 0, false)]),
            ("failures go on", &[(1, 1, 0, false), (5, 1, 0, false), (5, 1, 0, true), (12, 1, 0, true)]),
            ("a poll was answered", &[(1, 1, 0, false), (11, 1, 0, true), (1, 0, 1, false), (1, 1, 0, false)]),
            ("a poll stays open", &[(1, 1, 0, false), (11, 1, 0, true), (20, 0, 0, true), (1, 0, 0, false)]),
            ("some are answered", &[(1, 1, 1, false), (11, 1, 1, false), (11, 1, 1, false)]),
        ];
        for (what, steps) in cases {
            let (mut polls, mut counts, mut now) = (Polls::default(), PollCounts::default(), Instant::now());
            for (number, (seconds, failed, answered, fail)) in steps.iter().enumerate() {
                now += Duration::from_secs(*seconds);
                counts = PollCounts { failed: counts.failed + failed, answered: counts.answered + answered };
                assert_eq!(polls.observe(counts, now), *fail, "{what}: step {number}");
            }
        }
    }
}
