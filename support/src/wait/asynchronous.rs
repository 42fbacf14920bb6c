//! The waits for tasks, on tokio's clock.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout_at};

use super::{POLL, Probe, Wait, WaitError, failed};

/// Asks `probe` until it is ready, for at most `deadline`. A probe that hangs is cut off at the deadline, too.
///
/// # Errors
/// [`WaitError::TimedOut`] with the last reason, [`WaitError::Failed`] as soon as a probe fails.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    probe: impl AsyncFnMut() -> Probe<T>,
) -> Result<T, WaitError> {
    Every(POLL).eventually(what, deadline, probe).await
}

/// Asks `probe` again and again for the whole of `window`; every answer must be ready.
///
/// # Errors
/// [`WaitError::Broken`] at the first answer that is not. [`WaitError::Failed`] as soon as a probe fails: a state that
/// was not seen was not held.
pub async fn consistently<T>(
    what: &str,
    window: Duration,
    probe: impl AsyncFnMut() -> Probe<T>,
) -> Result<(), WaitError> {
    Every(POLL).consistently(what, window, probe).await
}

/// The waits with another polling interval than [`POLL`].
#[derive(Debug, Clone, Copy)]
pub struct Every(pub Duration);

impl Every {
    /// As [`eventually`].
    ///
    /// # Errors
    /// As [`eventually`].
    pub async fn eventually<T>(
        self,
        what: &str,
        deadline: Duration,
        mut probe: impl AsyncFnMut() -> Probe<T>,
    ) -> Result<T, WaitError> {
        let end = Instant::now() + deadline;
        let mut ticks = ticks(self.0);
        let mut wait = Wait::new(what, deadline);
        loop {
            let asked = timeout_at(end, async {
                ticks.tick().await;
                probe().await
            });
            let Ok(answer) = asked.await else {
                return Err(wait.timed_out());
            };
            if let Some(end) = wait.take(answer) {
                return end;
            }
        }
    }

    /// As [`consistently`].
    ///
    /// # Errors
    /// As [`consistently`].
    pub async fn consistently<T>(
        self,
        what: &str,
        window: Duration,
        mut probe: impl AsyncFnMut() -> Probe<T>,
    ) -> Result<(), WaitError> {
        let start = Instant::now();
        let mut ticks = ticks(self.0);
        while start.elapsed() < window {
            ticks.tick().await;
            match probe().await {
                Probe::Ready(_) => {}
                Probe::NotYet(why) => {
                    return Err(WaitError::Broken { what: what.to_owned(), after: start.elapsed(), window, why });
                }
                Probe::Failed(cause) => return Err(failed(what, cause)),
            }
        }
        Ok(())
    }
}

/// A clock that does not try to catch up: a slow probe is asked less often, not more.
pub fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ready_ends_the_wait_with_the_value() {
        let mut asked = 0;
        let found = eventually("three", Duration::from_secs(10), async || {
            asked += 1;
            if asked == 3 { Probe::Ready(asked) } else { Probe::NotYet(format!("only {asked}")) }
        })
        .await;
        assert_eq!(found.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_prints_the_last_reason() {
        let error = eventually("4 replicas", Duration::from_secs(2), async || Probe::<()>::NotYet("3 of 4".to_owned()))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "4 replicas: not within 2s; last seen: 3 of 4");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_cut_off() {
        let error = eventually("an answer", Duration::from_secs(2), async || std::future::pending::<Probe<()>>().await)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("the first answer did not come"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_ends_both_waits() {
        let fails = async || Probe::<()>::Failed(anyhow::anyhow!("connection refused"));
        let error = eventually("replicas", Duration::from_secs(2), fails).await.unwrap_err();
        assert_eq!(error.to_string(), "replicas: cannot be observed: connection refused");
        let error = consistently("replicas", Duration::from_secs(2), fails).await.unwrap_err();
        assert!(matches!(error, WaitError::Failed { .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn consistently_asks_to_the_end() {
        let start = Instant::now();
        consistently("3 replicas", Duration::from_secs(60), async || Probe::Ready(3)).await.unwrap();
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
        assert_eq!(error.to_string(), "3 replicas: broken after 5.0s of 60s: 4 wanted");
    }
}
