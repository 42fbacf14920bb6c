//! The readings of the queues as a fleet shares them: one worker asks Temporal, all show what it read.
//!
//! Who asks is a lease in the queue's row: it is kept by asking, and anybody may take it once it has run out. So a fleet of
//! any size asks as often as one worker, and a worker that dies is followed by another when its lease ends.

use std::time::Duration;

use sqlx::{Row as _, postgres::PgRow, postgres::types::PgInterval};

use super::Database;
use crate::metrics::{Queue, Reading};

/// A queue's row.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedReading {
    /// The queue.
    pub queue: Queue,
    /// What was read, and how long ago; nothing where Temporal could not be asked.
    pub reading: Option<(Reading, Duration)>,
    /// Whether it is for the caller to ask: its own lease, or one that has run out.
    pub mine: bool,
}

impl Database {
    /// The rows of these queues; a queue that nobody has asked for yet has none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn shared_readings(
        &self,
        namespace: &str,
        queues: &[Queue],
        reader: &str,
    ) -> sqlx::Result<Vec<SharedReading>> {
        let names: Vec<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
        let mut loan = self.pool.acquire().await?;
        let rows = sqlx::query(
            "SELECT queue, kind, reader = $3 OR lease_until < now() AS mine,
                    extract(epoch FROM now() - read_at)::float8 AS seconds,
                    depth, backlog_age_seconds, add_rate, dispatch_rate, pollers
             FROM queue_readings WHERE namespace = $1 AND queue = ANY($2)",
        )
        .bind(namespace)
        .bind(names)
        .bind(reader)
        .try_map(|row: PgRow| shared(&row))
        .fetch_all(&mut *loan);
        let rows = self.pool.in_time(rows).await;
        loan.give_back(rows)
    }

    /// Takes or keeps the lease on a queue; false where another has it.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn take_lease(
        &self,
        namespace: &str,
        queue: &Queue,
        reader: &str,
        length: Duration,
    ) -> sqlx::Result<bool> {
        let mut loan = self.pool.acquire().await?;
        let taken = sqlx::query(
            "INSERT INTO queue_readings (namespace, queue, kind, reader, lease_until)
             VALUES ($1, $2, $3, $4, now() + $5)
             ON CONFLICT (namespace, queue, kind) DO UPDATE
             SET reader = excluded.reader, lease_until = excluded.lease_until
             WHERE queue_readings.reader = excluded.reader OR queue_readings.lease_until < now()",
        )
        .bind(namespace)
        .bind(&queue.name)
        .bind(queue.kind())
        .bind(reader)
        .bind(interval(length))
        .execute(&mut *loan);
        let taken = self.pool.in_time(taken).await;
        Ok(loan.give_back(taken)?.rows_affected() == 1)
    }

    /// Tells the fleet what was read just now, or that nothing could be.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn share_reading(
        &self,
        namespace: &str,
        queue: &Queue,
        reader: &str,
        reading: Option<&Reading>,
    ) -> sqlx::Result<()> {
        let mut loan = self.pool.acquire().await?;
        let shared = sqlx::query(
            "UPDATE queue_readings
             SET read_at = CASE WHEN $5::bigint IS NULL THEN NULL ELSE now() END,
                 depth = $5, backlog_age_seconds = $6, add_rate = $7, dispatch_rate = $8, pollers = $9
             WHERE namespace = $1 AND queue = $2 AND kind = $3 AND reader = $4",
        )
        .bind(namespace)
        .bind(&queue.name)
        .bind(queue.kind())
        .bind(reader)
        .bind(reading.map(|reading| reading.depth))
        .bind(reading.map(|reading| reading.backlog_age_seconds))
        .bind(reading.map(|reading| reading.add_rate))
        .bind(reading.map(|reading| reading.dispatch_rate))
        .bind(reading.map(|reading| reading.pollers))
        .execute(&mut *loan);
        let shared = self.pool.in_time(shared).await;
        loan.give_back(shared).map(drop)
    }

    /// Gives up every lease of a worker that leaves, so that the next one need not wait for it to run out.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn release_leases(&self, reader: &str) -> sqlx::Result<()> {
        let mut loan = self.pool.acquire().await?;
        let released = sqlx::query("UPDATE queue_readings SET lease_until = '-infinity' WHERE reader = $1")
            .bind(reader)
            .execute(&mut *loan);
        let released = self.pool.in_time(released).await;
        loan.give_back(released).map(drop)
    }
}

fn interval(length: Duration) -> PgInterval {
    PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(length.as_micros()).unwrap_or(i64::MAX),
    }
}

fn shared(row: &PgRow) -> sqlx::Result<SharedReading> {
    let queue = Queue::of_kind(row.try_get("queue")?, row.try_get("kind")?);
    let seconds: Option<f64> = row.try_get("seconds")?;
    let reading = match seconds {
        None => None,
        Some(seconds) => {
            let reading = Reading {
                depth: row.try_get("depth")?,
                backlog_age_seconds: row.try_get("backlog_age_seconds")?,
                add_rate: row.try_get("add_rate")?,
                dispatch_rate: row.try_get("dispatch_rate")?,
                pollers: row.try_get("pollers")?,
            };
            Some((reading, Duration::try_from_secs_f64(seconds).unwrap_or_default()))
        }
    };
    Ok(SharedReading {
        queue,
        reading,
        mine: row.try_get("mine")?,
    })
}
