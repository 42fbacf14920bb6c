//! What becomes of literal samples: lines that end at gaps, phases, events and rates.

use super::*;
use crate::observe::sample::LoadCounts;
use crate::reaction::tests::sample as observed;

fn sample(at: f64, phase: &str, wanted: i32, scheduled: u64) -> Sample {
    Sample {
        phase: phase.to_owned(),
        load: LoadCounts {
            scheduled,
            ..LoadCounts::default()
        },
        ..observed(at, (wanted, wanted, wanted, 0.0, 0.0))
    }
}

#[test]
fn a_line_ends_where_a_reading_or_a_sample_is_missing() {
    let mut samples: Vec<Sample> = [0.0, 1.0, 2.0, 6.0, 7.0]
        .map(|at| sample(at, "s/out", 3, 0))
        .into();
    samples[1].fleet = Reading::Gap("refused".to_owned());
    let points = points(&samples, |sample| {
        sample.fleet.seen().map(|fleet| f64::from(fleet.wanted))
    });
    let three = Some(3.0);
    assert_eq!(
        points,
        [
            (0.0, three),
            (1.0, None),
            (2.0, three),
            (4.0, None),
            (6.0, three),
            (7.0, three)
        ]
    );
    assert_eq!(gaps(&points), [(0.0, 2.0), (2.0, 6.0)]);
    assert_eq!(
        gaps(&[(0.0, three), (1.0, None), (2.0, None)]),
        [(0.0, 2.0)],
        "to the end"
    );
}

#[test]
fn a_step_in_load_stays_a_step() {
    let samples: Vec<Sample> = (0..20u32)
        .map(|second| {
            let (phase, due) = if second < 10 {
                ("s/stays", second * 2)
            } else {
                ("s/out", 20 + (second - 10) * 10)
            };
            sample(f64::from(second), phase, 3, u64::from(due))
        })
        .collect();
    let rates: Vec<f64> = rate(&samples).into_iter().filter_map(|(_, rate)| rate).collect();
    assert_eq!((rates[3], rates[9], rates[10], rates[15]), (2.0, 2.0, 10.0, 10.0));
    let again = [sample(0.0, "s/a", 3, 9), sample(1.0, "s/a", 3, 0)];
    assert_eq!(
        rate(&again)[0].1,
        None,
        "a new load begins to count at 0, and that is no rate"
    );
}

#[test]
fn phases_follow_one_another_without_a_hole() {
    let samples = [
        sample(0.0, "s/a", 3, 0),
        sample(1.0, "s/a", 3, 0),
        sample(2.0, "s/b", 3, 0),
        sample(3.0, "s", 3, 0),
    ];
    let spans: Vec<(f64, f64, String)> = phases(&samples, "s")
        .into_iter()
        .map(|span| (span.from, span.to, span.name))
        .collect();
    let span = |from, to, name: &str| (from, to, name.to_owned());
    assert_eq!(
        spans,
        [span(0.0, 2.0, "a"), span(2.0, 3.0, "b"), span(3.0, 3.0, "")]
    );
}

#[test]
fn events_are_in_order_and_many_scale_ins_are_counted() {
    let counts = [3, 20, 18, 16, 14, 12, 10, 8, 6, 3];
    let samples: Vec<Sample> = counts
        .iter()
        .zip(0..)
        .map(|(count, at)| sample(f64::from(at), "s/in", *count, 0))
        .collect();
    let reaction = Reaction {
        step: 0.5,
        decision: Some(0.5),
        latency: Recovery::Back(3.0),
        ..Reaction::default()
    };
    let told: Vec<String> = marks(&samples, &[reaction])
        .into_iter()
        .map(|mark| format!("{} {}", mark.at, mark.what))
        .collect();
    assert_eq!(
        told[..2],
        ["0.5 the load steps up", "1 decision: more workers wanted"]
    );
    assert_eq!(told[3], "3 scale-in: 18 → 16 wanted");
    assert_eq!(told[4], "3.5 latency back");
    assert_eq!(
        told.last().unwrap(),
        "7 scale-in: 10 → 8 wanted, and 2 more after it"
    );
    assert_eq!(told.len(), 3 + NUMBERED);
}

#[test]
fn queues_have_short_names_and_temporals_own_backlog_is_points() {
    let mut samples = vec![sample(0.0, "s/a", 3, 0), sample(1.0, "s/a", 3, 0)];
    let depths = BTreeMap::from([(IO_QUEUE.to_owned(), 4.0), ("other".to_owned(), 1.0)]);
    samples[1].backlog = Some(Reading::Seen(depths));
    let panel = depth(&samples);
    let names: Vec<(&str, Form, usize)> = panel
        .series
        .iter()
        .map(|one| (one.name.as_str(), one.form, one.points.len()))
        .collect();
    assert_eq!(
        names,
        [
            ("IO", Form::Steps, 2),
            ("IO, by Temporal itself", Form::Dots, 1),
            ("other, by Temporal itself", Form::Dots, 1)
        ]
    );
}
