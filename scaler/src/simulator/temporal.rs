//! What Temporal says of a task queue: its backlog, and the rates at which tasks are added and dispatched.
//!
//! The rates are means of 30 to 35 s: Temporal counts in buckets of 5 s. The answer is cached for a time to live
//! (`matching.TaskQueueInfoByBuildIdTTL`).

/// Seconds of a bucket.
const BUCKET: f64 = 5.0;
/// Buckets, with the one that is being filled.
const BUCKETS: usize = 7;

/// Counts of the last buckets.
#[derive(Debug, Clone, Default)]
struct Counter {
    buckets: [u32; BUCKETS],
    bucket: u64,
}

impl Counter {
    fn advance(&mut self, now: f64) {
        let bucket = (now / BUCKET) as u64;
        for next in self.bucket + 1..=bucket.min(self.bucket + BUCKETS as u64) {
            self.buckets[next as usize % BUCKETS] = 0;
        }
        // After a long pause every bucket is empty, whichever comes next.
        self.bucket = bucket;
    }

    fn count(&mut self, now: f64) {
        self.advance(now);
        self.buckets[self.bucket as usize % BUCKETS] += 1;
    }

    fn rate(&mut self, now: f64) -> f64 {
        self.advance(now);
        let counted: u32 = self.buckets.iter().sum();
        let seconds = (now - self.bucket as f64 * BUCKET + BUCKET * (BUCKETS - 1) as f64).min(now);
        if seconds > 0.0 { f64::from(counted) / seconds } else { 0.0 }
    }
}

/// What Temporal says at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Stats {
    /// Tasks that wait.
    pub(super) backlog: f64,
    /// Tasks added a second.
    pub(super) add_rate: f64,
    /// Tasks dispatched a second.
    pub(super) dispatch_rate: f64,
}

/// The statistics of one task queue.
#[derive(Debug, Clone, Default)]
pub(super) struct TaskQueue {
    added: Counter,
    dispatched: Counter,
    shown: Stats,
    shown_at: Option<f64>,
}

impl TaskQueue {
    pub(super) fn added(&mut self, now: f64) {
        self.added.count(now);
    }

    pub(super) fn dispatched(&mut self, now: f64) {
        self.dispatched.count(now);
    }

    /// The answer to a question, from the cache where that is fresh.
    pub(super) fn describe(&mut self, now: f64, backlog: usize, time_to_live: f64) -> Stats {
        if self.shown_at.is_none_or(|at| now - at >= time_to_live) {
            let (add_rate, dispatch_rate) = (self.added.rate(now), self.dispatched.rate(now));
            self.shown = Stats { backlog: backlog as f64, add_rate, dispatch_rate };
            self.shown_at = Some(now);
        }
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_mean_of_30_to_35_seconds() {
        let mut queue = TaskQueue::default();
        for tenth in 0..1000 {
            queue.added(f64::from(tenth) / 10.0);
        }
        let rate = queue.describe(100.0, 0, 0.0).add_rate;
        assert!((rate - 10.0).abs() < 0.1, "{rate}");
        let rate = queue.describe(115.0, 0, 0.0).add_rate;
        assert!((rate - 5.0).abs() < 0.1, "15 s without tasks: {rate}");
        assert_eq!(queue.describe(1e6, 0, 0.0).add_rate, 0.0);
    }

    #[test]
    fn an_answer_is_cached() {
        let mut queue = TaskQueue::default();
        assert_eq!(queue.describe(0.0, 3, 5.0).backlog, 3.0);
        assert_eq!(queue.describe(4.9, 8, 5.0).backlog, 3.0);
        assert_eq!(queue.describe(5.0, 8, 5.0).backlog, 8.0);
    }
}
