//! What the scenarios wait for: the workers' number as last observed, and stored documents.
//!
//! These waits carry a scenario from phase to phase and say so; what they saw is judged from the
//! samples afterwards.

use std::time::Duration;

use anyhow::anyhow;

use super::Context;
use crate::bounds::MEAN;
use crate::fixture::IO_QUEUE;
use crate::observe::sample::{Fleet, Reading, Sample};
use crate::oracle::rows;
use crate::progress::say;
use crate::wait::{Probe, WaitError, eventually};

/// For the mean to have forgotten: what is left of a load, and the mean itself.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// Waits until exactly `count` workers are wanted, present and ready.
pub(super) async fn settle_at(context: &Context, count: i32, seconds: f64) -> Result<(), WaitError> {
    let what = format!("{count} workers wanted, present and ready");
    eventually(&what, Duration::from_secs_f64(seconds), async || {
        match settled(context, count) {
            // Not seen is not settled; it may well be seen in a moment.
            Probe::Failed(error) => Probe::NotYet(format!("{error:#}")),
            answer => answer,
        }
    })
    .await
}

/// Waits until the IO queue has been without work for as long as the demand triggers look back: what a load left in their mean
/// would be taken for a part of the next.
pub(super) async fn idle(context: &Context) -> Result<(), WaitError> {
    eventually("no work left in the mean", FORGOTTEN, async || {
        let now = context.clock.now();
        let recent = context.board.since(now - MEAN);
        match recent.iter().rev().find(|sample| !is_idle(sample)) {
            Some(sample) => Probe::NotYet(format!(
                "{:.0} s ago there was work, or nothing was seen",
                now - sample.at
            )),
            None if now >= MEAN && !recent.is_empty() => Probe::Ready(()),
            None => Probe::NotYet("not watched for long enough".to_owned()),
        }
    })
    .await
}

/// Nothing of the IO queue is in a slot or waits for one.
fn is_idle(sample: &Sample) -> bool {
    let none = |found: &Reading<std::collections::BTreeMap<String, f64>>| {
        found
            .seen()
            .is_some_and(|found| found.get(IO_QUEUE).is_none_or(|count| *count == 0.0))
    };
    none(&sample.slots_used) && none(&sample.depth)
}

/// Whether exactly `count` workers are wanted, present and ready. Not seen is failed.
pub(super) fn settled(context: &Context, count: i32) -> Probe<()> {
    match context.board.fleet(context.clock.now()) {
        Ok(fleet) if fleet.is_settled_at(count) => Probe::Ready(()),
        Ok(fleet) => Probe::NotYet(fleet.to_string()),
        Err(unseen) => Probe::Failed(anyhow!(unseen)),
    }
}

/// Whether one of the workers' counts is above `count`.
pub(super) fn more_than(context: &Context, count: i32, of: fn(&Fleet) -> i32) -> Probe<()> {
    match context.board.fleet(context.clock.now()) {
        Ok(fleet) if of(&fleet) > count => Probe::Ready(()),
        Ok(fleet) => Probe::NotYet(fleet.to_string()),
        Err(unseen) => Probe::NotYet(unseen),
    }
}

/// Whether `count` documents are stored whose ids begin with `prefix`.
pub(super) async fn stored(context: &Context, prefix: &str, count: u64) -> Probe<()> {
    match rows::count_stored(&context.fixture.postgres, prefix).await {
        Ok(stored) if stored >= count => Probe::Ready(()),
        Ok(stored) => Probe::NotYet(format!("{stored} of {count} stored")),
        Err(error) => Probe::NotYet(format!("{error:#}")),
    }
}

/// Says how a wait ended; it is judged later, from the samples.
pub(super) fn tell(context: &Context, done: &str, end: Result<(), WaitError>) {
    match end {
        Ok(()) => say(context.clock, done),
        Err(error) => say(context.clock, &error.to_string()),
    }
}
