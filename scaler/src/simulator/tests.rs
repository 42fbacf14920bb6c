//! What the ways to scale do in the scenarios. Bounds are the or the guide's, and each says which.

use super::*;

const PERIODS: [f64; 3] = [1.0, 15.0, 30.0];

fn ours(scenario: &Scenario, hpa: f64) -> Outcome {
    simulate(scenario, Way::Ours, &Setup::usual(hpa, 7))
}

/// The rivals at the same period of the HPA.
fn rivals(scenario: &Scenario, hpa: f64) -> Vec<Outcome> {
    let rivals = Way::ALL.into_iter().filter(|way| *way != Way::Ours);
    rivals.map(|way| simulate(scenario, way, &Setup::usual(hpa, 7))).collect()
}

/// A rival that is better both in p99 and in worker-hours, by more than a twentieth.
fn better<'a>(ours: &Outcome, rivals: &'a [Outcome]) -> Option<&'a Outcome> {
    let p99 = |outcome: &Outcome| outcome.p99.unwrap_or(f64::INFINITY);
    rivals.iter().find(|rival| 1.05 * p99(rival) < p99(ours) && 1.05 * rival.worker_hours < ours.worker_hours)
}

fn shown(outcome: &Outcome) -> String {
    format!(
        "{}, HPA {} s: p99 {:.1?} s, {:.2} h, {} wanted, recovery {:?} s, bottleneck {} s",
        outcome.way,
        outcome.hpa,
        outcome.p99,
        outcome.worker_hours,
        outcome.wanted,
        outcome.recovery,
        outcome.bottleneck
    )
}

/// When the number of wanted workers first was at most this, in seconds after a time.
fn back(outcome: &Outcome, after: f64, workers: u32) -> f64 {
    let first = outcome.course.iter().find(|moment| moment.at >= after && moment.wanted <= workers);
    first.map_or(f64::INFINITY, |moment| moment.at - after)
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    let step = find("spread").unwrap();
    let setup = Setup::usual(15.0, 7);
    assert_eq!(simulate(&step, Way::Ours, &setup), simulate(&step, Way::Ours, &setup));
    assert_ne!(simulate(&step, Way::Ours, &setup), simulate(&step, Way::Ours, &Setup { seed: 8, ..setup }));
}

/// All needed workers are asked for within the HPA's period and 5 s, and are Ready a second later, whenever the HPA
/// happens to look. At most two more than the load settles at, and 1.5 times the oracle's worker-hours.
#[test]
fn a_step_is_answered_at_the_first_look_that_can_see_it() {
    let step = find("step").unwrap();
    let mut missed = Vec::new();
    for hpa in PERIODS {
        for phase in 0..10 {
            let setup = Setup { phase: Some(f64::from(phase) / 10.0), ..Setup::usual(hpa, 7) };
            let outcome = simulate(&step, Way::Ours, &setup);
            let shown = format!(
                "HPA {hpa} s, phase {phase}: needed {:?}, wanted {}, cost {:.2}, p99 {:?}",
                outcome.all_needed,
                outcome.wanted,
                outcome.cost(),
                outcome.p99
            );
            println!("{shown}");
            let in_time = outcome.all_needed.is_some_and(|seconds| seconds <= hpa + 5.0 + 1.0);
            if !in_time || outcome.wanted > 11 || outcome.cost() > 1.5 || outcome.below_use + outcome.lost as u32 > 0 {
                missed.push(shown);
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Back at the right number within twice the cool-down of 60 s and one period, for a load that falls to half.
#[test]
fn a_load_that_falls_frees_its_workers() {
    let fleet = Fleet::guide();
    for hpa in PERIODS {
        let load = Load::pieces(&[(300.0, fleet.worth(9.0)), (300.0, fleet.worth(5.0))]).even();
        let scenario = Scenario { workers: 9, ..of_trace("fall", load) };
        let outcome = ours(&scenario, hpa);
        let seconds = back(&outcome, 300.0, 6);
        assert!(seconds <= 120.0 + hpa, "HPA {hpa} s: {seconds} s");
        assert!(seconds > 45.0, "not at a dip: {seconds} s");
        assert_eq!((outcome.lost, outcome.below_use), (0, 0));
    }
}

/// Beyond what the shared host carries: no rival is better in both p99 and worker-hours, and no more workers are wanted
/// than the load would need at its usual service time.
#[test]
fn a_host_that_saturates_does_not_make_the_fleet_run_away() {
    let scenario = find("saturated").unwrap();
    let needed = scenario.fleet.workers(1.5 * scenario.fleet.capacity(1.0), 1.0, 0.7);
    let mut missed = Vec::new();
    for hpa in PERIODS {
        let (ours, rivals) = (ours(&scenario, hpa), rivals(&scenario, hpa));
        println!("saturated: {}, {needed} needed", shown(&ours));
        for rival in &rivals {
            println!("saturated: {}", shown(rival));
        }
        // 180 s of half the capacity wait. What the host has left after the load works them off.
        let least = 180.0 * 0.5 / 0.7;
        let recovers = ours.recovery.is_some_and(|seconds| seconds <= least + 60.0);
        if ours.wanted > needed + 2 || !recovers || ours.bottleneck == 0 || better(&ours, &rivals).is_some() {
            missed.push(shown(&ours));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Calls that take three times as long need three times the slots: growth helps, and goes on.
#[test]
fn a_slow_database_gets_the_workers_that_help() {
    let scenario = find("slow-database").unwrap();
    for hpa in PERIODS {
        let ours = ours(&scenario, hpa);
        let shown = format!(
            "HPA {hpa} s: p99 {:?}, {} wanted, recovery {:?}, bottleneck {} s",
            ours.p99, ours.wanted, ours.recovery, ours.bottleneck
        );
        println!("{shown}");
        assert!(ours.wanted >= 17, "{shown}");
        assert!(ours.bottleneck == 0, "{shown}");
        assert!(ours.recovery.unwrap() <= 60.0, "{shown}");
    }
}

/// Documents that take twenty times as long as the first ones: a fleet that did not grow is not in its own way. Broken
/// by naming a bottleneck at the size that carried the small ones. All workers are asked for within two trials.
#[test]
fn a_load_of_larger_documents_gets_its_workers() {
    let scenario = find("larger-documents").unwrap();
    let mut missed = Vec::new();
    for hpa in PERIODS {
        for seed in 0..10 {
            let outcome = simulate(&scenario, Way::Ours, &Setup::usual(hpa, seed));
            let first = outcome.course.iter().find(|moment| moment.at >= 120.0 && moment.wanted >= 5);
            let seconds = first.map_or(f64::INFINITY, |moment| moment.at - 120.0);
            let shown = format!("seed {seed}, 5 wanted after {seconds:.0} s; {}", shown(&outcome));
            println!("{shown}");
            if seconds > 120.0 || outcome.bottleneck > 0 {
                missed.push(shown);
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// A database with a third of its capacity does not carry the load, whatever the fleet. One step is tried.
#[test]
fn a_weak_database_stops_the_growth() {
    let scenario = find("weak-database").unwrap();
    let mut missed = Vec::new();
    for hpa in [15.0, 30.0] {
        let (ours, rivals) = (ours(&scenario, hpa), rivals(&scenario, hpa));
        println!("weak: {}", shown(&ours));
        for rival in &rivals {
            println!("weak: {}", shown(rival));
        }
        let most = ours.course.iter().filter(|moment| (300.0..600.0).contains(&moment.at)).map(|moment| moment.wanted);
        let most = most.max().unwrap();
        if most > 14 || ours.bottleneck == 0 || better(&ours, &rivals).is_some() {
            missed.push(format!("{most} wanted; {}", shown(&ours)));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Slots that wait for a dependency that is away look like demand. One step is tried, and no more. An HPA that looks
/// every 15 s or less often looks while the outage still seems to be a step in load, so only its recovery is bounded.
#[test]
fn a_dependency_that_is_away_does_not_grow_the_fleet() {
    let scenario = find("away").unwrap();
    for hpa in [15.0, 30.0] {
        let (ours, rivals) = (ours(&scenario, hpa), rivals(&scenario, hpa));
        assert!(ours.recovery.unwrap() <= 60.0 && better(&ours, &rivals).is_none(), "{}", shown(&ours));
    }
    let hpa = 1.0;
    let ours = ours(&scenario, hpa);
    let outage: Vec<&Moment> = ours.course.iter().filter(|moment| (300.0..480.0).contains(&moment.at)).collect();
    let most = outage.iter().map(|moment| moment.wanted).max().unwrap();
    let shown = format!(
        "HPA {hpa} s: {most} wanted in the outage, bottleneck {} s, recovery {:?}",
        ours.bottleneck, ours.recovery
    );
    println!("{shown}");
    assert!(most <= 18, "{shown}");
    let last = outage.last().unwrap().wanted;
    assert!(last <= 9, "{last} at the end; {shown}");
    assert!(ours.bottleneck > 0, "{shown}");
    assert!(ours.recovery.unwrap() <= 150.0, "{shown}");
}

#[test]
fn while_nothing_can_be_read_no_worker_is_removed() {
    let scenario = find("unread").unwrap();
    for hpa in PERIODS {
        let outcome = ours(&scenario, hpa);
        let outage = outcome.course.iter().filter(|moment| (240.0..300.0).contains(&moment.at));
        assert!(outage.clone().all(|moment| moment.wanted >= 9), "HPA {hpa} s");
        assert_eq!(outcome.unfinished, 0);
    }
}

/// KEDA starts the first worker, and the HPA triples them every 15 s.
#[test]
fn a_fleet_grows_from_zero() {
    let scenario = find("from-zero").unwrap();
    for hpa in PERIODS {
        let outcome = ours(&scenario, hpa);
        assert!(outcome.all_needed.unwrap() <= 3.0 * hpa.max(8.0), "HPA {hpa} s: {:?}", outcome.all_needed);
        assert_eq!((outcome.unfinished, outcome.last), (0, 0));
    }
}

#[test]
fn loads_that_swing_are_followed_and_do_not_make_the_fleet_flap() {
    for (name, turns) in [("waves-60", 10), ("waves-180", 17), ("steady", 40)] {
        let scenario = find(name).unwrap();
        for hpa in PERIODS {
            let outcome = ours(&scenario, hpa);
            println!("{name}, HPA {hpa} s: {} turns, cost {:.2}", outcome.turns, outcome.cost());
            assert!(outcome.turns <= turns, "{name}, HPA {hpa} s: {} turns", outcome.turns);
            assert!(outcome.cost() <= 1.6, "{name}, HPA {hpa} s: {:.2}", outcome.cost());
        }
    }
}

#[test]
fn ten_thousand_workers_are_as_many_as_any() {
    let scenario = find("large").unwrap();
    let outcome = ours(&scenario, 15.0);
    println!("{} wanted, p99 {:?}, cost {:.2}, {:?}", outcome.wanted, outcome.p99, outcome.cost(), outcome.all_needed);
    assert!((8_000..=10_000).contains(&outcome.wanted), "{}", outcome.wanted);
    // The documents of this load take 52 s, and its step arrives for as long.
    assert!(outcome.all_needed.unwrap() <= 60.0 + 15.0, "{:?}", outcome.all_needed);
    assert!(outcome.p99.unwrap() < 60.0, "{:?}", outcome.p99);
    assert!(outcome.cost() <= 1.6, "{}", outcome.cost());
}

/// A trial of the mutation that the scenarios must notice: without the limit the fleet runs away.
#[test]
fn without_its_limit_the_fleet_runs_away() {
    let scenario = find("saturated").unwrap();
    let tuning = Tuning { grown: f64::INFINITY, ..Tuning::default() };
    let free = simulate(&scenario, Way::Ours, &Setup { tuning, ..Setup::usual(1.0, 7) });
    let limited = ours(&scenario, 1.0);
    println!(
        "{:.2} h without, {:.2} h with; p99 {:?} and {:?}",
        free.worker_hours, limited.worker_hours, free.p99, limited.p99
    );
    assert!(free.worker_hours > 1.2 * limited.worker_hours);
    assert_eq!(free.bottleneck, 0);
}

#[test]
fn the_table_and_the_page_show_every_outcome() {
    let scenario = find("burst").unwrap();
    let outcomes: Vec<Outcome> =
        [Way::Ours, Way::Guide].into_iter().map(|way| simulate(&scenario, way, &Setup::usual(15.0, 7))).collect();
    let table = table(&outcomes);
    assert!(table.starts_with("burst: ") && table.contains("guide  15 s, scrapes 15 s"), "{table}");
    let page = page(&outcomes, "cargo xtask simulate --scenario <burst>");
    assert!(page.contains("cargo xtask simulate --scenario &lt;burst&gt;"));
    assert_eq!(page.matches("<svg").count(), 2);
    assert!(!page.contains("http") && !page.contains("NaN"), "nothing is loaded");
}
