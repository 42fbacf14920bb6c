//! Reactions of literal samples: each stage found, and what is missing told as missing.

use std::collections::BTreeMap;

use super::*;
use crate::observe::sample::{Autoscaler, LoadCounts, Reading};

/// One second: wanted, present, ready; slots in use and depth of the IO queue.
type Second = (i32, i32, i32, f64, f64);

pub(crate) fn sample(at: f64, (wanted, present, ready, used, depth): Second) -> Sample {
    let of_io = |value: f64| Reading::Seen(BTreeMap::from([(IO_QUEUE.to_owned(), value)]));
    Sample {
        at,
        phase: "s/out".to_owned(),
        fleet: Reading::Seen(Fleet {
            wanted,
            present,
            ready,
        }),
        changes: Vec::new(),
        autoscaler: Reading::Seen(Autoscaler {
            current: present,
            desired: wanted,
        }),
        pods: Reading::Gap(String::new()),
        depth: of_io(depth),
        slots_used: of_io(used),
        slots_by_worker: Reading::Gap("no".to_owned()),
        backlog: None,
        stored: Reading::Seen(0),
        load: LoadCounts::default(),
    }
}

pub(crate) fn start(due: f64, took: Option<f64>) -> Start {
    Start {
        id: format!("d-{due}"),
        key: "k".to_owned(),
        phase: "out".to_owned(),
        due,
        sent: due,
        acknowledged: Some(due),
        error: None,
        stored: took.map(|took| due + took),
    }
}

/// From the step to `to`.
fn window(to: f64) -> Window {
    Window { from: 10.0, to }
}

/// The step is at second 10: 3 workers are to have 10.5 slots in use.
fn good() -> Vec<Sample> {
    let seconds: [Second; 10] = [
        (3, 3, 3, 6.0, 0.0),
        (3, 3, 3, 10.0, 0.0),
        (3, 3, 3, 14.0, 0.0),
        (3, 3, 3, 15.0, 4.0),
        (7, 3, 3, 15.0, 9.0),
        (9, 7, 3, 15.0, 14.0),
        (9, 9, 5, 22.0, 9.0),
        (9, 9, 8, 30.0, 2.0),
        (9, 9, 9, 32.0, 0.0),
        (9, 9, 9, 32.0, 0.0),
    ];
    seconds
        .into_iter()
        .zip(10..)
        .map(|(second, at)| sample(f64::from(at), second))
        .collect()
}

/// (signal, decision, pod, first poll, all ready)
type Found = [Option<f64>; 5];

fn found(reaction: &Reaction) -> Found {
    [
        reaction.signal,
        reaction.decision,
        reaction.pod,
        reaction.first_poll,
        reaction.all_ready,
    ]
}

fn held(target: Option<f64>, needed: Option<i32>) -> Expected {
    Expected {
        target,
        needed,
        ..Expected::NOTHING
    }
}

#[test]
fn every_stage_is_the_first_sample_that_shows_it() {
    type Change = fn(&mut Vec<Sample>);
    let all = [Some(2.0), Some(4.0), Some(5.0), Some(6.0), Some(8.0)];
    let [signal, decision, pod, first, _] = all;
    let table: [(&str, Change, Option<f64>, Found); 7] = [
        ("as it should be", |_| {}, Some(3.5), all),
        (
            "no target known: more than ever before",
            |_| {},
            None,
            [Some(1.0), decision, pod, first, all[4]],
        ),
        (
            "slots not seen: the depth alone says it later",
            |samples| {
                for one in samples {
                    one.slots_used = Reading::Gap("no".to_owned());
                }
            },
            Some(3.5),
            [Some(5.0), decision, pod, first, all[4]],
        ),
        (
            "neither seen: no signal, and not one of 0",
            |samples| {
                for one in samples {
                    one.slots_used = Reading::Gap("no".to_owned());
                    one.depth = Reading::Gap("no".to_owned());
                }
            },
            Some(3.5),
            [None, decision, pod, first, all[4]],
        ),
        (
            "a gap at the decision: the next reading tells it",
            |samples| samples[4].fleet = Reading::Gap("refused".to_owned()),
            Some(3.5),
            [signal, Some(5.0), pod, first, all[4]],
        ),
        (
            "never as many ready as were wanted",
            |samples| samples.truncate(8),
            Some(3.5),
            [signal, decision, pod, first, None],
        ),
        (
            "nothing happened",
            |samples| samples.truncate(2),
            Some(3.5),
            [None; 5],
        ),
    ];
    for (why, change, target, expected) in table {
        let mut samples = good();
        change(&mut samples);
        let reaction = reaction(&samples, &[], window(60.0), &held(target, None));
        assert_eq!(found(&reaction), expected, "{why}");
        assert_eq!(reaction.before, 3, "{why}");
    }
}

#[test]
fn a_change_between_two_samples_counts_from_when_it_was() {
    let mut samples = good();
    let fleet = |wanted, ready| Fleet {
        wanted,
        present: wanted,
        ready,
    };
    samples[4].changes = vec![(13.2, fleet(7, 3)), (13.9, fleet(7, 4))];
    samples[5].changes = vec![(14.5, fleet(9, 4))];
    let reaction = reaction(&samples, &[], window(60.0), &held(Some(3.5), None));
    assert_eq!(
        found(&reaction).map(|at| at.map(|at| (at * 10.0).round() / 10.0)),
        [Some(2.0), Some(3.2), Some(3.2), Some(3.9), Some(8.0)]
    );
    assert_eq!((reaction.most_wanted, reaction.most_ready), (9, 9));
}

#[test]
fn workers_long_before_the_step_are_of_another_load() {
    let mut samples = good();
    samples.remove(0);
    samples.insert(0, sample(3.0, (20, 20, 20, 0.0, 0.0)));
    let reaction = reaction(&samples, &[], window(60.0), &held(Some(3.5), None));
    assert_eq!((reaction.before, reaction.decision), (3, Some(4.0)));
}

#[test]
fn all_are_ready_when_as_many_are_as_the_load_needs() {
    for (needed, at) in [
        (Some(5), Some(6.0)),
        (Some(9), Some(8.0)),
        (None, Some(8.0)),
        (Some(10), None),
        (Some(3), None),
    ] {
        let reaction = reaction(&good(), &[], window(60.0), &held(Some(3.5), needed));
        assert_eq!(
            (reaction.all_ready, reaction.needed),
            (at, needed.unwrap_or(9)),
            "{needed:?}"
        );
    }
}

#[test]
fn what_comes_after_the_next_step_is_not_of_this_one() {
    let reaction = reaction(&good(), &[], window(14.0), &held(Some(3.5), None));
    assert_eq!(found(&reaction), [Some(2.0), Some(4.0), None, None, None]);
}

#[test]
fn no_samples_are_no_reaction() {
    let nothing = reaction(&[], &[], window(60.0), &held(Some(3.5), None));
    assert_eq!(
        nothing,
        Reaction {
            step: 10.0,
            p99_bound: P99_BOUND,
            ..Reaction::default()
        }
    );
}

#[test]
fn latency_is_back_when_every_later_window_is_under_the_bound() {
    /// Seconds that the documents of each window took; a window of none is empty.
    type Windows = &'static [&'static [f64]];
    let table: [(&str, Windows, Recovery); 7] = [
        ("never above", &[&[2.0, 3.9], &[2.0]], Recovery::NeverAbove),
        (
            "above, then back",
            &[&[2.0], &[5.0, 2.0], &[3.0], &[2.0]],
            Recovery::Back(10.0),
        ),
        (
            "back twice: the last counts",
            &[&[5.0], &[2.0], &[4.0], &[2.0]],
            Recovery::Back(15.0),
        ),
        (
            "back after a window without documents",
            &[&[5.0], &[], &[2.0]],
            Recovery::Back(5.0),
        ),
        ("above to the end", &[&[2.0], &[6.0]], Recovery::NotBack),
        (
            "a document that is not stored is above",
            &[&[2.0], &[f64::NAN]],
            Recovery::NotBack,
        ),
        ("no documents", &[], Recovery::NotSeen),
    ];
    for (why, windows, expected) in table {
        let starts: Vec<Start> = windows
            .iter()
            .zip(0..)
            .flat_map(|(window, number)| {
                let due = 10.0 + f64::from(number) * WINDOW + 1.0;
                window
                    .iter()
                    .map(move |took| start(due, (!took.is_nan()).then_some(*took)))
            })
            .collect();
        assert_eq!(
            reaction(&[], &starts, window(100.0), &Expected::NOTHING).latency,
            expected,
            "{why}"
        );
    }
}

#[test]
fn documents_before_the_step_and_after_the_next_do_not_count() {
    let starts = [
        start(9.0, Some(9.0)),
        start(12.0, Some(2.0)),
        start(31.0, Some(8.0)),
    ];
    let found = reaction(&[], &starts, window(30.0), &Expected::NOTHING);
    assert_eq!(
        (found.latency, found.worst_p99),
        (Recovery::NeverAbove, Some(2.0))
    );
}
