//! Worker Deployment versioning: a version gets no work before it is current, and keeps its workflows.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{Probe, World, history::End, wait::consistently, when},
    runner::tests,
};

tests![a_workflow_waits_until_the_version_is_current_and_is_pinned_to_it];

async fn a_workflow_waits_until_the_version_is_current_and_is_pinned_to_it(world: &World) -> Result<()> {
    let _worker = world
        .worker()
        .env("TEMPORAL_DEPLOYMENT_NAME", "documents")
        .env("TEMPORAL_WORKER_BUILD_ID", "build-1")
        .start()
        .await?;
    let source = world.upload("a.txt", "one two").await?;
    let run = world.start_document("a", &source).await?;
    // Without versioning, a document takes a fraction of this time.
    consistently("the workflow waits", Duration::from_secs(3), async || match run.has_begun().await {
        Ok(begun) => when(!begun, || "a worker got a task of it".into()),
        Err(error) => Probe::Failed(error),
    })
    .await?;
    world.make_current("documents", "build-1").await?;
    let end = run.ended().await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    let pinned = run.pinned_to().await?;
    let expected = Some(("documents".to_owned(), "build-1".to_owned()));
    ensure!(pinned == expected, "pinned to {pinned:?}");
    Ok(())
}
