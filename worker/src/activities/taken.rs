//! How many activities the SDK's worker of a queue has taken.
//!
//! temporalio-sdk 1.1.1 keeps the token of every activity that it ever ran, and lets go of them with its worker only: some
//! 0.3 kB each, for ever. So that memory stays flat, [`crate::lifecycle`] makes that worker anew after so many.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// A count that can be waited for.
#[derive(Debug, Clone)]
pub struct Taken {
    count: Arc<AtomicU64>,
    full: Arc<Notify>,
    limit: u64,
}

impl Taken {
    /// None yet, of so many.
    pub fn up_to(limit: u64) -> Self {
        Self {
            count: Arc::default(),
            full: Arc::default(),
            limit,
        }
    }

    /// Counts one.
    pub(super) fn note(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 >= self.limit {
            self.full.notify_one();
        }
    }

    /// Whether there were so many.
    pub fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= self.limit
    }

    /// Waits until there are so many.
    pub async fn full(&self) {
        while !self.is_full() {
            self.full.notified().await;
        }
    }

    /// Begins again.
    pub fn begin_again(&self) {
        self.count.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_count_is_waited_for_and_begins_again() {
        let taken = Taken::up_to(2);
        taken.note();
        assert!(taken.full().now_or_never().is_none());
        taken.note();
        taken.full().await;
        taken.begin_again();
        // The notice of the first round may still be there: it is the count that decides.
        assert!(taken.full().now_or_never().is_none());
    }
}
