//! Waiting for a condition, with a deadline and a reason. The only place in this crate that sleeps.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{interrupt, progress};

/// How often a probe is asked.
const TICK: Duration = Duration::from_millis(250);

/// What one look at a condition found.
#[derive(Debug)]
pub enum Probe<T> {
    /// It holds, and this is what was read.
    Ready(T),
    /// It does not hold yet, because of this.
    NotYet(String),
}

/// Asks `probe` until it is ready; its errors end the wait at once.
///
/// # Errors
/// The probe's own error, an interrupt, or a time-out that carries the last reason.
pub fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<Probe<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        interrupt::check()?;
        let why = match probe()? {
            Probe::Ready(value) => return Ok(value),
            Probe::NotYet(why) => why,
        };
        if start.elapsed() >= deadline {
            bail!("{what}: not after {}s: {why}", deadline.as_secs());
        }
        progress::waiting_for(&format!("{what}: {why}"));
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the tick of the one wait loop")]
fn pause() {
    std::thread::sleep(TICK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_out_carries_the_last_reason() {
        let error = eventually("paint", Duration::ZERO, || {
            Ok(Probe::<()>::NotYet("still wet".into()))
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "paint: not after 0s: still wet");
    }

    #[test]
    fn ready_ends_the_wait() {
        assert_eq!(
            eventually("seven", Duration::ZERO, || Ok(Probe::Ready(7))).unwrap(),
            7
        );
    }
}
