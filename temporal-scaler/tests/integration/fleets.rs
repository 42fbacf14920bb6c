//! A fleet of ten thousand.

use anyhow::{Result, ensure};

use crate::{
    harness::{Cluster, Page, World, pod, slots},
    runner::tests,
};

tests![ten_thousand_pods_are_listed_in_pages_and_read_with_bounded_memory];

const PODS: usize = 10_000;

/// Pages that are read at once, in `src/pages.rs`.
const AT_A_TIME: usize = 64;

/// Peak resident memory in kB of a debug build: the limit of its container (manifests/base/temporal-scaler.yaml).
const MEMORY: u64 = 128 << 10;

async fn ten_thousand_pods_are_listed_in_pages_and_read_with_bounded_memory(world: &World) -> Result<()> {
    let cluster = Cluster::start().await?;
    // A page of an ordinary size.
    let filler = "some_other_metric{label=\"value\"} 1\n".repeat(500);
    let page = Page::start(&(filler + &slots("ActivityWorker", "invoices", 2, 3))).await?;
    for number in 0..PODS {
        cluster.put(pod(&format!("worker-{number}"), page.port));
    }
    let scaler = world.scaler(&cluster, "activity:invoices=5")?.start().await?;
    let answer = scaler.answers("all are known", |answer| answer["pods"]["workers"] == PODS).await?;
    let [read, unread] = ["read", "unread"].map(|part| answer["pods"][part].as_u64().unwrap_or_default());
    ensure!(read > 0 && read + unread == PODS as u64, "{answer}");
    ensure!(answer["queues"][0]["used"] == read as f64 * 2.0, "{answer}");
    let lists = cluster.limits();
    ensure!(lists == [Some(500); PODS / 500], "the pods were listed {lists:?}");
    let (reads, most) = page.reads();
    // A round that is cut off leaves its last requests behind, and the page may still serve them.
    ensure!(most <= 2 * AT_A_TIME && reads as u64 >= read, "{reads} reads, {most} at once");
    let memory = scaler.peak_memory()?;
    ensure!(memory <= MEMORY, "it has had {memory} kB");
    Ok(())
}
