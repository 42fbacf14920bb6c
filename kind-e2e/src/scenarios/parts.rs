//! What a scenario shows the report: its loads, each with a chart and figures of its own, and what it tells beside its checks.

use super::loads::Loaded;
use super::{Detail, step_judge};
use crate::load::Start;
use crate::observe::sample::Sample;
use crate::reaction::{Expected, P99_BOUND, p99_bound};
use crate::scaling::Window;
use crate::sizing::Sizing;
use crate::table::Table;

/// A step up in load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// When, in seconds since the run began.
    pub at: f64,
    /// What the reaction to it is held against.
    pub expected: Expected,
}

/// One load of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Part<'a> {
    /// What its samples' phases begin with: the scenario's name, and more where it loads more than once.
    pub name: &'a str,
    /// Every start.
    pub starts: &'a [Start],
    /// When the load stepped up to what needs more workers.
    pub steps: Vec<Step>,
    /// From the begin of what is judged to its end.
    pub window: Option<Window>,
    /// IO slots of a worker, where it asked for them.
    pub io_slots: Option<u32>,
    /// What p99 is to be under, in seconds.
    pub p99_bound: f64,
}

impl<'a> Part<'a> {
    fn of(loaded: &'a Loaded, sizing: Option<Sizing>) -> Self {
        Self {
            name: &loaded.name,
            starts: &loaded.starts,
            steps: sizing.map_or_else(Vec::new, |sizing| steps(loaded, &sizing)),
            window: loaded.whole(),
            io_slots: sizing.map(|sizing| sizing.slots),
            p99_bound: sizing.map_or(P99_BOUND, |sizing| p99_bound(sizing.service)),
        }
    }

    /// Whether a sample was taken during it.
    pub fn has(&self, sample: &Sample) -> bool {
        let rest = sample.phase.strip_prefix(self.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Stretches that need more workers than the one before; before the first there are the fewest.
fn steps(loaded: &Loaded, sizing: &Sizing) -> Vec<Step> {
    let mut before = sizing.min;
    let mut steps = Vec::new();
    for (stretch, window) in &loaded.stretches {
        let needed = sizing.workers_for(stretch.rate);
        if needed > before {
            steps.push(Step {
                at: window.from,
                expected: expected(sizing, stretch.rate),
            });
        }
        before = needed;
    }
    steps
}

/// What the reaction to a load of so many documents a second is held against.
pub(super) fn expected(sizing: &Sizing, rate: f64) -> Expected {
    Expected {
        target: Some(sizing.target),
        needed: Some(sizing.needed_for(rate)),
        p99_bound: p99_bound(sizing.service),
    }
}

impl Detail {
    /// Its loads, none where it loads nothing.
    pub fn parts(&self) -> Vec<Part<'_>> {
        match self {
            Self::Step(step) => vec![Part {
                name: "step",
                starts: &step.starts,
                steps: step.step().into_iter().collect(),
                window: step_judge::watched(step),
                io_slots: step.plan.as_ref().map(|plan| plan.slots),
                p99_bound: P99_BOUND,
            }],
            Self::Fleet(fleet) => {
                let most = Part {
                    name: "fleet",
                    starts: &fleet.starts,
                    steps: Vec::new(),
                    window: None,
                    io_slots: None,
                    p99_bound: P99_BOUND,
                };
                let left = Some(&fleet.leaving).filter(|loaded| !loaded.starts.is_empty());
                std::iter::once(most)
                    .chain(left.map(|loaded| Part::of(loaded, None)))
                    .collect()
            }
            Self::Monitoring(_) => Vec::new(),
            Self::Comparison(facts) => {
                let loads = facts.entrants.iter().map(|entrant| &entrant.loaded);
                loads.map(|loaded| Part::of(loaded, facts.sizing)).collect()
            }
            Self::Oscillation(facts) => {
                let loads = facts.waves.iter().map(|wave| &wave.loaded);
                loads.map(|loaded| Part::of(loaded, facts.sizing)).collect()
            }
            // Of loads and not of steps: what comes between two rows is a ramp.
            Self::Table(facts) => vec![Part {
                steps: Vec::new(),
                ..Part::of(&facts.loaded, facts.sizing)
            }],
            Self::Isolation(facts) => vec![Part::of(&facts.loaded, facts.sizing)],
            Self::Outage(facts) => vec![Part::of(&facts.loaded, facts.sizing)],
        }
    }

    /// What it has to tell beside its checks.
    pub fn tables(&self, samples: &[Sample]) -> Vec<Table> {
        match self {
            Self::Fleet(fleet) => fleet.tables(),
            Self::Comparison(comparison) => comparison.tables(samples),
            Self::Table(table) => table.tables(samples),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::loads::Stretch;
    use super::*;
    use crate::reaction::tests::sample;
    use crate::sizing::tests::sizing;

    fn loaded(workers: &[f64], sizing: &Sizing) -> Loaded {
        let stretches = workers.iter().zip(0..).map(|(workers, number)| {
            let from = f64::from(number) * 10.0;
            (
                Stretch::new("s", sizing.rate_of(*workers), 10.0),
                Window {
                    from,
                    to: from + 10.0,
                },
            )
        });
        Loaded {
            name: "a/b".to_owned(),
            stretches: stretches.collect(),
            ..Loaded::default()
        }
    }

    #[test]
    fn a_step_is_a_stretch_that_needs_more_workers() {
        let sizing = sizing();
        let table: [(&[f64], &[f64]); 5] = [
            (&[2.0, 9.0, 2.0], &[10.0]),
            (&[9.0, 9.0], &[0.0]),
            (&[1.0, 2.0, 3.0], &[]),
            (&[3.0, 5.0, 10.0], &[10.0, 20.0]),
            (&[9.0, 3.0, 9.0], &[0.0, 20.0]),
        ];
        for (workers, expected) in table {
            let found: Vec<f64> = steps(&loaded(workers, &sizing), &sizing)
                .iter()
                .map(|step| step.at)
                .collect();
            assert_eq!(found, expected, "{workers:?}");
        }
    }

    #[test]
    fn a_part_has_the_samples_of_its_own_phases() {
        let loaded = Loaded {
            name: "a/b".to_owned(),
            ..Loaded::default()
        };
        let part = Part::of(&loaded, None);
        let phases = ["a/b", "a/b/out", "a/bc", "a", ""];
        let has = phases.map(|phase| {
            part.has(&Sample {
                phase: phase.to_owned(),
                ..sample(0.0, (3, 3, 3, 0.0, 0.0))
            })
        });
        assert_eq!(has, [true, true, false, false, false]);
    }
}
