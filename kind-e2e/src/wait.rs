//! The two waits of this crate: until something becomes true, and while something stays true.
//!
//! A probe answers [`Probe::Ready`], [`Probe::NotYet`] with the reason, or [`Probe::Failed`]: an
//! answer that could not be read is never mistaken for an observation. Nothing else here sleeps.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// How often a probe is asked. A quarter of a second is a sixtieth of the HPA's period: waiting adds
/// nothing to a figure that is worth reporting, and asks little of an API server on two cores.
const POLL: Duration = Duration::from_millis(250);

/// What a probe found.
#[derive(Debug)]
pub enum Probe<T> {
    /// The condition holds.
    Ready(T),
    /// The condition does not hold, and this is why.
    NotYet(String),
    /// Whether the condition holds cannot be said, and waiting will not change that.
    Failed(anyhow::Error),
}

/// How a wait ended when it did not end well.
#[derive(Debug, Error)]
pub enum WaitError {
    /// [`eventually`] reached its deadline.
    #[error("{what}: not within {deadline:.0?}; last seen: {why}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The bound that passed.
        deadline: Duration,
        /// What the last probe said.
        why: String,
    },
    /// [`consistently`] saw the condition broken.
    #[error("{what}: broken after {after:.1?} of {window:.0?}: {why}")]
    Broken {
        /// What had to hold.
        what: String,
        /// The time for which it held.
        after: Duration,
        /// The time for which it had to hold.
        window: Duration,
        /// What the probe saw instead.
        why: String,
    },
    /// The probe could not observe.
    #[error("{what}: cannot be observed: {source:#}")]
    Failed {
        /// What was waited for.
        what: String,
        /// Why it could not be observed.
        source: anyhow::Error,
    },
}

/// Asks `probe` until it is ready, for at most `deadline`.
///
/// A probe that hangs is cut off at the deadline, too.
///
/// # Errors
/// [`WaitError::TimedOut`] with the last reason, [`WaitError::Failed`] as soon as a probe fails.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Probe<T>,
) -> Result<T, WaitError> {
    let end = Instant::now() + deadline;
    let mut tick = ticker();
    let mut why = "nothing yet: the first answer did not come".to_owned();
    loop {
        let Ok(answer) = timeout_at(end, async {
            tick.tick().await;
            probe().await
        })
        .await
        else {
            return Err(WaitError::TimedOut {
                what: what.to_owned(),
                deadline,
                why,
            });
        };
        match answer {
            Probe::Ready(value) => return Ok(value),
            Probe::NotYet(reason) => why = reason,
            Probe::Failed(source) => {
                return Err(WaitError::Failed {
                    what: what.to_owned(),
                    source,
                });
            }
        }
    }
}

/// Asks `probe` again and again for the whole of `window`; every answer must be ready.
///
/// # Errors
/// [`WaitError::Broken`] at the first answer that is not, [`WaitError::Failed`] as soon as a probe
/// fails: a state that was not seen was not held.
pub async fn consistently<T>(
    what: &str,
    window: Duration,
    mut probe: impl AsyncFnMut() -> Probe<T>,
) -> Result<(), WaitError> {
    let start = Instant::now();
    let mut tick = ticker();
    while start.elapsed() < window {
        tick.tick().await;
        match probe().await {
            Probe::Ready(_) => {}
            Probe::NotYet(why) => {
                let after = start.elapsed();
                return Err(WaitError::Broken {
                    what: what.to_owned(),
                    after,
                    window,
                    why,
                });
            }
            Probe::Failed(source) => {
                return Err(WaitError::Failed {
                    what: what.to_owned(),
                    source,
                });
            }
        }
    }
    Ok(())
}

/// A clock that does not try to catch up: a slow probe is asked less often, not more.
fn ticker() -> tokio::time::Interval {
    let mut tick = interval(POLL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ready_ends_the_wait_with_the_value() {
        let mut asked = 0;
        let found = eventually("three", Duration::from_secs(10), async || {
            asked += 1;
            if asked == 3 {
                Probe::Ready(asked)
            } else {
                Probe::NotYet(format!("only {asked}"))
            }
        })
        .await;
        assert_eq!(found.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_prints_the_last_reason() {
        let error = eventually("4 replicas", Duration::from_secs(2), async || {
            Probe::<()>::NotYet("3 of 4".to_owned())
        })
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "4 replicas: not within 2s; last seen: 3 of 4");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_cut_off() {
        let error = eventually("an answer", Duration::from_secs(2), async || {
            std::future::pending::<Probe<()>>().await
        })
        .await
        .unwrap_err();
        assert!(
            error.to_string().contains("the first answer did not come"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_ends_both_waits() {
        let fails = async || Probe::<()>::Failed(anyhow::anyhow!("connection refused"));
        let error = eventually("replicas", Duration::from_secs(2), fails)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "replicas: cannot be observed: connection refused"
        );
        let error = consistently("replicas", Duration::from_secs(2), fails)
            .await
            .unwrap_err();
        assert!(matches!(error, WaitError::Failed { .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn consistently_asks_to_the_end() {
        let start = Instant::now();
        consistently("3 replicas", Duration::from_secs(60), async || Probe::Ready(3))
            .await
            .unwrap();
        assert!(start.elapsed() >= Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn consistently_says_when_and_why_it_broke() {
        let start = Instant::now();
        let error = consistently("3 replicas", Duration::from_secs(60), async || {
            if start.elapsed() < Duration::from_secs(5) {
                Probe::Ready(())
            } else {
                Probe::NotYet("4 wanted".to_owned())
            }
        })
        .await
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 replicas: broken after 5.0s of 60s: 4 wanted"
        );
    }
}
