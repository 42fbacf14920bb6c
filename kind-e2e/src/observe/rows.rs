//! Reads what the worker stored, straight from its tables: the wire contract, not the worker's code.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::{PgPool, PgRow};

/// A row of `documents`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// The document's id.
    pub document_id: String,
    /// Where it was read from.
    pub source: String,
    /// Hash of its bytes in hex.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Words in its visible text.
    pub words: u64,
    /// The number of its passages.
    pub passages: u64,
    /// Its title.
    pub title: Option<String>,
    /// Its charset, by the Encoding Standard's name.
    pub charset: Option<String>,
    /// Its language, by ISO 639-3.
    pub language: Option<String>,
    /// Its first headings, `[{"level": 1, "text": "…"}]`.
    pub headings: Value,
    /// The number of all its headings.
    pub heading_count: u64,
    /// Its first links, `[{"target": "…", "text": "…"}]`.
    pub links: Value,
    /// The number of all its links.
    pub link_count: u64,
    /// The workflow that stored it.
    pub workflow_id: String,
    /// When its transaction was committed, in seconds since 1970 by the database's clock.
    pub committed: f64,
}

/// A row of `passages`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passage {
    /// The document that it is of.
    pub document_id: String,
    /// Its place in the document, from 0.
    pub ordinal: i64,
    /// Its text.
    pub text: String,
    /// Its words.
    pub words: u64,
    /// Hash of its text in hex.
    pub sha256: String,
}

/// A row of `attempts`. A step that ended on its first attempt has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attempt {
    /// The workflow.
    pub workflow_id: String,
    /// The activity.
    pub step: String,
    /// Its attempt, from 1.
    pub attempt: i64,
    /// The worker that made it, as `process@pod`.
    pub worker: String,
    /// When it began, in seconds since 1970 by the database's clock.
    pub at: f64,
}

/// Everything that is stored of one load.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Documents.
    pub documents: Vec<Document>,
    /// Passages.
    pub passages: Vec<Passage>,
    /// Effects: workflow and step, once for each time that the step took effect.
    pub effects: Vec<(String, String)>,
    /// Attempts.
    pub attempts: Vec<Attempt>,
}

/// The number of stored documents whose id begins with `prefix`.
pub async fn count_stored(pool: &PgPool, prefix: &str) -> Result<u64> {
    let count: i64 = sqlx::query_scalar("select count(*) from documents where starts_with(document_id, $1)")
        .bind(prefix)
        .fetch_one(pool)
        .await
        .context("counting documents")?;
    Ok(unsigned(count))
}

/// Checks that the database keeps the time of each commit, which a document's latency is taken from.
///
/// # Errors
/// It does not; the error says which setting is missing.
pub async fn check_commit_times(pool: &PgPool) -> Result<()> {
    let kept: String = sqlx::query_scalar("show track_commit_timestamp")
        .fetch_one(pool)
        .await
        .context("reading track_commit_timestamp")?;
    ensure!(
        kept == "on",
        "postgres does not keep the time of a commit (track_commit_timestamp = {kept}): set it to on and restart it"
    );
    Ok(())
}

/// Reads every row of the documents whose id begins with `prefix`, in one snapshot.
pub async fn read(pool: &PgPool, prefix: &str) -> Result<Rows> {
    let mut transaction = pool.begin().await.context("opening a transaction")?;
    sqlx::query("set transaction isolation level repeatable read, read only")
        .execute(&mut *transaction)
        .await
        .context("asking for one snapshot")?;
    let documents = sqlx::query(
        "select document_id, source, sha256, bytes::int8 as bytes, words::int8 as words, \
         passages::int8 as passages, title, charset, language, headings::text as headings, \
         heading_count::int8 as heading_count, links::text as links, link_count::int8 as link_count, workflow_id, \
         extract(epoch from pg_xact_commit_timestamp(xmin))::float8 as committed \
         from documents where starts_with(document_id, $1)",
    )
    .bind(prefix)
    .try_map(|row: PgRow| document(&row))
    .fetch_all(&mut *transaction)
    .await
    .context("reading documents")?;
    let passages = sqlx::query(
        "select document_id, ordinal::int8 as ordinal, text, words::int8 as words, sha256 \
         from passages where starts_with(document_id, $1)",
    )
    .bind(prefix)
    .try_map(|row: PgRow| passage(&row))
    .fetch_all(&mut *transaction)
    .await
    .context("reading passages")?;
    let effects = sqlx::query_as(
        "select workflow_id, step from effects, generate_series(1, times) where starts_with(workflow_id, $1)",
    )
    .bind(prefix)
    .fetch_all(&mut *transaction)
    .await
    .context("reading effects")?;
    let attempts = sqlx::query(
        "select workflow_id, step, attempt::int8 as attempt, worker, extract(epoch from at)::float8 as at \
         from attempts where starts_with(workflow_id, $1)",
    )
    .bind(prefix)
    .try_map(|row: PgRow| attempt(&row))
    .fetch_all(&mut *transaction)
    .await
    .context("reading attempts")?;
    Ok(Rows { documents, passages, effects, attempts })
}

fn document(row: &PgRow) -> sqlx::Result<Document> {
    let json = |column: &str| -> sqlx::Result<Value> {
        let text: String = row.try_get(column)?;
        serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(error.into()))
    };
    Ok(Document {
        document_id: row.try_get("document_id")?,
        source: row.try_get("source")?,
        sha256: row.try_get("sha256")?,
        bytes: unsigned(row.try_get("bytes")?),
        words: unsigned(row.try_get("words")?),
        passages: unsigned(row.try_get("passages")?),
        title: row.try_get("title")?,
        charset: row.try_get("charset")?,
        language: row.try_get("language")?,
        headings: json("headings")?,
        heading_count: unsigned(row.try_get("heading_count")?),
        links: json("links")?,
        link_count: unsigned(row.try_get("link_count")?),
        workflow_id: row.try_get("workflow_id")?,
        committed: row.try_get("committed")?,
    })
}

fn passage(row: &PgRow) -> sqlx::Result<Passage> {
    Ok(Passage {
        document_id: row.try_get("document_id")?,
        ordinal: row.try_get("ordinal")?,
        text: row.try_get("text")?,
        words: unsigned(row.try_get("words")?),
        sha256: row.try_get("sha256")?,
    })
}

fn attempt(row: &PgRow) -> sqlx::Result<Attempt> {
    Ok(Attempt {
        workflow_id: row.try_get("workflow_id")?,
        step: row.try_get("step")?,
        attempt: row.try_get("attempt")?,
        worker: row.try_get("worker")?,
        at: row.try_get("at")?,
    })
}

/// Counts are never negative; a row that holds one is wrong, and 2^64 - 1 says so in every comparison.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
