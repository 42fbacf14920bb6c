//! The metrics on the port, above all those with the guide's names.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{Probe, Worker, World, eventually},
    runner::tests,
};

tests![
    depths_have_the_guides_names_and_a_queue_each,
    the_depth_of_a_queue_is_its_waiting_tasks,
    slots_steps_and_connections_are_shown,
    slots_are_shown_from_the_start_and_only_tasks_use_them,
];

/// Timeout for a metric. Temporal caches the figures of a queue for 5 s, and a worker alone asks every second or two.
const SEEN: Duration = Duration::from_secs(20);

/// The guide's metrics, with its queues.
pub(crate) const DEPTHS: [(&str, &str); 3] = [
    ("temporal_workflow_task_queue_depth", "document-workflow-queue"),
    ("temporal_activity_task_queue_depth", "document-io-activity-queue"),
    ("temporal_activity_task_queue_depth", "document-cpu-activity-queue"),
];

/// The slots of each queue's worker, as in the guide.
pub(crate) const SLOTS: [(&str, f64); 3] =
    [("document-workflow-queue", 3.0), ("document-io-activity-queue", 5.0), ("document-cpu-activity-queue", 2.0)];

async fn depths_have_the_guides_names_and_a_queue_each(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    for (name, queue) in DEPTHS {
        let depth = shown(&worker, name, &[("queue", queue)], |_| true).await?;
        ensure!(depth == 0.0, "{queue} has a depth of {depth}, and nothing was started");
    }
    Ok(())
}

async fn the_depth_of_a_queue_is_its_waiting_tasks(world: &World) -> Result<()> {
    let worker = world.worker().env("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "1").start().await?;
    let source = world.upload("a.txt", "one").await?;
    world.s3.slow(Duration::from_secs(60)).await?;
    for id in ["a", "b", "c", "d", "e"] {
        world.start_document(id, &source).await?;
    }
    // One task has the slot, so four wait.
    let [_, (name, queue), _] = DEPTHS;
    shown(&worker, name, &[("queue", queue)], |depth| depth == 4.0).await?;
    Ok(())
}

async fn slots_steps_and_connections_are_shown(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one").await?;
    world.run_document("a", &source).await?;
    for (queue, slots) in [("document-io-activity-queue", 5.0), ("document-cpu-activity-queue", 2.0)] {
        let labels = [("task_queue", queue), ("worker_type", "ActivityWorker")];
        shown(&worker, "temporal_worker_task_slots_available", &labels, |free| free == slots).await?;
    }
    for step in ["fetch_document", "extract_text", "store_document"] {
        let labels = [("step", step), ("outcome", "done")];
        shown(&worker, "document_step_duration_seconds_count", &labels, |count| count == 1.0).await?;
    }
    shown(&worker, "document_cpu_threads", &[], |threads| threads == 4.0).await?;
    shown(&worker, "document_database_connections", &[], |open| (1.0..=6.0).contains(&open)).await?;
    Ok(())
}

async fn slots_are_shown_from_the_start_and_only_tasks_use_them(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    let metrics = worker.metrics().await?;
    for (queue, slots) in SLOTS {
        let labels = [("task_queue", queue)];
        let used = metrics.value("temporal_worker_task_slots_used", &labels);
        let free = metrics.value("temporal_worker_task_slots_available", &labels);
        ensure!(
            (used, free) == (Some(0.0), Some(slots)),
            "idle queue {queue}: {used:?} slots used, {free:?} available"
        );
    }
    let source = world.upload("a.txt", "one").await?;
    world.s3.slow(Duration::from_secs(60)).await?;
    for id in ["a", "b", "c"] {
        world.start_document(id, &source).await?;
    }
    let labels = [("task_queue", "document-io-activity-queue")];
    shown(&worker, "temporal_worker_task_slots_used", &labels, |used| used == 3.0).await?;
    shown(&worker, "temporal_worker_task_slots_available", &labels, |free| free == 2.0).await?;
    Ok(())
}

/// Waits until a metric has an expected value.
pub(crate) async fn shown(
    worker: &Worker,
    name: &str,
    labels: &[(&str, &str)],
    expected: impl Fn(f64) -> bool,
) -> Result<f64> {
    eventually(&format!("{name}{labels:?} is as expected"), SEEN, async || match worker.metrics().await {
        Ok(metrics) => match metrics.value(name, labels) {
            Some(value) if expected(value) => Probe::Ready(value),
            Some(value) => Probe::NotYet(format!("it is {value}")),
            None => Probe::NotYet(format!("it is absent in\n{}", metrics.0)),
        },
        Err(error) => Probe::Failed(error),
    })
    .await
}
