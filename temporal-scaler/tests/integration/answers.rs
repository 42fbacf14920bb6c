//! What /scale, /metrics, /healthz and /readyz answer.

use anyhow::{Result, ensure};
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    harness::{Cluster, Page, Scaler, World, door::Door, eventually, pod, scaler::SOON, slots, wait::Probe, when},
    runner::tests,
};

tests![
    an_answer_has_a_number_its_reason_and_its_parts,
    every_metric_is_documented,
    replicas_give_the_same_answer,
    a_fleet_of_no_workers_is_wanted_by_its_backlog,
    without_the_api_server_there_is_no_number_and_no_readiness,
    without_temporal_there_is_no_readiness,
    temporal_that_goes_away_takes_no_worker_away,
    a_signal_ends_it_with_code_0,
];

const QUEUES: &str = "workflow:orders,activity:invoices=5";

/// The depth of a queue, under the name that a worker of this repository has, too.
pub(crate) const DEPTH: &str = "temporal_workflow_task_queue_depth{queue=\"orders\"}";

/// The page of a worker of [`QUEUES`].
fn page(used: u32, available: u32) -> String {
    slots("WorkflowWorker", "orders", 1, 9) + &slots("ActivityWorker", "invoices", used, available)
}

/// A fleet of two workers, of whose ten activity slots seven are in use.
async fn fleet() -> Result<Cluster> {
    let cluster = Cluster::start().await?;
    for (name, used) in [("a", 5), ("b", 2)] {
        cluster.put(pod(name, Page::start(&page(used, 5 - used)).await?.port));
    }
    Ok(cluster)
}

async fn an_answer_has_a_number_its_reason_and_its_parts(world: &World) -> Result<()> {
    let cluster = fleet().await?;
    world.start_workflows("orders", "Order", 3).await?;
    let scaler = world.scaler(&cluster, QUEUES)?.start().await?;
    let answer = scaler.answers("it has read all", |answer| answer["queues"][0]["backlog"] == 3.0).await?;
    ensure!(answer["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "no reason: {answer}");
    let queues = &answer["queues"];
    let read = |part: &Value| (part["queue"].clone(), part["used"].clone(), part["slots"].clone());
    ensure!(read(&queues[0]) == ("workflow:orders".into(), 2.0.into(), 20.0.into()), "{answer}");
    ensure!(read(&queues[1]) == ("activity:invoices".into(), 7.0.into(), 10.0.into()), "{answer}");
    ensure!(queues[1]["backlog"] == 0.0, "{answer}");
    ensure!(answer["pods"] == serde_json::json!({"workers": 2, "read": 2, "unread": 0}), "{answer}");
    // Seven tasks in five slots a worker.
    ensure!(answer["workers"].as_u64() >= Some(2), "{answer}");
    for (series, expected) in [
        ("temporal_scaler_workers{state=\"read\"}", 2.0),
        ("temporal_scaler_queue_backlog{kind=\"workflow\",queue=\"orders\"}", 3.0),
        ("temporal_scaler_queue_slots_used{kind=\"activity\",queue=\"invoices\"}", 7.0),
        ("temporal_scaler_queue_slots{kind=\"activity\",queue=\"invoices\"}", 10.0),
        (DEPTH, 3.0),
        ("temporal_activity_task_queue_depth{queue=\"invoices\"}", 0.0),
    ] {
        let value = scaler.metric(series).await?;
        ensure!(value == Some(expected), "{series} is {value:?}");
    }
    for series in ["wanted_workers", "bottleneck_elsewhere", "reading_age_seconds{of=\"activity:invoices\"}"] {
        ensure!(scaler.metric(&format!("temporal_scaler_{series}")).await?.is_some(), "{series} is absent");
    }
    Ok(())
}

async fn every_metric_is_documented(world: &World) -> Result<()> {
    let documentation = include_str!("../../../docs/temporal-scaler.md");
    let scaler = world.scaler(&fleet().await?, QUEUES)?.start().await?;
    let whole = |answer: &Value| answer["queues"][0]["failure_rate"].is_number();
    scaler.answers("everything is known", whole).await?;
    let (_, page) = scaler.get("/metrics").await?;
    let names: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    ensure!(names.len() >= 15, "{names:?}");
    for name in names {
        let short = name.trim_start_matches("temporal_scaler");
        let is_documented = documentation.contains(&format!("`{name}")) || documentation.contains(&format!("`{short}"));
        ensure!(is_documented, "{name} is not in docs/temporal-scaler.md");
    }
    Ok(())
}

async fn replicas_give_the_same_answer(world: &World) -> Result<()> {
    let cluster = fleet().await?;
    world.start_workflows("orders", "Order", 3).await?;
    let start = async || world.scaler(&cluster, QUEUES)?.start().await;
    let replicas: [Scaler; 2] = [start().await?, start().await?];
    let same = |answer: &Value| (answer["workers"].clone(), answer["queues"][0]["backlog"].clone());
    eventually("both have the same answer", SOON, async || {
        let answers = [replicas[0].answer().await, replicas[1].answer().await].map(|answer| answer.unwrap_or_default());
        let [one, two] = answers.each_ref().map(same);
        when(one == two && one.1 == 3.0, || format!("{answers:?}"))
    })
    .await
}

async fn a_fleet_of_no_workers_is_wanted_by_its_backlog(world: &World) -> Result<()> {
    let scaler = world.scaler(&Cluster::start().await?, "workflow:orders=1")?.start().await?;
    let idle = scaler.answers("the queue is read", |answer| answer["queues"][0]["backlog"] == 0.0).await?;
    ensure!(idle["workers"] == 0, "workers for no work: {idle}");
    world.start_workflows("orders", "Order", 3).await?;
    // Three tasks, and workers of one slot.
    scaler.answers("workers are wanted", |answer| answer["workers"].as_u64() >= Some(3)).await?;
    let depth = scaler.metric(DEPTH).await?;
    ensure!(depth == Some(3.0), "the depth without a worker is {depth:?}");
    Ok(())
}

async fn without_the_api_server_there_is_no_number_and_no_readiness(world: &World) -> Result<()> {
    let cluster = fleet().await?;
    cluster.set_away(true);
    let mut scaler = world.scaler(&cluster, QUEUES)?.spawn(&[])?;
    scaler.readiness("not ready: listing the pods").await?;
    let said = scaler.condition("kubernetes_away", true).await?;
    ensure!(said.contains("listing the pods"), "{said}");
    let (status, body) = scaler.scale().await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}: {body}");
    ensure!(body["workers"].is_null() && body["error"].is_string(), "{body}");
    ensure!(scaler.metric("temporal_scaler_wanted_workers").await?.is_none(), "a number of nothing");
    eventually("the depth is shown, because Temporal answers", SOON, async || match scaler.metric(DEPTH).await {
        Ok(depth) => when(depth == Some(0.0), || format!("it is {depth:?}")),
        Err(error) => Probe::Failed(error),
    })
    .await?;
    let live = scaler.get("/healthz").await?;
    ensure!(live.0 == StatusCode::OK, "an outage must not restart it: {live:?}");
    cluster.set_away(false);
    scaler.readiness("ready").await?;
    scaler.answers("the fleet is known", |answer| answer["pods"]["read"] == 2).await?;
    Ok(())
}

async fn without_temporal_there_is_no_readiness(world: &World) -> Result<()> {
    let door = Door::before(world.temporal_port(), false);
    let address = format!("127.0.0.1:{}", door.port);
    let builder = world.scaler(&fleet().await?, QUEUES)?.env("TEMPORAL_ADDRESS", &address);
    let mut scaler = builder.spawn(&[])?;
    scaler.readiness("not ready: 2 queues are not read, such as: workflow:orders is not read").await?;
    let said = scaler.condition("queue_unread", true).await?;
    ensure!(said.contains(&address), "it does not name {address}: {said}");
    door.set_open(true);
    scaler.readiness("ready").await?;
    scaler.condition("queue_unread", false).await?;
    Ok(())
}

async fn temporal_that_goes_away_takes_no_worker_away(world: &World) -> Result<()> {
    let door = Door::before(world.temporal_port(), true);
    let cluster = Cluster::start().await?;
    // Idle workers: by what is known, fewer would do.
    for name in ["a", "b", "c", "d"] {
        cluster.put(pod(name, Page::start(&page(0, 5)).await?.port));
    }
    let address = format!("127.0.0.1:{}", door.port);
    let scaler = world.scaler(&cluster, QUEUES)?.env("TEMPORAL_ADDRESS", &address).start().await?;
    scaler.answers("the fleet is known", |answer| answer["pods"]["read"] == 4).await?;
    let lines = || scaler.logged("condition=\"queue_unread\"");
    let before = lines();
    door.set_open(false);
    scaler.condition("queue_unread", true).await?;
    let is_in_part = |answer: &Value| answer["partly"].is_string() && answer["queues"][0]["backlog"].is_null();
    let answer = scaler.answers("it knows in part", is_in_part).await?;
    ensure!(answer["workers"].as_u64() >= Some(4), "{answer}");
    let depth = scaler.metric(DEPTH).await?;
    ensure!(depth.is_none(), "Temporal is away, and the depth is {depth:?}");
    door.set_open(true);
    scaler.condition("queue_unread", false).await?;
    ensure!(lines() == before + 2, "it is not said once at the begin and once at the end");
    Ok(())
}

async fn a_signal_ends_it_with_code_0(world: &World) -> Result<()> {
    let mut scaler = world.scaler(&fleet().await?, QUEUES)?.start().await?;
    scaler.signal(Signal::TERM)?;
    let code = scaler.exit_code().await?;
    ensure!(code == 0, "it ended with {code}");
    Ok(())
}
