//! The depths of the queues in a fleet: one worker asks Temporal, all show what it read, and another follows it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use rustix::process::Signal;

use crate::{
    harness::{Probe, Worker, World, eventually, wait::consistently, when},
    metrics::DEPTHS,
    runner::tests,
};

tests![
    another_worker_asks_when_the_one_that_asks_leaves,
    another_worker_asks_when_the_one_that_asks_is_killed_and_depths_go_on,
    one_worker_of_three_asks_and_all_show_the_depths,
];

/// Time for a depth to be shown: the machine does much else.
const SHOWN: Duration = Duration::from_secs(20);

/// A lease of three intervals of a second, and two more.
pub(crate) const LEASE_AND_MORE: Duration = Duration::from_secs(5);

/// Long enough that each queue is asked for several times.
const WINDOW: Duration = Duration::from_secs(4);

async fn one_worker_of_three_asks_and_all_show_the_depths(world: &World) -> Result<()> {
    let fleet = fleet(world, "1").await?;
    let (before, started) = (asked(&fleet).await?, tokio::time::Instant::now());
    consistently("all show the depths", WINDOW, async || all_shown(&fleet).await).await?;
    let (after, took) = (asked(&fleet).await?, started.elapsed());
    let asked: Vec<f64> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after - before)
        .collect();
    let askers = asked.iter().filter(|count| **count > 0.0).count();
    ensure!(askers == 1, "{askers} workers asked: {asked:?}");
    // One a second and queue, and the one with which the window begins.
    let most = DEPTHS.len() as f64 * (took.as_secs_f64() + 1.0);
    let all: f64 = asked.iter().sum();
    ensure!(all <= most, "asked {all} times within {took:?}: {asked:?}");
    Ok(())
}

async fn another_worker_asks_when_the_one_that_asks_is_killed_and_depths_go_on(world: &World) -> Result<()> {
    let mut fleet = fleet(world, "1").await?;
    let asker = asker(world, &fleet).await?;
    fleet.remove(asker).kill().await?;
    let before = asked(&fleet).await?;
    let shown = consistently("the others show the depths", LEASE_AND_MORE, async || {
        all_shown(&fleet).await
    });
    let followed = follows(world, &fleet, &before, LEASE_AND_MORE);
    futures::try_join!(shown, followed)?;
    Ok(())
}

async fn another_worker_asks_when_the_one_that_asks_leaves(world: &World) -> Result<()> {
    // An interval of 5 s makes a lease of 15 s, so that it matters that the lease is given up.
    let mut fleet = fleet(world, "5").await?;
    let asker = asker(world, &fleet).await?;
    let mut leaving = fleet.remove(asker);
    let before = asked(&fleet).await?;
    leaving.signal(Signal::TERM)?;
    let code = leaving.exit_code(Duration::from_secs(10)).await?;
    ensure!(code == 0, "the worker ended with {code}");
    // The others look every interval; the lease would have lasted two at least.
    follows(world, &fleet, &before, Duration::from_secs(9)).await
}

/// Three workers that show the depths; the first asks.
async fn fleet(world: &World, interval: &str) -> Result<Vec<Worker>> {
    let start = || world.worker().env("DEPTH_INTERVAL_SECONDS", interval).start();
    let mut fleet = vec![start().await?];
    shown_by(&fleet).await?;
    fleet.extend(try_join_all([start(), start()]).await?);
    shown_by(&fleet).await?;
    Ok(fleet)
}

pub(crate) async fn shown_by(fleet: &[Worker]) -> Result<()> {
    eventually("all show the depths", SHOWN, async || all_shown(fleet).await).await
}

/// Whether all workers show the depth of each queue.
pub(crate) async fn all_shown(fleet: &[Worker]) -> Probe<()> {
    for (number, worker) in fleet.iter().enumerate() {
        let metrics = match worker.metrics().await {
            Ok(metrics) => metrics,
            Err(error) => return Probe::Failed(error),
        };
        for (name, queue) in DEPTHS {
            if metrics.value(name, &[("queue", queue)]).is_none() {
                return Probe::NotYet(format!("worker {number} shows no depth of {queue}"));
            }
        }
    }
    Probe::Ready(())
}

/// How often each worker has asked Temporal for a queue.
pub(crate) async fn asked(fleet: &[Worker]) -> Result<Vec<f64>> {
    let asked = fleet.iter().map(async |worker| {
        let labels = [("operation", "DescribeTaskQueue")];
        let count = worker.metrics().await?.value("temporal_request", &labels);
        anyhow::Ok(count.unwrap_or(0.0))
    });
    try_join_all(asked).await
}

/// The one that has the leases of all queues.
pub(crate) async fn asker(world: &World, fleet: &[Worker]) -> Result<usize> {
    let leases = world.leases().await?;
    let has_all =
        |worker: &Worker| leases.len() == DEPTHS.len() && leases.iter().all(|lease| lease.is_of(worker));
    let asker = fleet.iter().position(has_all);
    asker.with_context(|| format!("no worker asks for all queues: {leases:?}"))
}

/// Waits until workers of this fleet have the leases of all queues, and have asked.
pub(crate) async fn follows(world: &World, fleet: &[Worker], before: &[f64], within: Duration) -> Result<()> {
    eventually("another worker asks", within, async || {
        match (world.leases().await, asked(fleet).await) {
            (Ok(leases), Ok(now)) => {
                let theirs = leases
                    .iter()
                    .filter(|lease| lease.valid && fleet.iter().any(|worker| lease.is_of(worker)));
                let more: f64 = now.iter().sum::<f64>() - before.iter().sum::<f64>();
                when(
                    theirs.count() == DEPTHS.len() && more >= DEPTHS.len() as f64,
                    || format!("{leases:?}; asked {more} times"),
                )
            }
            (Err(error), _) | (_, Err(error)) => Probe::Failed(error),
        }
    })
    .await
}
