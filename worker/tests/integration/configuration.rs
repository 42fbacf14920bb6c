//! A configuration that cannot be used: refused at once, every fault named.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{harness::World, runner::tests};

tests![a_bad_configuration_ends_the_worker_at_once_and_every_fault_is_named];

async fn a_bad_configuration_ends_the_worker_at_once_and_every_fault_is_named(world: &World) -> Result<()> {
    let mut worker = world
        .worker()
        .env("TEMPORAL_WORKFLOW_CONCURRENCY", "1")
        .env("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "many")
        .env("DATABASE_URL", "mysql://nowhere/documents")
        .env("METRICS_ADDRESS", "nowhere")
        .spawn()?;
    let code = worker.exit_code(Duration::from_secs(5)).await?;
    ensure!(code == 2, "the worker ended with {code}");
    let output = worker.output();
    for named in [
        "TEMPORAL_WORKFLOW_CONCURRENCY",
        "TEMPORAL_IO_ACTIVITY_CONCURRENCY",
        "DATABASE_URL",
        "METRICS_ADDRESS",
    ] {
        ensure!(output.contains(named), "{named} is not named in:\n{output}");
    }
    Ok(())
}
