//! What the scenarios wait for: the workers' number as last observed, and stored documents.
//!
//! These waits carry a scenario from phase to phase and say so; what they saw is judged from the
//! samples afterwards.

use std::time::Duration;

use anyhow::anyhow;

use super::Context;
use crate::observe::sample::Fleet;
use crate::oracle::rows;
use crate::progress::say;
use crate::wait::{Probe, WaitError, eventually};

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
