//! The figures of a scenario, for programs: `figures.json`, and a line on the terminal. Pure: facts and samples in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::facts::{Facts, ScenarioFacts};
use crate::load::{Latency, Start, latency};
use crate::observe::sample::{Fleet, Reading, Sample};
use crate::reaction::{Reaction, Recovery, reaction};
use crate::scaling::MAX_GAP;

/// The figures of one scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The reaction to each step up in load.
    pub reactions: Vec<Reaction>,
    /// Latency by phase of the load, of the documents that were stored.
    pub latency: BTreeMap<String, Latency>,
    /// Documents that were due.
    pub due: usize,
    /// Of them stored.
    pub stored: usize,
    /// The workers, where they were seen.
    pub workers: Option<Workers>,
    /// The greatest depth of each queue, as Prometheus has it.
    pub deepest: BTreeMap<String, f64>,
    /// The greatest backlog of each queue, as Temporal itself reports it.
    pub deepest_backlog: BTreeMap<String, f64>,
    /// Samples, and those of them without the workers' counts.
    pub samples: Samples,
}

/// What became of the fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Workers {
    /// The fewest that were wanted.
    pub least_wanted: i32,
    /// The most that were wanted.
    pub most_wanted: i32,
    /// The most that were ready.
    pub most_ready: i32,
    /// Seconds of workers: how many there were, over time. A gap counts as what was seen before it.
    pub worker_seconds: f64,
    /// How often the number wanted turned from growing to shrinking or back.
    pub direction_changes: usize,
}

/// How well a scenario was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// All of them.
    pub all: usize,
    /// Without the workers' counts.
    pub without_workers: usize,
    /// Times that more than [`MAX_GAP`] seconds passed without the workers' counts.
    pub gaps: usize,
}

/// The figures of every scenario, by name.
pub fn figures(facts: &Facts, samples: &[Sample]) -> BTreeMap<String, Figures> {
    facts
        .scenarios
        .iter()
        .map(|one| (one.name.clone(), of(one, &of_scenario(samples, &one.name))))
        .collect()
}

/// The samples that were taken during a scenario.
pub fn of_scenario(samples: &[Sample], name: &str) -> Vec<Sample> {
    let belongs = |sample: &&Sample| sample.phase.split('/').next() == Some(name);
    samples.iter().filter(belongs).cloned().collect()
}

fn of(facts: &ScenarioFacts, samples: &[Sample]) -> Figures {
    let starts = facts.detail.starts();
    let fleets = fleets(samples);
    Figures {
        reactions: reactions(facts, samples),
        latency: by_phase(starts),
        due: starts.len(),
        stored: starts.iter().filter(|start| start.stored.is_some()).count(),
        workers: workers(&fleets),
        deepest: greatest(samples.iter().map(|sample| &sample.depth)),
        deepest_backlog: greatest(samples.iter().filter_map(|sample| sample.backlog.as_ref())),
        samples: Samples {
            all: samples.len(),
            without_workers: samples.len() - fleets.len(),
            gaps: fleets
                .windows(2)
                .filter(|pair| pair[1].0 - pair[0].0 > MAX_GAP)
                .count(),
        },
    }
}

/// Each step's reaction lasts until the next step, the last one's until the scenario's end.
fn reactions(facts: &ScenarioFacts, samples: &[Sample]) -> Vec<Reaction> {
    let steps = facts.detail.steps();
    let ends = steps.iter().skip(1).copied().chain([facts.ended]);
    let (starts, slots) = (facts.detail.starts(), facts.detail.io_slots());
    steps
        .iter()
        .zip(ends)
        .map(|(step, until)| reaction(samples, starts, *step, until, slots))
        .collect()
}

fn by_phase(starts: &[Start]) -> BTreeMap<String, Latency> {
    let phases: std::collections::BTreeSet<&str> = starts.iter().map(|start| start.phase.as_str()).collect();
    phases
        .into_iter()
        .filter_map(|phase| Some((phase.to_owned(), latency(starts, |start| start.phase == phase)?)))
        .collect()
}

fn fleets(samples: &[Sample]) -> Vec<(f64, Fleet)> {
    samples
        .iter()
        .filter_map(|sample| Some((sample.at, *sample.fleet.seen()?)))
        .collect()
}

fn workers(fleets: &[(f64, Fleet)]) -> Option<Workers> {
    let wanted = || fleets.iter().map(|(_, fleet)| fleet.wanted);
    let mut changes: Vec<bool> = fleets
        .windows(2)
        .map(|pair| pair[1].1.wanted - pair[0].1.wanted)
        .filter(|change| *change != 0)
        .map(|change| change > 0)
        .collect();
    changes.dedup();
    Some(Workers {
        least_wanted: wanted().min()?,
        most_wanted: wanted().max()?,
        most_ready: fleets.iter().map(|(_, fleet)| fleet.ready).max()?,
        worker_seconds: fleets
            .windows(2)
            .map(|pair| f64::from(pair[0].1.present) * (pair[1].0 - pair[0].0))
            .sum(),
        direction_changes: changes.len().saturating_sub(1),
    })
}

fn greatest<'a>(readings: impl Iterator<Item = &'a Reading<BTreeMap<String, f64>>>) -> BTreeMap<String, f64> {
    let mut greatest = BTreeMap::<String, f64>::new();
    for (queue, depth) in readings.filter_map(Reading::seen).flatten() {
        let entry = greatest.entry(queue.clone()).or_default();
        *entry = entry.max(*depth);
    }
    greatest
}

/// The main figures in a line; nothing where nothing was loaded.
pub fn line(figures: &Figures) -> Option<String> {
    let mut parts: Vec<String> = figures.reactions.iter().map(told).collect();
    let worst = figures
        .latency
        .iter()
        .max_by(|(_, one), (_, other)| one.p99.total_cmp(&other.p99));
    if let Some((phase, latency)) = worst {
        parts.push(format!(
            "p50 {:.1} s, p99 {:.1} s ({phase})",
            latency.p50, latency.p99
        ));
    }
    if let Some(workers) = figures.workers.filter(|_| figures.due > 0) {
        parts.push(format!(
            "{} to {} workers, {:.1} worker-minutes, direction changed {}×",
            workers.least_wanted,
            workers.most_wanted,
            workers.worker_seconds / 60.0,
            workers.direction_changes
        ));
        parts.push(format!("{} of {} stored", figures.stored, figures.due));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn told(reaction: &Reaction) -> String {
    let after =
        |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1}"));
    format!(
        "step: signal {}, decision {}, first poll {}, all ready {} s, {}",
        after(reaction.signal),
        after(reaction.decision),
        after(reaction.first_poll),
        after(reaction.all_ready),
        recovery(reaction.latency)
    )
}

/// When latency was back, in words.
pub fn recovery(recovery: Recovery) -> String {
    match recovery {
        Recovery::NotSeen => "no latency seen".to_owned(),
        Recovery::NeverAbove => "latency never above".to_owned(),
        Recovery::Back(seconds) => format!("latency back {seconds:.0} s"),
        Recovery::NotBack => "latency not back".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reaction::tests::{sample, start};
    use crate::scaling::Window;
    use crate::scenarios::{Detail, Scenario, empty, step};

    fn fleet_of(counts: &[(f64, i32)]) -> Vec<(f64, Fleet)> {
        let fleet = |count| Fleet {
            wanted: count,
            present: count,
            ready: count,
        };
        counts.iter().map(|(at, count)| (*at, fleet(*count))).collect()
    }

    #[test]
    fn turns_are_counted_and_plateaus_are_not() {
        let table: [(&[i32], usize); 6] = [
            (&[3, 3, 3], 0),
            (&[3, 5, 5, 9], 0),
            (&[3, 9, 9, 3], 1),
            (&[3, 9, 3, 9], 2),
            (&[9, 7, 5, 3], 0),
            (&[3], 0),
        ];
        for (counts, turns) in table {
            let counts: Vec<(f64, i32)> = counts
                .iter()
                .zip(0..)
                .map(|(count, at)| (f64::from(at), *count))
                .collect();
            assert_eq!(
                workers(&fleet_of(&counts)).unwrap().direction_changes,
                turns,
                "{counts:?}"
            );
        }
        assert_eq!(workers(&[]), None);
    }

    #[test]
    fn worker_seconds_weigh_by_the_time_between_readings() {
        let found = workers(&fleet_of(&[(0.0, 3), (10.0, 6), (15.0, 6)])).unwrap();
        assert_eq!(found.worker_seconds, 60.0);
        assert_eq!(
            (found.least_wanted, found.most_wanted, found.most_ready),
            (3, 6, 6)
        );
    }

    #[test]
    fn a_scenario_has_its_own_samples_and_figures() {
        let step = step::Facts {
            out: Some(Window { from: 2.0, to: 8.0 }),
            starts: vec![start(3.0, Some(2.0)), start(4.0, None)],
            ..step::Facts::default()
        };
        let scenario = ScenarioFacts {
            name: "s".to_owned(),
            ended: 60.0,
            detail: Detail::Step(Box::new(step)),
            ..empty(Scenario::Step, 0.0)
        };
        let mut samples: Vec<Sample> = [1.0, 2.0, 9.0]
            .map(|at| sample(at, (3, 3, 3, 1.0, at)))
            .into_iter()
            .collect();
        samples.push(Sample {
            fleet: Reading::Gap("no".to_owned()),
            ..sample(10.0, (3, 3, 3, 0.0, 0.0))
        });
        samples.push(Sample {
            phase: "so/out".to_owned(),
            ..sample(11.0, (20, 20, 20, 0.0, 90.0))
        });
        let found = of(&scenario, &of_scenario(&samples, "s"));
        assert_eq!(
            found.samples,
            Samples {
                all: 4,
                without_workers: 1,
                gaps: 1
            }
        );
        assert_eq!((found.due, found.stored), (2, 1));
        assert_eq!(found.deepest.values().copied().collect::<Vec<_>>(), [9.0]);
        assert_eq!(found.latency["out"].count, 1);
        assert_eq!(
            line(&found).unwrap(),
            "step: signal 7.0, decision –, first poll –, all ready – s, latency not back; p50 2.0 s, p99 2.0 s (out); \
             3 to 3 workers, 0.4 worker-minutes, direction changed 0×; 1 of 2 stored"
        );
        assert_eq!(line(&Figures::default()), None);
    }
}
