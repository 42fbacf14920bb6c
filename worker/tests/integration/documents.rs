//! Documents that are processed: what is in the database and in the history afterwards.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    harness::{World, history::End},
    runner::tests,
};

tests![
    an_html_page_is_stored_with_its_title_words_and_passages,
    markdown_is_stored_as_the_page_that_it_renders_to,
    plain_text_is_stored_without_a_title,
    a_document_is_stored_once_however_often_it_is_processed,
    a_large_document_never_travels_through_the_history,
];

/// What may travel itself: 64 KiB.
const INLINE_BYTES: usize = 64 << 10;

async fn an_html_page_is_stored_with_its_title_words_and_passages(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let page = "<title>A page</title><style>no</style><h1>Hello</h1><p>One <b>two</b> three.</p>";
    let source = world.upload("pages/a.html", page).await?;
    let history = world.run_document("a", &source).await?;

    let row = world.document("a").await?;
    let stored = (
        row.media_type.as_str(),
        row.title.as_deref(),
        row.words,
        row.bytes,
        row.passages,
    );
    ensure!(
        stored == ("text/html", Some("A page"), 4, page.len() as i64, 1),
        "{row:?}"
    );
    ensure!(
        (&row.source, row.workflow_id.as_str()) == (&source, "a"),
        "{row:?}"
    );
    let result =
        json!({"document_id": "a", "sha256": row.sha256, "bytes": row.bytes, "words": 4, "passages": 1});
    let end = history.end()?;
    ensure!(end == End::Completed(result), "{end:?}");
    let passages = world.passages("a").await?;
    ensure!(passages == ["Hello\nOne two three."], "{passages:?}");
    let effects = world.effects("a").await?;
    ensure!(effects == ["store_document"], "{effects:?}");
    for step in ["fetch_document", "extract_text", "store_document"] {
        let attempts = world.attempts("a", step).await?;
        ensure!(attempts == [1], "{step}: {attempts:?}");
    }
    Ok(())
}

async fn markdown_is_stored_as_the_page_that_it_renders_to(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world
        .upload(
            "README.md",
            "# A *title*\n\n| a | b |\n|---|---|\n| one | two |\n",
        )
        .await?;
    world.run_document("a", &source).await?;
    let row = world.document("a").await?;
    let stored = (row.media_type.as_str(), row.title.as_deref(), row.words);
    ensure!(stored == ("text/markdown", Some("A title"), 6), "{row:?}");
    let passages = world.passages("a").await?;
    ensure!(passages == ["A title\na\nb\none\ntwo"], "{passages:?}");
    Ok(())
}

async fn plain_text_is_stored_without_a_title(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("notes.txt", "One two\n\n three <b>\n").await?;
    world.run_document("a", &source).await?;
    let row = world.document("a").await?;
    let stored = (row.media_type.as_str(), row.title.as_deref(), row.words);
    ensure!(stored == ("text/plain", None, 4), "{row:?}");
    Ok(())
}

async fn a_document_is_stored_once_however_often_it_is_processed(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("a.txt", "first").await?;
    world.run_document("a", &source).await?;
    let before = world.document("a").await?;
    world.upload("a.txt", "second, longer").await?;
    world.run_document("a", &source).await?;
    let after = world.document("a").await?;
    ensure!(before == after, "{before:?} became {after:?}");
    let (attempts, effects) = (
        world.attempts("a", "store_document").await?,
        world.effects("a").await?,
    );
    ensure!(
        (attempts.len(), effects.len()) == (2, 1),
        "{attempts:?}, {effects:?}"
    );
    Ok(())
}

async fn a_large_document_never_travels_through_the_history(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let text: String = (0..9_000).map(|number| format!("word{number} ")).collect();
    // Little more than what may travel itself, so that the limit is tried and not just any size.
    ensure!(
        (INLINE_BYTES..3 * INLINE_BYTES / 2).contains(&text.len()),
        "the document has {} bytes",
        text.len()
    );
    let source = world.upload("large.txt", text.as_str()).await?;
    let history = world.run_document("a", &source).await?;

    let sizes = history.sizes()?;
    let whole: usize = sizes.iter().sum();
    ensure!(
        whole < INLINE_BYTES,
        "the history has {whole} bytes, by event {sizes:?}"
    );
    let row = world.document("a").await?;
    ensure!((row.words, row.bytes) == (9_000, text.len() as i64), "{row:?}");
    let stored: usize = world
        .passages("a")
        .await?
        .iter()
        .map(|passage| passage.split_whitespace().count())
        .sum();
    ensure!(stored == 9_000, "the passages have {stored} words");
    let claims = world.keys("claims").await?;
    ensure!(
        claims.len() == 2,
        "document and passages are two claims, not {claims:?}"
    );
    Ok(())
}
