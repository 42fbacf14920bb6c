//! Activities that Temporal wants to end: cancelled, paused or reset. They stop and free their slots. A store step that
//! has begun its transaction ends first. And activities that Temporal must not give up, because it was away.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{
        Probe, Worker, World, eventually,
        history::End,
        wait::consistently,
        when,
        world::{Intervention, Pending, Run},
    },
    runner::tests,
};

tests![
    a_cancelled_workflow_waits_for_its_store,
    a_store_that_is_cancelled_before_its_transaction_stores_nothing,
    a_frontend_that_is_away_for_a_moment_starts_no_second_attempt,
    a_paused_activity_ends_at_once_and_goes_on_when_it_is_unpaused,
    a_reset_activity_ends_at_once_and_begins_again,
    cancelling_a_workflow_cancels_its_activity,
];

/// Timeout for the cancellation to reach the activity. Heartbeats carry it, one in 5 s.
const CANCELLED_WITHIN: Duration = Duration::from_secs(30);

async fn cancelling_a_workflow_cancels_its_activity(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one two").await?;
    world.s3.slow(Duration::from_secs(60)).await?;
    let run = world.start_document("a", &source).await?;
    world.attempted("a", "fetch_document", CANCELLED_WITHIN).await?;
    run.cancel().await?;
    let end = run.ended().await?.end()?;
    ensure!(end == End::Cancelled, "{end:?}");
    stopped(&worker, "fetch_document").await
}

async fn a_cancelled_workflow_waits_for_its_store(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one two").await?;
    let mut gate = world.close_gate("documents", "true").await?;
    let run = world.start_document("a", &source).await?;
    gate.reached().await?;
    run.cancel().await?;
    eventually("the activity is cancelled", CANCELLED_WITHIN, async || {
        let output = worker.output();
        when(output.contains("cancelled during its transaction"), || "it is not".into())
    })
    .await?;
    let waiting: Vec<_> = run.pending().await?.into_iter().map(|activity| activity.activity).collect();
    ensure!(waiting == ["store_document"], "the workflow does not wait for its store: {waiting:?}");
    gate.open().await?;
    let end = run.ended().await?.end()?;
    ensure!(matches!(&end, End::Completed(result) if result["outcome"] == "stored"), "{end:?}");
    let passages = world.passages("a").await?;
    ensure!(passages == ["one two"], "{passages:?}");
    Ok(())
}

async fn a_store_that_is_cancelled_before_its_transaction_stores_nothing(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one two").await?;
    let mut gate = world.close_gate("attempts", "NEW.step = 'store_document'").await?;
    let run = world.start_document("a", &source).await?;
    gate.reached().await?;
    run.cancel().await?;
    let end = run.ended().await?.end()?;
    ensure!(end == End::Cancelled, "{end:?}");
    gate.open().await?;
    stopped(&worker, "store_document").await?;
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM documents").fetch_one(&world.database).await?;
    ensure!(stored == 0, "a cancelled workflow stored its document");
    Ok(())
}

/// Waits until an attempt at this step has ended by its cancellation.
async fn stopped(worker: &Worker, step: &str) -> Result<()> {
    eventually("the activity stops", CANCELLED_WITHIN, async || match worker.metrics().await {
        Ok(metrics) => {
            let labels = [("step", step), ("outcome", "cancelled")];
            let stopped = metrics.value("document_step_duration_seconds_count", &labels);
            when(stopped == Some(1.0), || format!("it was cancelled {stopped:?} times"))
        }
        Err(error) => Probe::Failed(error),
    })
    .await
}

async fn a_paused_activity_ends_at_once_and_goes_on_when_it_is_unpaused(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let run = ended_by(world, Intervention::Pause, "ActivityPause").await?;
    world.intervene("a", "fetch_document", Intervention::Unpause).await?;
    let end = run.ended().await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    Ok(())
}

async fn a_reset_activity_ends_at_once_and_begins_again(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let end = ended_by(world, Intervention::Reset, "ActivityReset").await?.ended().await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    Ok(())
}

/// A workflow whose fetch an operator has ended, with this type of failure. A worker that does not understand the
/// operator would leave it to the heartbeat timeout.
async fn ended_by(world: &World, intervention: Intervention, failure: &str) -> Result<Run> {
    let source = world.upload("a.txt", "one two").await?;
    world.s3.slow(Duration::from_secs(60)).await?;
    let run = world.start_document("a", &source).await?;
    world.attempted("a", "fetch_document", CANCELLED_WITHIN).await?;
    world.intervene("a", "fetch_document", intervention).await?;
    let ended = |activity: &Pending| activity.last_failure_type == failure;
    run.pending_is(&format!("the activity ends with {failure}"), CANCELLED_WITHIN, ended).await?;
    world.s3.restore().await?;
    Ok(run)
}

async fn a_frontend_that_is_away_for_a_moment_starts_no_second_attempt(world: &World) -> Result<()> {
    let worker = world.worker().env("DOCUMENT_REQUEST_TIMEOUT_SECONDS", "40");
    let _worker = worker.env("DB_STATEMENT_TIMEOUT_SECONDS", "10").start().await?;
    let source = world.upload("a.txt", "one two").await?;
    world.s3.slow(Duration::from_secs(28)).await?;
    let run = world.start_document("a", &source).await?;
    // The moment at which one heartbeat in 12 s would be due, and the last one 11 s old.
    run.pending_is("the activity has run for 16 s", CANCELLED_WITHIN, |activity| {
        activity.begun > Duration::from_secs(16)
    })
    .await?;
    world.temporal.cut().await?;
    consistently("the activity goes on without Temporal", Duration::from_millis(3500), async || {
        match run.pending().await {
            Ok(pending) => when(pending.iter().any(|activity| activity.attempt == 1), || format!("{pending:?}")),
            Err(error) => Probe::Failed(error),
        }
    })
    .await?;
    world.temporal.restore().await?;
    let history = run.ended().await?;
    let (end, attempts) = (history.end()?, history.last_attempts("fetch_document"));
    ensure!(matches!(end, End::Completed(_)) && attempts == [1], "{end:?} after the attempts {attempts:?}");
    Ok(())
}
