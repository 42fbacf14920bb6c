//! Cancelled workflows: their activities stop and free their slots. A store step that has begun its transaction ends
//! first.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{Probe, Worker, World, eventually, history::End, when},
    runner::tests,
};

tests![
    a_cancelled_workflow_waits_for_its_store,
    a_store_that_is_cancelled_before_its_transaction_stores_nothing,
    cancelling_a_workflow_cancels_its_activity,
];

/// Timeout for the cancellation to reach the activity. Heartbeats carry it, and the SDK sends at most one in 12 s.
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
