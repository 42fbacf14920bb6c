//! Processed documents: their rows in the database and their histories.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    harness::{World, history::End},
    pdf,
    runner::tests,
};

tests![
    an_html_page_is_stored_with_its_title_words_and_passages,
    markdown_is_stored_as_its_html,
    plain_text_is_stored_without_a_title,
    a_pdf_is_stored_with_its_pages_bookmarks_and_links,
    a_page_in_a_legacy_charset_is_stored_with_its_charset_and_structure,
    a_large_document_is_not_in_the_history,
];

/// Maximum size of an inline body: 64 KiB.
const INLINE_BYTES: usize = 64 << 10;

async fn an_html_page_is_stored_with_its_title_words_and_passages(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let page = "<title>A page</title><style>no</style><h1>Hello</h1><p>One <b>two</b> three.</p>";
    let source = world.upload("pages/a.html", page).await?;
    let history = world.run_document("a", &source).await?;

    let row = world.document("a").await?;
    let stored = (row.media_type.as_str(), row.title.as_deref(), row.words, row.bytes, row.passages);
    ensure!(stored == ("text/html", Some("A page"), 4, page.len() as i64, 1), "{row:?}");
    ensure!((&row.source, row.workflow_id.as_str()) == (&source, "a"), "{row:?}");
    let result = json!({
        "document_id": "a", "sha256": row.sha256, "bytes": row.bytes, "words": 4, "passages": 1, "outcome": "stored",
    });
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

async fn markdown_is_stored_as_its_html(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("README.md", "# A *title*\n\n| a | b |\n|---|---|\n| one | two |\n").await?;
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

async fn a_pdf_is_stored_with_its_pages_bookmarks_and_links(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("report.pdf", pdf::REPORT).await?;
    world.run_document("a", &source).await?;
    let row = world.document("a").await?;
    let stored = (
        row.media_type.as_str(),
        row.title.as_deref(),
        row.words,
        row.pages,
        row.charset.as_deref(),
        row.language.as_deref(),
    );
    ensure!(stored == ("application/pdf", Some("Harbour Report"), 159, Some(2), None, Some("eng")), "{row:?}");
    ensure!(row.signature.is_some(), "{row:?}");
    let headings = json!([
        {"level": 1, "text": "The harbour"},
        {"level": 2, "text": "Launching"},
        {"level": 2, "text": "Repairing"},
    ]);
    ensure!(serde_json::from_str::<Value>(&row.headings)? == headings, "{row:?}");
    let links = json!([{"target": "https://example.org/launching?ship=1", "text": ""}]);
    ensure!(serde_json::from_str::<Value>(&row.links)? == links, "{row:?}");
    Ok(())
}

async fn a_page_in_a_legacy_charset_is_stored_with_its_charset_and_structure(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    // The non-ASCII bytes are letters and a dash of windows-1252.
    let page = b"<!doctype html><meta charset=iso-8859-1><title>D\xe9j\xe0 vu</title>\
        <h1>Les mar\xe9es</h1><p>La mer monte et descend deux fois par jour \x97 la <a href=/lune>lune</a> \
        l'attire, et les p\xeacheurs du village connaissent les heures par coeur depuis toujours.</p>\
        <h2>Les ports</h2><p>Les bateaux attendent la mar\xe9e haute pour sortir du port chaque matin.</p>"
        .as_slice();
    let source = world.upload("a.html", page).await?;
    world.run_document("a", &source).await?;
    let row = world.document("a").await?;
    let stored =
        (row.media_type.as_str(), row.title.as_deref(), row.pages, row.charset.as_deref(), row.language.as_deref());
    ensure!(stored == ("text/html", Some("Déjà vu"), None, Some("windows-1252"), Some("fra")), "{row:?}");
    ensure!(row.signature.is_some(), "{row:?}");
    let headings = json!([{"level": 1, "text": "Les marées"}, {"level": 2, "text": "Les ports"}]);
    ensure!(serde_json::from_str::<Value>(&row.headings)? == headings, "{row:?}");
    let links = json!([{"target": "/lune", "text": "lune"}]);
    ensure!(serde_json::from_str::<Value>(&row.links)? == links, "{row:?}");
    let passages = world.passages("a").await?.concat();
    ensure!(passages.contains("jour — la lune") && passages.contains("pêcheurs"), "{passages:?}");
    Ok(())
}

async fn a_large_document_is_not_in_the_history(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let text: String = (0..9_000).map(|number| format!("word{number} ")).collect();
    // A little larger than the maximum inline size, so that the limit itself is tested.
    ensure!((INLINE_BYTES..3 * INLINE_BYTES / 2).contains(&text.len()), "the document has {} bytes", text.len());
    let source = world.upload("large.txt", text.as_str()).await?;
    let history = world.run_document("a", &source).await?;

    let sizes = history.sizes()?;
    let whole: usize = sizes.iter().sum();
    ensure!(whole < INLINE_BYTES, "the history has {whole} bytes, by event {sizes:?}");
    let row = world.document("a").await?;
    ensure!((row.words, row.bytes) == (9_000, text.len() as i64), "{row:?}");
    let stored: usize = world.passages("a").await?.iter().map(|passage| passage.split_whitespace().count()).sum();
    ensure!(stored == 9_000, "the passages have {stored} words");
    let claims = world.keys("claims").await?;
    ensure!(claims.len() == 2, "document and passages are two claims, not {claims:?}");
    Ok(())
}
