//! The figures of each load of a scenario, for programs: `figures.json`, and a line on the terminal. Pure: facts and samples in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calm;
use crate::facts::Facts;
use crate::load::{Latency, Start, latency};
use crate::observe::sample::{Fleet, Reading, Sample};
use crate::reaction::{Reaction, Recovery, reaction};
use crate::scaling::{MAX_GAP, Window, inside};
use crate::scenarios::Part;

/// The figures of one load.
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

/// What became of the fleet, from the begin of what is judged to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Workers {
    /// The fewest that were wanted.
    pub least_wanted: i32,
    /// The most that were wanted.
    pub most_wanted: i32,
    /// The most that were ready.
    pub most_ready: i32,
    /// Seconds of workers: how many there were, over time; none where they were not seen for too long.
    pub worker_seconds: Option<f64>,
    /// How often the number wanted turned from growing to shrinking or back; none where it was not seen for too long.
    pub direction_changes: Option<usize>,
}

/// How well a load was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// All of them.
    pub all: usize,
    /// Without the workers' counts.
    pub without_workers: usize,
    /// Times that more than [`MAX_GAP`] seconds passed without the workers' counts.
    pub gaps: usize,
}

/// The figures of every load of every scenario, by its name: the scenario's, or the scenario's and more.
pub fn figures(facts: &Facts, samples: &[Sample]) -> BTreeMap<String, Figures> {
    let parts = facts.scenarios.iter().flat_map(|one| one.detail.parts());
    parts
        .map(|part| (part.name.to_owned(), of(&part, &of_part(samples, &part))))
        .collect()
}

/// The samples that were taken during a load.
pub fn of_part(samples: &[Sample], part: &Part<'_>) -> Vec<Sample> {
    samples
        .iter()
        .filter(|sample| part.has(sample))
        .cloned()
        .collect()
}

/// The main figures of a scenario, a line a load.
pub fn lines(figures: &BTreeMap<String, Figures>, scenario: &str) -> Vec<String> {
    let of_load = |(name, figures): (&String, &Figures)| {
        let rest = name.strip_prefix(scenario)?;
        match rest.strip_prefix('/') {
            Some(load) => Some(format!("{load}: {}", line(figures)?)),
            None if rest.is_empty() => line(figures),
            None => None,
        }
    };
    figures.iter().filter_map(of_load).collect()
}

fn of(part: &Part<'_>, samples: &[Sample]) -> Figures {
    let fleets = fleets(samples);
    Figures {
        reactions: reactions(part, samples),
        latency: by_phase(part.starts),
        due: part.starts.len(),
        stored: part.starts.iter().filter(|start| start.stored.is_some()).count(),
        workers: workers(part, samples),
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

/// Each step's reaction lasts until the next step, the last one's until the end of what is judged.
fn reactions(part: &Part<'_>, samples: &[Sample]) -> Vec<Reaction> {
    let end = part.window.map_or(f64::INFINITY, |window| window.to);
    let ends = part.steps.iter().skip(1).map(|step| step.at).chain([end]);
    part.steps
        .iter()
        .zip(ends)
        .map(|(step, to)| reaction(samples, part.starts, Window { from: step.at, to }, &step.expected))
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

fn workers(part: &Part<'_>, samples: &[Sample]) -> Option<Workers> {
    let all = || {
        Some(Window {
            from: samples.first()?.at,
            to: samples.last()?.at,
        })
    };
    let window = part.window.or_else(all)?;
    let fleets: Vec<Fleet> = inside(samples, window).map(|(_, fleet)| fleet).collect();
    let wanted = || fleets.iter().map(|fleet| fleet.wanted);
    Some(Workers {
        least_wanted: wanted().min()?,
        most_wanted: wanted().max()?,
        most_ready: fleets.iter().map(|fleet| fleet.ready).max()?,
        worker_seconds: calm::worker_seconds(samples, window).ok(),
        direction_changes: calm::turns(samples, window).ok(),
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
fn line(figures: &Figures) -> Option<String> {
    let mut parts: Vec<String> = told(&figures.reactions).into_iter().collect();
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
        let or_unseen = |told: Option<String>| told.unwrap_or_else(|| "–".to_owned());
        parts.push(format!(
            "{} to {} workers, {} worker-minutes, direction changed {}×",
            workers.least_wanted,
            workers.most_wanted,
            or_unseen(
                workers
                    .worker_seconds
                    .map(|seconds| format!("{:.1}", seconds / 60.0))
            ),
            or_unseen(workers.direction_changes.map(|changes| changes.to_string()))
        ));
    }
    if figures.due > 0 {
        parts.push(format!("{} of {} stored", figures.stored, figures.due));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn told(reactions: &[Reaction]) -> Option<String> {
    let after =
        |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1}"));
    match reactions {
        [] => None,
        [one] => Some(format!(
            "step: signal {}, decision {}, first poll {}, all ready {} s, {}",
            after(one.signal),
            after(one.decision),
            after(one.first_poll),
            after(one.all_ready),
            recovery(one.latency)
        )),
        several => {
            let polls: Vec<String> = several.iter().map(|one| after(one.first_poll)).collect();
            Some(format!(
                "{} steps: first poll {} s",
                several.len(),
                polls.join(", ")
            ))
        }
    }
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
    use crate::reaction::Expected;
    use crate::reaction::tests::{sample, start};
    use crate::scenarios::Step;

    /// A load of `s` in seconds 0 to 12, with its step at second 2.
    fn part<'a>(starts: &'a [Start]) -> Part<'a> {
        Part {
            name: "s",
            starts,
            steps: vec![Step {
                at: 2.0,
                expected: Expected {
                    target: Some(3.5),
                    ..Expected::NOTHING
                },
            }],
            window: Some(Window { from: 0.0, to: 12.0 }),
            io_slots: Some(5),
            p99_bound: 4.0,
        }
    }

    fn samples(wanted: &[i32]) -> Vec<Sample> {
        let counts = wanted.iter().zip(0..);
        counts
            .map(|(count, at)| sample(f64::from(at), (*count, *count, *count, 1.0, f64::from(at))))
            .collect()
    }

    #[test]
    fn a_load_has_its_own_samples_and_figures() {
        let starts = [start(3.0, Some(2.0)), start(4.0, None)];
        let mut all = samples(&[3, 3, 3, 3, 6, 6, 6, 6, 6, 6, 6, 6, 3]);
        all[5].fleet = Reading::Gap("no".to_owned());
        all.push(Sample {
            phase: "so/out".to_owned(),
            ..sample(13.0, (20, 20, 20, 0.0, 90.0))
        });
        let part = part(&starts);
        let found = of(&part, &of_part(&all, &part));
        assert_eq!(
            found.samples,
            Samples {
                all: 13,
                without_workers: 1,
                gaps: 0
            }
        );
        assert_eq!((found.due, found.stored), (2, 1));
        assert_eq!(found.deepest.values().copied().collect::<Vec<_>>(), [12.0]);
        assert_eq!(found.latency["out"].count, 1);
        let workers = found.workers.unwrap();
        assert_eq!(
            (workers.least_wanted, workers.most_wanted, workers.most_ready),
            (3, 6, 6)
        );
        assert_eq!(
            (workers.worker_seconds, workers.direction_changes),
            (Some(60.0), Some(1))
        );
        assert_eq!(
            line(&found).unwrap(),
            "step: signal 8.0, decision 2.0, first poll 2.0, all ready 2.0 s, latency not back; p50 2.0 s, p99 2.0 s (out); \
             3 to 6 workers, 1.0 worker-minutes, direction changed 1×; 1 of 2 stored"
        );
    }

    #[test]
    fn what_was_not_seen_for_too_long_is_no_figure() {
        let mut all = samples(&[3; 13]);
        for sample in &mut all[2..9] {
            sample.fleet = Reading::Gap("no".to_owned());
        }
        let found = of(&part(&[]), &all);
        assert_eq!(
            found.samples,
            Samples {
                all: 13,
                without_workers: 7,
                gaps: 1
            }
        );
        let workers = found.workers.unwrap();
        assert_eq!((workers.worker_seconds, workers.direction_changes), (None, None));
        assert_eq!(workers.most_wanted, 3);
        assert_eq!(of(&part(&[]), &[]).workers, None);
    }

    #[test]
    fn lines_are_of_one_scenario_and_name_its_loads() {
        let loaded = Figures {
            due: 2,
            stored: 2,
            ..Figures::default()
        };
        let all = ["s", "s/a", "so"].map(|name| (name.to_owned(), loaded.clone()));
        assert_eq!(lines(&all.into(), "s"), ["2 of 2 stored", "a: 2 of 2 stored"]);
        let reaction = |first_poll| Reaction {
            first_poll,
            ..Reaction::default()
        };
        let stepped = Figures {
            reactions: vec![reaction(Some(4.0)), reaction(None)],
            ..Figures::default()
        };
        assert_eq!(line(&stepped).unwrap(), "2 steps: first poll 4.0, – s");
        assert_eq!(line(&Figures::default()), None);
    }
}
