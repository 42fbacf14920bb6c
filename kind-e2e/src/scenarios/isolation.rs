//! A flood of one queue: IO tasks pile up, and the workflow and CPU queues go on as if nothing were.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::loads::{Loaded, Stretch};
use super::{Context, fleet, prepare};
use crate::bounds::WORKFLOW_DEPTH;
use crate::fixture::{CPU_QUEUE, IO_QUEUE, WORKFLOW_QUEUE};
use crate::observe::sample::Sample;
use crate::plan::rate_of_cores;
use crate::scaling::{depth_below, seen};
use crate::sizing::Sizing;
use crate::verdict::{Check, Outcome};

/// Seconds of a document's IO: long, so that the IO queue is flooded at a rate that the host carries.
const SERVICE: f64 = 10.0;
/// Seconds of the flood.
const FLOOD: f64 = 15.0;
/// The flood is one if so many IO tasks wait at a time: three times the guide's upper bound.
const FLOODED: f64 = 45.0;
/// The upper bound of the CPU queue's depth rule.
const CPU_DEPTH: f64 = 6.0;
/// For what still waits at the end.
const PATIENCE: f64 = 120.0;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What the load was sized by.
    pub sizing: Option<Sizing>,
    /// The load.
    pub loaded: Loaded,
}

/// Floods the IO queue and lets it drain.
pub async fn run(context: &Context, facts: &mut Facts) -> Result<()> {
    let sizing = prepare(context, "isolation/prepare", SERVICE, 0.0).await?;
    facts.sizing = Some(sizing);
    fleet::let_go(context, sizing.min).await?;
    let (loaded, load) = Loaded::begin(context, "isolation");
    facts.loaded = loaded;
    let flood = Stretch::new("flood", rate_of_cores(context.cores), FLOOD);
    facts.loaded.play(context, &load, "isolation", &[flood]).await;
    facts.loaded.end(context, PATIENCE).await
}

/// What the facts and the samples show.
pub(super) fn judge(facts: &Facts, samples: &[Sample]) -> Vec<Check> {
    let Some(window) = facts.loaded.window("flood") else {
        return Vec::new();
    };
    let why = "each queue has slots and threads of its own in every worker";
    let mut checks = vec![
        flooded(facts, samples),
        depth_below(
            "workflow queue beside the flood",
            samples,
            window,
            WORKFLOW_QUEUE,
            WORKFLOW_DEPTH,
            why,
        ),
        depth_below(
            "CPU queue beside the flood",
            samples,
            window,
            CPU_QUEUE,
            CPU_DEPTH,
            why,
        ),
    ];
    checks.extend(facts.loaded.checks());
    checks
}

fn flooded(facts: &Facts, samples: &[Sample]) -> Check {
    let (name, bound) = (
        "the IO queue was flooded",
        format!("≥ {FLOODED:.0} waiting at a time"),
    );
    let why = "without a flood nothing is shown of the others";
    let whole = facts.loaded.whole().map(|window| {
        let readings = seen(samples, window, |sample| sample.depth.seen());
        readings.map(|readings| {
            let depths = readings
                .iter()
                .filter_map(|(_, depth)| depth.get(IO_QUEUE).copied());
            depths.fold(0.0, f64::max)
        })
    });
    match whole {
        None => Check::new(name, bound, "not begun", why, Outcome::inconclusive("not begun")),
        Some(Err(gap)) => Check::new(name, bound, "not seen", why, Outcome::inconclusive(gap)),
        Some(Ok(most)) if most >= FLOODED => {
            Check::new(name, bound, format!("{most:.0}"), why, Outcome::Pass)
        }
        Some(Ok(most)) => {
            let reason = format!("only {most:.0} waited at a time");
            Check::new(
                name,
                bound,
                format!("{most:.0}"),
                why,
                Outcome::inconclusive(reason),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::observe::sample::Reading;
    use crate::scaling::{Window, tests::sample};

    fn run(io: f64, workflow: f64, cpu: f64) -> (Facts, Vec<Sample>) {
        let stretch = Stretch::new("flood", 10.0, 5.0);
        let window = Window { from: 0.0, to: 5.0 };
        let facts = Facts {
            sizing: None,
            loaded: Loaded {
                stretches: vec![(stretch, window)],
                ..Loaded::default()
            },
        };
        let depths = [(IO_QUEUE, io), (WORKFLOW_QUEUE, workflow), (CPU_QUEUE, cpu)];
        let depths: BTreeMap<String, f64> = depths.map(|(queue, depth)| (queue.to_owned(), depth)).into();
        let samples = (0..=5).map(|second| {
            let mut one = sample(f64::from(second), None);
            one.depth = Reading::Seen(depths.clone());
            one
        });
        (facts, samples.collect())
    }

    #[test]
    fn a_flood_must_be_one_and_the_other_queues_must_not_follow() {
        let table: [(f64, f64, f64, &[&str]); 4] = [
            (45.0, 10.0, 6.0, &[]),
            (44.0, 0.0, 0.0, &["Inconclusive"]),
            (90.0, 11.0, 0.0, &["Fail"]),
            (90.0, 0.0, 7.0, &["Fail"]),
        ];
        for (io, workflow, cpu, expected) in table {
            let (facts, samples) = run(io, workflow, cpu);
            let checks = judge(&facts, &samples);
            let open = checks.iter().filter(|check| check.outcome != Outcome::Pass);
            let words: Vec<&str> = open.map(|check| check.outcome.word()).collect();
            assert_eq!(words, expected, "{io} {workflow} {cpu}");
        }
    }
}
