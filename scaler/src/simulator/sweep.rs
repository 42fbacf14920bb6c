//! The constants of the decision, one after the other with other values, over several scenarios, periods and seeds.

use super::table::aligned;
use super::{Scenario, Setup, Way, find, simulate};
use crate::Tuning;

/// The seeds of each cell.
const SEEDS: u64 = 4;

/// Scenarios, periods of the HPA and constants that a sweep varies.
const SCENARIOS: [&str; 9] =
    ["step", "spread", "steady", "waves-60", "waves-180", "burst", "saturated", "slow-database", "weak-database"];
const PERIODS: [f64; 3] = [1.0, 15.0, 30.0];

type Set = fn(&mut Tuning, f64);

/// A constant with the values that are tried. The one that ships is among them.
struct Constant {
    name: &'static str,
    values: &'static [f64],
    set: Set,
}

const CONSTANTS: [Constant; 17] = [
    Constant { name: "window", values: &[15.0, 30.0, 45.0, 60.0], set: |tuning, value| tuning.window = value },
    Constant { name: "deviations", values: &[2.0, 2.5, 3.0, 3.5, 4.0], set: |tuning, value| tuning.deviations = value },
    Constant { name: "free_share", values: &[0.8, 0.85, 0.9, 1.0], set: |tuning, value| tuning.free_share = value },
    Constant { name: "tolerance", values: &[0.0, 0.05, 0.1], set: |tuning, value| tuning.tolerance = value },
    Constant {
        name: "rate_window",
        values: &[2.0, 3.0, 4.0, 6.0, 10.0],
        set: |tuning, value| tuning.rate_window = value,
    },
    Constant { name: "follow_up", values: &[1.0, 1.5, 2.0, 3.0], set: |tuning, value| tuning.follow_up = value },
    Constant { name: "drain", values: &[5.0, 10.0, 15.0, 30.0, 60.0], set: |tuning, value| tuning.drain = value },
    Constant { name: "grown", values: &[1.2, 1.35, 1.5, 2.0], set: |tuning, value| tuning.grown = value },
    Constant { name: "trial", values: &[1.25, 1.5, 2.0, 3.0], set: |tuning, value| tuning.trial = value },
    Constant { name: "settle", values: &[35.0, 45.0, 60.0], set: |tuning, value| tuning.settle = value },
    Constant { name: "memory", values: &[95.0, 125.0, 185.0], set: |tuning, value| tuning.memory = value },
    Constant { name: "usual", values: &[40.0, 60.0, 90.0], set: |tuning, value| tuning.usual = value },
    Constant { name: "step_seen", values: &[1.0, 3.0, 6.0], set: |tuning, value| tuning.step_seen = value },
    Constant { name: "patience", values: &[120.0, 300.0, 600.0], set: |tuning, value| tuning.patience = value },
    Constant {
        name: "longest_patience",
        values: &[600.0, 1800.0, 3600.0],
        set: |tuning, value| tuning.longest_patience = value,
    },
    Constant { name: "stable", values: &[60.0, 120.0, 240.0], set: |tuning, value| tuning.stable = value },
    Constant { name: "gain", values: &[0.1, 0.3, 0.5], set: |tuning, value| tuning.gain = value },
];

/// What a set of constants costs, summed over scenarios, periods and seeds.
#[derive(Debug, Clone, Copy, Default)]
struct Score {
    p99: f64,
    cost: f64,
    over: f64,
    turns: f64,
    slowest: f64,
    count: f64,
}

/// A table of the constants and what each value does.
pub fn sweep(seed: u64) -> String {
    let scenarios: Vec<Scenario> = SCENARIOS.iter().filter_map(|name| find(name).ok()).collect();
    let mut rows = vec![
        ["constant", "value", "p99 / document", "cost", "workers over", "turns", "all needed after"].map(str::to_owned),
    ];
    for constant in &CONSTANTS {
        for value in constant.values {
            let mut tuning = Tuning::default();
            (constant.set)(&mut tuning, *value);
            let ships = tuning == Tuning::default();
            let score = score(&scenarios, tuning, seed);
            rows.push([
                constant.name.to_owned(),
                format!("{value}{}", if ships { " (ships)" } else { "" }),
                format!("{:.3}", score.p99 / score.count),
                format!("{:.3}", score.cost / score.count),
                format!("{:.2}", score.over / score.count),
                format!("{:.2}", score.turns / score.count),
                format!("{:.1} s", score.slowest),
            ]);
        }
    }
    aligned(&rows)
}

fn score(scenarios: &[Scenario], tuning: Tuning, seed: u64) -> Score {
    let mut score = Score::default();
    for scenario in scenarios {
        for hpa in PERIODS {
            for more in 0..SEEDS {
                let setup = Setup { tuning, ..Setup::usual(hpa, seed + more) };
                let outcome = simulate(scenario, Way::Ours, &setup);
                let usual: f64 = scenario.fleet.steps.iter().map(|step| step.wait + step.work).sum();
                let most = outcome.course.iter().map(|moment| moment.oracle).max().unwrap_or(0);
                score.p99 += outcome.p99.unwrap_or(f64::from(3600_u16)) / usual;
                score.cost += outcome.cost();
                score.over += (f64::from(outcome.wanted) - f64::from(most)).max(0.0);
                score.turns += f64::from(outcome.turns);
                if scenario.step.is_some() && scenario.fleet.cores.is_infinite() {
                    score.slowest = score.slowest.max(outcome.all_needed.unwrap_or(f64::INFINITY) - hpa);
                }
                score.count += 1.0;
            }
        }
    }
    score
}
