//! The figures of each load of a scenario: `figures.json` for programs, and a line on the terminal. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::kubernetes::Fleet;
use crate::cluster::reading::Reading;
use crate::judge::fleet::{turns, worker_seconds};
use crate::judge::part::Part;
use crate::judge::reaction::{Reaction, reaction, recovered};
use crate::judge::statistics::{Latency, latency, seconds};
use crate::load::Start;
use crate::observe::sample::{Figures as ByQueue, Sample};
use crate::observe::window::{MAX_GAP, Window, inside};
use crate::scenarios::Scenario;

/// The figures of one load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The reaction to each step up in load.
    pub reactions: Vec<Reaction>,
    /// Latency by phase of the load.
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

/// The figures of every load of these scenarios, by its name: the scenario's, or the scenario's and more.
pub fn figures<'a>(
    scenarios: impl IntoIterator<Item = &'a (dyn Scenario + 'a)>,
    samples: &[Sample],
) -> BTreeMap<String, Figures> {
    let parts = scenarios.into_iter().flat_map(Scenario::loads);
    parts.map(|part| (part.name.to_owned(), of(&part, &of_part(samples, &part)))).collect()
}

/// The samples that were taken during a load.
pub fn of_part(samples: &[Sample], part: &Part<'_>) -> Vec<Sample> {
    samples.iter().filter(|sample| part.has(sample)).cloned().collect()
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
            gaps: fleets.windows(2).filter(|pair| pair[1].0 - pair[0].0 > MAX_GAP).count(),
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
        .filter_map(|phase| Some((phase.to_owned(), latency(starts.iter().filter(|start| start.phase == phase))?)))
        .collect()
}

fn fleets(samples: &[Sample]) -> Vec<(f64, Fleet)> {
    samples.iter().filter_map(|sample| Some((sample.at, *sample.fleet.seen()?))).collect()
}

fn workers(part: &Part<'_>, samples: &[Sample]) -> Option<Workers> {
    let all = || Some(Window { from: samples.first()?.at, to: samples.last()?.at });
    let window = part.window.or_else(all)?;
    let fleets: Vec<Fleet> = inside(samples, window).map(|(_, fleet)| fleet).collect();
    let wanted = || fleets.iter().map(|fleet| fleet.wanted);
    Some(Workers {
        least_wanted: wanted().min()?,
        most_wanted: wanted().max()?,
        most_ready: fleets.iter().map(|fleet| fleet.ready).max()?,
        worker_seconds: worker_seconds(samples, window).ok(),
        direction_changes: turns(samples, window).ok(),
    })
}

fn greatest<'a>(readings: impl Iterator<Item = &'a Reading<ByQueue>>) -> BTreeMap<String, f64> {
    let mut greatest = BTreeMap::<String, f64>::new();
    for (queue, depth) in readings.filter_map(Reading::seen).flatten() {
        let entry = greatest.entry(queue.clone()).or_default();
        *entry = entry.max(*depth);
    }
    greatest
}

/// The main figures in a line; nothing where nothing was loaded.
fn line(figures: &Figures) -> Option<String> {
    let mut parts: Vec<String> = reacted(&figures.reactions).into_iter().collect();
    let worst = figures.latency.iter().max_by(|(_, one), (_, other)| {
        let p99 = |latency: &Latency| latency.p99.unwrap_or(f64::INFINITY);
        p99(one).total_cmp(&p99(other))
    });
    if let Some((phase, latency)) = worst {
        parts.push(format!("p50 {}, p99 {} ({phase})", seconds(latency.p50), seconds(latency.p99)));
    }
    if let Some(workers) = figures.workers.filter(|_| figures.due > 0) {
        let or_unseen = |shown: Option<String>| shown.unwrap_or_else(|| "–".to_owned());
        parts.push(format!(
            "{} to {} workers, {} worker-minutes, direction changed {}×",
            workers.least_wanted,
            workers.most_wanted,
            or_unseen(workers.worker_seconds.map(|seconds| format!("{:.1}", seconds / 60.0))),
            or_unseen(workers.direction_changes.map(|changes| changes.to_string()))
        ));
    }
    if figures.due > 0 {
        parts.push(format!("{} of {} stored", figures.stored, figures.due));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn reacted(reactions: &[Reaction]) -> Option<String> {
    let after = |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1}"));
    match reactions {
        [] => None,
        [one] => Some(format!(
            "step: signal {}, decision {}, first poll {}, all ready {} s, {}",
            after(one.signal),
            after(one.decision),
            after(one.first_poll),
            after(one.all_ready),
            recovered(one.latency)
        )),
        several => {
            let polls: Vec<String> = several.iter().map(|one| after(one.first_poll)).collect();
            Some(format!("{} steps: first poll {} s", several.len(), polls.join(", ")))
        }
    }
}
