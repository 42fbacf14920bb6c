//! Documents, passages, effects and attempts in Postgres.
//!
//! Queries are checked at run time; the schema is `migrations/`, embedded and run at start under an advisory lock, so that
//! twenty workers may start at once.

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

use super::pool::{Holder, Pool};
use crate::{
    config::DatabaseConfig,
    metrics::{Metrics, PoolState},
    text::{Language, MediaType, Passage, Signature, Structure},
};

/// All that is kept of a document.
#[derive(Debug)]
pub struct DocumentRecord<'a> {
    /// Identity of the document.
    pub document_id: &'a str,
    /// Where it was read.
    pub source: &'a str,
    /// Hash of its bytes, hex.
    pub sha256: &'a str,
    /// Its size.
    pub bytes: u64,
    /// Its type.
    pub media_type: MediaType,
    /// Its title, where it has one.
    pub title: Option<&'a str>,
    /// Words in its text.
    pub words: u64,
    /// Its text.
    pub passages: &'a [Passage],
    /// Its summary, where there is one.
    pub summary: Option<&'a str>,
    /// Charset of its text, where it is text.
    pub charset: Option<&'a str>,
    /// Language of its text, where there is enough of it.
    pub language: Option<&'a Language>,
    /// Its pages, where it has pages.
    pub pages: Option<u32>,
    /// By which near-duplicates are found.
    pub signature: Option<Signature>,
    /// Its headings and links.
    pub structure: &'a Structure,
    /// Workflow that stores it.
    pub workflow_id: &'a str,
    /// Run of that workflow.
    pub run_id: &'a str,
}

/// The documents' database.
#[derive(Debug, Clone)]
pub struct Database {
    pub(super) pool: Pool,
}

impl Database {
    /// Prepares the pool; connections are opened when they are needed. Waits for one are noted in the metrics.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn open(config: &DatabaseConfig, holder: Holder, metrics: Metrics) -> anyhow::Result<Self> {
        Pool::open(config, holder, metrics).map(|pool| Self { pool })
    }

    /// Brings the schema up to date, on a connection of its own: the pool would hide why it cannot connect, and ends a
    /// statement that a migration needs time for.
    ///
    /// # Errors
    /// The database cannot be reached, or a migration that was applied is not what it was.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        let mut connection = self.pool.connect().await.context("connecting to the database")?;
        let mut migrations = sqlx::migrate!("./migrations");
        // Migrations only add: a version that is rolled back to works on the schema of the one after it.
        migrations.set_ignore_missing(true);
        migrations
            .run(&mut connection)
            .await
            .context("migrating the database")?;
        connection
            .close()
            .await
            .context("closing the connection of the migration")
    }

    /// Notes that an attempt at a step began.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_attempt(
        &self,
        workflow: &str,
        step: &str,
        attempt: u32,
        worker: &str,
    ) -> sqlx::Result<()> {
        let mut loan = self.pool.acquire().await?;
        let noted =
            sqlx::query("INSERT INTO attempts (workflow_id, step, attempt, worker) VALUES ($1, $2, $3, $4)")
                .bind(workflow)
                .bind(step)
                .bind(i32::try_from(attempt).unwrap_or(i32::MAX))
                .bind(worker)
                .execute(&mut *loan);
        let noted = self.pool.in_time(noted).await;
        loan.give_back(noted).map(drop)
    }

    /// Stores a document with its passages and the effect of the step, all or nothing, once.
    ///
    /// Returns false where the step had taken effect before; nothing is written then.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn store(&self, step: &str, document: &DocumentRecord<'_>) -> sqlx::Result<bool> {
        let mut loan = self.pool.acquire().await?;
        let stored = self.pool.in_time(store(&mut loan, step, document)).await;
        loan.give_back(stored)
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// The connections that are open, and who waits for one.
    pub fn connections(&self) -> PoolState {
        self.pool.state()
    }
}

async fn store(
    connection: &mut PgConnection,
    step: &str,
    document: &DocumentRecord<'_>,
) -> sqlx::Result<bool> {
    let mut transaction = connection.begin().await?;
    let effect =
        sqlx::query("INSERT INTO effects (workflow_id, step) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(document.workflow_id)
            .bind(step)
            .execute(&mut *transaction)
            .await?;
    let first = effect.rows_affected() == 1;
    // Another workflow may have stored the document: its passages stay whole, so ours are added only with our row.
    if first && insert_document(&mut transaction, document).await? {
        insert_passages(&mut transaction, document).await?;
    }
    transaction.commit().await?;
    Ok(first)
}

async fn insert_document(
    transaction: &mut Transaction<'_, Postgres>,
    document: &DocumentRecord<'_>,
) -> sqlx::Result<bool> {
    let structure = document.structure;
    let inserted = sqlx::query(
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
    .execute(&mut **transaction)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

async fn insert_passages(
    transaction: &mut Transaction<'_, Postgres>,
    document: &DocumentRecord<'_>,
) -> sqlx::Result<()> {
    let passages = document.passages;
    let ordinals: Vec<i32> = passages.iter().map(|passage| small(passage.ordinal)).collect();
    let texts: Vec<&str> = passages.iter().map(|passage| passage.text.as_str()).collect();
    let words: Vec<i32> = passages.iter().map(|passage| small(passage.words)).collect();
    let hashes: Vec<&str> = passages.iter().map(|passage| passage.sha256.as_str()).collect();
    sqlx::query(
        "INSERT INTO passages (document_id, ordinal, text, words, sha256)
         SELECT $1, * FROM unnest($2::int[], $3::text[], $4::int[], $5::text[]) ON CONFLICT DO NOTHING",
    )
    .bind(document.document_id)
    .bind(ordinals)
    .bind(texts)
    .bind(words)
    .bind(hashes)
    .execute(&mut **transaction)
    .await
    .map(drop)
}

/// A count as Postgres keeps it.
fn small(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn json<T: serde::Serialize>(value: &T) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}
