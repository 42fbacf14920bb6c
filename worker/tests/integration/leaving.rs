//! How a worker leaves: the first signal finishes what is in flight, the second does not.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::{
    harness::{Probe, World, history::End, wait::consistently, when},
    runner::tests,
};

tests![
    an_activity_in_flight_is_finished_before_the_worker_leaves,
    what_is_not_finished_in_time_is_given_back,
    a_second_signal_ends_the_worker_at_once,
    an_idle_worker_leaves_at_once_with_code_0,
];

/// What must happen at once is given this long, on a machine that does much else.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Time for an activity to begin.
const BEGINS: Duration = Duration::from_secs(30);

async fn an_activity_in_flight_is_finished_before_the_worker_leaves(world: &World) -> Result<()> {
    let mut worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one two").await?;
    // Longer than the look below at a worker that leaves, shorter than the grace period.
    world.s3.slow(Duration::from_secs(6)).await?;
    let run = world.start_document("a", &source).await?;
    world.attempted("a", "fetch_document", BEGINS).await?;
    worker.signal(Signal::TERM)?;
    worker.readiness("not ready: leaving", AT_ONCE).await?;
    consistently(
        "the worker stays, not ready, while S3 answers",
        Duration::from_secs(2),
        async || match worker.get("/readyz").await {
            Ok((_, text)) => when(text.starts_with("not ready: leaving"), || text.clone()),
            Err(error) => Probe::Failed(error),
        },
    )
    .await?;
    let code = worker.exit_code(Duration::from_secs(30)).await?;
    ensure!(code == 0, "the worker ended with {code}");
    let waiting = run.pending().await?;
    let fetches = waiting
        .iter()
        .any(|activity| activity.activity == "fetch_document");
    ensure!(!fetches, "the result was not acknowledged: {waiting:?}");

    world.s3.mend().await?;
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

async fn what_is_not_finished_in_time_is_given_back(world: &World) -> Result<()> {
    let mut worker = world.worker().env("SHUTDOWN_GRACE_SECONDS", "5").start().await?;
    let source = world.upload("a.txt", "one two").await?;
    world.s3.slow(Duration::from_secs(60)).await?;
    let run = world.start_document("a", &source).await?;
    world.attempted("a", "fetch_document", BEGINS).await?;
    worker.signal(Signal::TERM)?;
    let code = worker.exit_code(Duration::from_secs(15)).await?;
    ensure!(code == 0, "the worker ended with {code}");
    world.s3.mend().await?;
    // Sooner than the 15 s of silence after which Temporal would have given it to another by itself.
    let _next = world.worker().start().await?;
    world
        .attempted("a", "store_document", Duration::from_secs(10))
        .await?;
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
    worker.readiness("not ready: leaving", AT_ONCE).await?;
    worker.signal(Signal::TERM)?;
    let code = worker.exit_code(AT_ONCE).await?;
    ensure!(code == 143, "the worker ended with {code}");
    Ok(())
}

async fn an_idle_worker_leaves_at_once_with_code_0(world: &World) -> Result<()> {
    let mut worker = world.worker().start().await?;
    worker.signal(Signal::INT)?;
    let code = worker.exit_code(AT_ONCE).await?;
    ensure!(code == 0, "the worker ended with {code}");
    Ok(())
}
