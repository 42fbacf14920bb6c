//! Credentials that change while a worker runs, and rights that are withdrawn.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;

use crate::{
    harness::{
        Probe, Worker, World, eventually,
        grpc::GrpcProxy,
        history::End,
        tls::{Authority, Identity, TlsProxy},
        when,
        world::Run,
    },
    metrics::shown,
    runner::tests,
};

tests![
    a_queue_that_must_not_be_polled_ends_the_worker_without_losing_work,
    a_renewed_client_certificate_is_used_and_readiness_follows_the_polls,
    a_rotated_database_password_is_read_again_from_its_file,
];

/// Timeout for the SDK to give up. It lets polls be denied for a minute, in case a proxy is only starting.
const GIVES_UP: Duration = Duration::from_secs(90);

/// Time until readiness follows failing polls, and until it follows working ones.
const FOLLOWS: Duration = Duration::from_secs(45);

/// Timeout for a retry, at most 30 s after the attempt before.
const RETRIED: Duration = Duration::from_secs(40);

const CPU_QUEUE: &str = "document-cpu-activity-queue";

async fn a_queue_that_must_not_be_polled_ends_the_worker_without_losing_work(world: &World) -> Result<()> {
    let proxy = GrpcProxy::start(world.temporal.port).await?;
    let mut worker = world.worker().env("TEMPORAL_ADDRESS", &format!("127.0.0.1:{}", proxy.port)).start().await?;
    let source = world.upload("a.txt", "one two").await?;
    proxy.deny_polls(CPU_QUEUE);
    // The poll that is open gets the task of this document, and the next ones are denied.
    completes(&world.start_document("first", &source).await?).await?;
    worker.readiness(&format!("not ready: the polls of {CPU_QUEUE} fail"), FOLLOWS).await?;
    polls_fail(&worker, true).await?;
    // An activity of another queue is in flight when the worker gives up, and ends after that.
    world.s3.slow(Duration::from_secs(3)).await?;
    let mut runs = Vec::new();
    let id = |number: usize| format!("d{number}");
    eventually("the worker gives up", GIVES_UP, async || {
        let output = worker.output();
        if output.contains("this process drains all queues and exits") {
            return Probe::Ready(());
        }
        // One fetch at a time is in flight at any moment.
        let started = match runs.last() {
            None => true,
            Some(last) => is_done(last, "fetch_document").await,
        };
        if started {
            match world.start_document(&id(runs.len()), &source).await {
                Ok(run) => runs.push(run),
                Err(error) => return Probe::Failed(error),
            }
        }
        Probe::NotYet(format!("{} documents were started", runs.len()))
    })
    .await?;
    let code = worker.exit_code(Duration::from_secs(30)).await?;
    let output = worker.output();
    ensure!(code == 1, "the worker ended with {code}");
    let error = format!("temporal-worker: the worker of {CPU_QUEUE} failed: ");
    ensure!(output.lines().any(|line| line.starts_with(&error)), "the error does not name the queue:\n{output}");
    for run in &runs {
        let pending = run.pending().await?;
        let lost = pending.iter().find(|activity| activity.activity == "fetch_document" && activity.started);
        ensure!(lost.is_none(), "a fetch in flight was dropped: {pending:?}");
    }
    world.s3.restore().await?;
    let _next = world.worker().start().await?;
    for run in &runs {
        let history = run.ended().await?;
        ensure!(matches!(history.end()?, End::Completed(_)), "{:?}", history.end()?);
        let attempts = history.last_attempts("fetch_document");
        ensure!(attempts == [1], "attempts at a fetch: {attempts:?}");
    }
    Ok(())
}

/// Whether a step is neither pending nor still to come.
async fn is_done(run: &Run, step: &str) -> bool {
    match run.pending().await {
        Ok(pending) => pending.iter().any(|activity| activity.activity != step),
        Err(_) => false,
    }
}

/// Waits until the metric says whether the worker's polls of the CPU queue fail.
async fn polls_fail(worker: &Worker, fail: bool) -> Result<()> {
    let labels = [("queue", CPU_QUEUE)];
    shown(worker, "temporal_task_queue_polls_failing", &labels, |value| value == f64::from(u8::from(fail))).await?;
    Ok(())
}

async fn a_renewed_client_certificate_is_used_and_readiness_follows_the_polls(world: &World) -> Result<()> {
    let (old, new) = (Authority::new("old clients")?, Authority::new("new clients")?);
    let proxy = TlsProxy::start(world.temporal.port, world.authority().server(Some(&old))?).await?;
    let (certificate, key) = (world.folder.join("client.crt"), world.folder.join("client.key"));
    let write = |identity: Identity| -> Result<()> {
        fs::write(&certificate, identity.certificate).context("writing the certificate")?;
        fs::write(&key, identity.key).context("writing the key")
    };
    write(old.identity()?)?;
    let mut worker = world
        .worker()
        .env("TEMPORAL_ADDRESS", &format!("localhost:{}", proxy.port))
        .env("TEMPORAL_TLS", "true")
        .env("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &world.authority().write(&world.folder, "ca.crt")?.to_string_lossy())
        .env("TEMPORAL_TLS_CLIENT_CERT_PATH", &certificate.to_string_lossy())
        .env("TEMPORAL_TLS_CLIENT_KEY_PATH", &key.to_string_lossy())
        .start()
        .await?;
    completes(&world.start_document("before", &world.upload("a.txt", "one two").await?).await?).await?;
    polls_fail(&worker, false).await?;

    // From here on the certificate is refused, like one that has expired.
    proxy.restart(world.authority().server(Some(&new))?);
    worker.readiness("not ready: the polls of ", FOLLOWS).await?;
    let (live, _) = worker.get("/livez").await?;
    ensure!(live == StatusCode::OK, "a restart would not renew the certificate: {live}");
    polls_fail(&worker, true).await?;

    write(new.identity()?)?;
    worker.readiness("ready", FOLLOWS).await?;
    completes(&world.start_document("after", &world.source("a.txt")).await?).await?;
    polls_fail(&worker, false).await?;
    Ok(())
}

async fn a_rotated_database_password_is_read_again_from_its_file(world: &World) -> Result<()> {
    let file = world.folder.join("database-url");
    let write = |password| {
        let url = world.database_url(Some(password)) + "?sslpassword=hunter4\n";
        fs::write(&file, url).context("writing the URL")
    };
    world.require_password("hunter2%").await?;
    write("hunter2%25")?;
    let mut worker = world
        .worker()
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")
        .env("DATABASE_URL_FILE", &file.to_string_lossy())
        .start()
        .await?;
    let source = world.upload("a.txt", "one two").await?;
    completes(&world.start_document("before", &source).await?).await?;

    world.require_password("hunter3/").await?;
    world.postgres.cut().await?;
    world.postgres.restore().await?;
    let run = world.start_document("after", &source).await?;
    failed_with(&run, "password authentication failed").await?;
    write("hunter3%2F")?;
    completes(&run).await?;
    ensure!(worker.runs()?, "the worker ended");
    let output = worker.output();
    for password in ["hunter2%", "hunter3", "hunter4"] {
        ensure!(!output.contains(password), "a password is in the log:\n{output}");
    }
    Ok(())
}

/// Waits until an attempt has failed with this text in its error.
pub(crate) async fn failed_with(run: &Run, text: &str) -> Result<()> {
    eventually(&format!("an attempt fails with {text:?}"), RETRIED, async || match run.pending().await {
        Ok(pending) => {
            when(pending.iter().any(|activity| activity.last_failure.contains(text)), || format!("{pending:?}"))
        }
        Err(error) => Probe::Failed(error),
    })
    .await
}

/// Waits until the document is processed.
pub(crate) async fn completes(run: &Run) -> Result<()> {
    let end = run.ended().await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    Ok(())
}
