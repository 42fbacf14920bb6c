//! A step in load, in three phases: below the thresholds the fewest workers stay; above what they
//! carry the fleet grows and the queue drains; when the load ends it shrinks to the fewest again.
//!
//! Every document that Temporal acknowledged is then looked for in the database. The time that a
//! document takes is a real latency on the way to S3. This file runs the phases and names the windows;
//! whether they were as they should be is judged in [`super::step_judge`], from the samples.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::parts::{Step, expected};
use super::probes::{more_than, settle_at, settled, stored, tell};
use super::{Context, ends};
use crate::bounds::Bound;
use crate::corpus::{CLAIM_CHECK, Document};
use crate::load::{Load, Start};
use crate::oracle::rows;
use crate::plan::{HOLD, LATENCY, Plan, STAYS, WARM_UP, plan};
use crate::progress::say;
use crate::reaction::{Expected, P99_BOUND};
use crate::scaling::Window;
use crate::schedule::{Arrival, generator, poisson};
use crate::settings;
use crate::verdict::Check;
use crate::wait::{consistently, eventually};

/// Documents whose time is measured, one after the other, before the load; the median counts.
const MEASURED: usize = 3;
/// For a document on an idle system: the latency, once more for a claim check, and a busy start.
const ONE_DOCUMENT: Duration = Duration::from_secs(60);

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What the documents' ids begin with.
    pub prefix: String,
    /// The load and its bounds, once the cluster was read and a document was timed.
    pub plan: Option<Plan>,
    /// Seconds that each of the first documents took.
    pub measured: Vec<f64>,
    /// Below the thresholds.
    pub stays: Option<Window>,
    /// From the step to the end of the load.
    pub out: Option<Window>,
    /// From the end of the load until everything was stored.
    pub drain: Option<Window>,
    /// Documents that were not stored when the drain ended.
    pub left: u64,
    /// The bound on the drain.
    pub drain_bound: Option<Bound>,
    /// From then until the fewest workers were left.
    pub scale_in: Option<Window>,
    /// The bound on that.
    pub scale_in_bound: Option<Bound>,
    /// The fewest workers held.
    pub hold: Option<Window>,
    /// Every start.
    pub starts: Vec<Start>,
    /// Workflows by status.
    pub statuses: BTreeMap<String, u64>,
    /// What the oracle found.
    pub oracle: Vec<Check>,
}

impl Facts {
    /// The step, once it was there.
    pub fn step(&self) -> Option<Step> {
        let (window, plan) = (self.out?, self.plan.as_ref()?);
        let expected = Expected {
            p99_bound: P99_BOUND,
            ..expected(&plan.sizing(), plan.step_rate)
        };
        Some(Step {
            at: window.from,
            expected,
        })
    }
}

/// Runs the three phases and then the oracle.
pub async fn run(context: &Context, facts: &mut Facts) -> Result<()> {
    let load = context.begin_load("step");
    facts.prefix.clone_from(&load.prefix);
    prepare(context, &load, facts).await?;
    let plan = facts.plan.clone().context("no plan was made")?;
    stays(context, &load, &plan, facts).await;
    out(context, &load, &plan, facts).await;
    drain(context, &plan, facts).await?;
    scale_in(context, &plan, facts).await;
    context.enter("step/oracle", "comparing what is stored with what was loaded");
    context.fixture.toxiproxy.clear().await?;
    let end = ends::reckon(context, &facts.prefix, &mut facts.starts).await?;
    (facts.statuses, facts.oracle) = (end.statuses, end.checks);
    Ok(())
}

/// Uploads the documents, puts the latency in place, times a document and plans the load.
async fn prepare(context: &Context, load: &Load, facts: &mut Facts) -> Result<()> {
    context.enter(
        "step/prepare",
        "reading how the cluster scales, uploading documents",
    );
    let (autoscaling, settings) = settings::autoscaling(&context.fixture).await?;
    let settle = autoscaling.scale_in(autoscaling.max);
    settle_at(context, autoscaling.min, settle.seconds)
        .await
        .context("before the load")?;
    settings::upload(&context.fixture, &context.documents).await?;
    context.fixture.toxiproxy.clear().await?;
    context
        .fixture
        .toxiproxy
        .delay_answers(Duration::from_secs_f64(LATENCY))
        .await?;
    facts.measured = measure(context, load, &mut facts.starts).await?;
    let service = median(&facts.measured).context("no document was timed")?;
    let plan = plan(context.cores, settings.io.count.value, autoscaling, service);
    say(
        context.clock,
        &format!("a document takes {service:.2} s; {}", plan.rule),
    );
    facts.plan = Some(plan);
    Ok(())
}

/// Loads a few documents one after the other and returns how long each took.
async fn measure(context: &Context, load: &Load, starts: &mut Vec<Start>) -> Result<Vec<f64>> {
    let small: Vec<usize> = small_documents(&load.documents).collect();
    for turn in 0..MEASURED {
        let document = small.get(turn % small.len().max(1)).copied().unwrap_or(0);
        let arrival = Arrival {
            at: Duration::ZERO,
            document,
        };
        load.run(&format!("one{turn}"), &[arrival], starts).await;
        let all = starts.len() as u64;
        ensure!(
            starts.iter().all(|start| start.acknowledged.is_some()),
            "{}",
            first_error(starts)
        );
        eventually("one document stored", ONE_DOCUMENT, async || {
            stored(context, &load.prefix, all).await
        })
        .await?;
    }
    ends::note_stored(context, &load.prefix, starts).await?;
    Ok(starts.iter().filter_map(Start::latency).collect())
}

fn small_documents(documents: &[Document]) -> impl Iterator<Item = usize> {
    documents
        .iter()
        .enumerate()
        .filter(|(_, document)| document.bytes.len() as u64 <= CLAIM_CHECK)
        .map(|(index, _)| index)
}

fn first_error(starts: &[Start]) -> String {
    let error = starts.iter().find_map(|start| start.error.clone());
    error.unwrap_or_else(|| "a workflow could not be started".to_owned())
}

/// Below the thresholds: the load begins, and after a moment the replicas have to hold.
async fn stays(context: &Context, load: &Load, plan: &Plan, facts: &mut Facts) {
    context.enter(
        "step/stays",
        &format!(
            "{:.1} documents/s for {STAYS:.0} s: no worker is added",
            plan.calm_rate
        ),
    );
    let schedule = arrivals(context, load, "stays", plan.calm_rate, WARM_UP + STAYS);
    let from = context.clock.now() + WARM_UP;
    let window = Window {
        from,
        to: from + STAYS,
    };
    facts.stays = Some(window);
    let length = Duration::from_secs_f64(WARM_UP + STAYS);
    let watching = consistently("the fewest workers", length, async || {
        settled(context, plan.autoscaling.min)
    });
    let loading = load.run("stays", &schedule, &mut facts.starts);
    let (held, ()) = futures::join!(watching, loading);
    tell(context, "the fewest workers stayed", held);
}

/// The step: the load runs its time, whatever the fleet does meanwhile.
async fn out(context: &Context, load: &Load, plan: &Plan, facts: &mut Facts) {
    let what = format!(
        "{:.1} documents/s for {:.0} s, {:.1} times what {} workers carry",
        plan.step_rate,
        plan.out,
        plan.step_rate / plan.capacity,
        plan.autoscaling.min
    );
    context.enter("step/out", &what);
    let schedule = arrivals(context, load, "out", plan.step_rate, plan.out);
    let from = context.clock.now();
    facts.out = Some(Window {
        from,
        to: from + plan.out,
    });
    let watching = async {
        let decision = Duration::from_secs_f64(plan.decision.seconds);
        let decided = eventually("more workers wanted", decision, async || {
            more_than(context, plan.autoscaling.min, |fleet| fleet.wanted)
        });
        tell(context, "more workers are wanted", decided.await);
        let ready = Duration::from_secs_f64(plan.ready.seconds);
        let became = eventually("a new worker ready", ready, async || {
            more_than(context, plan.autoscaling.min, |fleet| fleet.ready)
        });
        tell(context, "a new worker is ready", became.await);
    };
    let loading = load.run("out", &schedule, &mut facts.starts);
    let ((), ()) = futures::join!(watching, loading);
}

/// The load has ended: everything that was acknowledged has to be stored.
async fn drain(context: &Context, plan: &Plan, facts: &mut Facts) -> Result<()> {
    context.enter("step/drain", "the load has ended: the queue drains");
    let from = context.clock.now();
    let acknowledged = ends::acknowledged(&facts.starts);
    let stored_now = rows::count_stored(&context.fixture.postgres, &facts.prefix).await?;
    let waiting = acknowledged.saturating_sub(stored_now);
    let bound = plan
        .autoscaling
        .drain(waiting as f64, plan.capacity, plan.service);
    let limit = Duration::from_secs_f64(bound.seconds);
    facts.drain_bound = Some(bound);
    facts.left = waiting;
    let prefix = facts.prefix.clone();
    let drained = eventually("every document stored", limit, async || {
        stored(context, &prefix, acknowledged).await
    });
    tell(context, "every document is stored", drained.await);
    facts.left = acknowledged.saturating_sub(rows::count_stored(&context.fixture.postgres, &prefix).await?);
    facts.drain = Some(Window {
        from,
        to: context.clock.now(),
    });
    Ok(())
}

/// No load: the fleet goes back to the fewest workers and stays there.
async fn scale_in(context: &Context, plan: &Plan, facts: &mut Facts) {
    let (fewest, from) = (plan.autoscaling.min, context.clock.now());
    let peak = context.board.peak(facts.out.map_or(from, |window| window.from));
    let bound = plan.autoscaling.scale_in(peak);
    context.enter(
        "step/in",
        &format!("no load: back to {fewest} workers within {:.0} s", bound.seconds),
    );
    let settling = settle_at(context, fewest, bound.seconds).await;
    facts.scale_in = Some(Window {
        from,
        to: context.clock.now(),
    });
    facts.scale_in_bound = Some(bound);
    let settled_in_time = settling.is_ok();
    tell(context, &format!("{fewest} workers again"), settling);
    if !settled_in_time {
        return;
    }
    context.enter("step/hold", &format!("{fewest} workers for {HOLD:.0} s"));
    let from = context.clock.now();
    facts.hold = Some(Window {
        from,
        to: from + HOLD,
    });
    let holding = consistently("the fewest workers", Duration::from_secs_f64(HOLD), async || {
        settled(context, fewest)
    });
    tell(context, "held", holding.await);
}

fn arrivals(context: &Context, load: &Load, phase: &str, rate: f64, seconds: f64) -> Vec<Arrival> {
    let mut rng = generator(context.seed, &format!("step/{phase}"));
    poisson(
        rate,
        Duration::from_secs_f64(seconds),
        load.documents.len(),
        &mut rng,
    )
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
