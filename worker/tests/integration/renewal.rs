//! The SDK workers are recreated now and then (see `activities::ActivityLimit`). No task is lost or done twice.
//!
//! The test cannot require that every attempt is the first. Temporal may dispatch a task to a poll that it is about
//! to cancel. Under a full queue this happens at every twentieth stop with
//! `frontend.enableCancelWorkerPollsOnShutdown`, and at every third without. Temporal retries such a task after the
//! heartbeat timeout.

use anyhow::{Result, ensure};
use futures::future::try_join_all;

use crate::{
    harness::{World, history::End},
    metrics::{SLOTS, shown},
    runner::tests,
};

tests![documents_are_processed_while_workers_are_recreated];

/// Enough documents to recreate the worker of each activity queue at least a dozen times.
const DOCUMENTS: usize = 40;

async fn documents_are_processed_while_workers_are_recreated(world: &World) -> Result<()> {
    let worker =
        world.worker().env("TEMPORAL_RENEW_AFTER_ACTIVITIES", "3").env("RUST_LOG", "info,worker=debug").start().await?;
    let threads = worker.threads()?;
    let source = world.upload("a.html", "<title>T</title><p>one two").await?;
    let ids: Vec<String> = (0..DOCUMENTS).map(|n| format!("d{n}")).collect();
    let runs = try_join_all(ids.iter().map(|id| world.run_document(id, &source))).await?;
    for (id, history) in ids.iter().zip(runs) {
        ensure!(matches!(history.end()?, End::Completed(_)), "{:?}", history.end()?);
        let effects = world.effects(id).await?;
        ensure!(effects == ["store_document"], "effects: {effects:?}");
    }
    let recreated = worker.output().matches("recreating the SDK worker").count();
    ensure!(recreated >= DOCUMENTS / 3, "workers were recreated only {recreated} times: the test proves nothing");
    // The number of threads for blocking IO varies. Threads of replaced SDK workers must not remain.
    let left = worker.threads()?.saturating_sub(threads);
    ensure!(left < DOCUMENTS as u64 / 3, "{left} threads more after {recreated} recreated workers");
    // An autoscaler sees one series of slots per queue, which continues.
    for (queue, slots) in SLOTS {
        let labels = [("task_queue", queue)];
        shown(&worker, "temporal_worker_task_slots_used", &labels, |used| used == 0.0).await?;
        shown(&worker, "temporal_worker_task_slots_available", &labels, |free| free == slots).await?;
    }
    Ok(())
}
