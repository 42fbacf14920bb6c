//! One step in load, from three to nine workers' worth, under each way to scale that the manifests offer: the same documents at
//! the same times. What ships is held to its goals; the others are measured beside it.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::fleet::{let_go, let_go_at_once, pause};
use super::loads::{Loaded, Stretch};
use super::parts::expected;
use super::{Context, prepare};
use crate::bounds::HPA_SYNC;
use crate::calm;
use crate::controller;
use crate::load::latency;
use crate::observe::sample::Sample;
use crate::reaction::{p99_bound, reaction};
use crate::scalers::{self, Scaler};
use crate::scaling::{self, Window, timed};
use crate::settings::IO_DEMAND;
use crate::sizing::Sizing;
use crate::table::Table;
use crate::verdict::{Check, Outcome};

/// Seconds of a document's IO, where the host carries it: latency on the way to S3.
const SERVICE: f64 = 2.0;
/// Workers' worth of load before the step, below the fewest so that bursts do not decide.
const BEFORE: f64 = 2.0;
/// Workers' worth of load in the step.
const STEP: f64 = 9.0;
/// The step takes so much of what the host carries: to start workers takes the rest. Where the documents take it all, new workers
/// wait for the cores, and what is measured is the host.
const SHARE: f64 = 0.75;
/// Seconds of load before the step: what ships has a demand trigger that takes the mean of so many; the others look at the moment.
const CALM: f64 = 30.0;
const CALM_OF_OTHERS: f64 = 15.0;
/// Seconds of the step.
const STEP_SECONDS: f64 = 25.0;
/// Seconds without load after it, in which workers still cost.
const TAIL: f64 = 10.0;
/// For what still waits then: the slowest way has the backlog of the whole step for three workers.
const PATIENCE: f64 = 120.0;

/// Where the HPA looks at least every two seconds, the first new worker is Ready within so many seconds of the step, and all
/// that are needed within so many.
const GOAL: (f64, f64) = (5.0, 8.0);
/// Where it looks every 15 s, as by default, both within so many.
const GOAL_BY_DEFAULT: f64 = 20.0;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What the load was sized by.
    pub sizing: Option<Sizing>,
    /// Each way to scale, and its load.
    pub entrants: Vec<Entrant>,
}

/// A way to scale, and how it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entrant {
    /// Which.
    pub scaler: Scaler,
    /// Seconds between two looks of the HPA.
    pub hpa_sync: f64,
    /// The load.
    pub loaded: Loaded,
}

/// The order: what ships comes first. Where the cluster's HPA looks more often than by default, what ships comes again, with the
/// default.
fn entrants(hpa_sync: u8) -> Vec<(Scaler, u8)> {
    let mut all = [Scaler::Slipway, Scaler::Temporal, Scaler::Guide]
        .map(|scaler| (scaler, hpa_sync))
        .to_vec();
    if hpa_sync != HPA_SYNC {
        all.push((Scaler::Slipway, HPA_SYNC));
    }
    all
}

impl Facts {
    /// What each way to scale did with the same step in load.
    pub(super) fn tables(&self, samples: &[Sample]) -> Vec<Table> {
        let Some(sizing) = &self.sizing else {
            return Vec::new();
        };
        let heads = [
            "way",
            "the HPA looks every",
            "decision",
            "first new Ready",
            "all needed Ready",
            "most wanted",
            "deepest IO queue",
            "p50",
            "p99",
            "worker-minutes",
            "turns",
        ];
        let note = format!("{}.", sizing.told());
        let mut table = Table::new("Ways to scale, side by side", &heads, note);
        table.rows = measure(self, samples).iter().map(Measured::row).collect();
        vec![table]
    }
}

impl Measured {
    fn row(&self) -> Vec<String> {
        let or_none = |text: Option<String>, none: &str| text.unwrap_or_else(|| none.to_owned());
        let seconds = |value: Option<f64>| or_none(value.map(|seconds| format!("{seconds:.1} s")), "never");
        vec![
            self.scaler.about().to_owned(),
            format!("{:.0} s", self.hpa_sync),
            seconds(self.decision),
            seconds(self.first_ready),
            seconds(self.all_ready),
            self.most_wanted.to_string(),
            or_none(self.deepest.map(|depth| format!("{depth:.0}")), "–"),
            seconds(self.p50),
            seconds(self.p99),
            or_none(self.worker_minutes.map(|minutes| format!("{minutes:.1}")), "–"),
            or_none(self.turns.map(|turns| turns.to_string()), "–"),
        ]
    }
}

/// Plays the step under each.
pub async fn run(context: &Context, facts: &mut Facts) -> Result<()> {
    let sizing = prepare(context, "comparison/prepare", SERVICE, STEP / SHARE).await?;
    facts.sizing = Some(sizing);
    for (scaler, hpa_sync) in entrants(context.fixture.cluster.hpa_sync) {
        let mut name = format!("comparison/{}", scaler.name());
        if hpa_sync != context.fixture.cluster.hpa_sync {
            name = format!("{name}-{hpa_sync}s");
        }
        let what = format!("{}, the HPA looks every {hpa_sync} s", scaler.about());
        context.enter(&format!("{name}/apply"), &what);
        pause(context, Some(sizing.min)).await?;
        controller::set_hpa_sync(&context.fixture, hpa_sync).await?;
        scalers::apply(&context.fixture, scaler).await?;
        let handed_over = match scaler {
            Scaler::Slipway => let_go(context, sizing.min).await,
            Scaler::Temporal | Scaler::Guide => let_go_at_once(context, sizing.min).await,
        };
        handed_over.with_context(|| format!("before {name}"))?;
        let (loaded, load) = Loaded::begin(context, &name);
        facts.entrants.push(Entrant {
            scaler,
            hpa_sync: f64::from(hpa_sync),
            loaded,
        });
        let Some(Entrant { loaded, .. }) = facts.entrants.last_mut() else {
            continue;
        };
        loaded
            .play(context, &load, "comparison", &stretches(&sizing, scaler))
            .await;
        loaded.end(context, PATIENCE).await?;
    }
    Ok(())
}

/// A clean step, so that the way to scale is measured and not the draw: with chance in it, the last workers that the load needs on
/// average are asked for when as much is there for the first time, which may be ten seconds later.
fn stretches(sizing: &Sizing, scaler: Scaler) -> [Stretch; 3] {
    let calm = match scaler {
        Scaler::Slipway => CALM,
        Scaler::Temporal | Scaler::Guide => CALM_OF_OTHERS,
    };
    [
        Stretch::new("calm", sizing.rate_of(BEFORE), calm).even(),
        Stretch::new("step", sizing.rate_of(STEP), STEP_SECONDS).even(),
        Stretch::new("tail", 0.0, TAIL),
    ]
}

/// Puts back what ships, whatever the scenario left.
///
/// # Errors
/// The ScaledObject cannot be read or applied.
pub async fn clear(context: &Context) -> Result<()> {
    let triggers = scalers::triggers(&context.fixture).await?;
    if triggers.iter().any(|trigger| trigger["name"] == IO_DEMAND) {
        return Ok(());
    }
    scalers::apply(&context.fixture, Scaler::Slipway).await?;
    scalers::taken_over(&context.fixture).await
}

/// What was measured of one way to scale; times in seconds since the step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Which.
    pub scaler: Scaler,
    /// Seconds between two looks of the HPA.
    pub hpa_sync: f64,
    /// More workers were wanted.
    pub decision: Option<f64>,
    /// The first new worker was Ready.
    pub first_ready: Option<f64>,
    /// All that the load needs, within the guide's utilisation, were Ready.
    pub all_ready: Option<f64>,
    /// The most workers that were wanted.
    pub most_wanted: i32,
    /// The deepest that the IO queue was.
    pub deepest: Option<f64>,
    /// The median and the 99th percentile of the documents that came in the step.
    pub p50: Option<f64>,
    /// The 99th percentile of them.
    pub p99: Option<f64>,
    /// Minutes of workers, from the step to the end of the tail.
    pub worker_minutes: Option<f64>,
    /// Changes of direction of the number of workers wanted.
    pub turns: Option<usize>,
}

/// Reads off what each way to scale did.
pub fn measure(facts: &Facts, samples: &[Sample]) -> Vec<Measured> {
    let Some(sizing) = facts.sizing else {
        return Vec::new();
    };
    let entrants = facts.entrants.iter();
    entrants
        .filter_map(|entrant| measure_one(entrant, &sizing, samples))
        .collect()
}

fn measure_one(entrant: &Entrant, sizing: &Sizing, samples: &[Sample]) -> Option<Measured> {
    let loaded = &entrant.loaded;
    let step = from_step(loaded)?;
    let reaction = reaction(
        samples,
        &loaded.starts,
        step,
        &expected(sizing, sizing.rate_of(STEP)),
    );
    let found = latency(&loaded.starts, |start| start.phase == "step");
    let deepest = step
        .of(samples)
        .filter_map(|sample| sample.depth.seen()?.get(crate::fixture::IO_QUEUE).copied())
        .reduce(f64::max);
    Some(Measured {
        scaler: entrant.scaler,
        hpa_sync: entrant.hpa_sync,
        decision: reaction.decision,
        first_ready: reaction.first_poll,
        all_ready: reaction.all_ready,
        most_wanted: reaction.most_wanted,
        deepest,
        p50: found.map(|found| found.p50),
        p99: found.map(|found| found.p99),
        worker_minutes: calm::worker_seconds(samples, step)
            .ok()
            .map(|seconds| seconds / 60.0),
        turns: calm::turns(samples, step).ok(),
    })
}

/// From the step to the end of the tail.
fn from_step(loaded: &Loaded) -> Option<Window> {
    Some(Window {
        from: loaded.window("step")?.from,
        to: loaded.whole()?.to,
    })
}

/// What the facts and the samples show.
pub(super) fn judge(facts: &Facts, samples: &[Sample]) -> Vec<Check> {
    let Some(sizing) = facts.sizing else {
        return Vec::new();
    };
    let mut checks = Vec::new();
    for entrant in &facts.entrants {
        let mut of_one = entrant.loaded.checks();
        if entrant.scaler == Scaler::Slipway {
            of_one.extend(goals(&sizing, entrant, samples));
        }
        let name = entrant.loaded.name.trim_start_matches("comparison/");
        checks.extend(of_one.into_iter().map(|mut check| {
            check.name = format!("{name}: {}", check.name);
            check
        }));
    }
    checks
}

fn goals(sizing: &Sizing, entrant: &Entrant, samples: &[Sample]) -> Vec<Check> {
    let loaded = &entrant.loaded;
    let (Some(step), Some(whole)) = (from_step(loaded), loaded.whole()) else {
        return Vec::new();
    };
    let Some(measured) = measure_one(entrant, sizing, samples) else {
        return Vec::new();
    };
    let often = entrant.hpa_sync <= 2.0;
    let (first, all) = if often {
        GOAL
    } else {
        (GOAL_BY_DEFAULT, GOAL_BY_DEFAULT)
    };
    let why = format!(
        "the goal where the HPA looks every {:.0} s; documents of {:.1} s, {BEFORE} to {} workers' worth of load",
        entrant.hpa_sync, sizing.service, STEP
    );
    let gap = scaling::fleets(samples, step).err();
    let reached = |name: &str, bound: f64, seconds: Option<f64>| {
        let outcome = timed(seconds, bound, gap.as_deref(), || {
            format!("never; at most {} wanted", measured.most_wanted)
        });
        let told = seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1} s"));
        Check::new(
            name,
            format!("≤ {bound:.0} s after the step"),
            told,
            why.as_str(),
            outcome,
        )
    };
    let mut checks = vec![
        reached("the first new worker Ready", first, measured.first_ready),
        reached(
            &format!(
                "all {} workers that the load needs Ready",
                sizing.needed_for(sizing.rate_of(STEP))
            ),
            all,
            measured.all_ready,
        ),
        calm::never_below_in_use(samples, whole, sizing.slots),
        few_turns(samples, whole, 1, "out once, and in once"),
    ];
    if often {
        checks.push(fast_enough(measured.p99, sizing));
    }
    checks
}

fn fast_enough(p99: Option<f64>, sizing: &Sizing) -> Check {
    let bound = p99_bound(sizing.service);
    let outcome = match p99 {
        Some(p99) => Outcome::require(p99 < bound, || format!("{p99:.2} s")),
        None => Outcome::inconclusive("no document of the step was stored"),
    };
    Check::new(
        "99th percentile of the documents of the step",
        format!("< {bound:.1} s"),
        p99.map_or_else(|| "not seen".to_owned(), |p99| format!("{p99:.2} s")),
        "the guide's 4 s are 2 s of waiting for documents of 2 s; held through the step itself, and not only after it",
        outcome,
    )
}

/// At most so many changes of direction of the number of workers wanted.
pub(super) fn few_turns(samples: &[Sample], window: Window, most: usize, why: &str) -> Check {
    let name = "the fleet does not flap";
    let bound = format!("≤ {most} changes of direction");
    match calm::turns(samples, window) {
        Err(gap) => Check::new(name, bound, "not seen", why, Outcome::inconclusive(gap)),
        Ok(turns) => {
            let outcome = Outcome::require(turns <= most, || format!("{turns} changes of direction"));
            Check::new(name, bound, turns.to_string(), why, outcome)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Start;
    use crate::scaling::tests::sample;
    use crate::sizing::tests::sizing;

    /// Calm to 30, a step to 60, a tail to 90; every document of the step takes `seconds`.
    fn entrant(hpa_sync: f64, seconds: f64) -> Entrant {
        let window = |from: f64| Window {
            from,
            to: from + 30.0,
        };
        let [calm, step, tail] = stretches(&sizing(), Scaler::Slipway);
        let starts = (0..100).map(|number| Start {
            id: format!("{number}"),
            key: "k".to_owned(),
            phase: "step".to_owned(),
            due: 31.0,
            sent: 31.0,
            acknowledged: Some(31.0),
            error: None,
            stored: Some(31.0 + seconds),
        });
        Entrant {
            scaler: Scaler::Slipway,
            hpa_sync,
            loaded: Loaded {
                stretches: vec![(calm, window(0.0)), (step, window(30.0)), (tail, window(60.0))],
                starts: starts.collect(),
                ..Loaded::default()
            },
        }
    }

    /// 3 workers, `first` Ready ones more from one second after the step on, nine from another on; wanted a second before.
    fn reacted(first: f64, all: f64) -> Vec<Sample> {
        let count = |at: f64| match at - 30.0 {
            since if since >= all => 9,
            since if since >= first => 6,
            _ => 3,
        };
        (0..=90)
            .map(|second| {
                let at = f64::from(second);
                let mut one = sample(at, Some((count(at + 1.0), count(at), count(at))));
                let used = [(crate::fixture::IO_QUEUE.to_owned(), 9.0)];
                one.slots_used = crate::observe::sample::Reading::Seen(used.into());
                one
            })
            .collect()
    }

    fn failed(sync: f64, seconds: f64, samples: &[Sample]) -> Vec<String> {
        let checks = goals(&sizing(), &entrant(sync, seconds), samples).into_iter();
        let failed = checks.filter(|check| check.outcome != Outcome::Pass);
        failed.map(|check| check.name).collect()
    }

    #[test]
    fn each_goal_is_held_at_its_bound_and_not_beyond() {
        let (first, all) = (
            "the first new worker Ready",
            "all 8 workers that the load needs Ready",
        );
        let p99 = "99th percentile of the documents of the step";
        let table: [(f64, f64, f64, f64, &[&str]); 7] = [
            (1.0, 5.0, 8.0, 3.9, &[]),
            (1.0, 6.0, 8.0, 3.9, &[first]),
            (1.0, 5.0, 9.0, 3.9, &[all]),
            (1.0, 5.0, 8.0, 4.0, &[p99]),
            (15.0, 20.0, 20.0, 9.0, &[]),
            (15.0, 21.0, 21.0, 9.0, &[first, all]),
            (1.0, 99.0, 99.0, 3.9, &[first, all]),
        ];
        for (sync, one, nine, seconds, expected) in table {
            assert_eq!(
                failed(sync, seconds, &reacted(one, nine)),
                expected,
                "{sync} {one} {nine} {seconds}"
            );
        }
    }

    #[test]
    fn what_ships_is_measured_again_as_an_hpa_by_default_looks() {
        let names = |hpa_sync| {
            entrants(hpa_sync)
                .into_iter()
                .filter(|(scaler, _)| *scaler == Scaler::Slipway)
        };
        assert_eq!(names(1).map(|(_, sync)| sync).collect::<Vec<_>>(), [1, 15]);
        assert_eq!(names(15).map(|(_, sync)| sync).collect::<Vec<_>>(), [15]);
    }

    #[test]
    fn a_reaction_counts_from_the_fleet_that_the_step_met() {
        let mut samples = reacted(5.0, 8.0);
        for sample in samples.iter_mut().filter(|sample| sample.at < 34.0) {
            sample.fleet = crate::scaling::tests::sample(0.0, Some((5, 5, 5))).fleet;
        }
        let measured = measure_one(&entrant(1.0, 2.0), &sizing(), &samples).unwrap();
        assert_eq!((measured.decision, measured.first_ready), (Some(4.0), Some(5.0)));
    }

    #[test]
    fn a_fleet_that_goes_back_and_forth_flaps() {
        let samples: Vec<Sample> = [3, 6, 3, 6]
            .iter()
            .zip(0..)
            .map(|(count, second)| sample(f64::from(second), Some((*count, *count, *count))))
            .collect();
        let window = Window { from: 0.0, to: 3.0 };
        assert_eq!(few_turns(&samples, window, 2, "w").outcome, Outcome::Pass);
        assert_eq!(few_turns(&samples, window, 1, "w").outcome.word(), "Fail");
        let unseen = Window { from: 0.0, to: 30.0 };
        assert_eq!(few_turns(&samples, unseen, 9, "w").outcome.word(), "Inconclusive");
    }

    #[test]
    fn without_a_gap_in_sight_a_worker_that_never_came_is_a_failure_and_with_one_it_is_open() {
        let mut samples = reacted(99.0, 99.0);
        samples.retain(|sample| !(40.0..50.0).contains(&sample.at));
        let checks = goals(&sizing(), &entrant(1.0, 2.0), &samples);
        let first = checks
            .iter()
            .find(|check| check.name.starts_with("the first"))
            .unwrap();
        assert_eq!(first.outcome.word(), "Inconclusive");
    }
}
