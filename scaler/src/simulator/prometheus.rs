//! Prometheus between the workers and the HPA: what was scraped, when, and the PromQL that the ScaledObject had before
//! there was a scaler.

use std::collections::VecDeque;

/// Seconds that are kept: a minute of means of 30 s, 3 s ago, and the longest scrape interval.
const KEPT: f64 = 130.0;

/// What was scraped of one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Scraped {
    pub(super) used: f64,
    pub(super) free: f64,
    pub(super) depth: f64,
}

impl Scraped {
    fn work(&self) -> f64 {
        self.used + self.depth
    }
}

/// The series of one queue.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    scrapes: VecDeque<(f64, Scraped)>,
}

impl Series {
    pub(super) fn push(&mut self, at: f64, scraped: Scraped) {
        self.scrapes.push_back((at, scraped));
        while self.scrapes.front().is_some_and(|(oldest, _)| at - oldest > KEPT) {
            self.scrapes.pop_front();
        }
    }

    /// The latest scrape at a time.
    pub(super) fn at(&self, at: f64) -> Option<Scraped> {
        let index = self.scrapes.partition_point(|(scraped, _)| *scraped <= at);
        index.checked_sub(1).map(|index| self.scrapes[index].1)
    }

    /// Mean of the work over the 30 s that end at a time, second by second.
    fn mean(&self, end: f64) -> Option<f64> {
        let values = (0..30).filter_map(|second| self.at(end - f64::from(second)));
        let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value.work(), count + 1.0));
        (count > 0.0).then(|| sum / count)
    }

    /// The demand trigger of decisions 1 to 3: the mean of 30 s, or the work at this moment if it is beyond chance.
    pub(super) fn demand(&self, now: f64, utilization: f64) -> Option<f64> {
        let latest = self.at(now)?;
        let mean = self.mean(now)?;
        let slots = utilization * (latest.used + latest.free);
        let highest = (0..=12).filter_map(|step| self.mean(now - 3.0 - 5.0 * f64::from(step))).reduce(f64::max);
        let usual = highest.map_or(slots, |highest| highest.min(slots));
        let this_moment = if latest.depth >= latest.free {
            latest.work()
        } else {
            let lowest = (0..3).filter_map(|second| self.at(now - f64::from(second))).map(|value| value.work());
            0.9 * lowest.reduce(f64::min)?
        };
        Some(if this_moment > usual + 3.0 * usual.sqrt() { mean.max(this_moment) } else { mean })
    }
}

/// The depth trigger: 0 below the first bound, 1 up to the second, and from 1.2 to 2 above it.
pub(super) fn depth(depth: f64, (low, high): (f64, f64)) -> f64 {
    let keep = if depth >= low { 1.0 } else { 0.0 };
    keep + if depth > high { (depth / high - 1.0).clamp(0.2, 1.0) } else { 0.0 }
}
