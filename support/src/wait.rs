//! The two waits: until a condition becomes true, and while a condition stays true. Nothing else sleeps.
//!
//! A probe answers [`Probe::Ready`], [`Probe::NotYet`] with the reason, or [`Probe::Failed`]. An answer that could not
//! be read is never mistaken for an observation. The async waits need the feature `async`; [`blocking`] does not.

#[cfg(feature = "async")]
mod asynchronous;
pub mod blocking;

use std::time::Duration;

use thiserror::Error;

#[cfg(feature = "async")]
pub use asynchronous::{Every, consistently, eventually, ticks};

/// The default polling interval. It is a sixtieth of the HPA's period: it adds nothing to a figure that is worth
/// reporting, and costs an API server on two cores little.
pub const POLL: Duration = Duration::from_millis(250);

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

impl<T> From<anyhow::Result<T>> for Probe<T> {
    /// A value is ready. An error is a reason to try again: use it for a read that may fail for a while.
    fn from(read: anyhow::Result<T>) -> Self {
        read.map_or_else(|error| Self::NotYet(format!("{error:#}")), Self::Ready)
    }
}

/// A condition as a probe: ready if it holds, else not yet with the reason that `why` returns.
pub fn when(holds: bool, why: impl FnOnce() -> String) -> Probe<()> {
    if holds { Probe::Ready(()) } else { Probe::NotYet(why()) }
}

/// Why a wait failed.
#[derive(Debug, Error)]
pub enum WaitError {
    /// `eventually` reached its deadline.
    #[error("{what}: not within {deadline:.0?}; last seen: {why}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The timeout.
        deadline: Duration,
        /// What the last probe said.
        why: String,
    },
    /// `consistently` saw the condition broken.
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
    #[error("{what}: cannot be observed: {cause:#}")]
    Failed {
        /// What was waited for.
        what: String,
        /// Why it could not be observed. It is part of the message, and so not the error's source too.
        cause: anyhow::Error,
    },
}

/// One `eventually` in progress. It holds what both forms of the wait have in common, and neither asks nor sleeps.
struct Wait<'a> {
    what: &'a str,
    deadline: Duration,
    /// What the last probe said.
    why: String,
}

impl<'a> Wait<'a> {
    fn new(what: &'a str, deadline: Duration) -> Self {
        let why = "nothing yet: the first answer did not come".to_owned();
        Self { what, deadline, why }
    }

    /// Takes a probe's answer. Returns the wait's result if the answer ends it, else keeps the reason.
    fn take<T>(&mut self, answer: Probe<T>) -> Option<Result<T, WaitError>> {
        match answer {
            Probe::Ready(value) => Some(Ok(value)),
            Probe::NotYet(why) => {
                self.why = why;
                None
            }
            Probe::Failed(cause) => Some(Err(failed(self.what, cause))),
        }
    }

    fn timed_out(self) -> WaitError {
        WaitError::TimedOut { what: self.what.to_owned(), deadline: self.deadline, why: self.why }
    }
}

fn failed(what: &str, cause: anyhow::Error) -> WaitError {
    WaitError::Failed { what: what.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_that_failed_is_tried_again() {
        let answer: Probe<u8> = Err(anyhow::anyhow!("refused").context("connect")).into();
        assert!(matches!(answer, Probe::NotYet(why) if why == "connect: refused"));
        assert!(matches!(Ok(7).into(), Probe::Ready(7)));
    }
}
