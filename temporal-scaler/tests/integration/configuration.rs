//! Settings at the start.

use anyhow::{Result, ensure};

use crate::{
    harness::{Cluster, World},
    runner::tests,
};

tests![all_faults_are_said_at_once_with_code_2, settings_are_printed, a_port_in_use_is_said];

async fn all_faults_are_said_at_once_with_code_2(world: &World) -> Result<()> {
    let mut scaler = world.bare_scaler().env("SCALER_UTILIZATION", "70").spawn(&[])?;
    let code = scaler.exit_code().await?;
    let output = scaler.output();
    ensure!(code == 2, "it ended with {code}: {output}");
    for part in ["SCALER_QUEUES is not set", "SCALER_POD_SELECTOR is not set", "SCALER_UTILIZATION is \"70\""] {
        ensure!(output.contains(part), "{part} is not in {output}");
    }
    let temporal = [("TEMPORAL_TLS_CLIENT_CERT_PATH", "/none"), ("TEMPORAL_TLS_CLIENT_KEY_PATH", "/none")];
    let mut builder = world.scaler(&Cluster::start().await?, "activity:a")?;
    for (name, value) in temporal {
        builder = builder.env(name, value);
    }
    let mut scaler = builder.spawn(&[])?;
    let code = scaler.exit_code().await?;
    let output = scaler.output();
    ensure!(code == 2 && output.contains("TEMPORAL_*"), "it ended with {code}: {output}");
    Ok(())
}

async fn settings_are_printed(world: &World) -> Result<()> {
    let mut scaler = world.scaler(&Cluster::start().await?, "activity:a")?.spawn(&["config"])?;
    let code = scaler.exit_code().await?;
    let output = scaler.output();
    ensure!(code == 0 && output.contains("SCALER_QUEUES=activity:a  # environment"), "{code}: {output}");
    Ok(())
}

async fn a_port_in_use_is_said(world: &World) -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let builder = world.scaler(&Cluster::start().await?, "activity:a")?.env("SCALER_ADDRESS", &address);
    let mut scaler = builder.spawn(&[])?;
    let code = scaler.exit_code().await?;
    let output = scaler.output();
    ensure!(code == 1 && output.contains(&address) && output.contains("SCALER_ADDRESS"), "{code}: {output}");
    Ok(())
}
