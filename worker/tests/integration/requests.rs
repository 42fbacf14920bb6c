//! Requests and documents that fail for good, before the first step or at the database.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    harness::{
        World,
        history::{End, History},
    },
    runner::tests,
};

tests![
    a_request_that_no_step_can_process_fails_before_the_first,
    an_argument_that_is_no_request_fails_the_workflow,
    a_text_that_the_databases_encoding_lacks_fails_permanently,
    a_title_that_an_index_cannot_hold_fails_permanently,
    a_source_as_long_as_a_key_can_be_is_told_in_a_short_failure,
];

async fn a_request_that_no_step_can_process_fails_before_the_first(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one two").await?;
    let long: String = scattered(0x21, 0x5e).take(3000).collect();
    for (number, (document_id, source, named)) in [
        (long.as_str(), source.as_str(), "document_id has 3000 bytes"),
        ("a\0b", &source, "control character"),
        ("", &source, "document_id is empty"),
        ("a", "", "source is empty"),
        ("a", &format!("{source}\0"), "control character"),
    ]
    .into_iter()
    .enumerate()
    {
        let argument = json!({"document_id": document_id, "source": source});
        let history = world.start_with(&format!("request{number}"), &[argument]).await?.ended().await?;
        is_invalid(&history, named)?;
    }
    Ok(())
}

async fn an_argument_that_is_no_request_fails_the_workflow(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    for (number, (arguments, named)) in [
        (vec![json!("s3://documents/a.pdf")], "invalid type: string"),
        (vec![json!({"document_id": "a"})], "missing field `source`"),
        (vec![json!({"source": "s3://documents/a.pdf"})], "missing field `document_id`"),
        (vec![Value::Null], "it is null"),
        (vec![], "there are 0 arguments"),
        (vec![json!({}), json!({})], "there are 2 arguments"),
    ]
    .into_iter()
    .enumerate()
    {
        let history = world.start_with(&format!("argument{number}"), &arguments).await?.ended().await?;
        is_invalid(&history, named)?;
    }
    Ok(())
}

async fn a_text_that_the_databases_encoding_lacks_fails_permanently(world: &World) -> Result<()> {
    let database = world.latin1_database().await?;
    let _worker = world.worker().env("DATABASE_URL", &database).start().await?;
    let source = world.upload("ok.txt", "caf\u{e9}").await?;
    let end = world.run_document("ok", &source).await?.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    let source = world.upload("a.txt", "the characters \u{6e2f} and \u{53e3}").await?;
    is_not_storable(&world.run_document("a", &source).await?, "22P05")
}

async fn a_title_that_an_index_cannot_hold_fails_permanently(world: &World) -> Result<()> {
    let worker = world.worker().start().await?;
    let index = "CREATE INDEX documents_by_title ON documents (title)";
    sqlx::query(index).execute(&world.database).await?;
    // Three bytes a character, so that the title has more than an index entry can.
    let title: String = scattered(0x4e00, 0x5000).take(1000).collect();
    let source = world.upload("a.html", format!("<title>{title}</title><p>text")).await?;
    is_not_storable(&world.run_document("a", &source).await?, "54000")?;
    let labels = [("outcome", "refused"), ("poison", "NotStorable")];
    let counted = worker.metrics().await?.value("document_outcomes_total", &labels);
    ensure!(counted == Some(1.0), "counted {counted:?} times");
    Ok(())
}

async fn a_source_as_long_as_a_key_can_be_is_told_in_a_short_failure(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let name = "part/".repeat(199);
    for (key, expected) in [(format!("{name}a.txt"), "DocumentMissing"), (format!("{name}{name}a.txt"), "KeyTooLong")] {
        let history = world.run_document(expected, &world.source(&key)).await?;
        let End::Failed { kind, message, permanent } = history.end()? else {
            anyhow::bail!("{expected}: {:?}", history.end()?);
        };
        ensure!((kind.as_str(), permanent) == (expected, true) && message.len() < 600, "{kind}: {message}");
    }
    Ok(())
}

/// Checks that a workflow failed as an invalid request, with this in its message, and ran no step.
fn is_invalid(history: &History, named: &str) -> Result<()> {
    let End::Failed { kind, message, permanent } = history.end()? else {
        anyhow::bail!("{named}: {:?}", history.end()?);
    };
    ensure!((kind.as_str(), permanent) == ("InvalidRequest", true), "{kind}: {message} (permanent: {permanent})");
    ensure!(message.contains(named) && message.contains("document_id"), "{named:?} is not named in {message:?}");
    ensure!(history.scheduled().is_empty(), "{named}: {:?}", history.scheduled());
    Ok(())
}

/// Checks that a workflow failed at its first attempt to store, because of this state of Postgres.
fn is_not_storable(history: &History, state: &str) -> Result<()> {
    let End::Failed { kind, message, permanent } = history.end()? else {
        anyhow::bail!("{state}: {:?}", history.end()?);
    };
    ensure!((kind.as_str(), permanent) == ("NotStorable", true), "{kind}: {message} (permanent: {permanent})");
    ensure!(message.contains(state), "{message}");
    let attempts = history.last_attempts("store_document");
    ensure!(attempts == [1], "attempts {attempts:?}");
    Ok(())
}

/// Characters from a range in an order without repetition, so that Postgres cannot compress them.
fn scattered(first: u32, count: u32) -> impl Iterator<Item = char> {
    let numbers =
        std::iter::successors(Some(1_u32), |last| Some(last.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
    numbers.filter_map(move |number| char::from_u32(first + (number >> 8) % count))
}
