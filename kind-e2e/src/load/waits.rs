//! The waits that carry a load from phase to phase: for the workers' counts as last observed, and for stored documents.
//!
//! A wait that ends late is printed and goes on. What it saw is judged afterwards, from the samples.

use std::time::Duration;

use anyhow::anyhow;

use super::context::Context;
use crate::cluster::kubernetes::Fleet;
use crate::cluster::{scalers, switches};
use crate::observe::rows;
use support::wait::{Probe, WaitError, eventually};

/// Every pod of the fleet starts within this time, in seconds: they share the host's cores.
const ALL_READY: f64 = 300.0;

/// Waits until exactly `count` workers are wanted, present and Ready.
///
/// # Errors
/// They are not within `seconds`.
pub async fn settle_at(context: &Context, count: i32, seconds: f64) -> Result<(), WaitError> {
    let what = format!("{count} workers wanted, present and Ready");
    eventually(&what, Duration::from_secs_f64(seconds), async || not_seen_is_not_settled(settled(context, count))).await
}

/// It may be seen in a moment.
fn not_seen_is_not_settled(answer: Probe<()>) -> Probe<()> {
    match answer {
        Probe::Failed(error) => Probe::NotYet(format!("{error:#}")),
        answer => answer,
    }
}

/// Whether exactly `count` workers are wanted, present and Ready. Not seen is failed.
pub fn settled(context: &Context, count: i32) -> Probe<()> {
    match context.board.fleet(context.clock.now()) {
        Ok(fleet) if fleet.is_settled_at(count) => Probe::Ready(()),
        Ok(fleet) => Probe::NotYet(fleet.to_string()),
        Err(unseen) => Probe::Failed(anyhow!(unseen)),
    }
}

/// Whether one of the workers' counts is above `count`.
pub fn more_than(context: &Context, count: i32, of: fn(&Fleet) -> i32) -> Probe<()> {
    match context.board.fleet(context.clock.now()) {
        Ok(fleet) if of(&fleet) > count => Probe::Ready(()),
        Ok(fleet) => Probe::NotYet(fleet.to_string()),
        Err(unseen) => Probe::NotYet(unseen),
    }
}

/// Waits until `count` documents are stored whose ids begin with `prefix`.
///
/// # Errors
/// They are not within `seconds`.
pub async fn stored(context: &Context, prefix: &str, count: u64, seconds: f64) -> Result<(), WaitError> {
    let limit = Duration::from_secs_f64(seconds);
    eventually("every document stored", limit, async || {
        match rows::count_stored(&context.fixture.postgres, prefix).await {
            Ok(stored) if stored >= count => Probe::Ready(()),
            Ok(stored) => Probe::NotYet(format!("{stored} of {count} stored")),
            Err(error) => Probe::NotYet(format!("{error:#}")),
        }
    })
    .await
}

/// Prints how a wait ended.
pub fn tell(context: &Context, done: &str, end: Result<(), WaitError>) {
    match end {
        Ok(()) => context.say(done),
        Err(error) => context.say(&error.to_string()),
    }
}

/// Fixes the number of workers and waits for it.
///
/// # Errors
/// The ScaledObject cannot be changed, or the workers are not there in time.
pub async fn fix_workers(context: &Context, count: i32) -> anyhow::Result<()> {
    switches::pause(&context.fixture, Some(count)).await?;
    let what = format!("{count} workers, their number fixed");
    eventually(&what, Duration::from_secs_f64(ALL_READY), async || {
        match switches::ensure_fixed(&context.fixture, count).await {
            Ok(true) => not_seen_is_not_settled(settled(context, count)),
            Ok(false) => Probe::NotYet("KEDA has not fixed it yet, or it was changed since".to_owned()),
            Err(error) => Probe::NotYet(format!("{error:#}")),
        }
    })
    .await?;
    Ok(())
}

/// Gives the workers back to the autoscaler, with an HPA that remembers nothing.
///
/// # Errors
/// The ScaledObject cannot be changed, or KEDA does not make its HPA in time.
pub async fn hand_over(context: &Context) -> anyhow::Result<()> {
    switches::pause(&context.fixture, None).await?;
    // KEDA deleted the HPA while the number was fixed, and makes it again.
    scalers::taken_over(&context.fixture).await.map(drop)
}
