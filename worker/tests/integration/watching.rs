//! `temporal-worker watch`: the queues' depths with no worker alive, or with workers beside it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use reqwest::StatusCode;
use rustix::process::Signal;

use crate::{
    harness::{Probe, Worker, World, eventually, wait::consistently, when},
    metrics::{DEPTHS, shown},
    readings::{LEASE_AND_MORE, all_shown, asked, asker, follows, shown_by},
    runner::tests,
};

tests![
    a_watch_follows_a_worker_that_is_killed_and_depths_go_on,
    a_worker_follows_a_watch_that_is_killed_and_depths_go_on,
    an_outage_of_temporal_leaves_no_depth_and_the_watch_outlives_it,
    a_watch_shows_what_waits_where_no_worker_is_alive,
    a_watch_started_before_its_servers_waits_for_them,
    a_watch_leaves_within_a_second_with_code_0,
    a_watch_leaves_with_code_0_when_the_database_does_not_answer,
];

/// Its name among the connections, and what it may hold.
const APPLICATION: &str = "temporal-queue-metrics";
const CONNECTIONS: i64 = 2;

/// Memory of its own, in kB: a quarter of what its container may have (manifests/base/temporal-queue-metrics.yaml).
const MEMORY: u64 = 16 << 10;

/// A reading is shown for six intervals of a second: who sees one for longer sees that of who followed.
const LIFETIME_AND_MORE: Duration = Duration::from_secs(8);

/// Time for what follows an outage.
const SOON: Duration = Duration::from_secs(30);

async fn a_watch_shows_what_waits_where_no_worker_is_alive(world: &World) -> Result<()> {
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
    for foreign in [
        "document_cpu_threads",
        "temporal_num_pollers",
        "document_external_calls_total",
    ] {
        let value = metrics.value(foreign, &[]);
        ensure!(value.is_none(), "{foreign} is {value:?} of a process without it");
    }
    Ok(())
}

async fn a_watch_follows_a_worker_that_is_killed_and_depths_go_on(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    shown_by(std::slice::from_ref(&worker)).await?;
    let watch = world.watch().start().await?;
    takes_over(world, [worker, watch]).await
}

async fn a_worker_follows_a_watch_that_is_killed_and_depths_go_on(world: &World) -> Result<()> {
    let watch = world.watch().start().await?;
    let worker = world.worker().start().await?;
    takes_over(world, [watch, worker]).await
}

/// Kills the first, which asks; the second shows the depths all the while, and asks from then on.
async fn takes_over(world: &World, fleet: [Worker; 2]) -> Result<()> {
    shown_by(&fleet).await?;
    let asker = asker(world, &fleet).await?;
    ensure!(asker == 0, "the one that came second asks");
    let [first, second] = fleet;
    first.kill().await?;
    let fleet = [second];
    let before = asked(&fleet).await?;
    let shown = consistently("the other shows the depths", LIFETIME_AND_MORE, async || {
        all_shown(&fleet).await
    });
    let followed = follows(world, &fleet, &before, LEASE_AND_MORE);
    futures::try_join!(shown, followed)?;
    Ok(())
}

async fn an_outage_of_temporal_leaves_no_depth_and_the_watch_outlives_it(world: &World) -> Result<()> {
    let mut watch = world.watch().start().await?;
    for id in ["a", "b"] {
        world.start_document(id, "s3://nowhere/at-all").await?;
    }
    let [(name, queue), ..] = DEPTHS;
    shown(&watch, name, &[("queue", queue)], |depth| depth == 2.0).await?;
    world.temporal.cut().await?;
    eventually("no depth is shown", SOON, async || depthless(&watch).await).await?;
    consistently(
        "no depth is shown by a watch that is live",
        Duration::from_secs(3),
        async || depthless(&watch).await,
    )
    .await?;
    world.temporal.mend().await?;
    shown(&watch, name, &[("queue", queue)], |depth| depth == 2.0).await?;
    ensure!(watch.runs()?, "the watch ended");
    Ok(())
}

/// Whether a live watch shows no depth; one that shows another depth than the two tasks that wait shows what is not so.
async fn depthless(watch: &Worker) -> Probe<()> {
    let look = async {
        let live = watch.get("/livez").await?;
        ensure!(
            live.0 == StatusCode::OK,
            "an outage must not restart it: {live:?}"
        );
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
    watch.readiness("not ready: waiting for Postgres", SOON).await?;
    world.postgres.mend().await?;
    watch.readiness("not ready: waiting for Temporal", SOON).await?;
    let live = watch.get("/livez").await?;
    ensure!(
        live.0 == StatusCode::OK,
        "one that waits must not be restarted: {live:?}"
    );
    world.temporal.mend().await?;
    // A first answer that takes a while tells a connection from a reading.
    world.temporal.slow(Duration::from_millis(300)).await?;
    watch.is_ready().await?;
    all_shown_by(&watch).await
}

/// One that is ready has shown a reading of each queue.
async fn all_shown_by(watch: &Worker) -> Result<()> {
    match all_shown(std::slice::from_ref(watch)).await {
        Probe::Ready(()) => Ok(()),
        Probe::NotYet(why) => bail!("it is ready, and {why}"),
        Probe::Failed(error) => Err(error),
    }
}

async fn a_watch_leaves_within_a_second_with_code_0(world: &World) -> Result<()> {
    let mut watch = world.watch().start().await?;
    watch.signal(Signal::TERM)?;
    let code = watch.exit_code(Duration::from_secs(1)).await?;
    ensure!(code == 0, "it ended with {code}");
    let leases = world.leases().await?;
    ensure!(
        leases.len() == DEPTHS.len() && leases.iter().all(|lease| !lease.valid),
        "its leases were not given up: {leases:?}"
    );
    Ok(())
}

async fn a_watch_leaves_with_code_0_when_the_database_does_not_answer(world: &World) -> Result<()> {
    let mut watch = world.watch().start().await?;
    world.postgres.block().await?;
    watch.signal(Signal::TERM)?;
    // A second for the leases, and some for a machine that does much else.
    let code = watch.exit_code(Duration::from_secs(5)).await?;
    ensure!(code == 0, "it ended with {code}");
    Ok(())
}
