//! An invalid configuration: the worker exits at once and names every fault.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{harness::World, runner::tests};

tests![
    a_bad_configuration_ends_the_worker_at_once_and_every_fault_is_named,
    the_configuration_is_printed_with_its_origins_and_without_its_secrets,
];

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
    for named in
        ["TEMPORAL_WORKFLOW_CONCURRENCY", "TEMPORAL_IO_ACTIVITY_CONCURRENCY", "DATABASE_URL", "METRICS_ADDRESS"]
    {
        ensure!(output.contains(named), "{named} is not named in:\n{output}");
    }
    Ok(())
}

async fn the_configuration_is_printed_with_its_origins_and_without_its_secrets(world: &World) -> Result<()> {
    let mut worker = world
        .worker()
        .arguments(&["config", "--set", "concurrency.io_slots=8"])
        .env("TEMPORAL_NAMESPACE", "archive")
        .env("DATABASE_URL", "postgres://slipway:hunter2@postgres/documents")
        .env("REDIS_URL", "redis://slipway:hunter2@redis")
        .env("AWS_SECRET_ACCESS_KEY", "hunter2")
        .env("LLM_API_KEY", "hunter2")
        .spawn()?;
    let code = worker.exit_code(Duration::from_secs(5)).await?;
    let output = worker.output();
    ensure!(code == 0, "it ended with {code}:\n{output}");
    for line in [
        "[temporal]",
        "namespace = \"archive\"  # environment TEMPORAL_NAMESPACE",
        "io_slots = 8  # flag",
        "cpu_slots = 2  # default",
        "# url = \"postgres://slipway:***@postgres/documents\"  # environment DATABASE_URL",
        "# api_key = \"***\"  # environment LLM_API_KEY",
    ] {
        ensure!(output.lines().any(|found| found == line), "{line:?} is missing in:\n{output}");
    }
    ensure!(!output.contains("hunter2"), "a secret is shown:\n{output}");
    Ok(())
}
