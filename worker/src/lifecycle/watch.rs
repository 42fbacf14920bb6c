//! A process that only watches the queues: without work, S3, Redis or CPU threads. It shows the queue depths even
//! if no worker runs, and competes with running workers for the lease.

use std::process::ExitCode;

use super::Process;
use crate::{config::Config, store::PoolSettings};

/// Settings of its connection pool. It runs one statement at a time.
const POOL: PoolSettings = PoolSettings { application: "temporal-queue-metrics", slots: 1 };

/// Watches the queues until a signal.
///
/// # Errors
/// An error that waiting does not fix: a port in use, or settings that cannot be used.
pub async fn watch(config: Config) -> anyhow::Result<ExitCode> {
    let mut process = Process::new(config, POOL)?;
    process.open_port(None).await?;
    if let Some(client) = process.connect().await {
        process.watch_depths(&client);
        process.set_ready("reading the queues", |metrics, queue| metrics.depths().shows(queue), |_, _, _| async {});
        process.shutdown.cancelled().await;
    }
    process.shut_down().await;
    Ok(ExitCode::SUCCESS)
}
