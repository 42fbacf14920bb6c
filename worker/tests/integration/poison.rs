//! Documents that can never be processed: the workflow fails at the first attempt, with the type of the error.

use anyhow::{Result, ensure};

use crate::{
    harness::{World, history::End},
    pdf,
    runner::tests,
};

tests![
    an_empty_document_fails_permanently,
    a_document_of_a_type_that_is_not_processed_fails_permanently,
    an_archive_fails_permanently,
    a_pdf_named_as_a_page_fails_permanently,
    a_missing_document_fails_permanently,
    a_document_over_the_limit_fails_permanently,
    a_page_that_is_not_the_utf8_it_says_fails_permanently,
    a_pdf_that_is_cut_off_fails_permanently,
    an_encrypted_pdf_fails_permanently,
    a_pdf_that_inflates_to_gigabytes_fails_permanently,
];

/// Maximum size of a document in bytes. It is larger than the PDF bomb before it is inflated.
const LIMIT: usize = 6 << 20;

async fn an_empty_document_fails_permanently(world: &World) -> Result<()> {
    let source = world.upload("a.html", " \n\t ").await?;
    fails_permanently(world, &source, "EmptyDocument", "fetch_document").await
}

async fn a_document_of_a_type_that_is_not_processed_fails_permanently(world: &World) -> Result<()> {
    let picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice();
    let source = world.upload("a.html", picture).await?;
    fails_permanently(world, &source, "UnknownDocumentType", "fetch_document").await
}

async fn an_archive_fails_permanently(world: &World) -> Result<()> {
    let archive = [b"PK\x03\x04".as_slice(), &pdf::bomb(0, 100)].concat();
    let source = world.upload("a.zip", archive).await?;
    fails_permanently(world, &source, "UnknownDocumentType", "fetch_document").await
}

async fn a_pdf_named_as_a_page_fails_permanently(world: &World) -> Result<()> {
    let source = world.upload("a.html", pdf::REPORT).await?;
    fails_permanently(world, &source, "DocumentTypeMismatch", "fetch_document").await
}

async fn a_missing_document_fails_permanently(world: &World) -> Result<()> {
    let source = world.source("nowhere.html");
    fails_permanently(world, &source, "DocumentMissing", "fetch_document").await
}

async fn a_document_over_the_limit_fails_permanently(world: &World) -> Result<()> {
    let source = world.upload("a.txt", "x".repeat(LIMIT + 1)).await?;
    fails_permanently(world, &source, "DocumentTooBig", "fetch_document").await
}

async fn a_page_that_is_not_the_utf8_it_says_fails_permanently(world: &World) -> Result<()> {
    let page = b"<!doctype html><meta charset=utf-8><title>T</title><p>caf\xe9 \xff\xfe".as_slice();
    let source = world.upload("a.html", page).await?;
    fails_permanently(world, &source, "InvalidUtf8", "extract_text").await
}

async fn a_pdf_that_is_cut_off_fails_permanently(world: &World) -> Result<()> {
    let source = world.upload("a.pdf", &pdf::REPORT[..pdf::REPORT.len() / 2]).await?;
    fails_permanently(world, &source, "TruncatedPdf", "extract_text").await
}

async fn an_encrypted_pdf_fails_permanently(world: &World) -> Result<()> {
    let encrypted = include_bytes!("../documents/files/password.pdf").as_slice();
    let source = world.upload("a.pdf", encrypted).await?;
    fails_permanently(world, &source, "EncryptedPdf", "extract_text").await
}

async fn a_pdf_that_inflates_to_gigabytes_fails_permanently(world: &World) -> Result<()> {
    let page = pdf::stream("/Filter /FlateDecode", &pdf::bomb(b' ', 4096));
    let source = world.upload("a.pdf", pdf::one_page(page, "", &[])).await?;
    fails_permanently(world, &source, "DecompressionBomb", "extract_text").await
}

/// Checks that the workflow of a source fails with this type at the first attempt at this step, stores nothing, and
/// is counted.
async fn fails_permanently(world: &World, source: &str, expected: &str, step: &str) -> Result<()> {
    let worker = world.worker().env("DOCUMENT_MAX_BYTES", &LIMIT.to_string()).start().await?;
    let history = world.run_document("a", source).await?;
    let End::Failed { kind, message, permanent } = history.end()? else {
        anyhow::bail!("the workflow did not fail: {:?}", history.end()?);
    };
    ensure!((kind.as_str(), permanent) == (expected, true), "{kind}: {message} (permanent: {permanent})");
    ensure!(!message.is_empty(), "the failure has no message");
    let attempts = (history.last_attempts(step), world.attempts("a", step).await?);
    ensure!(attempts == (vec![1], vec![1]), "attempts at {step}: {attempts:?}");
    let effects = world.effects("a").await?;
    ensure!(effects.is_empty(), "a poison document took effect: {effects:?}");
    let labels = [("outcome", "refused"), ("poison", expected)];
    let counted = worker.metrics().await?.value("document_outcomes_total", &labels);
    ensure!(counted == Some(1.0), "counted {counted:?} times");
    Ok(())
}
