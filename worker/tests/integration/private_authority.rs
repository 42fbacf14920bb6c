//! TLS with certificates of a private authority, which `SSL_CERT_FILE` names.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use url::Url;

use crate::{
    credentials::{completes, failed_with},
    harness::{
        World,
        collector::Collector,
        eventually,
        llm::{Llm, SUMMARY},
        tls::TlsProxy,
        when,
    },
    metrics::shown,
    runner::tests,
};

tests![
    postgres_is_verified_against_a_private_authority,
    s3_and_the_llm_are_verified_against_a_private_authority,
    redis_over_tls_with_an_acl_user_serves_the_cache,
    traces_over_https_reach_the_collector,
    a_collector_that_is_not_trusted_is_named_in_the_log,
];

/// Timeout of what should happen soon.
const SOON: Duration = Duration::from_secs(30);

async fn postgres_is_verified_against_a_private_authority(world: &World) -> Result<()> {
    let authority = world.authority().write(&world.folder, "ca.crt")?;
    let url = format!("{}?sslmode=verify-full", world.database_url(None));
    let mut untrusting = world.worker().env("DATABASE_URL", &url).spawn()?;
    untrusting.readiness("not ready: waiting for Postgres: ", SOON).await?;
    let (_, text) = untrusting.get("/readyz").await?;
    ensure!(text.contains("certificate"), "{text}");
    let _worker =
        world.worker().env("DATABASE_URL", &url).env("SSL_CERT_FILE", &authority.to_string_lossy()).start().await?;
    completes(&world.start_document("a", &world.upload("a.txt", "one two").await?).await?).await
}

async fn s3_and_the_llm_are_verified_against_a_private_authority(world: &World) -> Result<()> {
    let authority = world.authority().write(&world.folder, "ca.crt")?;
    let llm = Llm::start(&[]).await?;
    let port = Url::parse(&llm.url)?.port().context("the LLM has no port")?;
    let (s3, llm) = (https(world, world.s3.port).await?, https(world, port).await?);
    let worker = || {
        let worker = world.worker().env("AWS_ENDPOINT_URL", &format!("https://localhost:{}", s3.port));
        worker.env("AWS_ALLOW_HTTP", "").env("LLM_BASE_URL", &format!("https://localhost:{}/v1", llm.port))
    };
    // An open circuit would hide the cause.
    let worker = || worker().env("LLM_MODEL", "small").env("EXTERNAL_CIRCUIT_FAILURES", "20");
    let source = world.upload("a.txt", "one two").await?;
    let untrusting = worker().start().await?;
    let run = world.start_document("a", &source).await?;
    failed_with(&run, "certificate").await?;
    untrusting.kill().await?;
    let _worker = worker().env("SSL_CERT_FILE", &authority.to_string_lossy()).start().await?;
    completes(&run).await?;
    let summary = world.document("a").await?.summary;
    ensure!(summary.as_deref() == Some(SUMMARY), "{summary:?}");
    Ok(())
}

/// A proxy to a server that speaks HTTP/1.1.
async fn https(world: &World, port: u16) -> Result<TlsProxy> {
    let mut config = world.authority().server(None)?;
    config.alpn_protocols.clear();
    TlsProxy::start(port, config).await
}

async fn redis_over_tls_with_an_acl_user_serves_the_cache(world: &World) -> Result<()> {
    let authority = world.authority().write(&world.folder, "ca.crt")?;
    let redis = world.redis_server();
    redis.create_user(&world.name, "pass/word").await?;
    let worker = world
        .worker()
        .env("REDIS_URL", &format!("rediss://{}:pass%2Fword@127.0.0.1:{}", world.name, redis.tls_port))
        .env("SSL_CERT_FILE", &authority.to_string_lossy())
        // A handshake on a busy machine.
        .env("CACHE_TIMEOUT_MILLISECONDS", "5000")
        .start()
        .await?;
    let source = world.upload("a.txt", format!("one two {}", world.name)).await?;
    for id in ["a", "b"] {
        completes(&world.start_document(id, &source).await?).await?;
    }
    for outcome in ["miss", "hit"] {
        shown(&worker, "document_cache_total", &[("outcome", outcome)], |count| count == 1.0).await?;
    }
    Ok(())
}

async fn traces_over_https_reach_the_collector(world: &World) -> Result<()> {
    let collector = Collector::start()?;
    let proxy = TlsProxy::start(collector.port, world.authority().server(None)?).await?;
    let authority = world.authority().write(&world.folder, "ca.crt")?;
    let _worker = world
        .worker()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("https://localhost:{}", proxy.port))
        .env("SSL_CERT_FILE", &authority.to_string_lossy())
        .start()
        .await?;
    completes(&world.start_document("a", &world.upload("a.txt", "one two").await?).await?).await?;
    eventually("a span arrives", SOON, async || {
        let spans = collector.spans();
        when(spans.iter().any(|span| span.name == "RunActivity:store_document"), || format!("{spans:?}"))
    })
    .await
}

async fn a_collector_that_is_not_trusted_is_named_in_the_log(world: &World) -> Result<()> {
    let collector = Collector::start()?;
    let proxy = TlsProxy::start(collector.port, world.authority().server(None)?).await?;
    let worker =
        world.worker().env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("https://localhost:{}", proxy.port)).start().await?;
    completes(&world.start_document("a", &world.upload("a.txt", "one two").await?).await?).await?;
    eventually("the log names the failing export", SOON, async || {
        let output = worker.output();
        when(output.contains("exporting traces fails"), || output.clone())
    })
    .await?;
    let lines = worker.output().matches("exporting traces fails").count();
    ensure!(lines == 1, "an outage is logged {lines} times");
    Ok(())
}
