//! Queue depths in a fleet: one worker asks Temporal, all workers show the reading, and another worker takes over.

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
    another_worker_takes_over_when_the_reader_shuts_down,
    another_worker_takes_over_when_the_reader_is_killed_without_a_gap_in_the_depths,
    one_worker_of_three_asks_and_all_show_the_depths,
];

/// Timeout for a depth to be shown, on a busy machine.
const SHOWN: Duration = Duration::from_secs(20);

/// A lease (three intervals of 1 s), and 2 s more.
pub(crate) const LEASE_AND_MORE: Duration = Duration::from_secs(5);

/// Long enough that each queue is read several times.
const WINDOW: Duration = Duration::from_secs(4);

async fn one_worker_of_three_asks_and_all_show_the_depths(world: &World) -> Result<()> {
    let fleet = fleet(world, "1").await?;
    let (before, started) = (asked(&fleet).await?, tokio::time::Instant::now());
    consistently("all show the depths", WINDOW, async || all_shown(&fleet).await).await?;
    let (after, took) = (asked(&fleet).await?, started.elapsed());
    let asked: Vec<f64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    let readers = asked.iter().filter(|count| **count > 0.0).count();
    ensure!(readers == 1, "{readers} workers asked: {asked:?}");
    // One request per second and queue, and the one at the start of the window.
    let most = DEPTHS.len() as f64 * (took.as_secs_f64() + 1.0);
    let all: f64 = asked.iter().sum();
    ensure!(all <= most, "asked {all} times within {took:?}: {asked:?}");
    Ok(())
}

async fn another_worker_takes_over_when_the_reader_is_killed_without_a_gap_in_the_depths(world: &World) -> Result<()> {
    let mut fleet = fleet(world, "1").await?;
    let reader = reader(world, &fleet).await?;
    fleet.remove(reader).kill().await?;
    let before = asked(&fleet).await?;
    let shown = consistently("the others show the depths", LEASE_AND_MORE, async || all_shown(&fleet).await);
    let taken_over = takes_over(world, &fleet, &before, LEASE_AND_MORE);
    futures::try_join!(shown, taken_over)?;
    Ok(())
}

async fn another_worker_takes_over_when_the_reader_shuts_down(world: &World) -> Result<()> {
    // An interval of 5 s makes a lease of 15 s, so the test depends on the release of the lease.
    let mut fleet = fleet(world, "5").await?;
    let reader = reader(world, &fleet).await?;
    let mut leaving = fleet.remove(reader);
    let before = asked(&fleet).await?;
    leaving.signal(Signal::TERM)?;
    let code = leaving.exit_code(Duration::from_secs(10)).await?;
    ensure!(code == 0, "the worker ended with {code}");
    // The others check once per interval. The lease would have lasted at least two more.
    takes_over(world, &fleet, &before, Duration::from_secs(9)).await
}

/// Three workers that show the depths. The first one holds the leases.
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

/// The index of the worker that holds the leases of all queues.
pub(crate) async fn reader(world: &World, fleet: &[Worker]) -> Result<usize> {
    let leases = world.leases().await?;
    let has_all = |worker: &Worker| leases.len() == DEPTHS.len() && leases.iter().all(|lease| lease.is_of(worker));
    let reader = fleet.iter().position(has_all);
    reader.with_context(|| format!("no worker asks for all queues: {leases:?}"))
}

/// Waits until workers of this fleet hold the leases of all queues and have asked Temporal.
pub(crate) async fn takes_over(world: &World, fleet: &[Worker], before: &[f64], within: Duration) -> Result<()> {
    eventually("another worker takes over", within, async || match (world.leases().await, asked(fleet).await) {
        (Ok(leases), Ok(now)) => {
            let theirs = leases.iter().filter(|lease| lease.valid && fleet.iter().any(|worker| lease.is_of(worker)));
            let more: f64 = now.iter().sum::<f64>() - before.iter().sum::<f64>();
            when(theirs.count() == DEPTHS.len() && more >= DEPTHS.len() as f64, || {
                format!("{leases:?}; asked {more} times")
            })
        }
        (Err(error), _) | (_, Err(error)) => Probe::Failed(error),
    })
    .await
}
