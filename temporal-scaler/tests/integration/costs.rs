//! Deletion costs: busy pods are marked, by two replicas that know nothing of each other.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{
    harness::{Cluster, Page, World, eventually, pod, scaler::SOON, slots, when},
    runner::tests,
};

tests![two_replicas_mark_busy_pods_and_a_refusal_stops_no_other_write, nothing_is_written_unless_asked_for];

const QUEUES: &str = "activity:invoices=5";

/// The last cost that was written of a pod, and the number of its writes.
fn written(cluster: &Cluster, name: &str) -> (Option<Value>, usize) {
    let patches = cluster.patches();
    let of: Vec<_> = patches.into_iter().filter(|(pod, _)| pod == name).map(|(_, cost)| cost).collect();
    (of.last().cloned(), of.len())
}

async fn two_replicas_mark_busy_pods_and_a_refusal_stops_no_other_write(world: &World) -> Result<()> {
    let cluster = Cluster::start().await?;
    let busy = slots("ActivityWorker", "invoices", 2, 3);
    let page = Page::start(&busy).await?;
    let idle = Page::start(&slots("ActivityWorker", "invoices", 0, 5)).await?;
    for (name, port) in [("busy", page.port), ("refused", page.port), ("idle", idle.port), ("silent", 1)] {
        cluster.put(pod(name, port));
    }
    let start = async || world.scaler(&cluster, QUEUES)?.env("SCALER_DELETION_COSTS", "true").start().await;
    let (one, _two) = (start().await?, start().await?);
    let is = async |cost: Value| {
        eventually(&format!("the cost is {cost}"), SOON, async || {
            let found = written(&cluster, "busy");
            when(found.0.as_ref() == Some(&cost), || format!("{found:?}"))
        })
        .await
    };
    is("1".into()).await?;
    let said = one.condition("cost_unwritten", true).await?;
    ensure!(said.contains("pod refused"), "{said}");
    page.set(&slots("ActivityWorker", "invoices", 0, 5));
    is(Value::Null).await?;
    let (_, writes) = written(&cluster, "busy");
    // One of each kind by each replica at most: the other's write is seen and not repeated.
    ensure!((2..=4).contains(&writes), "{writes} writes for two changes: {:?}", cluster.patches());
    for name in ["idle", "silent"] {
        let found = written(&cluster, name);
        ensure!(found.1 == 0, "{name}: {found:?}");
    }
    Ok(())
}

async fn nothing_is_written_unless_asked_for(world: &World) -> Result<()> {
    let cluster = Cluster::start().await?;
    let page = Page::start(&slots("ActivityWorker", "invoices", 2, 3)).await?;
    cluster.put(pod("busy", page.port));
    let _quiet = world.scaler(&cluster, QUEUES)?.start().await?;
    // A second one that writes, so that there is something to wait for.
    let other = Cluster::start().await?;
    other.put(pod("busy", page.port));
    let _writes = world.scaler(&other, QUEUES)?.env("SCALER_DELETION_COSTS", "true").start().await?;
    eventually("the other one has written", SOON, async || {
        let found = other.patches();
        when(!found.is_empty(), || format!("{found:?}"))
    })
    .await?;
    let found = cluster.patches();
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}
