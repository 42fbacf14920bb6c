//! Documents that compute for long: such a document fails for good and gives its thread back, while a slow service
//! fails none.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{Worker, World, history::End},
    runner::tests,
};

tests![
    a_document_that_computes_for_too_long_fails_permanently_and_gives_its_thread_back,
    a_service_that_takes_longer_than_a_reading_may_fails_no_document,
];

/// CPU time that reading a document may take.
const MAX_CPU: Duration = Duration::from_secs(1);

/// Time for each answer of S3.
const SLOW: Duration = Duration::from_secs(2);

/// Timeout of a document. With a slow S3 it takes some 20 s.
const END: Duration = Duration::from_secs(120);

/// A worker with one thread that computes.
async fn worker(world: &World) -> Result<Worker> {
    let one = ["TEMPORAL_CPU_ACTIVITY_CONCURRENCY", "TEMPORAL_CPU_THREAD_POOL_SIZE"];
    let worker = one.into_iter().fold(world.worker(), |worker, name| worker.env(name, "1"));
    worker.env("DOCUMENT_MAX_CPU_SECONDS", &MAX_CPU.as_secs().to_string()).start().await
}

/// A page of 10 MB. At each of the end tags its parser searches all open elements, which takes minutes of CPU time.
pub(crate) fn page_of_minutes() -> String {
    format!("<!doctype html><title>Tides</title>{}{}", "<div>".repeat(11_000), "</ul>".repeat(2_000_000))
}

async fn a_document_that_computes_for_too_long_fails_permanently_and_gives_its_thread_back(
    world: &World,
) -> Result<()> {
    let worker = worker(world).await?;
    let source = world.upload("minutes.html", page_of_minutes()).await?;
    let history = world.start_document("minutes", &source).await?.ended_within(END).await?;
    let End::Failed { kind, message, permanent } = history.end()? else {
        anyhow::bail!("the workflow did not fail: {:?}", history.end()?);
    };
    ensure!((kind.as_str(), permanent) == ("DocumentNeedsTooMuchCpu", true), "{kind}: {message}");
    for said in ["1 s of CPU time", "DOCUMENT_MAX_CPU_SECONDS"] {
        ensure!(message.contains(said), "{said:?} is not in {message:?}");
    }
    ensure!(history.last_attempts("extract_text") == [1], "it was tried again");
    let counted = [("outcome", "refused"), ("poison", kind.as_str())];
    let counted = worker.metrics().await?.value("document_outcomes_total", &counted);
    ensure!(counted == Some(1.0), "counted {counted:?} times");

    // The next document is read on the same thread.
    let source = world.upload("small.txt", "one two").await?;
    let end = world.run_document("small", &source).await?.end()?;
    ensure!(matches!(&end, End::Completed(result) if result["outcome"] == "stored"), "{end:?}");
    Ok(())
}

async fn a_service_that_takes_longer_than_a_reading_may_fails_no_document(world: &World) -> Result<()> {
    ensure!(SLOW > MAX_CPU, "S3 is not slow enough");
    let _worker = worker(world).await?;
    // Large enough that its body is a claim, which the extraction reads from S3.
    let page = format!("<!doctype html><title>Tides</title><p>{}", "tide ".repeat(50_000));
    let source = world.upload("tides.html", page).await?;
    world.s3.slow(SLOW).await?;
    let history = world.start_document("tides", &source).await?.ended_within(END).await?;
    let end = history.end()?;
    ensure!(matches!(&end, End::Completed(result) if result["outcome"] == "stored"), "{end:?}");
    ensure!(history.last_attempts("extract_text") == [1], "it was tried again");
    Ok(())
}
