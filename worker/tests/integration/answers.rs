//! Answers of S3, by whose fault they are: one document's, the settings', or the service's. And keys, prefixes and
//! credentials as users have them.

use std::{io::Write as _, time::Duration};

use anyhow::{Result, ensure};
use reqwest::StatusCode;

use crate::{
    harness::{
        Probe, Worker, World, eventually,
        history::End,
        s3_stub::{S3Error, S3Stub},
        when,
        worker::WorkerBuilder,
    },
    runner::tests,
};

tests![
    a_forbidden_document_is_retried_until_another_is_read_and_then_fails,
    an_archived_or_unreadable_document_fails_permanently_and_opens_no_circuit,
    wrong_settings_are_told_and_block_no_other_document,
    a_slow_down_is_retried_after_the_pause_that_it_asks_for,
    a_failing_store_is_retried_within_the_attempt,
    a_prefix_with_a_space_and_an_umlaut_is_taken_as_it_is_written,
    a_key_with_an_empty_part_is_read_as_it_is_written,
    keys_with_a_line_break_at_their_end_and_empty_variables_do_not_matter,
    empty_keys_do_not_hide_the_role_of_the_pod,
    an_aws_profile_is_refused_because_it_would_not_be_read,
];

/// Timeout for a retry to be seen.
const RETRIED: Duration = Duration::from_secs(30);

/// A worker of a stub, and the path that its documents have there.
async fn with_stub(world: &World) -> Result<(S3Stub, String)> {
    let stub = S3Stub::start().await?;
    Ok((stub, format!("/{}", world.source("").trim_start_matches("s3://").trim_end_matches('/'))))
}

/// A worker of the stub, whose circuit would open after two failures.
fn worker<'a>(world: &'a World, stub: &S3Stub) -> WorkerBuilder<'a> {
    world
        .worker()
        .env("AWS_ENDPOINT_URL", &stub.url)
        .env("EXTERNAL_CIRCUIT_FAILURES", "2")
        .env("EXTERNAL_CIRCUIT_OPEN_SECONDS", "3600")
}

async fn a_forbidden_document_is_retried_until_another_is_read_and_then_fails(world: &World) -> Result<()> {
    let (stub, bucket) = with_stub(world).await?;
    let worker = worker(world, &stub).start().await?;
    stub.put(&format!("{bucket}/b.txt"), "one two");
    stub.fail(&format!("{bucket}/a.txt"), S3Error::new(StatusCode::FORBIDDEN, "AccessDenied"));
    let run = world.start_document("a", &world.source("a.txt")).await?;
    let shown = |failure: &str| failure.contains("403 (AccessDenied)") && failure.contains("ten minutes");
    run.pending_is("the document is retried", RETRIED, |activity| {
        activity.attempt > 3 && shown(&activity.last_failure)
    })
    .await?;
    completes(world, "b", "b.txt").await?;
    let End::Failed { kind, message, permanent } = run.ended().await?.end()? else {
        anyhow::bail!("the workflow did not fail");
    };
    ensure!((kind.as_str(), permanent) == ("DocumentForbidden", true), "{kind}: {message}");
    ensure!(message.contains("s3:ListBucket"), "{message}");
    circuit_is_closed(&worker).await
}

async fn an_archived_or_unreadable_document_fails_permanently_and_opens_no_circuit(world: &World) -> Result<()> {
    let (stub, bucket) = with_stub(world).await?;
    let worker = worker(world, &stub).start().await?;
    for (id, status, code, expected) in [
        ("archived", StatusCode::FORBIDDEN, "InvalidObjectState", "DocumentArchived"),
        ("encrypted", StatusCode::BAD_REQUEST, "InvalidRequest", "DocumentUnreadable"),
        ("long", StatusCode::BAD_REQUEST, "KeyTooLongError", "KeyTooLong"),
        ("missing", StatusCode::NOT_FOUND, "NoSuchKey", "DocumentMissing"),
    ] {
        stub.fail(&format!("{bucket}/{id}.txt"), S3Error::new(status, code));
        let history = world.run_document(id, &world.source(&format!("{id}.txt"))).await?;
        let End::Failed { kind, message, permanent } = history.end()? else {
            anyhow::bail!("{id}: {:?}", history.end()?);
        };
        ensure!((kind.as_str(), permanent) == (expected, true), "{id}: {kind}: {message}");
        let attempts = history.last_attempts("fetch_document");
        ensure!(attempts == [1], "{id}: attempts {attempts:?}");
    }
    circuit_is_closed(&worker).await
}

async fn wrong_settings_are_told_and_block_no_other_document(world: &World) -> Result<()> {
    let (stub, bucket) = with_stub(world).await?;
    let worker = worker(world, &stub).start().await?;
    stub.put(&format!("{bucket}/b.txt"), "one two");
    let region = S3Error::new(StatusCode::MOVED_PERMANENTLY, "PermanentRedirect");
    let cases = [
        ("region", region.header("x-amz-bucket-region", "eu-west-1"), "set AWS_REGION to eu-west-1"),
        ("token", S3Error::new(StatusCode::BAD_REQUEST, "ExpiredToken"), "replace the credentials"),
        ("bucket", S3Error::new(StatusCode::NOT_FOUND, "NoSuchBucket"), "set DOCUMENT_STORE_URL"),
        ("clock", S3Error::new(StatusCode::FORBIDDEN, "RequestTimeTooSkewed"), "correct the clock"),
    ];
    let mut runs = Vec::new();
    for (id, error, shown) in cases {
        let path = format!("{bucket}/{id}.txt");
        stub.put(&path, "one two");
        stub.fail(&path, error);
        runs.push((world.start_document(id, &world.source(&format!("{id}.txt"))).await?, shown));
    }
    for (run, shown) in &runs {
        run.pending_is("the document is retried, and the way out is told", RETRIED, |activity| {
            activity.attempt > 3 && activity.last_failure.contains(shown)
        })
        .await?;
    }
    completes(world, "b", "b.txt").await?;
    circuit_is_closed(&worker).await?;
    stub.heal();
    for (run, shown) in runs {
        let end = run.ended().await?.end()?;
        ensure!(matches!(end, End::Completed(_)), "{shown}: {end:?}");
    }
    Ok(())
}

async fn a_slow_down_is_retried_after_the_pause_that_it_asks_for(world: &World) -> Result<()> {
    let (stub, bucket) = with_stub(world).await?;
    let _worker = worker(world, &stub).start().await?;
    let path = format!("{bucket}/a.txt");
    stub.put(&path, "one two");
    let busy = S3Error::new(StatusCode::SERVICE_UNAVAILABLE, "SlowDown").header("retry-after", "5");
    stub.fail(&path, busy.times(1));
    let run = world.start_document("a", &world.source("a.txt")).await?;
    let pending = run
        .pending_is("the next attempt waits", RETRIED, |activity| {
            activity.last_failure.contains("503 (SlowDown)") && activity.retry_in > Duration::ZERO
        })
        .await?;
    // As Temporal counts it, from the end of the attempt.
    let asked = Duration::from_millis(4_900)..=Duration::from_millis(5_200);
    ensure!(asked.contains(&pending.retry_in), "{pending:?}");
    let end = run.ended().await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    let asked = stub.asked().iter().filter(|asked| asked.path == path).count();
    ensure!(asked == 2, "asked {asked} times: a busy store must not be asked again within the attempt");
    Ok(())
}

async fn a_failing_store_is_retried_within_the_attempt(world: &World) -> Result<()> {
    let (stub, bucket) = with_stub(world).await?;
    let _worker = worker(world, &stub).env("EXTERNAL_CIRCUIT_FAILURES", "20").start().await?;
    let path = format!("{bucket}/a.txt");
    stub.put(&path, "one two");
    stub.fail(&path, S3Error::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError").times(2));
    let history = world.run_document("a", &world.source("a.txt")).await?;
    let end = history.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    let (attempts, asked) = (history.last_attempts("fetch_document"), stub.asked());
    ensure!(attempts == [1], "attempts {attempts:?}");
    ensure!(asked.iter().filter(|asked| asked.path == path).count() == 3, "{asked:?}");
    Ok(())
}

async fn a_prefix_with_a_space_and_an_umlaut_is_taken_as_it_is_written(world: &World) -> Result<()> {
    let root = world.source("Eingang 2024/\u{fc}");
    // All bodies become claims, so that the prefix is used to write as well.
    let _worker = world.worker().env("DOCUMENT_STORE_URL", &root).env("DOCUMENT_INLINE_BYTES", "0").start().await?;
    let source = world.upload("Eingang 2024/\u{fc}/Bericht 1%20.txt", "one two").await?;
    let end = world.run_document("a", &source).await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    let claims = world.keys("Eingang 2024/\u{fc}/claims").await?;
    ensure!(!claims.is_empty(), "there are no claims below the prefix");
    Ok(())
}

async fn a_key_with_an_empty_part_is_read_as_it_is_written(world: &World) -> Result<()> {
    let (stub, bucket) = with_stub(world).await?;
    let _worker = worker(world, &stub).start().await?;
    let path = format!("{bucket}/a//b%20c.txt");
    stub.put(&path, "one two");
    completes(world, "a", "a//b c.txt").await?;
    let asked = stub.asked();
    let signed = |authorization: &str| authorization.starts_with("AWS4-HMAC-SHA256 ");
    ensure!(asked.iter().any(|asked| asked.path == path && signed(&asked.authorization)), "{asked:?}");
    Ok(())
}

async fn keys_with_a_line_break_at_their_end_and_empty_variables_do_not_matter(world: &World) -> Result<()> {
    let worker = world.worker();
    let endpoint = format!("http://127.0.0.1:{}", world.s3.port);
    let _worker = worker
        .env("AWS_ACCESS_KEY_ID", "slipway-tests\n")
        .env("AWS_SECRET_ACCESS_KEY", "slipway-tests\r\n")
        .env("AWS_SESSION_TOKEN", "")
        .env("AWS_REGION", "")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("AWS_ENDPOINT_URL_S3", &endpoint)
        .start()
        .await?;
    let source = world.upload("a.txt", "one two").await?;
    let end = world.run_document("a", &source).await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    // The real server checks the signature of a key that is signed again, too.
    let source = world.source("b//a.txt");
    let End::Failed { kind, message, .. } = world.run_document("b", &source).await?.end()? else {
        anyhow::bail!("there is no such document");
    };
    ensure!(kind == "DocumentMissing", "{kind}: {message}");
    Ok(())
}

async fn empty_keys_do_not_hide_the_role_of_the_pod(world: &World) -> Result<()> {
    let (stub, bucket) = with_stub(world).await?;
    let mut token = tempfile::NamedTempFile::new()?;
    token.write_all(b"token of the pod")?;
    stub.put(
        "/credentials",
        r#"{"AccessKeyId": "ROLE", "SecretAccessKey": "secret", "Token": "t", "Expiration": "2999-01-01T00:00:00Z"}"#,
    );
    let path = format!("{bucket}/a.txt");
    stub.put(&path, "one two");
    let _worker = worker(world, &stub)
        .env("AWS_ACCESS_KEY_ID", "")
        .env("AWS_SECRET_ACCESS_KEY", "")
        .env("AWS_REGION", "")
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/credentials", stub.url))
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token.path().display().to_string())
        .start()
        .await?;
    completes(world, "a", "a.txt").await?;
    let asked = stub.asked();
    let as_role = |authorization: &str| authorization.contains("Credential=ROLE/");
    ensure!(asked.iter().any(|asked| asked.path == path && as_role(&asked.authorization)), "{asked:?}");
    Ok(())
}

async fn an_aws_profile_is_refused_because_it_would_not_be_read(world: &World) -> Result<()> {
    let builder = world.worker().env("AWS_PROFILE", "work").env("AWS_ACCESS_KEY_ID", "");
    let mut worker = builder.env("AWS_SECRET_ACCESS_KEY", "").spawn()?;
    let code = worker.exit_code(RETRIED).await?;
    let output = worker.output();
    ensure!(code == 2 && output.contains("AWS_PROFILE is set"), "it ended with {code}:\n{output}");
    Ok(())
}

/// Checks that a document is processed.
async fn completes(world: &World, id: &str, key: &str) -> Result<()> {
    let end = world.run_document(id, &world.source(key)).await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{id}: {end:?}");
    Ok(())
}

/// Checks that the circuit of S3 is closed.
async fn circuit_is_closed(worker: &Worker) -> Result<()> {
    eventually("the circuit is closed", RETRIED, async || match worker.metrics().await {
        Ok(metrics) => {
            let open = metrics.value("document_external_circuit_open", &[("service", "s3")]);
            when(open == Some(0.0), || format!("it is {open:?}"))
        }
        Err(error) => Probe::Failed(error),
    })
    .await
}
