//! The connections to Postgres: never more than the maximum, and afterwards as many as the pool keeps.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;

use crate::{
    harness::{Probe, Worker, World, eventually, history::End, when},
    runner::tests,
};

tests![connections_stay_within_the_pool_and_its_overflow];

/// Application name of the workers' connections.
const WORKER: &str = "temporal-worker";

/// Size of the pool, and of its overflow.
const KEPT: i64 = 2;
const OVERFLOW: i64 = 2;

/// Number of documents: enough to keep all slots busy for some seconds.
const DOCUMENTS: usize = 24;

/// Timeout for the overflow to be closed, which is checked every second.
const CLOSED: Duration = Duration::from_secs(15);

async fn connections_stay_within_the_pool_and_its_overflow(world: &World) -> Result<()> {
    let worker = world
        .worker()
        .env("DB_POOL_SIZE", &KEPT.to_string())
        .env("DB_MAX_OVERFLOW", &OVERFLOW.to_string())
        .env("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "4")
        .start()
        .await?;
    world.postgres.slow(Duration::from_millis(50)).await?;
    let source = world.upload("a.txt", "one two").await?;
    let starts = (0..DOCUMENTS).map(async |number| world.start_document(&format!("d{number}"), &source).await);
    let runs = try_join_all(starts).await?;
    let (mut most, mut most_used, mut waited) = (0, 0.0_f64, false);
    eventually("all documents are stored", Duration::from_secs(60), async || match look(world, &worker).await {
        Ok(seen) if seen.open > KEPT + OVERFLOW => Probe::Failed(anyhow::anyhow!("{seen:?}")),
        Ok(seen) => {
            most = most.max(seen.open);
            most_used = most_used.max(seen.in_use);
            waited |= seen.waiters > 0.0;
            when(seen.stored == DOCUMENTS as i64, || format!("{seen:?}"))
        }
        Err(error) => Probe::Failed(error),
    })
    .await?;
    ensure!(
        most > KEPT && most_used > KEPT as f64,
        "no more than {most} connections were open and {most_used} in use: the load was too low"
    );
    ensure!(waited, "no caller waited for a connection");
    for run in runs {
        let end = run.ended().await?.end()?;
        ensure!(matches!(end, End::Completed(_)), "{end:?}");
    }
    world.postgres.restore().await?;
    eventually("the overflow is closed", CLOSED, async || {
        match (world.connections(WORKER).await, shown(&worker, "idle").await) {
            (Ok(open), Ok(idle)) => {
                when(open == KEPT && idle == Some(KEPT as f64), || format!("{open} are open, {idle:?} idle"))
            }
            (Err(error), _) | (_, Err(error)) => Probe::Failed(error),
        }
    })
    .await?;
    let acquired = worker.metrics().await?.value("document_database_acquire_seconds_count", &[("outcome", "acquired")]);
    // Each document records three attempts and is stored.
    let least = 4.0 * DOCUMENTS as f64;
    ensure!(acquired >= Some(least), "{acquired:?} connections were acquired");
    Ok(())
}

/// What is observed at one moment.
#[derive(Debug)]
struct Seen {
    open: i64,
    in_use: f64,
    stored: i64,
    waiters: f64,
}

async fn look(world: &World, worker: &Worker) -> Result<Seen> {
    let metrics = worker.metrics().await?;
    let waiters = metrics.value("document_database_waiters", &[]);
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM documents").fetch_one(&world.database).await?;
    let in_use = metrics.value("document_database_connections", &[("state", "in_use")]);
    Ok(Seen {
        open: world.connections(WORKER).await?,
        in_use: in_use.unwrap_or(f64::NAN),
        stored,
        waiters: waiters.unwrap_or(f64::NAN),
    })
}

async fn shown(worker: &Worker, state: &str) -> Result<Option<f64>> {
    let metrics = worker.metrics().await?;
    Ok(metrics.value("document_database_connections", &[("state", state)]))
}
