//! When documents arrive and which ones: a pure function of the rate, the time and the seed.
//!
//! The load is open-loop: arrivals come from this schedule and not from the answers, so that a slow
//! system is met by the same load as a fast one.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// One arrival.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Time since the start of the schedule.
    pub at: Duration,
    /// Index into the documents that were chosen for the load.
    pub document: usize,
}

/// A generator for one purpose of one run: the same seed and purpose give the same numbers, and two
/// purposes do not share a stream.
pub fn generator(seed: u64, purpose: &str) -> ChaCha8Rng {
    let stream = purpose.bytes().fold(0u64, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    generator
}

/// Poisson arrivals: `rate` times `length` of them, each at a uniformly drawn time.
///
/// That is what a Poisson process with so many arrivals is. Their number is not left to the seed, because the number of
/// workers is judged by it. Documents come in shuffled rounds, so that each comes up as often as any other.
pub fn poisson(rate: f64, length: Duration, documents: usize, rng: &mut ChaCha8Rng) -> Vec<Arrival> {
    let mut times: Vec<f64> = (0..count(rate, length)).map(|_| rng.random::<f64>() * length.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    arrivals(times, documents, rng)
}

/// Even arrivals: each at a random time of its own share of `length`. No second has more or fewer than were planned.
pub fn even(rate: f64, length: Duration, documents: usize, rng: &mut ChaCha8Rng) -> Vec<Arrival> {
    let count = count(rate, length);
    let share = length.as_secs_f64() / count.max(1) as f64;
    let times = (0..count).map(|number| (number as f64 + rng.random::<f64>()) * share).collect();
    arrivals(times, documents, rng)
}

fn count(rate: f64, length: Duration) -> usize {
    (rate * length.as_secs_f64()).round().max(0.0) as usize
}

fn arrivals(times: Vec<f64>, documents: usize, rng: &mut ChaCha8Rng) -> Vec<Arrival> {
    if documents == 0 {
        return Vec::new();
    }
    let mut round = Vec::new();
    let arrival = |at| {
        if round.is_empty() {
            round = shuffled(documents, rng);
        }
        Arrival { at: Duration::from_secs_f64(at), document: round.pop().unwrap_or_default() }
    };
    times.into_iter().map(arrival).collect()
}

/// The numbers below `count` in an order drawn from `rng` (Fisher and Yates).
pub fn shuffled(count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, rng.random_range(0..=last));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_load() {
        let draw = |seed| poisson(10.0, Duration::from_secs(30), 7, &mut generator(seed, "out"));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let other = poisson(10.0, Duration::from_secs(30), 7, &mut generator(1, "stays"));
        assert_ne!(draw(1), other, "two phases must not replay one another");
    }

    #[test]
    fn the_rate_is_kept_whatever_the_seed() {
        for seed in 0..20 {
            let arrivals = poisson(10.0, Duration::from_secs(40), 3, &mut generator(seed, "rate"));
            assert_eq!(arrivals.len(), 400);
            assert!(arrivals.windows(2).all(|pair| pair[0].at <= pair[1].at), "in order");
            assert!(arrivals.iter().all(|arrival| arrival.at < Duration::from_secs(40)));
        }
    }

    #[test]
    fn even_arrivals_have_no_bursts() {
        let arrivals = even(7.5, Duration::from_secs(40), 3, &mut generator(42, "step"));
        assert_eq!(arrivals.len(), 300);
        for second in 0..40 {
            let in_second = arrivals.iter().filter(|arrival| arrival.at.as_secs() == second);
            assert!((6..=9).contains(&in_second.count()), "second {second}");
        }
        assert!(even(0.0, Duration::from_secs(40), 3, &mut generator(42, "tail")).is_empty());
    }

    #[test]
    fn seconds_have_bursts_as_those_of_a_poisson_process_do() {
        let arrivals = poisson(10.0, Duration::from_secs(1000), 3, &mut generator(42, "rate"));
        let mut seconds = [0.0; 1000];
        for arrival in &arrivals {
            seconds[arrival.at.as_secs() as usize] += 1.0;
        }
        let variance: f64 = seconds.iter().map(|count| (count - 10.0) * (count - 10.0)).sum::<f64>() / 1000.0;
        // Variance and mean are the same; the variance of a thousand seconds is wrong by 4.6 %: three times that.
        assert!((8.6..11.4).contains(&variance), "{variance}");
    }

    #[test]
    fn every_document_comes_up_in_each_round() {
        let arrivals = poisson(5.0, Duration::from_secs(100), 4, &mut generator(3, "round"));
        for round in arrivals.chunks_exact(4) {
            let mut seen: Vec<usize> = round.iter().map(|arrival| arrival.document).collect();
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn nothing_to_send_is_an_empty_schedule() {
        assert!(poisson(0.0, Duration::from_secs(5), 3, &mut generator(1, "a")).is_empty());
        assert!(poisson(5.0, Duration::from_secs(5), 0, &mut generator(1, "a")).is_empty());
    }
}
