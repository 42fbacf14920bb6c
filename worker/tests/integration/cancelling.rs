//! Cancelled workflows: their activities stop and free their slots.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{Probe, World, eventually, history::End, when},
    runner::tests,
};

tests![cancelling_a_workflow_cancels_its_activity];

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
    eventually("the activity stops", CANCELLED_WITHIN, async || match worker.metrics().await {
        Ok(metrics) => {
            let labels = [("step", "fetch_document"), ("outcome", "cancelled")];
            let stopped = metrics.value("document_step_duration_seconds_count", &labels);
            when(stopped == Some(1.0), || format!("it was cancelled {stopped:?} times"))
        }
        Err(error) => Probe::Failed(error),
    })
    .await
}
