//! The two waits of the tests: until something becomes true, and while something stays true. Nothing else here sleeps.
//!
//! A probe answers ready, not yet and why, or failed. What could not be read is never taken for an observation.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout_at};

/// How often a probe is asked: often enough that waiting adds little to a test, seldom enough to leave the cores to the worker.
const POLL: Duration = Duration::from_millis(100);

/// What a probe found.
#[derive(Debug)]
pub(crate) enum Probe<T> {
    /// The condition holds, and this was read.
    Ready(T),
    /// It does not hold, because of this.
    NotYet(String),
    /// Whether it holds cannot be said, and waiting will not change that.
    Failed(anyhow::Error),
}

impl<T> From<Result<T>> for Probe<T> {
    /// What could be read is ready; what could not is tried again.
    fn from(read: Result<T>) -> Self {
        read.map_or_else(|error| Self::NotYet(format!("{error:#}")), Self::Ready)
    }
}

/// A condition as a probe: ready where it holds, else not yet, because of `why`.
pub(crate) fn when(holds: bool, why: impl FnOnce() -> String) -> Probe<()> {
    if holds {
        Probe::Ready(())
    } else {
        Probe::NotYet(why())
    }
}

/// Asks until the probe is ready, for at most `deadline`; a probe that hangs is cut off there, too.
///
/// # Errors
/// The deadline passed: the error carries the last reason. Or the probe failed.
pub(crate) async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Probe<T>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut ticks = ticks(POLL);
    let mut why = "the first answer did not come".to_owned();
    loop {
        let asked = timeout_at(end, async {
            ticks.tick().await;
            probe().await
        });
        match asked.await {
            Ok(Probe::Ready(value)) => return Ok(value),
            Ok(Probe::NotYet(reason)) => why = reason,
            Ok(Probe::Failed(error)) => return Err(error).with_context(|| format!("cannot observe: {what}")),
            Err(_) => bail!("{what}: not within {deadline:?}; last seen: {why}"),
        }
    }
}

/// Asks for the whole of `window`; every answer must be ready.
///
/// # Errors
/// The first answer that is not, with its reason.
pub(crate) async fn consistently<T>(
    what: &str,
    window: Duration,
    mut probe: impl AsyncFnMut() -> Probe<T>,
) -> Result<()> {
    let start = Instant::now();
    let mut ticks = ticks(POLL);
    while start.elapsed() < window {
        ticks.tick().await;
        match probe().await {
            Probe::Ready(_) => {}
            Probe::NotYet(why) => bail!("{what}: broken after {:?} of {window:?}: {why}", start.elapsed()),
            Probe::Failed(error) => return Err(error).with_context(|| format!("cannot observe: {what}")),
        }
    }
    Ok(())
}

/// A clock that does not catch up: a slow probe is asked less often, not more.
pub(crate) fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
