//! How long a worker waits before it asks Temporal again. Pure.
//!
//! The workers do not know of each other. But Temporal's answer lists the pollers of a queue, and a worker waits the
//! longer, the more there are. So the questions of a fleet stay below a bound, whatever its size
//! (docs/decisions/0035-each-worker-asks-for-depths.md).

use std::{collections::BTreeSet, time::Duration};

/// Questions a second about one queue, of the whole fleet, at most. Beside it, each worker asks once when it starts.
const BOUND: f64 = 10.0;

/// How many times as many workers there may be as are listed. A fleet grows between two questions. And Temporal lists
/// the pollers of one partition of a queue, where a worker is missing until one of its polls was there.
const LAG: f64 = 2.0;

/// Temporal lists at most this number of pollers of a queue: those that polled last.
const LONGEST_LIST: usize = 1000;

/// Workers of a fleet whose list is that long. The bound holds up to this size.
const LARGEST_FLEET: usize = 10_000;

/// Workers that are assumed until there is an answer.
pub(super) const UNKNOWN: usize = 50;

/// The number of workers, by the identities that Temporal lists for each queue. `None` if nobody is listed.
///
/// Every worker polls all queues. So one that is missing in the list of a queue may be in that of another one.
pub(super) fn workers<'a>(queues: impl Iterator<Item = &'a BTreeSet<String>>) -> Option<usize> {
    let (mut all, mut is_cut_off) = (BTreeSet::new(), false);
    for identities in queues {
        is_cut_off |= identities.len() >= LONGEST_LIST;
        all.extend(identities);
    }
    match all.len() {
        0 => None,
        _ if is_cut_off => Some(LARGEST_FLEET),
        workers => Some(workers),
    }
}

/// The time until the next question. `phase` is random, from 0 to 1.
///
/// It is once to twice the interval, so no two questions are closer than the interval. At any moment, the expected rate
/// of a worker is at most one question in an interval, whenever it has asked last. So workers that start together do not
/// ask together.
pub(super) fn wait(least: Duration, workers: usize, phase: f64) -> Duration {
    let interval = Duration::from_secs_f64(workers as f64 * LAG / BOUND);
    interval.max(least).mul_f64(1.0 + phase)
}

#[cfg(test)]
mod tests {
    use std::{cmp::Reverse, collections::BinaryHeap};

    use proptest::prelude::*;

    use super::*;

    const LEAST: Duration = Duration::from_secs(1);

    fn identities(count: usize) -> BTreeSet<String> {
        (0..count).map(|number| format!("1@worker-{number}")).collect()
    }

    /// The workers of a fleet of this size, by what Temporal lists.
    fn listed(fleet: usize) -> usize {
        workers([identities(fleet.min(LONGEST_LIST))].iter()).unwrap()
    }

    #[test]
    fn a_worker_is_counted_once_whatever_queues_list_it() {
        let none = BTreeSet::new();
        assert_eq!(workers([&none, &none].into_iter()), None);
        let (few, more) = (identities(3), identities(5));
        assert_eq!(workers([&few, &more, &none].into_iter()), Some(5));
        let other = BTreeSet::from(["2@worker-0".to_owned()]);
        assert_eq!(workers([&few, &more, &other].into_iter()), Some(6));
    }

    #[test]
    fn a_list_that_may_be_cut_off_is_of_the_largest_fleet() {
        assert_eq!(listed(LONGEST_LIST - 1), LONGEST_LIST - 1);
        assert_eq!(listed(LONGEST_LIST), LARGEST_FLEET);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_below_the_least(least in 1_u64..100, workers in 0_usize..20_000, phase in 0.0..1.0) {
            let least = Duration::from_secs(least);
            prop_assert!(wait(least, workers, phase) >= least);
        }

        #[test]
        fn the_rate_of_a_fleet_is_bounded_while_half_of_it_or_more_is_listed(
            fleet in 1_usize..=LARGEST_FLEET, missing in 0.0_f64..0.5, left in 0_usize..500, phase in 0.0..1.0
        ) {
            let share = (fleet as f64 * (1.0 - missing)).ceil() as usize;
            let known = listed(share + left);
            let rate = fleet as f64 / wait(Duration::ZERO, known, phase).as_secs_f64();
            prop_assert!(rate <= BOUND, "{fleet} workers, of which {known} are known: {rate}/s");
        }
    }

    /// A fleet starts at one moment, and doubles at another. Each worker knows the size at its last question.
    #[test]
    fn workers_that_start_together_do_not_ask_together() {
        for half in [1, 3, 20, 100, 400, 5000] {
            let slowest = wait(LEAST, listed(half), 1.0).as_secs_f64();
            let doubles = 1.5 * slowest;
            let first = (0..half).map(|_| 0.0).chain((0..half).map(|_| doubles));
            let [before, after] = [listed(half), listed(2 * half)];
            let asked = questions(first, doubles + 4.0 * slowest, |at| if at < doubles { before } else { after });
            // The mean of a window is at most BOUND times its length, with a standard deviation of at most its root.
            let window = 30.0;
            let most = BOUND * window + 5.0 * (BOUND * window).sqrt();
            for begin in 0..asked.len() {
                let count = asked[begin..].iter().take_while(|at| **at < asked[begin] + window).count();
                assert!((count as f64) < most, "{half} and as many: {count} questions from {} s on", asked[begin]);
            }
            assert!(asked.len() > 4 * half, "{half}: only {} questions", asked.len());
        }
    }

    /// The times of the questions until an end, but each worker's first, whose times are given. `listed` is the number
    /// of workers by an answer of that time.
    fn questions(first: impl Iterator<Item = f64>, end: f64, listed: impl Fn(f64) -> usize) -> Vec<f64> {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut phase = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 11) as f64 / (1_u64 << 53) as f64
        };
        let millis = |seconds: f64| (seconds * 1e3) as u64;
        let mut next: BinaryHeap<_> = first.map(|at| Reverse((millis(at), true))).collect();
        let mut asked = Vec::new();
        while let Some(Reverse((at, is_first))) = next.pop() {
            if at >= millis(end) {
                break;
            }
            let seconds = at as f64 / 1e3;
            if !is_first {
                asked.push(seconds);
            }
            let wait = wait(LEAST, listed(seconds), phase()).as_secs_f64();
            next.push(Reverse((at + millis(wait), false)));
        }
        asked
    }
}
