//! Stopping an extraction that nobody waits for any more. A thread cannot be stopped from outside, so the extraction asks at
//! every page, block and cut whether it shall go on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Shared between who waits for an extraction and the thread that carries it out.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// The extraction was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the extraction was cancelled")]
pub struct Cancelled;

impl Cancel {
    /// Tells the extraction to stop at the next place where it asks.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Cancels when the guard is dropped, as it is with the future that waits.
    #[must_use = "a guard that is dropped at once cancels at once"]
    pub fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    /// Whether the extraction may go on. Costs one load of a flag.
    ///
    /// # Errors
    /// It was cancelled.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.0.load(Ordering::Relaxed) {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }
}

/// Cancels when dropped. After the extraction is done, that has no effect.
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
