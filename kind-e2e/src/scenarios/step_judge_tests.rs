//! A run of the step as it should be, and what each departure from it comes to.

use std::collections::BTreeMap;

use super::*;
use crate::bounds::Autoscaling;
use crate::observe::sample::{Autoscaler, Fleet, LoadCounts, PodState, Reading};
use crate::plan::plan;

fn autoscaling() -> Autoscaling {
    Autoscaling {
        min: 3,
        max: 20,
        target: 3.5,
        hpa_sync: 15.0,
        stabilization: 60.0,
        scale_in: Vec::new(),
    }
}

fn start(due: f64) -> Start {
    Start {
        id: format!("r-step-{due}"),
        key: "k".to_owned(),
        phase: "out".to_owned(),
        due,
        sent: due,
        acknowledged: Some(due + 0.01),
        error: None,
        stored: Some(due + 3.0),
    }
}

/// Stays 10–70, out 70–150, drained at 165, in at 250, held to 280.
pub(crate) fn good() -> (Facts, Vec<Sample>) {
    let window = |from: f64, to: f64| Some(Window { from, to });
    let facts = Facts {
        prefix: "r-step-".to_owned(),
        plan: Some(plan(2, 5, autoscaling(), 2.6)),
        measured: vec![2.6],
        stays: window(10.0, 70.0),
        out: window(70.0, 150.0),
        drain: window(150.0, 165.0),
        left: 0,
        drain_bound: Some(Bound {
            seconds: 40.0,
            why: String::new(),
        }),
        scale_in: window(165.0, 250.0),
        scale_in_bound: Some(Bound {
            seconds: 120.0,
            why: String::new(),
        }),
        hold: window(250.0, 280.0),
        starts: vec![start(11.0), start(71.0)],
        statuses: BTreeMap::from([("Completed".to_owned(), 2)]),
        oracle: vec![Check::new("stored", "b", "m", "w", Outcome::Pass)],
    };
    let samples = (0..=285).map(|second| sample(f64::from(second))).collect();
    (facts, samples)
}

fn sample(at: f64) -> Sample {
    let count = if (100.0..245.0).contains(&at) { 6 } else { 3 };
    let ready = if (100.0..103.0).contains(&at) { 3 } else { count };
    let io = if (75.0..160.0).contains(&at) { 60.0 } else { 0.0 };
    let pod = PodState {
        name: "w".to_owned(),
        phase: "Running".to_owned(),
        ready: true,
        leaving: false,
        restarts: 0,
        last_end: None,
        waiting: None,
    };
    Sample {
        at,
        phase: String::new(),
        fleet: Reading::Seen(Fleet {
            wanted: count,
            present: count,
            ready,
        }),
        changes: Vec::new(),
        autoscaler: Reading::Seen(Autoscaler {
            current: count,
            desired: count,
        }),
        pods: Reading::Seen(vec![pod]),
        depth: Reading::Seen(BTreeMap::from([
            (IO_QUEUE.to_owned(), io),
            (WORKFLOW_QUEUE.to_owned(), 0.0),
        ])),
        slots_used: Reading::Gap(String::new()),
        slots_by_worker: Reading::Gap(String::new()),
        backlog: None,
        stored: Reading::Seen(0),
        load: LoadCounts::default(),
    }
}

/// The checks that are not passed, with what they came to.
fn open(facts: &Facts, samples: &[Sample]) -> Vec<(String, &'static str)> {
    judge(facts, samples)
        .into_iter()
        .filter(|check| check.outcome != Outcome::Pass)
        .map(|check| (check.name, check.outcome.word()))
        .collect()
}

#[test]
fn a_run_as_it_should_be_passes_every_check() {
    let (facts, samples) = good();
    assert_eq!(open(&facts, &samples), []);
    assert_eq!(judge(&facts, &samples).len(), 14);
}

#[test]
fn each_departure_is_found_by_its_check() {
    type Break = fn(&mut Facts, &mut Vec<Sample>);
    let table: [(&str, Break, &str, &str); 9] = [
        (
            "a worker added in the first phase",
            |_, samples| {
                samples[30].fleet = Reading::Seen(Fleet {
                    wanted: 4,
                    present: 3,
                    ready: 3,
                });
            },
            "3 workers stay below the thresholds",
            "Fail",
        ),
        (
            "documents left",
            |facts, _| facts.left = 4,
            "the queue drains after the load",
            "Fail",
        ),
        (
            "in, but late",
            |facts, _| {
                facts.scale_in_bound = Some(Bound {
                    seconds: 70.0,
                    why: String::new(),
                });
            },
            "back to 3 workers",
            "Fail",
        ),
        (
            "swinging at the end",
            |_, samples| {
                samples[270].fleet = Reading::Seen(Fleet {
                    wanted: 4,
                    present: 4,
                    ready: 4,
                });
            },
            "3 workers hold",
            "Fail",
        ),
        (
            "a start refused",
            |facts, _| facts.starts[1].acknowledged = None,
            "error rate 0",
            "Fail",
        ),
        (
            "a document lost",
            |facts, _| facts.starts[1].stored = None,
            "error rate 0",
            "Fail",
        ),
        (
            "a workflow that failed",
            |facts, _| facts.statuses.extend([("Failed".to_owned(), 1)]),
            "every workflow completed",
            "Fail",
        ),
        (
            "the client was too slow",
            |facts, _| facts.starts[1].sent += 2.0,
            "the load kept its schedule",
            "Inconclusive",
        ),
        (
            "no latency",
            |facts, _| facts.plan = facts.plan.take().map(|plan| Plan { service: 0.2, ..plan }),
            "one document takes what the way to S3 takes",
            "Fail",
        ),
    ];
    for (why, break_it, name, word) in table {
        let (mut facts, mut samples) = good();
        break_it(&mut facts, &mut samples);
        assert_eq!(open(&facts, &samples), [(name.to_owned(), word)], "{why}");
    }
}

#[test]
fn a_queue_above_its_threshold_in_the_first_phase_fails() {
    let (facts, mut samples) = good();
    samples[30].depth = samples[100].depth.clone();
    assert_eq!(
        open(&facts, &samples),
        [("IO queue below its threshold".to_owned(), "Fail")]
    );
}

#[test]
fn samples_that_end_with_the_load_leave_the_rest_open_and_nothing_failed() {
    let (facts, mut samples) = good();
    samples.truncate(150);
    let open = open(&facts, &samples);
    assert!(open.len() >= 3, "{open:?}");
    assert!(open.iter().all(|(_, word)| *word == "Inconclusive"), "{open:?}");
}

#[test]
fn a_fleet_that_never_grows_fails_both_checks() {
    let (facts, mut samples) = good();
    for sample in &mut samples {
        sample.fleet = Reading::Seen(Fleet {
            wanted: 3,
            present: 3,
            ready: 3,
        });
    }
    let open = open(&facts, &samples);
    assert_eq!(open.len(), 2);
    assert!(
        open.iter()
            .all(|(name, word)| name.starts_with("more than 3 workers") && *word == "Fail")
    );
}

#[test]
fn a_scenario_that_made_no_plan_has_no_checks() {
    assert_eq!(judge(&Facts::default(), &[]), []);
}
