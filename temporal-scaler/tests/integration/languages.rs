//! Workers that are not ours: Python's SDK, with queues and slots of its own.

use anyhow::{Result, ensure};

use crate::{
    answers::DEPTH,
    harness::{Cluster, World, pod, python::PythonWorker},
    runner::tests,
};

tests![a_worker_in_python_is_scaled, each_version_is_asked_for_its_own_load];

const QUEUES: &str = "workflow:orders,activity:invoices";

/// Slots of the worker in python/worker.py for activities.
const SLOTS: u64 = 3;

async fn a_worker_in_python_is_scaled(world: &World) -> Result<()> {
    let worker = PythonWorker::start(world, &[]).await?;
    let cluster = Cluster::start().await?;
    cluster.put(pod("python", worker.port));
    let scaler = world.scaler(&cluster, QUEUES)?.start().await?;
    let idle = scaler.answers("the idle worker is read", |answer| answer["pods"]["read"] == 1).await?;
    ensure!(idle["queues"][0]["slots"] == 7.0 && idle["queues"][1]["slots"] == SLOTS as f64, "{idle}");
    ensure!(idle["workers"].as_u64() <= Some(1), "more workers for no work: {idle}");
    scaler.condition("queue_without_pollers", false).await?;
    // Each of eight workflows has an activity that does not end. Three are in slots, five wait.
    world.start_workflows("orders", "Order", 8).await?;
    let is_full = |answer: &serde_json::Value| {
        let queue = &answer["queues"][1];
        queue["used"] == SLOTS as f64 && queue["backlog"] == 5.0
    };
    scaler.answers("its slots are in use and tasks wait", is_full).await?;
    let grown = scaler.answers("more are wanted", |answer| answer["workers"].as_u64() >= Some(8_u64.div_ceil(SLOTS)));
    let grown = grown.await?;
    ensure!(grown["reason"].as_str().is_some_and(|reason| reason.contains("invoices")), "{grown}");
    Ok(())
}

async fn each_version_is_asked_for_its_own_load(world: &World) -> Result<()> {
    let old = PythonWorker::start(world, &["shop", "1"]).await?;
    world.set_current_version("shop", "1").await?;
    let cluster = Cluster::start().await?;
    cluster.put(pod("old", old.port));
    world.start_workflows("orders", "Order", 8).await?;
    let scaler = async |cluster: &Cluster, build_id: &str| {
        let builder = world.scaler(cluster, QUEUES)?.env("SCALER_DEPLOYMENT", "shop");
        builder.env("SCALER_BUILD_ID", build_id).spawn(&[])
    };
    let of_old = scaler(&cluster, "1").await?;
    let waits = |answer: &serde_json::Value| answer["queues"][1]["backlog"] == 5.0;
    of_old.answers("the old version's tasks wait", waits).await?;
    let depth = of_old.metric(DEPTH).await?;
    ensure!(depth.is_none(), "the backlog of a version is shown as the queue's depth, {depth:?}");

    let of_new = scaler(&Cluster::start().await?, "2").await?;
    let said = of_new.condition("queue_unread", true).await?;
    ensure!(said.contains("no version \"2\"") && said.contains("SCALER_BUILD_ID"), "{said}");
    let _new = PythonWorker::start(world, &["shop", "2"]).await?;
    world.set_current_version("shop", "2").await?;
    let knows = |answer: &serde_json::Value| answer["queues"][1]["backlog"] == 0.0;
    of_new.answers("the new version has no load", knows).await?;
    let answer = of_old.answers("the old version's tasks still wait", waits).await?;
    ensure!(answer["workers"].as_u64() >= Some(8_u64.div_ceil(SLOTS)), "{answer}");
    Ok(())
}
