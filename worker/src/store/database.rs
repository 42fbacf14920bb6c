//! Documents and their passages in Postgres.
//!
//! The newest request for a document wins. One statement compares the request with the document's row, locks the
//! row and writes it, so an attempt that is late or repeated changes nothing.
//!
//! Queries are checked at run time. [`super::schema`] applies the schema.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row as _, postgres::PgRow, types::time::OffsetDateTime};

use super::pool::{Pool, PoolSettings, query};
use crate::{
    config::DatabaseConfig,
    external::Guards,
    metrics::{Metrics, PoolState},
    text::{Language, MediaType, Passage, Signature, Structure},
};

/// What a request to store a document did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The row and the passages are those of this request.
    Stored,
    /// The row and the passages were the same already.
    Unchanged,
    /// The row is of a newer request, and stays.
    Superseded,
}

impl Outcome {
    /// Value of the column `outcome`, and label value of the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Unchanged => "unchanged",
            Self::Superseded => "superseded",
        }
    }
}

/// What the table holds of a document after a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDocument {
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Words in the text.
    pub words: u64,
    /// Number of passages.
    pub passages: u32,
    /// What the request did.
    pub outcome: Outcome,
    /// Whether this attempt did it. An attempt that is repeated finds what the one before did.
    pub written: bool,
}

/// The row of a document.
#[derive(Debug)]
pub struct DocumentRecord<'a> {
    /// Id of the document.
    pub document_id: &'a str,
    /// Address of the document.
    pub source: &'a str,
    /// SHA-256 of its bytes, in hex.
    pub sha256: &'a str,
    /// Size in bytes.
    pub bytes: u64,
    /// Type of the document.
    pub media_type: MediaType,
    /// Title, if any.
    pub title: Option<&'a str>,
    /// Words in the text.
    pub words: u64,
    /// The text.
    pub passages: &'a [Passage],
    /// Summary, if any.
    pub summary: Option<&'a str>,
    /// Charset of the text; `None` for a PDF.
    pub charset: Option<&'a str>,
    /// Language of the text; `None` if the text is too short to tell.
    pub language: Option<&'a Language>,
    /// Number of pages, for a PDF.
    pub pages: Option<u32>,
    /// SimHash of the text, for finding near-duplicates.
    pub signature: Option<Signature>,
    /// Headings and links.
    pub structure: &'a Structure,
    /// The request.
    pub request: Request<'a>,
}

/// A request to store a document. Requests are ordered by `requested_at`, then `scheduled_at`, then `run_id`.
#[derive(Debug)]
pub struct Request<'a> {
    /// Id of the workflow.
    pub workflow_id: &'a str,
    /// Id of the workflow's run. A run makes one request, however many attempts it takes.
    pub run_id: &'a str,
    /// Start of the run.
    pub requested_at: SystemTime,
    /// Time at which the run scheduled its store step. The run of a reset workflow has the start of the run before.
    pub scheduled_at: SystemTime,
}

/// The database of documents.
#[derive(Debug, Clone)]
pub struct Database {
    pub(super) pool: Pool,
}

impl Database {
    /// Prepares the pool; connections open on first use. The metrics measure the wait for a connection.
    ///
    /// # Errors
    /// The URL is invalid.
    pub fn open(
        config: &DatabaseConfig,
        settings: PoolSettings,
        metrics: Metrics,
        guards: &Guards,
    ) -> anyhow::Result<Self> {
        Pool::open(config, settings, metrics, guards).map(|pool| Self { pool })
    }

    /// Stores a document with its passages and the effect of the step in one transaction, unless the row is of a newer
    /// request, or of this one. Returns what the table then holds.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn store(&self, step: &str, document: &DocumentRecord<'_>) -> sqlx::Result<StoredDocument> {
        let mut connection = self.pool.begin().await?;
        let stored = self.pool.with_timeout(store(&mut connection, step, document)).await;
        connection.end(stored).await
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Number of open connections and of callers that wait for one.
    pub fn connections(&self) -> PoolState {
        self.pool.state()
    }
}

async fn store(
    connection: &mut PgConnection,
    step: &str,
    document: &DocumentRecord<'_>,
) -> sqlx::Result<StoredDocument> {
    let stored = match write_document(connection, document).await? {
        Some(written) => {
            let passages_changed = write_passages(connection, document).await?;
            record_effect(connection, step, document.request.workflow_id).await?;
            if passages_changed && written.outcome == Outcome::Unchanged {
                mark_as_stored(connection, document.document_id).await?;
                StoredDocument { outcome: Outcome::Stored, ..written }
            } else {
                written
            }
        }
        None => read_document(connection, document).await?,
    };
    Ok(stored)
}

/// The columns that say which request a row is of. All others are its content.
const REQUEST_COLUMNS: [&str; 6] = ["workflow_id", "run_id", "requested_at", "scheduled_at", "stored_at", "outcome"];

/// Writes the row of a document, if there is none or an older one. `None` means that the row is of this request or of
/// a newer one. In both cases the row is locked until the transaction ends.
async fn write_document(
    connection: &mut PgConnection,
    document: &DocumentRecord<'_>,
) -> sqlx::Result<Option<StoredDocument>> {
    let (structure, request) = (document.structure, &document.request);
    query(
        "INSERT INTO documents AS old (document_id, source, sha256, bytes, media_type, title, words, passages, charset,
            language, language_confidence, pages, signature, headings, heading_count, links, link_count, summary,
            workflow_id, run_id, requested_at, scheduled_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::jsonb, $15, $16::jsonb, $17, $18, $19,
            $20, $21, $22)
         ON CONFLICT (document_id) DO UPDATE SET
            source = excluded.source, sha256 = excluded.sha256, bytes = excluded.bytes,
            media_type = excluded.media_type, title = excluded.title, words = excluded.words,
            passages = excluded.passages, charset = excluded.charset, language = excluded.language,
            language_confidence = excluded.language_confidence, pages = excluded.pages,
            signature = excluded.signature, headings = excluded.headings, heading_count = excluded.heading_count,
            links = excluded.links, link_count = excluded.link_count, summary = excluded.summary,
            workflow_id = excluded.workflow_id, run_id = excluded.run_id, requested_at = excluded.requested_at,
            scheduled_at = excluded.scheduled_at,
            outcome = CASE WHEN to_jsonb(old) - $23 = to_jsonb(excluded) - $23 THEN 'unchanged' ELSE 'stored' END,
            stored_at = CASE WHEN to_jsonb(old) - $23 = to_jsonb(excluded) - $23 THEN old.stored_at ELSE now() END
         WHERE old.run_id <> excluded.run_id AND (old.requested_at, old.scheduled_at, old.run_id)
            < (excluded.requested_at, excluded.scheduled_at, excluded.run_id)
         RETURNING sha256, bytes, words, passages, outcome = 'unchanged' AS unchanged",
    )
    .bind(document.document_id)
    .bind(document.source)
    .bind(document.sha256)
    .bind(i64::try_from(document.bytes).unwrap_or(i64::MAX))
    .bind(document.media_type.as_str())
    .bind(document.title)
    .bind(i64::try_from(document.words).unwrap_or(i64::MAX))
    .bind(i32::try_from(document.passages.len()).unwrap_or(i32::MAX))
    .bind(document.charset)
    .bind(document.language.map(|language| language.code.as_str()))
    .bind(document.language.map(|language| i16::from(language.confidence)))
    .bind(document.pages.map(small))
    .bind(document.signature.map(|signature| signature.0.cast_signed()))
    .bind(json(&structure.headings)?)
    .bind(small(structure.heading_count))
    .bind(json(&structure.links)?)
    .bind(small(structure.link_count))
    .bind(document.summary)
    .bind(request.workflow_id)
    .bind(request.run_id)
    .bind(OffsetDateTime::from(request.requested_at))
    .bind(OffsetDateTime::from(request.scheduled_at))
    .bind(REQUEST_COLUMNS.as_slice())
    .try_map(|row: PgRow| stored(&row, outcome(&row)?, true))
    .fetch_optional(connection)
    .await
}

/// The row that the transaction has locked, and what the request did to it.
async fn read_document(connection: &mut PgConnection, document: &DocumentRecord<'_>) -> sqlx::Result<StoredDocument> {
    query(
        "SELECT sha256, bytes, words, passages, outcome = 'unchanged' AS unchanged, run_id = $2 AS own
         FROM documents WHERE document_id = $1",
    )
    .bind(document.document_id)
    .bind(document.request.run_id)
    .try_map(|row: PgRow| {
        let outcome = if row.try_get("own")? { outcome(&row)? } else { Outcome::Superseded };
        stored(&row, outcome, false)
    })
    .fetch_one(connection)
    .await
}

fn outcome(row: &PgRow) -> sqlx::Result<Outcome> {
    Ok(if row.try_get("unchanged")? { Outcome::Unchanged } else { Outcome::Stored })
}

fn stored(row: &PgRow, outcome: Outcome, written: bool) -> sqlx::Result<StoredDocument> {
    let (bytes, words, passages): (i64, i64, i32) =
        (row.try_get("bytes")?, row.try_get("words")?, row.try_get("passages")?);
    Ok(StoredDocument {
        sha256: row.try_get("sha256")?,
        bytes: bytes.unsigned_abs(),
        words: words.unsigned_abs(),
        passages: passages.unsigned_abs(),
        outcome,
        written,
    })
}

/// Makes a document's passages those of the record, and returns whether any differed.
async fn write_passages(connection: &mut PgConnection, document: &DocumentRecord<'_>) -> sqlx::Result<bool> {
    let passages = document.passages;
    let ordinals: Vec<i32> = passages.iter().map(|passage| small(passage.ordinal)).collect();
    let texts: Vec<&str> = passages.iter().map(|passage| passage.text.as_str()).collect();
    let words: Vec<i32> = passages.iter().map(|passage| small(passage.words)).collect();
    let hashes: Vec<&str> = passages.iter().map(|passage| passage.sha256.as_str()).collect();
    sqlx::query_scalar(
        "WITH surplus AS (
            DELETE FROM passages WHERE document_id = $1 AND ordinal NOT BETWEEN 0 AND cardinality($2::int[]) - 1
            RETURNING ordinal
         ), changed AS (
            INSERT INTO passages AS old (document_id, ordinal, text, words, sha256)
            SELECT $1, * FROM unnest($2::int[], $3::text[], $4::int[], $5::text[])
            ON CONFLICT (document_id, ordinal) DO UPDATE
            SET text = excluded.text, words = excluded.words, sha256 = excluded.sha256
            WHERE (old.text, old.words, old.sha256) IS DISTINCT FROM (excluded.text, excluded.words, excluded.sha256)
            RETURNING ordinal
         )
         SELECT EXISTS (SELECT FROM surplus) OR EXISTS (SELECT FROM changed)",
    )
    .persistent(false)
    .bind(document.document_id)
    .bind(ordinals)
    .bind(texts)
    .bind(words)
    .bind(hashes)
    .fetch_one(connection)
    .await
}

/// Corrects the row of a document whose passages alone differed.
async fn mark_as_stored(connection: &mut PgConnection, document_id: &str) -> sqlx::Result<()> {
    query("UPDATE documents SET outcome = 'stored', stored_at = now() WHERE document_id = $1")
        .bind(document_id)
        .execute(connection)
        .await
        .map(drop)
}

async fn record_effect(connection: &mut PgConnection, step: &str, workflow: &str) -> sqlx::Result<()> {
    query(
        "INSERT INTO effects AS old (workflow_id, step) VALUES ($1, $2)
         ON CONFLICT (workflow_id, step) DO UPDATE SET times = old.times + 1, at = now()",
    )
    .bind(workflow)
    .bind(step)
    .execute(connection)
    .await
    .map(drop)
}

/// A count as a Postgres `int`.
fn small(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn json<T: serde::Serialize>(value: &T) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}
