//! Bad input: each is in /scale, in a metric and once in the log.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::interval;

use crate::{
    harness::{Cluster, Page, World, pod, scaler::Scaler, slots},
    runner::tests,
};

tests![
    a_selector_that_no_pod_matches_is_said,
    a_pod_that_cannot_be_read_is_said_and_counts_as_unread,
    a_page_without_slots_is_said_and_its_pod_counts_as_unread,
    a_queue_that_nobody_polls_is_said,
    an_api_server_that_goes_away_is_said_and_the_known_pods_count,
    pods_that_come_and_go_are_seen_without_another_list,
    a_process_that_stood_still_says_so,
];

const QUEUES: &str = "activity:invoices=5";

/// Longer than the 15 s after which a process stood still.
const STANDS_STILL: Duration = Duration::from_secs(17);

fn page() -> String {
    slots("ActivityWorker", "invoices", 2, 3)
}

/// Checks that a condition was logged once, and its end, too.
fn logged_once(scaler: &Scaler, kind: &str) -> Result<()> {
    let lines = scaler.logged(&format!("condition=\"{kind}\""));
    ensure!(lines == 2, "{kind}: {lines} lines, not its begin and its end:\n{}", scaler.output());
    Ok(())
}

/// Checks that a condition that still holds was logged once.
fn begun_once(scaler: &Scaler, kind: &str) -> Result<()> {
    let lines = scaler.logged(&format!("condition=\"{kind}\""));
    ensure!(lines == 1, "{kind}: {lines} lines, not its begin alone:\n{}", scaler.output());
    Ok(())
}

async fn a_selector_that_no_pod_matches_is_said(world: &World) -> Result<()> {
    let cluster = Cluster::start().await?;
    let scaler = world.scaler(&cluster, QUEUES)?.start().await?;
    let said = scaler.condition("no_pod", true).await?;
    ensure!(said.contains("app=worker") && said.contains("SCALER_POD_SELECTOR"), "{said}");
    cluster.put(pod("a", Page::start(&page()).await?.port));
    scaler.condition("no_pod", false).await?;
    logged_once(&scaler, "no_pod")
}

async fn a_pod_that_cannot_be_read_is_said_and_counts_as_unread(world: &World) -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.put(pod("a", Page::start(&page()).await?.port));
    // Nothing listens on port 1.
    cluster.put(pod("silent", 1));
    let mut portless = pod("portless", 1);
    portless["spec"]["containers"][0]["ports"] = json!([]);
    cluster.put(portless);
    let scaler = world.scaler(&cluster, QUEUES)?.start().await?;
    let said = scaler.condition("pod_unread", true).await?;
    ensure!(said.starts_with("2 Ready pods are not read, such as: pod portless declares no port"), "{said}");
    let answer = scaler.answers("two are unread", |answer| answer["pods"]["unread"] == 2).await?;
    ensure!(answer["pods"]["read"] == 1 && answer["pods"]["workers"] == 3, "{answer}");
    ensure!(answer["partly"].is_string() && answer["workers"].as_u64() >= Some(3), "fewer than there are: {answer}");
    cluster.delete("portless");
    cluster.put(pod("silent", Page::start(&page()).await?.port));
    scaler.condition("pod_unread", false).await?;
    logged_once(&scaler, "pod_unread")
}

async fn a_page_without_slots_is_said_and_its_pod_counts_as_unread(world: &World) -> Result<()> {
    let cluster = Cluster::start().await?;
    let other = Page::start(&slots("ActivityWorker", "other", 1, 1)).await?;
    cluster.put(pod("a", other.port));
    let scaler = world.scaler(&cluster, QUEUES)?.start().await?;
    let said = scaler.condition("pod_without_slots", true).await?;
    ensure!(said.contains("pod a") && said.contains("activity:invoices"), "{said}");
    scaler.answers("it is unread", |answer| answer["pods"]["unread"] == 1).await?;
    // The worker sizes itself by the load: it has no number of available slots.
    let sized = page().lines().next().unwrap_or_default().to_owned() + "\n";
    other.set(&sized);
    scaler.condition("pod_without_slots", true).await?;
    other.set(&page());
    scaler.condition("pod_without_slots", false).await?;
    scaler.answers("it is read", |answer| answer["pods"]["read"] == 1 && answer["pods"]["unread"] == 0).await?;
    logged_once(&scaler, "pod_without_slots")
}

async fn a_queue_that_nobody_polls_is_said(world: &World) -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.put(pod("a", Page::start(&page()).await?.port));
    let scaler = world.scaler(&cluster, QUEUES)?.start().await?;
    let said = scaler.condition("queue_without_pollers", true).await?;
    ensure!(said == "no worker polls activity:invoices", "{said}");
    // A queue without work is no gap. The answer is whole once there is a history.
    let is_whole = |answer: &serde_json::Value| answer["queues"][0]["backlog"] == 0.0 && answer["partly"].is_null();
    scaler.answers("nothing is unknown", is_whole).await?;
    begun_once(&scaler, "queue_without_pollers")
}

async fn a_process_that_stood_still_says_so(world: &World) -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.put(pod("a", Page::start(&page()).await?.port));
    let scaler = world.scaler(&cluster, QUEUES)?.start().await?;
    scaler.answers("it has read", |answer| answer["pods"]["read"] == 1).await?;
    scaler.signal(Signal::STOP)?;
    let mut stop = interval(STANDS_STILL);
    stop.tick().await;
    stop.tick().await;
    scaler.signal(Signal::CONT)?;
    let said = scaler.condition("clock", true).await?;
    ensure!(said.contains("this process stood still"), "{said}");
    // It lasts for a minute. The rounds until the answer is whole again do not repeat it.
    scaler.answers("nothing is unknown", |answer| answer["partly"].is_null()).await?;
    begun_once(&scaler, "clock")
}

async fn an_api_server_that_goes_away_is_said_and_the_known_pods_count(world: &World) -> Result<()> {
    let cluster = Cluster::start().await?;
    let page = Page::start(&page()).await?;
    cluster.put(pod("a", page.port));
    let scaler = world.scaler(&cluster, QUEUES)?.start().await?;
    scaler.answers("the fleet is known", |answer| answer["pods"]["read"] == 1).await?;
    cluster.set_away(true);
    scaler.condition("kubernetes_away", true).await?;
    page.set(&slots("ActivityWorker", "invoices", 4, 1));
    scaler.answers("the known pod is read", |answer| answer["queues"][0]["used"] == 4.0).await?;
    cluster.put(pod("b", page.port));
    cluster.set_away(false);
    scaler.condition("kubernetes_away", false).await?;
    scaler.answers("the new pod is known", |answer| answer["pods"]["read"] == 2).await?;
    logged_once(&scaler, "kubernetes_away")
}

async fn pods_that_come_and_go_are_seen_without_another_list(world: &World) -> Result<()> {
    let cluster = Cluster::start().await?;
    let page = Page::start(&page()).await?;
    cluster.put(pod("a", page.port));
    let scaler = world.scaler(&cluster, QUEUES)?.start().await?;
    let has = async |workers: u64, read: u64, used: f64| {
        let what = format!("{workers} workers, {read} read, {used} slots in use");
        let is = |answer: &serde_json::Value| {
            let pods = &answer["pods"];
            pods["workers"] == workers && pods["read"] == read && answer["queues"][0]["used"] == used
        };
        scaler.answers(&what, is).await.map(drop)
    };
    has(1, 1, 2.0).await?;
    let mut starts = pod("b", page.port);
    starts["status"]["conditions"][0]["status"] = json!("False");
    cluster.put(starts);
    has(2, 1, 4.0).await?;
    cluster.put(pod("b", page.port));
    has(2, 2, 4.0).await?;
    let mut leaves = pod("a", page.port);
    leaves["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    cluster.put(leaves);
    // It still works.
    has(1, 1, 4.0).await?;
    cluster.delete("a");
    has(1, 1, 2.0).await?;
    let lists = cluster.limits();
    ensure!(lists == [Some(500)], "the pods were listed {lists:?}");
    Ok(())
}
