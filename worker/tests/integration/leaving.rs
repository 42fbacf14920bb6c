//! Shutdown of a worker: after the first signal it finishes the tasks in flight, after the second it exits at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::{
    harness::{Probe, World, history::End, wait::consistently, when},
    runner::tests,
};

tests![
    a_graceful_shutdown_finishes_the_activity_in_flight,
    activities_that_exceed_the_drain_time_are_retried_elsewhere,
    a_second_signal_ends_the_worker_at_once,
    an_idle_worker_exits_at_once_with_code_0,
];

/// Timeout of what should be immediate, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Timeout for an activity to begin.
const BEGINS: Duration = Duration::from_secs(30);

async fn a_graceful_shutdown_finishes_the_activity_in_flight(world: &World) -> Result<()> {
    let mut worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one two").await?;
    // Longer than the check of readiness below, and shorter than the grace period.
    world.s3.slow(Duration::from_secs(6)).await?;
    let run = world.start_document("a", &source).await?;
    world.attempted("a", "fetch_document", BEGINS).await?;
    worker.signal(Signal::TERM)?;
    worker.readiness("not ready: shutting down", AT_ONCE).await?;
    consistently("the worker stays, not ready, while S3 answers", Duration::from_secs(2), async || {
        match worker.get("/readyz").await {
            Ok((_, text)) => when(text.starts_with("not ready: shutting down"), || text.clone()),
            Err(error) => Probe::Failed(error),
        }
    })
    .await?;
    let code = worker.exit_code(Duration::from_secs(30)).await?;
    ensure!(code == 0, "the worker ended with {code}");
    let waiting = run.pending().await?;
    let fetches = waiting.iter().any(|activity| activity.activity == "fetch_document");
    ensure!(!fetches, "the result was not acknowledged: {waiting:?}");

    world.s3.restore().await?;
    let _next = world.worker().start().await?;
    let history = run.ended().await?;
    let end = history.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    for step in ["fetch_document", "extract_text", "store_document"] {
        let attempts = (history.last_attempts(step), world.attempts("a", step).await?);
        ensure!(attempts == (vec![1], vec![1]), "attempts at {step}: {attempts:?}");
    }
    Ok(())
}

async fn activities_that_exceed_the_drain_time_are_retried_elsewhere(world: &World) -> Result<()> {
    let mut worker = world.worker().env("SHUTDOWN_GRACE_SECONDS", "5").start().await?;
    let source = world.upload("a.txt", "one two").await?;
    world.s3.slow(Duration::from_secs(60)).await?;
    let run = world.start_document("a", &source).await?;
    world.attempted("a", "fetch_document", BEGINS).await?;
    worker.signal(Signal::TERM)?;
    let code = worker.exit_code(Duration::from_secs(15)).await?;
    ensure!(code == 0, "the worker ended with {code}");
    world.s3.restore().await?;
    // Earlier than the heartbeat timeout of 15 s, after which Temporal would retry in any case.
    let _next = world.worker().start().await?;
    world.attempted("a", "store_document", Duration::from_secs(10)).await?;
    let history = run.ended().await?;
    let attempts = history.last_attempts("fetch_document");
    ensure!(attempts == vec![2], "the fetch ended with attempt {attempts:?}");
    Ok(())
}

async fn a_second_signal_ends_the_worker_at_once(world: &World) -> Result<()> {
    let mut worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one two").await?;
    world.s3.slow(Duration::from_secs(60)).await?;
    world.start_document("a", &source).await?;
    world.attempted("a", "fetch_document", BEGINS).await?;
    worker.signal(Signal::TERM)?;
    worker.readiness("not ready: shutting down", AT_ONCE).await?;
    worker.signal(Signal::TERM)?;
    let code = worker.exit_code(AT_ONCE).await?;
    ensure!(code == 143, "the worker ended with {code}");
    Ok(())
}

async fn an_idle_worker_exits_at_once_with_code_0(world: &World) -> Result<()> {
    let mut worker = world.worker().start().await?;
    worker.signal(Signal::INT)?;
    let code = worker.exit_code(AT_ONCE).await?;
    ensure!(code == 0, "the worker ended with {code}");
    Ok(())
}
