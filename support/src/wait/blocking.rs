//! The wait for threads: the same probe, deadline and error text as the async one. The only place that sleeps a thread.

use std::time::{Duration, Instant};

use super::{POLL, Probe, Wait};
use crate::{interrupt, progress};

/// Asks `probe` until it is ready, for at most `deadline`, and at least once. An error of the probe ends the wait.
///
/// A probe that hangs is not cut off. The running step shows what is waited for.
///
/// # Errors
/// The probe's own error, [`interrupt::Interrupted`] after Ctrl-C, else a [`WaitError`](super::WaitError): a timeout
/// with the last reason, or [`Probe::Failed`].
pub fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> anyhow::Result<Probe<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    let mut wait = Wait::new(what, deadline);
    loop {
        interrupt::check()?;
        if let Some(end) = wait.take(probe()?) {
            return Ok(end?);
        }
        if start.elapsed() >= deadline {
            return Err(wait.timed_out().into());
        }
        progress::waiting_for(&format!("{what}: {}", wait.why));
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the pause of the one blocking wait")]
fn pause() {
    std::thread::sleep(POLL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_carries_the_last_reason() {
        let error =
            eventually("paint is dry", Duration::ZERO, || Ok(Probe::<()>::NotYet("still wet".into()))).unwrap_err();
        assert_eq!(error.to_string(), "paint is dry: not within 0ns; last seen: still wet");
    }

    #[test]
    fn ready_ends_the_wait() {
        assert_eq!(eventually("seven", Duration::ZERO, || Ok(Probe::Ready(7))).unwrap(), 7);
    }

    #[test]
    fn failed_probe_ends_the_wait() {
        let ended = eventually("paint is dry", Duration::MAX, || Ok(Probe::<()>::Failed(anyhow::anyhow!("no wall"))));
        assert_eq!(ended.unwrap_err().to_string(), "paint is dry: cannot be observed: no wall");
        let ended =
            eventually("paint is dry", Duration::MAX, || -> anyhow::Result<Probe<()>> { anyhow::bail!("no wall") });
        assert_eq!(ended.unwrap_err().to_string(), "no wall");
    }
}
