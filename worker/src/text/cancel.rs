//! Cancellation of an extraction. A thread cannot be stopped from outside, so the extraction checks a flag at every
//! page, block and cut.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The flag, shared by the caller and the thread that extracts.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// The extraction was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the extraction was cancelled")]
pub struct Cancelled;

impl Cancel {
    /// Requests that the extraction stops at its next check.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns a guard that cancels when it is dropped, for example with the future that waits.
    #[must_use = "a guard that is dropped at once cancels at once"]
    pub fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    /// Whether the extraction may continue. Costs one load of a flag.
    ///
    /// # Errors
    /// The extraction was cancelled.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.0.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) }
    }
}

/// Cancels when dropped, which has no effect after the extraction.
#[derive(Debug)]
pub struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_guard_cancels_every_clone() {
        let cancel = Cancel::default();
        let guard = cancel.on_drop();
        let other = cancel.clone();
        assert_eq!((cancel.check(), other.check()), (Ok(()), Ok(())));
        drop(guard);
        assert_eq!((cancel.check(), other.check()), (Err(Cancelled), Err(Cancelled)));
    }
}
