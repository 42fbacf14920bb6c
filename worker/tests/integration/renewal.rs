//! The SDK's workers are made anew now and then (see `activities::Taken`): nothing is lost, and nothing done twice.
//!
//! That every attempt is the first cannot be asked here. Temporal may have handed a task to a poll in the moment in which it
//! is told to end it: once in some twenty stops under a full queue, with `frontend.enableCancelWorkerPollsOnShutdown`, and
//! every third time without. Such a task is tried again after the heartbeat time-out.

use anyhow::{Result, ensure};
use futures::future::try_join_all;

use crate::{
    harness::{World, history::End},
    metrics::{SLOTS, shown},
    runner::tests,
};

tests![documents_are_processed_while_workers_are_made_anew];

/// Each of the two activity queues' workers is made anew a dozen times and more.
const DOCUMENTS: usize = 40;

async fn documents_are_processed_while_workers_are_made_anew(world: &World) -> Result<()> {
    let worker = world
        .worker()
        .env("TEMPORAL_RENEW_AFTER_ACTIVITIES", "3")
        .env("RUST_LOG", "info,worker=debug")
        .start()
        .await?;
    let threads = worker.threads()?;
    let source = world.upload("a.html", "<title>T</title><p>one two").await?;
    let ids: Vec<String> = (0..DOCUMENTS).map(|n| format!("d{n}")).collect();
    let runs = try_join_all(ids.iter().map(|id| world.run_document(id, &source))).await?;
    for (id, history) in ids.iter().zip(runs) {
        ensure!(
            matches!(history.end()?, End::Completed(_)),
            "{:?}",
            history.end()?
        );
        let effects = world.effects(id).await?;
        ensure!(effects == ["store_document"], "effects: {effects:?}");
    }
    let anew = worker.output().matches("the SDK's worker is made anew").count();
    ensure!(
        anew >= DOCUMENTS / 3,
        "only {anew} times anew: this showed nothing"
    );
    // The blocking IO's threads come and go; of the workers that were made anew none stays.
    let left = worker.threads()?.saturating_sub(threads);
    ensure!(
        left < DOCUMENTS as u64 / 3,
        "{left} threads more after {anew} workers made anew"
    );
    // Who scales by the slots sees one series a queue, which goes on.
    for (queue, slots) in SLOTS {
        let labels = [("task_queue", queue)];
        shown(&worker, "temporal_worker_task_slots_used", &labels, |used| {
            used == 0.0
        })
        .await?;
        shown(&worker, "temporal_worker_task_slots_available", &labels, |free| {
            free == slots
        })
        .await?;
    }
    Ok(())
}
