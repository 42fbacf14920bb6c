//! One step in load under each way to scale that the manifests offer: the same documents at the same times. What ships
//! is held to its goals, also on cost; the others are measured beside it.

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::loaded::{Loaded, Stretch};
use super::{Scenario, prepare};
use crate::cluster::scalers::{self, Scaler};
use crate::cluster::settings::TEMPORAL_SCALER;
use crate::cluster::{IO_QUEUE, hpa_sync};
use crate::judge::bounds::MEAN;
use crate::judge::fleet::{self, cost, timed};
use crate::judge::host::excuse;
use crate::judge::load::p99;
use crate::judge::part::Part;
use crate::judge::reaction::{Expected, Reaction, reaction};
use crate::judge::simulation::{Played, Simulated};
use crate::judge::statistics::{latency, seconds};
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question};
use crate::load::Start;
use crate::load::context::Context;
use crate::load::sizing::{GUIDE_SERVICE, Peak, Sizing, WAITING};
use crate::load::waits::fix_workers;
use crate::observe::sample::Sample;
use crate::observe::window::{Window, fleets};

/// Workers' worth of load before the step: less than the minimum, so that bursts do not decide.
const BEFORE: f64 = 2.0;
/// Workers' worth of load in the step.
const STEP: f64 = 9.0;
/// Seconds of load with the minimum of workers fixed, for a way to scale that takes no mean.
const WITHOUT_MEAN: f64 = 10.0;
/// Seconds of load before the step, scaled by the HPA.
const USUAL: f64 = 10.0;
/// Seconds of the step, and seconds without load after it, in which workers still cost.
const STEP_SECONDS: f64 = 30.0;
const TAIL: f64 = 10.0;
/// The last documents are stored within this time, in seconds, with the most workers.
const DRAINED: f64 = 120.0;
/// The seconds after the step in which the first new worker is Ready, and all that are needed.
///
/// They are for an HPA's period of at most 2 s, and without the time in which the demand of the step grows. With
/// documents of 4.2 s that growth takes 1.1 and 2.4 s: 5 and 8 s in all.
const GOAL: (f64, f64) = (4.0, 5.6);
/// With the HPA's default period, both within so many seconds beside that growth.
const GOAL_BY_DEFAULT: f64 = 16.7;
/// Workers that may be wanted beyond the plan's: what waits at the step is demand, too.
const OVERSHOOT: i32 = 2;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The fleet and its documents.
    sizing: Option<Sizing>,
    /// Each way to scale, and its load.
    entrants: Vec<Entrant>,
}

/// A way to scale, and its load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entrant {
    scaler: Scaler,
    hpa_sync: f64,
    loaded: Loaded,
}

/// What ships comes first.
const ENTRANTS: [Scaler; 3] = [Scaler::Slipway, Scaler::Temporal, Scaler::Guide];

impl Scenario for Comparison {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        let Some(sizing) = &self.sizing else {
            return Vec::new();
        };
        let mut checks = Vec::new();
        for entrant in &self.entrants {
            let mut own = entrant.loaded.checks(samples, true);
            if entrant.scaler == Scaler::Slipway {
                own.extend(goals(sizing, entrant, samples));
            }
            if let (Some(played), Some(step)) = (entrant.played(sizing), from_step(&entrant.loaded)) {
                let found = entrant.reaction(sizing, step, samples);
                own.push(played.agrees(samples, &found));
            }
            let (_, name) = entrant.loaded.name.split_once('/').unwrap_or_default();
            checks.extend(own.into_iter().map(|check| check.of_part(name)));
        }
        checks
    }

    fn loads(&self) -> Vec<Part<'_>> {
        let loads = self.entrants.iter().map(|entrant| &entrant.loaded);
        loads.map(|loaded| loaded.part(self.sizing.as_ref())).collect()
    }

    fn simulated(&self, load: &str, samples: &[Sample]) -> Vec<Simulated> {
        let entrant = self.entrants.iter().find(|entrant| entrant.loaded.name == load);
        let played = entrant.and_then(|entrant| entrant.played(self.sizing.as_ref()?));
        played.map_or_else(Vec::new, |played| played.simulate(samples))
    }

    fn tables(&self, samples: &[Sample]) -> Vec<Table> {
        let Some(sizing) = &self.sizing else {
            return Vec::new();
        };
        let heads = [
            "way",
            "HPA period",
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
        let mut table = Table::new("Ways to scale, side by side", &heads, format!("{}.", sizing.rule()));
        let rows = self.entrants.iter().filter_map(|entrant| row(entrant, sizing, samples));
        table.rows = rows.collect();
        let retried = self.entrants.iter().filter_map(|one| one.loaded.ending.table(&one.loaded.name));
        std::iter::once(table).chain(retried).collect()
    }
}

impl Comparison {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        let own = context.fixture.cluster.hpa_sync;
        for scaler in ENTRANTS {
            self.play(context, &format!("comparison/{}", scaler.name()), scaler, own).await?;
        }
        Ok(())
    }

    /// Plays the load called `name` under a way to scale and a period of the HPA, in seconds.
    pub(super) async fn play(&mut self, context: &Context, name: &str, scaler: Scaler, period: u8) -> Result<()> {
        let sizing = match self.sizing {
            Some(sizing) => sizing,
            None => {
                let (scenario, _) = name.split_once('/').unwrap_or_default();
                let peak = Peak::step(STEP, context.autoscaling.min);
                prepare(context, &format!("{scenario}/prepare"), peak, GUIDE_SERVICE).await?
            }
        };
        self.sizing = Some(sizing);
        context.enter(&format!("{name}/apply"), &format!("{}, HPA period {period} s", scaler.about()));
        fix_workers(context, sizing.min).await?;
        scalers::apply(&context.fixture, scaler).await?;
        let (mut loaded, load) = Loaded::begin(context, name);
        let mean = if scaler == Scaler::Slipway { MEAN } else { WITHOUT_MEAN };
        // A controller manager with another period leads after half a minute. The number of workers is fixed until then.
        futures::try_join!(
            loaded.warm_up(context, &load, sizing.rate_of(BEFORE), mean),
            hpa_sync::set_hpa_sync(&context.fixture, period)
        )?;
        loaded.play(context, &load, "comparison", &stretches(&sizing)).await;
        // The measurement is over: the most workers take down what still waits.
        fix_workers(context, sizing.max).await?;
        let ended = loaded.end(context, DRAINED).await;
        self.entrants.push(Entrant { scaler, hpa_sync: f64::from(period), loaded });
        ended
    }
}

impl Entrant {
    /// Its load for the simulator: with the warm-up, to the end of the tail.
    fn played<'a>(&'a self, sizing: &'a Sizing) -> Option<Played<'a>> {
        let (first, step) = (self.loaded.stretches.first()?.1, from_step(&self.loaded)?);
        Some(Played {
            sizing,
            scaler: self.scaler,
            hpa_sync: self.hpa_sync,
            starts: &self.loaded.starts,
            window: first.until(step),
            step: step.from,
        })
    }

    /// How the fleet reacted to the step.
    fn reaction(&self, sizing: &Sizing, step: Window, samples: &[Sample]) -> Reaction {
        reaction(samples, &self.loaded.starts, step, &Expected::of(sizing, sizing.rate_of(STEP)))
    }
}

/// Even arrivals: the way to scale is measured, and not the draw.
fn stretches(sizing: &Sizing) -> [Stretch; 3] {
    [
        Stretch::new("usual", sizing.rate_of(BEFORE), USUAL).even(),
        Stretch::new("step", sizing.rate_of(STEP), STEP_SECONDS).even(),
        Stretch::new("tail", 0.0, TAIL),
    ]
}

/// Puts back what ships, whatever the scenario left. The caller waits for the HPA.
///
/// # Errors
/// The ScaledObject cannot be read or applied.
pub async fn restore(context: &Context) -> Result<()> {
    let triggers = scalers::triggers(&context.fixture).await?;
    if triggers.iter().any(|trigger| trigger["name"] == TEMPORAL_SCALER.0) {
        return Ok(());
    }
    scalers::apply(&context.fixture, Scaler::Slipway).await
}

/// From the step to the end of the tail.
fn from_step(loaded: &Loaded) -> Option<Window> {
    Some(loaded.window("step")?.until(loaded.window("tail")?))
}

/// The documents of the step.
fn of_step(loaded: &Loaded) -> impl Iterator<Item = &Start> {
    loaded.starts.iter().filter(|start| start.phase == "step")
}

/// A row of the table: times in seconds since the step.
fn row(entrant: &Entrant, sizing: &Sizing, samples: &[Sample]) -> Option<Vec<String>> {
    let loaded = &entrant.loaded;
    let window = from_step(loaded)?;
    let found = entrant.reaction(sizing, window, samples);
    let after = |value: Option<f64>| value.map_or_else(|| "never".to_owned(), |value| format!("{value:.1} s"));
    let or_unseen = |text: Option<String>| text.unwrap_or_else(|| "not seen".to_owned());
    let deepest = window.of(samples).filter_map(|sample| Sample::of_queue(&sample.depth, IO_QUEUE)).reduce(f64::max);
    let latency = latency(of_step(loaded));
    let paid = fleet::worker_seconds(samples, window).ok();
    Some(vec![
        entrant.scaler.about().to_owned(),
        format!("{:.0} s", entrant.hpa_sync),
        after(found.decision),
        after(found.first_poll),
        after(found.all_ready),
        found.most_wanted.to_string(),
        or_unseen(deepest.map(|depth| format!("{depth:.0}"))),
        seconds(latency.and_then(|found| found.p50)),
        seconds(latency.and_then(|found| found.p99)),
        or_unseen(paid.map(|seconds| format!("{:.1}", seconds / 60.0))),
        or_unseen(fleet::turns(samples, window).ok().map(|turns| turns.to_string())),
    ])
}

/// What ships reaches its goals.
fn goals(sizing: &Sizing, entrant: &Entrant, samples: &[Sample]) -> Vec<Check> {
    let loaded = &entrant.loaded;
    let Some(step) = from_step(loaded) else {
        return Vec::new();
    };
    let rate = sizing.rate_of(STEP);
    let found = entrant.reaction(sizing, step, samples);
    let gap = fleets(samples, step).err();
    let often = entrant.hpa_sync <= 2.0;
    let (first, all) = if often { GOAL } else { (GOAL_BY_DEFAULT, GOAL_BY_DEFAULT) };
    // Until the documents of the step end, those in flight grow from what they were by the rate of the step.
    let growth = |in_flight: f64| (in_flight - sizing.in_use(sizing.rate_of(BEFORE))) / rate;
    let (filled, asked) = (
        growth(sizing.slots_of(sizing.min)),
        growth(f64::from(found.needed) * sizing.target * (1.0 - capacity::demand::HPA_TOLERANCE)),
    );
    let reached = |id, name: String, lags: f64, grows: f64, seconds: Option<f64>| {
        let bound = lags + grows;
        let why = format!(
            "{lags} s is the goal for signal, decision and start with an HPA period of {:.0} s; the demand that asks \
             for them is there {grows:.1} s after the step",
            entrant.hpa_sync
        );
        let question = Question::new(id, name, format!("≤ {bound:.1} s after the step"), why);
        timed(question, seconds, bound, gap.as_deref(), || format!("{} wanted at most", found.most_wanted))
    };
    let needed = format!("all {} workers that the load needs Ready", found.needed);
    let mut checks = vec![
        reached("goal-first", "the first new worker Ready".to_owned(), first, filled, found.first_poll),
        reached("goal-all", needed, all, asked, found.all_ready),
    ];
    if often {
        // A document that finds every slot in use waits for the first new worker, for which the goal leaves this time.
        let service = sizing.service + first - WAITING;
        checks.push(p99("p99 of the documents of the step", of_step(loaded), service));
    }
    let excuse = excuse(samples, step);
    let mut checks: Vec<Check> = checks.into_iter().map(|check| check.excused_by(excuse.as_deref())).collect();
    let (_, settles) = sizing.settles(rate);
    let why = format!("the plan's {settles}, and {OVERSHOOT} for what waits at the step");
    checks.push(fleet::no_overshoot(samples, step, settles + OVERSHOOT, &why));
    checks.push(cost(samples, step, &loaded.needed(sizing), sizing.min));
    checks
}
