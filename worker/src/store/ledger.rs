//! The tables `attempts` (what was tried again) and `effects` (what took effect), and their retention. No step reads
//! them: they are for people and for tests.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{Database, pool::query};

/// The tables with a retention. Both have a column `at` with an index.
const TABLES: [&str; 2] = ["attempts", "effects"];

/// Interval of the deletions.
const ROUND: Duration = Duration::from_secs(3600);

/// Rows that one statement deletes, and the pause between two. A worker deletes at most 500 rows a second.
const BATCH: u16 = 500;
const PAUSE: Duration = Duration::from_secs(1);

impl Database {
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

    /// Deletes rows that are older than `days`, now and then every hour. It never ends.
    ///
    /// Every worker does this. Two workers never wait for each other's rows, and a round without old rows reads only
    /// the index.
    pub async fn delete_old_rows(self, days: u16) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            for table in TABLES {
                match self.delete_all_old(table, days).await {
                    Ok(0) => {}
                    Ok(rows) => info!(table, rows, days, "deleted the rows that are older than DB_RETENTION_DAYS"),
                    Err(error) => warn!(table, %error, "old rows were not deleted; the next try is in an hour"),
                }
            }
        }
    }

    /// Deletes a table's old rows in batches, and returns their number.
    async fn delete_all_old(&self, table: &'static str, days: u16) -> sqlx::Result<u64> {
        let mut batches = interval(PAUSE);
        batches.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deleted = 0;
        loop {
            batches.tick().await;
            let batch = self.delete_oldest(table, days).await?;
            deleted += batch;
            if batch < u64::from(BATCH) {
                return Ok(deleted);
            }
        }
    }

    async fn delete_oldest(&self, table: &'static str, days: u16) -> sqlx::Result<u64> {
        let mut connection = self.pool.begin().await?;
        let statement = format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM {table} WHERE at < now() - make_interval(days => $1)
                ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED))"
        );
        let deleted =
            query(AssertSqlSafe(statement)).bind(i32::from(days)).bind(i64::from(BATCH)).execute(&mut *connection);
        let deleted = self.pool.with_timeout(deleted).await;
        connection.end(deleted).await.map(|done| done.rows_affected())
    }
}
