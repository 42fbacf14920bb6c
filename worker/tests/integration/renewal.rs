//! The SDK keeps a token of each activity. They are dropped now and then (see `activities::KeptTokens`), which disturbs
//! nothing: every attempt is the first.

use anyhow::{Result, ensure};
use futures::future::try_join_all;

use crate::{
    harness::{World, history::End},
    metrics::{SLOTS, shown},
    runner::tests,
};

tests![dropping_tokens_disturbs_no_document];

/// Enough documents to drop the tokens of each activity queue several times.
const DOCUMENTS: usize = 40;

/// The tokens of the IO queue are dropped at a moment without an activity, and so are the CPU queue's. The documents
/// come at once, so that the IO queue reaches the limit and its polls pause.
async fn dropping_tokens_disturbs_no_document(world: &World) -> Result<()> {
    let worker =
        world.worker().env("TEMPORAL_KEPT_TOKENS_KIB", "4").env("RUST_LOG", "info,worker=debug").start().await?;
    let threads = worker.threads()?;
    let source = world.upload("a.html", "<title>T</title><p>one two").await?;
    let ids: Vec<String> = (0..DOCUMENTS).map(|n| format!("d{n}")).collect();
    let runs = try_join_all(ids.iter().map(|id| world.run_document(id, &source))).await?;
    for (id, history) in ids.iter().zip(runs) {
        ensure!(matches!(history.end()?, End::Completed(_)), "{:?}", history.end()?);
        let repeated = history.repeated();
        ensure!(repeated.is_empty(), "{repeated:?}");
        let effects = world.effects(id).await?;
        ensure!(effects == ["store_document"], "effects: {effects:?}");
    }
    for queue in ["document-io-activity-queue", "document-cpu-activity-queue"] {
        let output = worker.output();
        let lines = output.lines().filter(|line| line.contains(queue));
        let dropped = lines.filter(|line| line.contains("the tokens of ended activities are dropped")).count();
        ensure!(dropped >= 3, "{queue}: tokens were dropped only {dropped} times: the test proves nothing");
    }
    // The number of threads for blocking IO varies.
    let left = worker.threads()?.saturating_sub(threads);
    ensure!(left < DOCUMENTS as u64 / 3, "{left} threads more");
    // An autoscaler sees one series of slots per queue, which continues.
    for (queue, slots) in SLOTS {
        let labels = [("task_queue", queue)];
        shown(&worker, "temporal_worker_task_slots_used", &labels, |used| used == 0.0).await?;
        shown(&worker, "temporal_worker_task_slots_available", &labels, |free| free == slots).await?;
    }
    Ok(())
}
