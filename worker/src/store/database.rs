//! Documents, passages, effects and attempts in Postgres.
//!
//! Queries are checked at run time. [`super::schema`] applies the schema.

use sqlx::PgConnection;

use super::pool::{Pool, PoolSettings, query};
use crate::{
    config::DatabaseConfig,
    metrics::{Metrics, PoolState},
    text::{Language, MediaType, Passage, Signature, Structure},
};

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
    /// Id of the workflow that stores it.
    pub workflow_id: &'a str,
    /// Run id of that workflow.
    pub run_id: &'a str,
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
    pub fn open(config: &DatabaseConfig, settings: PoolSettings, metrics: Metrics) -> anyhow::Result<Self> {
        Pool::open(config, settings, metrics).map(|pool| Self { pool })
    }

    /// Records that an attempt at a step began.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_attempt(&self, workflow: &str, step: &str, attempt: u32, worker: &str) -> sqlx::Result<()> {
        let mut connection = self.pool.begin().await?;
        let noted = query("INSERT INTO attempts (workflow_id, step, attempt, worker) VALUES ($1, $2, $3, $4)")
            .bind(workflow)
            .bind(step)
            .bind(i32::try_from(attempt).unwrap_or(i32::MAX))
            .bind(worker)
            .execute(&mut *connection);
        let noted = self.pool.with_timeout(noted).await;
        connection.end(noted).await.map(drop)
    }

    /// Stores a document with its passages and the effect of the step in one transaction.
    ///
    /// Returns false, and writes nothing, if the step had taken effect before.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn store(&self, step: &str, document: &DocumentRecord<'_>) -> sqlx::Result<bool> {
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

async fn store(connection: &mut PgConnection, step: &str, document: &DocumentRecord<'_>) -> sqlx::Result<bool> {
    let effect = query("INSERT INTO effects (workflow_id, step) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(document.workflow_id)
        .bind(step)
        .execute(&mut *connection)
        .await?;
    let first = effect.rows_affected() == 1;
    // If another workflow has stored the document, its row and passages stay as they are.
    if first && insert_document(connection, document).await? {
        insert_passages(connection, document).await?;
    }
    Ok(first)
}

async fn insert_document(connection: &mut PgConnection, document: &DocumentRecord<'_>) -> sqlx::Result<bool> {
    let structure = document.structure;
    let inserted = query(
        "INSERT INTO documents (document_id, source, sha256, bytes, media_type, title, words, passages, workflow_id, run_id,
            charset, language, language_confidence, pages, signature, headings, heading_count, links, link_count, summary)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16::jsonb, $17, $18::jsonb, $19, $20)
         ON CONFLICT (document_id) DO NOTHING",
    )
    .bind(document.document_id)
    .bind(document.source)
    .bind(document.sha256)
    .bind(i64::try_from(document.bytes).unwrap_or(i64::MAX))
    .bind(document.media_type.as_str())
    .bind(document.title)
    .bind(i64::try_from(document.words).unwrap_or(i64::MAX))
    .bind(i32::try_from(document.passages.len()).unwrap_or(i32::MAX))
    .bind(document.workflow_id)
    .bind(document.run_id)
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
    .execute(&mut *connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

async fn insert_passages(connection: &mut PgConnection, document: &DocumentRecord<'_>) -> sqlx::Result<()> {
    let passages = document.passages;
    let ordinals: Vec<i32> = passages.iter().map(|passage| small(passage.ordinal)).collect();
    let texts: Vec<&str> = passages.iter().map(|passage| passage.text.as_str()).collect();
    let words: Vec<i32> = passages.iter().map(|passage| small(passage.words)).collect();
    let hashes: Vec<&str> = passages.iter().map(|passage| passage.sha256.as_str()).collect();
    query(
        "INSERT INTO passages (document_id, ordinal, text, words, sha256)
         SELECT $1, * FROM unnest($2::int[], $3::text[], $4::int[], $5::text[]) ON CONFLICT DO NOTHING",
    )
    .bind(document.document_id)
    .bind(ordinals)
    .bind(texts)
    .bind(words)
    .bind(hashes)
    .execute(&mut *connection)
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
