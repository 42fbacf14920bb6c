//! `temporal-worker watch`: queue depths with no running worker, or with workers beside it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use reqwest::StatusCode;
use rustix::process::Signal;

use crate::{
    harness::{Probe, Worker, World, eventually, wait::consistently, when},
    metrics::{DEPTHS, shown},
    readings::{LEASE_AND_MORE, all_shown, asked, reader, shown_by, takes_over},
    runner::tests,
};

tests![
    a_watch_takes_over_from_a_killed_worker_without_a_gap_in_the_depths,
    a_worker_takes_over_from_a_killed_watch_without_a_gap_in_the_depths,
    during_an_outage_of_temporal_the_watch_stays_up_and_shows_no_depth,
    a_watch_shows_the_depths_if_no_worker_runs,
    a_watch_started_before_its_servers_waits_for_them,
    a_watch_exits_within_a_second_with_code_0,
    a_watch_exits_with_code_0_if_the_database_does_not_answer,
];

/// Application name of its connections, and their maximum number.
const APPLICATION: &str = "temporal-queue-metrics";
const CONNECTIONS: i64 = 2;

/// Maximum anonymous memory in kB: a quarter of its container's limit (manifests/base/temporal-queue-metrics.yaml).
const MEMORY: u64 = 16 << 10;

/// Longer than the lifetime of a reading (six intervals of 1 s), so a depth that is shown all the time comes from
/// the new reader.
const LIFETIME_AND_MORE: Duration = Duration::from_secs(8);

/// Timeout after an outage.
const RECOVERY: Duration = Duration::from_secs(30);

async fn a_watch_shows_the_depths_if_no_worker_runs(world: &World) -> Result<()> {
    let watch = world.watch().start().await?;
    for id in ["a", "b", "c", "d", "e"] {
        world.start_document(id, "s3://nowhere/at-all").await?;
    }
    let [_, (_, io), (_, cpu)] = DEPTHS;
    world.schedule_activities(&[(io, 3), (cpu, 2)]).await?;
    for ((name, queue), expected) in DEPTHS.into_iter().zip([4.0, 3.0, 2.0]) {
        shown(&watch, name, &[("queue", queue)], |depth| depth == expected).await?;
    }
    let open = world.connections(APPLICATION).await?;
    ensure!((1..=CONNECTIONS).contains(&open), "it holds {open} connections");
    let memory = watch.memory()?;
    ensure!(memory <= MEMORY, "it has {memory} kB");
    let metrics = watch.metrics().await?;
    for foreign in ["document_cpu_threads", "temporal_num_pollers", "document_external_calls_total"] {
        let value = metrics.value(foreign, &[]);
        ensure!(value.is_none(), "{foreign} is {value:?}, but this process does not have it");
    }
    Ok(())
}

async fn a_watch_takes_over_from_a_killed_worker_without_a_gap_in_the_depths(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    shown_by(std::slice::from_ref(&worker)).await?;
    let watch = world.watch().start().await?;
    hands_over(world, [worker, watch]).await
}

async fn a_worker_takes_over_from_a_killed_watch_without_a_gap_in_the_depths(world: &World) -> Result<()> {
    let watch = world.watch().start().await?;
    let worker = world.worker().start().await?;
    hands_over(world, [watch, worker]).await
}

/// Kills the first process, which holds the leases. Checks that the second shows the depths without a gap, and
/// takes over.
async fn hands_over(world: &World, fleet: [Worker; 2]) -> Result<()> {
    shown_by(&fleet).await?;
    let reader = reader(world, &fleet).await?;
    ensure!(reader == 0, "the second process holds the leases");
    let [first, second] = fleet;
    first.kill().await?;
    let fleet = [second];
    let before = asked(&fleet).await?;
    let shown = consistently("the other shows the depths", LIFETIME_AND_MORE, async || all_shown(&fleet).await);
    let taken_over = takes_over(world, &fleet, &before, LEASE_AND_MORE);
    futures::try_join!(shown, taken_over)?;
    Ok(())
}

async fn during_an_outage_of_temporal_the_watch_stays_up_and_shows_no_depth(world: &World) -> Result<()> {
    let mut watch = world.watch().start().await?;
    for id in ["a", "b"] {
        world.start_document(id, "s3://nowhere/at-all").await?;
    }
    let [(name, queue), ..] = DEPTHS;
    shown(&watch, name, &[("queue", queue)], |depth| depth == 2.0).await?;
    world.temporal.cut().await?;
    eventually("no depth is shown", RECOVERY, async || depthless(&watch).await).await?;
    consistently("no depth is shown by a watch that is live", Duration::from_secs(3), async || depthless(&watch).await)
        .await?;
    world.temporal.restore().await?;
    shown(&watch, name, &[("queue", queue)], |depth| depth == 2.0).await?;
    ensure!(watch.runs()?, "the watch ended");
    Ok(())
}

/// Whether a live watch shows no depth. Any depth other than that of the two waiting tasks is an error.
async fn depthless(watch: &Worker) -> Probe<()> {
    let look = async {
        let live = watch.get("/livez").await?;
        ensure!(live.0 == StatusCode::OK, "an outage must not restart it: {live:?}");
        let metrics = watch.metrics().await?;
        let depths = DEPTHS.map(|(name, queue)| metrics.value(name, &[("queue", queue)]));
        match depths[0] {
            None | Some(2.0) => Ok(depths),
            Some(wrong) => bail!("two tasks wait, and the depth is {wrong}"),
        }
    };
    match look.await {
        Ok(depths) => when(depths == [None; 3], || format!("{depths:?}")),
        Err(error) => Probe::Failed(error),
    }
}

async fn a_watch_started_before_its_servers_waits_for_them(world: &World) -> Result<()> {
    world.postgres.cut().await?;
    world.temporal.cut().await?;
    let mut watch = world.watch().spawn()?;
    watch.readiness("not ready: waiting for Postgres", RECOVERY).await?;
    world.postgres.restore().await?;
    watch.readiness("not ready: waiting for Temporal", RECOVERY).await?;
    let live = watch.get("/livez").await?;
    ensure!(live.0 == StatusCode::OK, "one that waits must not be restarted: {live:?}");
    world.temporal.restore().await?;
    // A slow first answer separates being connected from having a reading.
    world.temporal.slow(Duration::from_millis(300)).await?;
    watch.is_ready().await?;
    all_shown_by(&watch).await
}

/// Checks that a ready watch shows a reading of each queue.
async fn all_shown_by(watch: &Worker) -> Result<()> {
    match all_shown(std::slice::from_ref(watch)).await {
        Probe::Ready(()) => Ok(()),
        Probe::NotYet(why) => bail!("it is ready, and {why}"),
        Probe::Failed(error) => Err(error),
    }
}

async fn a_watch_exits_within_a_second_with_code_0(world: &World) -> Result<()> {
    let mut watch = world.watch().start().await?;
    watch.signal(Signal::TERM)?;
    let code = watch.exit_code(Duration::from_secs(1)).await?;
    ensure!(code == 0, "it ended with {code}");
    let leases = world.leases().await?;
    ensure!(
        leases.len() == DEPTHS.len() && leases.iter().all(|lease| !lease.valid),
        "its leases were not released: {leases:?}"
    );
    Ok(())
}

async fn a_watch_exits_with_code_0_if_the_database_does_not_answer(world: &World) -> Result<()> {
    let mut watch = world.watch().start().await?;
    world.postgres.block().await?;
    watch.signal(Signal::TERM)?;
    // One second for the leases, and some for a busy machine.
    let code = watch.exit_code(Duration::from_secs(5)).await?;
    ensure!(code == 0, "it ended with {code}");
    Ok(())
}
