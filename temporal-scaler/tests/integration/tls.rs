//! /scale with TLS: who gets it, and what is said of files that are not there.

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;

use crate::{
    harness::{Cluster, World, ports, tls::Authority},
    runner::tests,
};

tests![only_a_client_with_a_certificate_reads_the_answer, a_file_that_is_missing_is_named_with_code_2];

async fn only_a_client_with_a_certificate_reads_the_answer(world: &World) -> Result<()> {
    let authority = Authority::new("cluster")?;
    let identity = authority.identity()?;
    let clients = authority.write(world.folder(), "ca.crt")?;
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| world.folder().join(name));
    std::fs::write(&certificate, &identity.certificate)?;
    std::fs::write(&key, &identity.key)?;
    let port = ports::free();
    let scaler = world
        .scaler(&Cluster::start().await?, "activity:a")?
        .env("SCALER_TLS_ADDRESS", &format!("127.0.0.1:{port}"))
        .env("SCALER_TLS_CERT_PATH", &certificate.to_string_lossy())
        .env("SCALER_TLS_KEY_PATH", &key.to_string_lossy())
        .env("SCALER_TLS_CLIENT_CA_PATH", &clients.to_string_lossy())
        .start()
        .await?;
    let trusted = [reqwest::Certificate::from_pem(&std::fs::read(&clients)?)?];
    let client = reqwest::Client::builder().no_proxy().tls_certs_only(trusted);
    let shown = reqwest::Identity::from_pem([identity.certificate, identity.key].concat().as_bytes())?;
    let url = format!("https://localhost:{port}/scale");
    let answer = client.identity(shown).build()?.get(&url).send().await.context("asking with a certificate")?;
    ensure!(answer.status() == StatusCode::OK, "{}", answer.text().await?);
    let (status, text) = scaler.get("/scale").await?;
    ensure!(status == StatusCode::NOT_FOUND, "without TLS: {status} {text}");
    let (status, _) = scaler.get("/metrics").await?;
    ensure!(status == StatusCode::OK, "the metrics are not plain: {status}");
    Ok(())
}

async fn a_file_that_is_missing_is_named_with_code_2(world: &World) -> Result<()> {
    let mut builder = world.scaler(&Cluster::start().await?, "activity:a")?;
    for name in ["SCALER_TLS_CERT_PATH", "SCALER_TLS_KEY_PATH", "SCALER_TLS_CLIENT_CA_PATH"] {
        builder = builder.env(name, "/none.pem");
    }
    let mut scaler = builder.spawn(&[])?;
    let code = scaler.exit_code().await?;
    let output = scaler.output();
    ensure!(code == 2 && output.contains("SCALER_TLS_*") && output.contains("/none.pem"), "{code}: {output}");
    Ok(())
}
