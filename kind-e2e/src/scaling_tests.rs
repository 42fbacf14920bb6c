//! Tables for the checks on the workers' number.

use std::collections::BTreeMap;

use super::*;
use crate::observe::sample::{Autoscaler, LoadCounts, Reading};

const WHOLE: Window = Window { from: 0.0, to: 10.0 };

/// A sample in which so many workers are wanted, present and ready, or a gap.
pub(crate) fn sample(at: f64, fleet: Option<(i32, i32, i32)>) -> Sample {
    let gap = || "refused".to_owned();
    Sample {
        at,
        phase: "step/out".to_owned(),
        fleet: match fleet {
            Some((wanted, present, ready)) => Reading::Seen(Fleet {
                wanted,
                present,
                ready,
            }),
            None => Reading::Gap(gap()),
        },
        changes: Vec::new(),
        autoscaler: Reading::Seen(Autoscaler {
            current: 3,
            desired: 3,
        }),
        pods: Reading::Seen(Vec::new()),
        depth: Reading::Seen(BTreeMap::from([("io".to_owned(), at)])),
        slots_used: Reading::Gap(gap()),
        slots_by_worker: Reading::Gap(gap()),
        backlog: None,
        stored: Reading::Seen(0),
        load: LoadCounts::default(),
    }
}

/// One sample a second from 0, each with that many wanted, present and ready.
fn all(counts: &[i32]) -> Vec<Sample> {
    counts
        .iter()
        .enumerate()
        .map(|(at, count)| sample(at as f64, Some((*count, *count, *count))))
        .collect()
}

fn bound(seconds: f64) -> Bound {
    Bound {
        seconds,
        why: "because".to_owned(),
    }
}

#[test]
fn held_is_every_reading() {
    let steady = all(&[3; 11]);
    assert_eq!(held("n", &steady, WHOLE, 3, "w").outcome, Outcome::Pass);

    let mut wobble = steady;
    wobble[6] = sample(6.0, Some((4, 3, 3)));
    let check = held("n", &wobble, WHOLE, 3, "w");
    assert_eq!(
        check.outcome,
        Outcome::fail("second 6: 4 wanted, 3 present, 3 ready")
    );
    assert_eq!(check.measured, "11 readings: wanted 3 to 4, ready 3 to 3");
}

#[test]
fn a_short_gap_hides_nothing_and_a_long_one_is_inconclusive() {
    let mut samples = all(&[3; 11]);
    for (at, sampled) in samples.iter_mut().enumerate().take(7).skip(3) {
        *sampled = sample(at as f64, None);
    }
    assert_eq!(
        held("n", &samples, WHOLE, 3, "w").outcome,
        Outcome::Pass,
        "seconds 2 to 7"
    );
    samples[7] = sample(7.0, None);
    let check = held("n", &samples, WHOLE, 3, "w");
    assert_eq!(
        check.outcome,
        Outcome::inconclusive("nothing was seen from second 2 to 8")
    );
    let none = held("n", &[], WHOLE, 3, "w");
    assert_eq!(none.outcome.word(), "Inconclusive", "no samples show nothing");
}

#[test]
fn samples_that_end_early_are_a_gap() {
    let samples = all(&[3; 4]);
    let check = held("n", &samples, WHOLE, 3, "w");
    assert_eq!(
        check.outcome,
        Outcome::inconclusive("nothing was seen from second 3 to 10")
    );
}

#[test]
fn scaling_out_is_a_decision_and_then_a_ready_worker() {
    let mut samples = all(&[3; 11]);
    for (at, sampled) in samples.iter_mut().enumerate().skip(4) {
        let ready = if at < 6 { 3 } else { 5 };
        *sampled = sample(at as f64, Some((5, 5, ready)));
    }
    let table = [
        (4.0, 2.0, "Pass", "Pass"),
        (3.0, 2.0, "Fail", "Pass"),
        (4.0, 1.0, "Pass", "Fail"),
    ];
    for (decision, ready, decided, became) in table {
        let checks = scaled_out(&samples, WHOLE, &bound(decision), &bound(ready));
        assert_eq!(
            checks.each_ref().map(|check| check.outcome.word()),
            [decided, became]
        );
    }
}

#[test]
fn never_scaled_out_says_how_far_it_came() {
    let checks = scaled_out(&all(&[3; 11]), WHOLE, &bound(5.0), &bound(5.0));
    assert_eq!(checks[0].outcome, Outcome::fail("never more than 3 wanted"));
    assert_eq!(checks[1].outcome, Outcome::fail("never more than 3 ready"));
    assert_eq!(checks[0].measured, "never; most wanted 3");
}

#[test]
fn late_is_inconclusive_where_a_gap_may_hide_that_it_was_in_time() {
    let mut samples = all(&[3; 11]);
    for (at, sampled) in samples.iter_mut().enumerate().skip(1) {
        *sampled = sample(at as f64, if at < 9 { None } else { Some((5, 5, 5)) });
    }
    let checks = scaled_out(&samples, WHOLE, &bound(5.0), &bound(5.0));
    assert_eq!(checks[0].outcome.word(), "Inconclusive");
}

#[test]
fn scaling_in_is_to_the_very_number() {
    let samples = all(&[9, 9, 9, 9, 6, 6, 3, 3, 3, 3, 3]);
    assert_eq!(scaled_in(&samples, WHOLE, 3, &bound(6.0)).outcome, Outcome::Pass);
    let late = scaled_in(&samples, WHOLE, 3, &bound(5.0));
    assert_eq!(late.outcome, Outcome::fail("only after 6 s, more than 5 s"));
    let never = scaled_in(&all(&[9; 11]), WHOLE, 3, &bound(5.0));
    assert_eq!(
        never.outcome,
        Outcome::fail("9 wanted, 9 present, 9 ready at the end")
    );
}

#[test]
fn a_fleet_that_is_back_before_the_window_took_no_time() {
    let samples = all(&[9, 9, 3, 3]);
    let empty = Window { from: 3.2, to: 3.2 };
    let check = scaled_in(&samples, empty, 3, &bound(5.0));
    assert_eq!((check.outcome, check.measured), (Outcome::Pass, "0 s".to_owned()));
    let not_back = scaled_in(&all(&[3, 3, 9, 9]), empty, 3, &bound(5.0));
    assert_ne!(not_back.outcome, Outcome::Pass);
}

#[test]
fn depth_is_held_against_its_limit() {
    let samples = all(&[3; 11]);
    assert_eq!(
        depth_below("n", &samples, WHOLE, "io", 10.0, "w").outcome,
        Outcome::Pass
    );
    let above = depth_below("n", &samples, WHOLE, "io", 9.0, "w");
    assert_eq!(above.outcome, Outcome::fail("10 at the most, above 9"));
    assert_eq!(
        depth_below("n", &samples, WHOLE, "cpu", 9.0, "w").outcome.word(),
        "Inconclusive"
    );
}

#[test]
fn restarts_are_counted_from_the_first_reading_of_each_pod() {
    let pod = |name: &str, restarts| PodState {
        name: name.to_owned(),
        phase: "Running".to_owned(),
        ready: true,
        leaving: false,
        restarts,
        last_end: (restarts > 0).then(|| "OOMKilled".to_owned()),
        waiting: None,
    };
    let with = |late: Vec<PodState>| {
        let mut samples = all(&[3; 11]);
        for (at, sampled) in samples.iter_mut().enumerate() {
            sampled.pods = Reading::Seen(if at < 5 { vec![pod("old", 2)] } else { late.clone() });
        }
        never_restarted(&samples, WHOLE)
    };
    assert_eq!(with(vec![pod("old", 2), pod("new", 0)]).outcome, Outcome::Pass);
    let again = with(vec![pod("old", 3)]).outcome;
    assert_eq!(
        again,
        Outcome::fail("second 5: old restarted 1 times (OOMKilled)")
    );
    let fresh = with(vec![pod("new", 1)]).outcome;
    assert_eq!(
        fresh,
        Outcome::fail("second 5: new restarted 1 times (OOMKilled)")
    );
}
