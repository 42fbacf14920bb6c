//! Documents that can never be processed: the workflow fails for good, at the first attempt, with a failure whose type says why.

use anyhow::{Result, ensure};

use crate::{
    harness::{World, history::End},
    runner::tests,
};

tests![
    an_empty_document_fails_for_good,
    a_document_of_a_type_that_is_not_processed_fails_for_good,
    a_missing_document_fails_for_good,
    a_document_over_the_limit_fails_for_good,
    a_page_that_is_not_the_utf8_it_says_fails_for_good,
];

async fn an_empty_document_fails_for_good(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("a.html", " \n\t ").await?;
    fails_for_good(world, &source, "EmptyDocument", "fetch_document").await
}

async fn a_document_of_a_type_that_is_not_processed_fails_for_good(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world
        .upload("a.html", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice())
        .await?;
    fails_for_good(world, &source, "UnknownDocumentType", "fetch_document").await
}

async fn a_missing_document_fails_for_good(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    fails_for_good(
        world,
        &world.source("nowhere.html"),
        "DocumentMissing",
        "fetch_document",
    )
    .await
}

async fn a_document_over_the_limit_fails_for_good(world: &World) -> Result<()> {
    let _worker = world.worker().env("DOCUMENT_MAX_BYTES", "1000").start().await?;
    let source = world.upload("a.txt", "x".repeat(1001)).await?;
    fails_for_good(world, &source, "DocumentTooBig", "fetch_document").await
}

async fn a_page_that_is_not_the_utf8_it_says_fails_for_good(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let page = b"<!doctype html><meta charset=utf-8><title>T</title><p>caf\xe9 \xff\xfe".as_slice();
    let source = world.upload("a.html", page).await?;
    fails_for_good(world, &source, "InvalidUtf8", "extract_text").await
}

/// The workflow of a source fails with this type, at the first attempt at this step; nothing is stored, and it is counted.
async fn fails_for_good(world: &World, source: &str, expected: &str, step: &str) -> Result<()> {
    let history = world.run_document("a", source).await?;
    let End::Failed {
        kind,
        message,
        for_good,
    } = history.end()?
    else {
        anyhow::bail!("the workflow did not fail: {:?}", history.end()?);
    };
    ensure!(
        (kind.as_str(), for_good) == (expected, true),
        "{kind}: {message} (for good: {for_good})"
    );
    ensure!(!message.is_empty(), "the failure says nothing");
    let attempts = (history.last_attempts(step), world.attempts("a", step).await?);
    ensure!(attempts == (vec![1], vec![1]), "attempts at {step}: {attempts:?}");
    let effects = world.effects("a").await?;
    ensure!(effects.is_empty(), "a poison document took effect: {effects:?}");
    Ok(())
}
