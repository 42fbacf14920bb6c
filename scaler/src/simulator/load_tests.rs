//! Arrivals as they were asked for, and traces that are refused.

use rand::SeedableRng as _;

use super::*;

fn times(load: &Load, seed: u64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut arrivals = load.arrivals();
    std::iter::from_fn(|| arrivals.next(&mut random)).collect()
}

#[test]
fn even_arrivals_have_the_rate_of_their_piece() {
    let load = Load::pieces(&[(10.0, 2.0), (5.0, 0.0), (10.0, 4.0)]).even();
    let times = times(&load, 1);
    assert_eq!(times.len(), 60);
    assert_eq!(times.iter().filter(|at| **at <= 10.0).count(), 20);
    assert!(times.iter().all(|at| *at <= 10.0 || *at > 15.0));
}

#[test]
fn arrivals_at_known_times_come_at_these_times() {
    let known: Vec<f64> = (0..5000).map(|number| 0.3 + f64::from(number / 3) * 0.7).collect();
    let played = times(&Load::at(&known, 2000.0), 1);
    assert_eq!(played.len(), known.len());
    let worst = known.iter().zip(&played).map(|(known, played)| (known - played).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-4, "{worst}");
    assert_eq!(times(&Load::at(&[], 10.0), 1), Vec::<f64>::new());
}

#[test]
fn random_arrivals_have_the_mean_and_the_variance_of_poisson() {
    let load = Load::pieces(&[(10_000.0, 3.0)]);
    let times = times(&load, 7);
    let mut counts = vec![0.0; 10_000];
    for at in &times {
        counts[*at as usize] += 1.0;
    }
    let mean = times.len() as f64 / 10_000.0;
    let variance = counts.iter().map(|count| (count - mean) * (count - mean)).sum::<f64>() / 10_000.0;
    assert!((mean - 3.0).abs() < 0.1 && (variance - 3.0).abs() < 0.2, "mean {mean}, variance {variance}");
}

#[test]
fn a_trace_is_counts_or_times() {
    let counts = Load::trace("seconds,arrivals\n0,10\n10,40\n\n# a comment\n20,0\n").unwrap();
    assert_eq!((counts.rate(5.0), counts.rate(15.0), counts.rate(25.0), counts.end), (1.0, 4.0, 0.0, 30.0));
    assert_eq!(times(&counts, 1).len(), 50);
    let single = Load::trace("1700000000.5\n1700000000.9\n1700000003\n").unwrap();
    assert_eq!((single.rate(0.0), single.rate(1.0), single.rate(3.0), single.end), (2.0, 0.0, 1.0, 4.0));
}

#[test]
fn a_bad_trace_is_refused_with_line_value_and_way_out() {
    for (text, expected) in [
        ("0,3\n1,-4\n", "line 2: \"-4\" is negative; write a number of arrivals of 0 or more"),
        ("0,3\n1,many\n", "line 2: \"many\" is not a number"),
        ("0,3\n1,NaN\n", "line 2: \"NaN\" is not finite"),
        ("0,inf\n", "line 1: \"inf\" is not finite"),
        ("-1,3\n", "line 1: \"-1\" is negative; write a time in seconds"),
        ("0,3\n5,3\n4,3\n", "line 3 has the time 4, after 5; sort the lines by time"),
        ("0,3\n0,3\n", "line 2 has the time 0, after 0"),
        ("0,3\n7\n", "line 2 is \"7\"; the lines before it have two numbers"),
        ("", "there is no line; write lines of seconds,arrivals, such as 0,12"),
        ("hello\n", "line 1: \"hello\" is not a number"),
    ] {
        let error = Load::trace(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn the_oracle_knows_a_trace_without_its_noise() {
    let text: String = (0..600).map(|second| format!("{second},{}\n", if second % 2 == 0 { 0 } else { 8 })).collect();
    let known = Load::trace(&text).unwrap().known(600);
    assert!(known[100..500].iter().all(|rate| (rate - 4.0).abs() < 0.2), "{:?}", &known[100..110]);
}
