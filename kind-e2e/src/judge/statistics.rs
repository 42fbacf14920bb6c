//! Percentiles of latency, and how many late documents a percentile allows. Pure.
//!
//! A document that was never stored is later than any bound: its latency is infinite.

use serde::{Deserialize, Serialize};

use crate::load::Start;

/// A percentile of 99 says nothing about fewer documents than these: a hundredth of them is less than one.
pub const FEWEST: usize = 100;
/// The share of documents that a p99 leaves above its bound.
pub const ABOVE_P99: f64 = 0.01;
/// A bound on a percentile holds while so many late documents are no more than chance, with this confidence.
const CONFIDENCE: f64 = 0.95;

/// Percentiles of latency in seconds; none where the document at that rank was never stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Documents that were due.
    pub count: usize,
    /// Of them never stored.
    pub lost: usize,
    /// Half of them were at most this slow.
    pub p50: Option<f64>,
    /// Nine of ten.
    pub p90: Option<f64>,
    /// Ninety-nine of a hundred.
    pub p99: Option<f64>,
    /// All of them.
    pub max: Option<f64>,
}

/// The percentiles of these starts; none where there is no start.
pub fn latency<'a>(starts: impl IntoIterator<Item = &'a Start>) -> Option<Latency> {
    let mut seconds: Vec<f64> = starts.into_iter().map(|start| start.latency().unwrap_or(f64::INFINITY)).collect();
    seconds.sort_by(f64::total_cmp);
    let rank = |percent: f64| {
        // Nearest rank: a latency that a document really had.
        let rank = (percent / 100.0 * seconds.len() as f64).ceil() as usize;
        Some(seconds[rank.clamp(1, seconds.len()) - 1]).filter(|seconds| seconds.is_finite())
    };
    (!seconds.is_empty()).then(|| Latency {
        count: seconds.len(),
        lost: seconds.iter().filter(|seconds| seconds.is_infinite()).count(),
        p50: rank(50.0),
        p90: rank(90.0),
        p99: rank(99.0),
        max: rank(100.0),
    })
}

/// Seconds with two digits, or that the document never came.
pub fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.2} s"))
}

/// How many of `count` documents may be late where a share of `late` is allowed.
///
/// The number late is binomial. This is the smallest `k` such that at most `k` are late with a probability of 95 %, if
/// each is late with probability `late`. So a product at its limit fails once in twenty runs. One with three times as
/// many late documents fails in 67 % of runs of 188 documents, and in 93 % of runs of 500.
pub fn allowed(count: usize, late: f64) -> usize {
    let mut probability = (1.0 - late).powf(count as f64);
    let mut sum = probability;
    let mut allowed = 0;
    while sum < CONFIDENCE && allowed < count {
        allowed += 1;
        probability *= (count + 1 - allowed) as f64 / allowed as f64 * late / (1.0 - late);
        sum += probability;
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::start;

    #[test]
    fn percentiles_are_latencies_that_were_had() {
        let starts: Vec<Start> = (1..=200).rev().map(|second| start(0.0, Some(f64::from(second)))).collect();
        let found = latency(&starts).unwrap();
        assert_eq!(found.count, 200);
        let expected = [100.0, 180.0, 198.0, 200.0].map(Some);
        assert_eq!([found.p50, found.p90, found.p99, found.max], expected);
        assert_eq!(latency(&starts[..1]).unwrap().p50, Some(200.0));
        assert_eq!(latency(&[]), None);
    }

    #[test]
    fn a_document_that_never_came_is_later_than_all() {
        let mut starts: Vec<Start> = (1..=98).map(|second| start(0.0, Some(f64::from(second)))).collect();
        starts.extend([start(0.0, None), start(0.0, None)]);
        let found = latency(&starts).unwrap();
        assert_eq!((found.lost, found.p50, found.p99), (2, Some(50.0), None));
        assert_eq!((seconds(found.p90), seconds(found.p99)), ("90.00 s".to_owned(), "never".to_owned()));
    }

    #[test]
    fn as_many_may_be_late_as_chance_makes_of_the_share() {
        // Quantiles of the binomial distribution at 95 %, from a table.
        for (count, late, expected) in
            [(100, 0.01, 3), (188, 0.01, 4), (1000, 0.01, 15), (5000, 0.01, 62), (0, 0.01, 0)]
        {
            assert_eq!(allowed(count, late), expected, "{count}");
        }
    }
}
