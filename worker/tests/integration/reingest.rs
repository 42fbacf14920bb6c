//! Documents that are processed again: the newest request wins, and the result says what it did.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::{
    harness::{
        Probe, Worker, World, eventually,
        history::{End, History},
        when,
    },
    runner::tests,
};

tests![
    a_zombie_attempt_of_an_older_request_changes_nothing,
    concurrent_requests_for_one_document_end_with_the_newest,
    an_older_request_that_is_late_is_superseded,
    a_row_of_a_newer_request_stays,
    a_changed_document_replaces_its_row_and_passages,
    a_workflow_id_that_runs_again_replaces_its_document,
    a_document_that_did_not_change_is_answered_unchanged,
    what_was_deleted_is_stored_again,
    a_reset_workflow_stores_what_it_reads_again,
    a_row_of_an_older_worker_is_replaced,
];

/// Timeout for a second attempt, which starts 15 s after the first was last heard of, and for what follows.
const RETRIED: Duration = Duration::from_secs(60);

async fn a_changed_document_replaces_its_row_and_passages(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    let long: String = (0..500).map(|number| format!("word{number} ")).collect();
    let first = world.upload("a.html", format!("<title>First</title><h1>One</h1><p>{long}")).await?;
    result(world.run_workflow("first", "d", &first).await?, world, "stored").await?;
    ensure!(world.passages("d").await?.len() == 3, "{:?}", world.passages("d").await?);

    let second = world.upload("b.txt", "seven words of quite another plain text").await?;
    result(world.run_workflow("second", "d", &second).await?, world, "stored").await?;
    let (row, passages) = (world.document("d").await?, world.passages("d").await?);
    ensure!((row.source.as_str(), row.workflow_id.as_str()) == (second.as_str(), "second"), "{row:?}");
    let replaced = (row.title.as_deref(), row.headings.as_str(), row.media_type.as_str(), row.words);
    ensure!(replaced == (None, "[]", "text/plain", 7), "{row:?}");
    ensure!(passages == ["seven words of quite another plain text"], "{passages:?}");
    for workflow in ["first", "second"] {
        let effects = world.effects(workflow).await?;
        ensure!(effects == ["store_document"], "{workflow}: {effects:?}");
    }
    counted(&worker, "stored", 2.0).await
}

async fn a_workflow_id_that_runs_again_replaces_its_document(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("a.txt", "first").await?;
    result(world.run_workflow("d", "d", &source).await?, world, "stored").await?;
    let first = world.document("d").await?;
    world.upload("a.txt", "second, longer").await?;
    result(world.run_workflow("d", "d", &source).await?, world, "stored").await?;
    let second = world.document("d").await?;
    ensure!((first.words, second.words) == (1, 2) && first.run_id != second.run_id, "{first:?}, {second:?}");
    let (passages, effects) = (world.passages("d").await?, world.effects("d").await?);
    ensure!(passages == ["second, longer"], "{passages:?}");
    ensure!(effects == ["store_document"; 2], "two runs took effect once each, not {effects:?}");
    Ok(())
}

async fn a_document_that_did_not_change_is_answered_unchanged(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    let source = world.upload("a.html", "<title>T</title><h1>H</h1><p>one <a href=/b>two</a>").await?;
    result(world.run_workflow("first", "d", &source).await?, world, "stored").await?;
    let (first, versions) = (world.document("d").await?, versions(world).await?);
    result(world.run_workflow("second", "d", &source).await?, world, "unchanged").await?;
    let second = world.document("d").await?;
    ensure!(second.workflow_id == "second" && first.requested_at < second.requested_at, "{first:?}, {second:?}");
    ensure!(first.stored_at == second.stored_at, "the content is as old as before: {first:?}, {second:?}");
    let after = self::versions(world).await?;
    ensure!(after == versions, "the passages were written again: {versions:?}, {after:?}");
    counted(&worker, "unchanged", 1.0).await?;

    // The newest request found this content, so an older one cannot replace it.
    let older = "UPDATE documents SET requested_at = requested_at + interval '1 hour' WHERE document_id = 'd'";
    sqlx::query(older).execute(&world.database).await?;
    world.upload("a.html", "<p>three").await?;
    result(world.run_workflow("third", "d", &source).await?, world, "superseded").await
}

async fn what_was_deleted_is_stored_again(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one two").await?;
    result(world.run_workflow("d", "d", &source).await?, world, "stored").await?;
    for deleted in ["DELETE FROM documents", "DELETE FROM passages", "UPDATE passages SET text = 'three'"] {
        sqlx::query(deleted).execute(&world.database).await?;
        result(world.run_workflow("d", "d", &source).await?, world, "stored").await.context(deleted)?;
        let (row, passages) = (world.document("d").await?, world.passages("d").await?);
        ensure!(row.words == 2 && passages == ["one two"], "{deleted}: {row:?}, {passages:?}");
        ensure!(row.outcome == "stored", "{deleted}: {row:?}");
    }
    Ok(())
}

async fn an_older_request_that_is_late_is_superseded(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    let (old, new) = (world.upload("old.txt", "old").await?, world.upload("new.txt", "new text").await?);
    let mut gate = world.close_gate("documents", "NEW.workflow_id = 'older'").await?;
    let older = world.start_workflow("older", "d", &old).await?;
    gate.reached().await?;
    result(world.run_workflow("newer", "d", &new).await?, world, "stored").await?;
    let before = world.document("d").await?;
    gate.open().await?;
    result(older.ended().await?, world, "superseded").await?;
    let (after, passages) = (world.document("d").await?, world.passages("d").await?);
    ensure!(after == before && passages == ["new text"], "{before:?} became {after:?}, {passages:?}");
    let effects = world.effects("older").await?;
    ensure!(effects.is_empty(), "a superseded request took effect: {effects:?}");
    counted(&worker, "superseded", 1.0).await
}

async fn a_zombie_attempt_of_an_older_request_changes_nothing(world: &World) -> Result<()> {
    // The first worker loses Temporal in the middle of its transaction. It does not know that a second attempt runs.
    let zombie = world.worker().env("DB_STATEMENT_TIMEOUT_SECONDS", "0").start().await?;
    let (old, new) = (world.upload("old.txt", "old").await?, world.upload("new.txt", "new text").await?);
    let first_attempt = "NEW.workflow_id = 'older' AND nextval('at_gate') = 1";
    let mut gate = world.close_gate("documents", first_attempt).await?;
    let older = world.start_workflow("older", "d", &old).await?;
    gate.reached().await?;
    world.temporal.cut().await?;

    let _other = world.worker().env("TEMPORAL_ADDRESS", &world.temporal_address()).start().await?;
    result(older.ended().await?, world, "stored").await?;
    result(world.run_workflow("newer", "d", &new).await?, world, "stored").await?;
    let before = world.document("d").await?;
    gate.open().await?;
    eventually("the zombie's attempt ends", RETRIED, async || match outcomes(&zombie, "superseded").await {
        Ok(superseded) => when(superseded == Some(1.0), || format!("{superseded:?} were superseded")),
        Err(error) => Probe::Failed(error),
    })
    .await?;
    let (after, passages) = (world.document("d").await?, world.passages("d").await?);
    ensure!(after == before && passages == ["new text"], "{before:?} became {after:?}, {passages:?}");
    let attempts = world.attempts("older", "store_document").await?;
    ensure!(attempts == [1, 2], "{attempts:?}");
    let effects = world.effects("older").await?;
    ensure!(effects == ["store_document"], "{effects:?}");
    Ok(())
}

/// A Temporal server with a clock that is ahead gives a request a later start.
async fn a_row_of_a_newer_request_stays(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("a.txt", "first").await?;
    result(world.run_workflow("first", "d", &source).await?, world, "stored").await?;
    let ahead = "UPDATE documents SET requested_at = now() + interval '1 hour'";
    sqlx::query(ahead).execute(&world.database).await?;
    let before = world.document("d").await?;
    world.upload("a.txt", "second, longer").await?;
    result(world.run_workflow("second", "d", &source).await?, world, "superseded").await?;
    let after = world.document("d").await?;
    ensure!(after == before, "{before:?} became {after:?}");
    Ok(())
}

async fn concurrent_requests_for_one_document_end_with_the_newest(world: &World) -> Result<()> {
    let _workers = (world.worker().start().await?, world.worker().start().await?);
    let mut runs = Vec::new();
    for number in 1..=16 {
        let words = format!("word{number} ").repeat(number * 60);
        let source = world.upload(&format!("{number}.txt"), words.as_str()).await?;
        runs.push((world.start_workflow(&format!("w{number}"), "d", &source).await?, source, number));
    }
    let (last, source, number) = runs.pop().context("no run")?;
    for (run, ..) in runs {
        let end = run.ended().await?.end()?;
        let shown = outcome(&end);
        ensure!(matches!(shown, Some("stored" | "superseded")), "{end:?}");
    }
    let end = last.ended().await?.end()?;
    ensure!(outcome(&end) == Some("stored"), "{end:?}");
    let (row, passages) = (world.document("d").await?, world.passages("d").await?);
    ensure!((&row.source, row.words) == (&source, number as i64 * 60), "{row:?}");
    let words: Vec<&str> = passages.iter().flat_map(|passage| passage.split_whitespace()).collect();
    let own = format!("word{number}");
    ensure!(words.len() == number * 60 && words.iter().all(|word| **word == own), "{passages:?}");
    Ok(())
}

async fn a_reset_workflow_stores_what_it_reads_again(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("a.txt", "first").await?;
    result(world.run_workflow("d", "d", &source).await?, world, "stored").await?;
    let before = world.document("d").await?;
    world.upload("a.txt", "second, longer").await?;
    result(world.reset("d").await?.ended().await?, world, "stored").await?;
    let after = world.document("d").await?;
    ensure!((before.words, after.words) == (1, 2) && before.run_id != after.run_id, "{before:?}, {after:?}");
    ensure!(before.requested_at == after.requested_at, "a reset is the same request: {before:?}, {after:?}");
    Ok(())
}

/// The statements of a worker before `requested_at`, which may run again after a rollback.
async fn a_row_of_an_older_worker_is_replaced(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    for statement in [
        "INSERT INTO attempts (workflow_id, step, attempt, worker) VALUES ('old', 'store_document', 1, '1@old')",
        "INSERT INTO effects (workflow_id, step) VALUES ('old', 'store_document') ON CONFLICT DO NOTHING",
        "INSERT INTO documents (document_id, source, sha256, bytes, media_type, title, words, passages, workflow_id,
            run_id, charset, language, language_confidence, pages, signature, headings, heading_count, links,
            link_count, summary)
         VALUES ('d', 's', 'ab', 3, 'text/plain', NULL, 1, 1, 'old', 'run', NULL, NULL, NULL, NULL, NULL, '[]', 0,
            '[]', 0, NULL) ON CONFLICT (document_id) DO NOTHING",
        "INSERT INTO passages (document_id, ordinal, text, words, sha256) VALUES ('d', 0, 'old', 1, 'cd')
         ON CONFLICT DO NOTHING",
    ] {
        let inserted = sqlx::query(statement).execute(&world.database).await.context(statement)?;
        ensure!(inserted.rows_affected() == 1, "{statement}");
    }
    let source = world.upload("a.txt", "one two").await?;
    result(world.run_workflow("new", "d", &source).await?, world, "stored").await?;
    let (row, passages) = (world.document("d").await?, world.passages("d").await?);
    ensure!(row.workflow_id == "new" && passages == ["one two"], "{row:?}, {passages:?}");
    Ok(())
}

/// Checks that a workflow of document `d` completed with this outcome, and that its result is what the table holds.
async fn result(history: History, world: &World, outcome: &str) -> Result<()> {
    let (end, row) = (history.end()?, world.document("d").await?);
    let expected = json!({
        "document_id": "d", "sha256": row.sha256, "bytes": row.bytes, "words": row.words, "passages": row.passages,
        "outcome": outcome,
    });
    ensure!(end == End::Completed(expected), "{outcome}: {end:?}, {row:?}");
    Ok(())
}

fn outcome(end: &End) -> Option<&str> {
    match end {
        End::Completed(result) => result["outcome"].as_str(),
        _ => None,
    }
}

/// Which transaction wrote each passage of document `d`.
async fn versions(world: &World) -> Result<Vec<String>> {
    let query = "SELECT xmin::text FROM passages WHERE document_id = 'd' ORDER BY ordinal";
    Ok(sqlx::query_scalar(query).fetch_all(&world.database).await?)
}

async fn outcomes(worker: &Worker, outcome: &str) -> Result<Option<f64>> {
    Ok(worker.metrics().await?.value("document_outcomes_total", &[("outcome", outcome)]))
}

async fn counted(worker: &Worker, outcome: &str, times: f64) -> Result<()> {
    let counted = outcomes(worker, outcome).await?;
    ensure!(counted == Some(times), "{outcome}: counted {counted:?} times");
    Ok(())
}
