//! Claims that expired or changed: the steps run again, from the source.

use anyhow::{Result, ensure};
use reqwest::StatusCode;
use sha2::{Digest as _, Sha256};

use crate::{
    harness::{
        World,
        history::{End, History},
        s3_stub::{S3Error, S3Stub},
    },
    runner::tests,
};

tests![
    a_claim_that_expired_is_written_again_from_the_source,
    a_claim_that_changed_is_written_again_from_the_source,
    a_claim_that_is_lost_each_time_fails_with_its_own_type,
];

/// The document. With no inline bytes, its body is a claim.
const TEXT: &str = "one two three";

const STEPS: [&str; 3] = ["fetch_document", "extract_text", "store_document"];

async fn a_claim_that_expired_is_written_again_from_the_source(world: &World) -> Result<()> {
    let history = with_claim(world, S3Error::new(StatusCode::NOT_FOUND, "NoSuchKey").times(1)).await?;
    is_read_again(world, &history).await
}

async fn a_claim_that_changed_is_written_again_from_the_source(world: &World) -> Result<()> {
    // An answer without an error, but with an empty body.
    let empty = S3Error::new(StatusCode::OK, "").header("etag", "\"1\"");
    let empty = empty.header("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT").times(1);
    let history = with_claim(world, empty).await?;
    is_read_again(world, &history).await
}

async fn a_claim_that_is_lost_each_time_fails_with_its_own_type(world: &World) -> Result<()> {
    let history = with_claim(world, S3Error::new(StatusCode::NOT_FOUND, "NoSuchKey")).await?;
    let End::Failed { kind, message, permanent } = history.end()? else {
        anyhow::bail!("{:?}", history.end()?);
    };
    ensure!((kind.as_str(), permanent) == ("ClaimLost", true), "{kind}: {message}");
    ensure!(message.contains("lifecycle"), "{message}");
    ensure!(history.scheduled() == STEPS[..2].repeat(3), "{:?}", history.scheduled());
    Ok(())
}

/// Processes document `a`, whose claim is read with this error.
async fn with_claim(world: &World, error: S3Error) -> Result<History> {
    let stub = S3Stub::start().await?;
    // A cached result would spare the claim.
    let worker = world.worker().env("AWS_ENDPOINT_URL", &stub.url).env("REDIS_URL", "");
    let _worker = worker.env("DOCUMENT_INLINE_BYTES", "0").start().await?;
    let source = world.source("a.txt");
    let bucket = source.trim_start_matches("s3:/").trim_end_matches("/a.txt").to_owned();
    stub.put(&format!("{bucket}/a.txt"), TEXT);
    stub.fail(&format!("{bucket}/claims/{}", hex::encode(Sha256::digest(TEXT))), error);
    world.run_document("a", &source).await
}

/// Checks that the document was fetched and extracted twice, and stored once.
async fn is_read_again(world: &World, history: &History) -> Result<()> {
    let end = history.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    let expected = [&STEPS[..2], &STEPS].concat();
    ensure!(history.scheduled() == expected, "{:?}", history.scheduled());
    ensure!(world.document("a").await?.words == 3, "{:?}", world.document("a").await?);
    Ok(())
}
