//! A step in load, in three phases: below the thresholds the minimum of workers stays; above what it carries the fleet
//! grows and keeps the guide's promises; when the load ends it shrinks to the minimum again.
//!
//! This file plays the phases. Whether they were as they should be is judged in [`judge`], from the samples.

mod judge;

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::loaded::{Loaded, Stretch};
use super::{Scenario, prepare};
use crate::cluster::autoscaling::Autoscaling;
use crate::judge::bounds::{self, Bound, MEAN};
use crate::judge::part::Part;
use crate::judge::table::Table;
use crate::judge::verdict::Check;
use crate::load::arrivals::Arrival;
use crate::load::context::Context;
use crate::load::sizing::{GUIDE_SERVICE, Peak, Sizing};
use crate::load::waits::{fix_workers, more_than, settle_at, settled, stored, tell};
use crate::load::{Load, acknowledged};
use crate::observe::sample::Sample;
use crate::observe::window::Window;
use support::wait::{consistently, eventually};

/// Documents that are timed one after the other before the load.
const TIMED: usize = 3;
/// Workers' worth of load in the step, at the autoscaler's target.
const STEP: f64 = 7.0;
/// Before the step the minimum's slots are used to this share: bursts of a Poisson process stay within the free slots
/// (of a mean of 4.5, 16 are in flight once in 50 000 times).
const USUAL: f64 = 0.3;
/// Seconds for which the minimum is watched: three of the HPA's default periods.
const STAYS: f64 = 45.0;
/// Seconds of the step with Poisson arrivals. After them the load goes on with even arrivals.
const OUT: f64 = 60.0;
/// Seconds at the end of the load for which size, depth and utilization are judged: the HPA's default period, twice.
const SETTLED: f64 = 30.0;
/// The load goes on at most so many seconds after the step.
const LONGEST: f64 = 420.0;
/// Seconds for which the minimum is watched after the scale-in: two of the HPA's default periods.
const HOLD: f64 = 30.0;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The fleet and its documents, once the cluster was read.
    sizing: Option<Sizing>,
    /// How the cluster scales.
    autoscaling: Autoscaling,
    /// Bytes of memory at which a worker is killed.
    memory_limit: Option<u64>,
    /// From the step to the decision, at most.
    decision: Bound,
    /// From the decision to the first new worker, at most.
    ready: Bound,
    /// The load.
    loaded: Loaded,
    /// From the last document until the minimum of workers was left.
    scale_in: Option<Window>,
    /// The minimum was watched.
    hold: Option<Window>,
}

impl Scenario for Step {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        judge::judge(self, samples)
    }

    fn loads(&self) -> Vec<Part<'_>> {
        let part = self.loaded.part(self.sizing.as_ref());
        let window = self.watched().or(part.window);
        vec![Part { window, ..part }]
    }

    fn tables(&self, _samples: &[Sample]) -> Vec<Table> {
        self.loaded.ending.table("step").into_iter().collect()
    }
}

impl Step {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        let sizing = prepare(context, "step/prepare", Peak::step(STEP, context.autoscaling.min), GUIDE_SERVICE).await?;
        let autoscaling = &context.autoscaling;
        let usual = USUAL * sizing.slots_of(sizing.min);
        let slots = sizing.slots_of(sizing.min);
        self.decision = bounds::decision(autoscaling, usual, slots, sizing.rate_of(STEP), sizing.service);
        self.ready = bounds::ready(&context.calibration()?.starts, sizing.share);
        (self.sizing, self.memory_limit) = (Some(sizing), context.settings.memory_limit);
        self.autoscaling = autoscaling.clone();
        fix_workers(context, sizing.min).await?;
        let (loaded, load) = Loaded::begin(context, "step");
        self.loaded = loaded;
        self.time_documents(context, &load, sizing.service).await?;
        self.loaded.warm_up(context, &load, usual / sizing.service, MEAN).await?;
        self.play(context, &load, &sizing, usual).await;
        let waiting = sizing.in_use(sizing.rate_of(STEP));
        let patience = bounds::drain(waiting, slots, sizing.service).seconds;
        self.loaded.drain(context, patience).await;
        self.shrink(context).await;
        context.enter("step/oracle", "comparing what is stored with what was loaded");
        self.loaded.read(context).await
    }

    /// Loads a few documents one after the other: each takes the latency on the way to S3, and little more.
    async fn time_documents(&mut self, context: &Context, load: &Load, service: f64) -> Result<()> {
        context.enter("step/one", "documents one by one");
        let mut small = context.documents.iter().enumerate().filter(|(_, document)| document.trips == 1);
        for _ in 0..TIMED {
            let document = small.next().map_or(0, |(index, _)| index);
            let arrival = Arrival { at: Duration::ZERO, document };
            load.play("one", &[arrival], &mut self.loaded.starts).await;
            let all = self.loaded.starts.len() as u64;
            let error = self.loaded.starts.iter().find_map(|start| start.error.as_deref());
            ensure!(error.is_none(), "{}", error.unwrap_or_default());
            stored(context, &load.prefix, all, 60.0 + service).await?;
        }
        Ok(())
    }

    /// Below the thresholds, then the step, then the same load with even arrivals until the cool-down is over.
    async fn play(&mut self, context: &Context, load: &Load, sizing: &Sizing, usual: f64) {
        let (before, rate) = (usual / sizing.service, sizing.rate_of(STEP));
        let steady = self.autoscaling.stabilization + MEAN + SETTLED + 15.0;
        let below = [Stretch::new("stays", before, STAYS)];
        let above = [Stretch::new("out", rate, OUT), Stretch::new("steady", rate, steady.min(LONGEST - OUT)).even()];
        let (min, watched) = (self.autoscaling.min, Duration::from_secs_f64(STAYS));
        let watching = consistently("the minimum of workers", watched, async || settled(context, min));
        let (held, ()) = futures::join!(watching, self.loaded.play(context, load, "step", &below));
        tell(context, "the minimum of workers stayed", held);
        let (decision, ready) = (self.decision.seconds, self.ready.seconds);
        let watching = async {
            let decided = eventually("more workers wanted", Duration::from_secs_f64(decision), async || {
                more_than(context, min, |fleet| fleet.wanted)
            });
            tell(context, "more workers are wanted", decided.await);
            let became = eventually("a new worker Ready", Duration::from_secs_f64(ready), async || {
                more_than(context, min, |fleet| fleet.ready)
            });
            tell(context, "a new worker is Ready", became.await);
        };
        let ((), ()) = futures::join!(watching, self.loaded.play(context, load, "step", &above));
    }

    /// No load: the fleet goes back to its minimum and stays there.
    async fn shrink(&mut self, context: &Context) {
        let (min, from) = (self.autoscaling.min, context.clock.now());
        let bound = bounds::scale_in(&self.autoscaling, self.autoscaling.max);
        context.enter("step/in", &format!("no load: back to {min} workers"));
        let settling = settle_at(context, min, bound.seconds).await;
        let to = context.clock.now();
        self.scale_in = Some(Window { from, to });
        let in_time = settling.is_ok();
        tell(context, &format!("{min} workers again"), settling);
        if in_time {
            context.enter("step/hold", &format!("{min} workers for {HOLD:.0} s"));
            self.hold = Some(Window { from: to, to: to + HOLD });
            let hold = Duration::from_secs_f64(HOLD);
            let holding = consistently("the minimum of workers", hold, async || settled(context, min));
            tell(context, "the minimum of workers held", holding.await);
        }
    }

    /// From the beginning of the load below the thresholds to the end of the last window that there is.
    fn watched(&self) -> Option<Window> {
        let first = self.loaded.window("stays")?;
        let last = self.hold.or(self.scale_in).or(self.loaded.drain).or(self.loaded.whole())?;
        Some(first.until(last))
    }

    /// Documents that were acknowledged and not stored when the load ended.
    fn waiting(&self, ended: f64) -> f64 {
        let early = self.loaded.starts.iter().filter(|start| start.stored.is_some_and(|stored| stored <= ended));
        acknowledged(&self.loaded.starts) as f64 - early.count() as f64
    }
}
