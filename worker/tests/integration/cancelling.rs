//! Workflows that are cancelled: their activities stop, and the slots are free again.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{Probe, World, eventually, history::End, when},
    runner::tests,
};

tests![cancelling_a_workflow_cancels_its_activity];

/// Heartbeats carry the news to the activity; the SDK sends one at most every 12 s.
const HEARD: Duration = Duration::from_secs(30);

async fn cancelling_a_workflow_cancels_its_activity(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one two").await?;
    world.s3.slow(Duration::from_secs(60)).await?;
    let run = world.start_document("a", &source).await?;
    world.attempted("a", "fetch_document", HEARD).await?;
    run.cancel().await?;
    let end = run.ended().await?.end()?;
    ensure!(end == End::Cancelled, "{end:?}");
    eventually("the activity stops", HEARD, async || {
        match worker.metrics().await {
            Ok(metrics) => {
                let labels = [("step", "fetch_document"), ("outcome", "cancelled")];
                let stopped = metrics.value("document_step_duration_seconds_count", &labels);
                when(stopped == Some(1.0), || {
                    format!("it was cancelled {stopped:?} times")
                })
            }
            Err(error) => Probe::Failed(error),
        }
    })
    .await
}
