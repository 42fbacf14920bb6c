//! An invalid configuration: the worker exits at once and names every fault.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{World, ports},
    runner::tests,
};

tests![
    a_bad_configuration_ends_the_worker_at_once_and_every_fault_is_named,
    the_configuration_is_printed_with_its_origins_and_without_its_secrets,
    a_password_that_is_not_percent_encoded_is_refused_and_never_shown,
    a_variable_of_another_program_is_a_warning_and_the_worker_starts,
    the_default_port_takes_ipv6_and_ipv4,
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

async fn a_password_that_is_not_percent_encoded_is_refused_and_never_shown(world: &World) -> Result<()> {
    for command in ["config", "run", "migrate"] {
        let mut worker = world
            .worker()
            .arguments(&[command])
            .env("DATABASE_URL", "postgres://slipway:1234/hunter2@postgres/documents")
            .env("REDIS_URL", "redis://slipway:hunter2#hunter2@redis")
            .env("LLM_BASE_URL", "https://slipway:hunter2?hunter2@llm/v1")
            .env("LLM_MODEL", "small")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://slipway:hunter2@hunter2@collector:4317")
            .spawn()?;
        let code = worker.exit_code(Duration::from_secs(5)).await?;
        let output = worker.output();
        ensure!(code == 2, "{command} ended with {code}:\n{output}");
        let hints = output.matches("percent-encode it as %").count();
        ensure!(hints == 4 && !output.contains("hunter2") && !output.contains("1234"), "{command}:\n{output}");
    }
    Ok(())
}

async fn a_variable_of_another_program_is_a_warning_and_the_worker_starts(world: &World) -> Result<()> {
    let worker = world.worker().env("REDIS_URI", "x").env("LOG_FORMATS", "x").start().await?;
    let output = worker.output();
    for hint in ["REDIS_URI, which is ignored: did you mean REDIS_URL?", "did you mean LOG_FORMAT?"] {
        let line = output.lines().find(|line| line.contains("WARN") && line.contains(hint));
        ensure!(line.is_some(), "{hint:?} is not in a warning:\n{output}");
    }
    Ok(())
}

async fn the_default_port_takes_ipv6_and_ipv4(world: &World) -> Result<()> {
    let mut printed = world.worker().arguments(&["config"]).without("METRICS_ADDRESS").spawn()?;
    printed.exit_code(Duration::from_secs(5)).await?;
    let line = "metrics_address = \"[::]:9464\"  # default";
    let output = printed.output();
    ensure!(output.lines().any(|found| found == line), "{line:?} is missing in:\n{output}");

    let port = ports::free();
    let mut worker = world.worker().env("METRICS_ADDRESS", &format!("[::]:{port}")).spawn()?;
    let mut hosts = vec!["127.0.0.1"];
    // A host without IPv6 has no such address, and is served on IPv4.
    if std::net::UdpSocket::bind("[::1]:0").is_ok() {
        hosts.push("[::1]");
    }
    for host in hosts {
        worker.moved_to(&format!("http://{host}:{port}"));
        worker.is_ready().await?;
    }
    Ok(())
}
