//! Counts the activities that a queue's SDK worker has started, up to a limit.
//!
//! temporalio-sdk 1.1.1 keeps the cancellation token of every activity, some 0.3 kB each, until its worker is
//! dropped. To keep memory flat, [`crate::lifecycle`] recreates the worker when the limit is reached.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// A counter of activities with a limit that a task can wait for.
#[derive(Debug, Clone)]
pub struct ActivityLimit {
    count: Arc<AtomicU64>,
    reached: Arc<Notify>,
    running: TaskTracker,
    limit: u64,
}

impl ActivityLimit {
    /// A counter at 0, with this limit.
    pub fn of(limit: u64) -> Self {
        Self { count: Arc::default(), reached: Arc::default(), running: TaskTracker::new(), limit }
    }

    /// Counts one activity, which runs until the token is dropped.
    pub(super) fn count_one(&self) -> TaskTrackerToken {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 >= self.limit {
            self.reached.notify_one();
        }
        self.running.token()
    }

    /// Waits until no activity runs. Only for a worker that starts no more.
    pub async fn idle(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Whether the count has reached the limit.
    pub fn is_reached(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= self.limit
    }

    /// Waits until the count reaches the limit.
    pub async fn reached(&self) {
        while !self.is_reached() {
            self.reached.notified().await;
        }
    }

    /// Sets the count back to 0.
    pub fn reset(&self) {
        self.count.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_limit_can_be_waited_for_and_the_count_reset() {
        let limit = ActivityLimit::of(2);
        drop(limit.count_one());
        assert!(limit.reached().now_or_never().is_none());
        drop(limit.count_one());
        limit.reached().await;
        limit.reset();
        // A notification of the first round may still be pending; only the count decides.
        assert!(limit.reached().now_or_never().is_none());
    }
}
