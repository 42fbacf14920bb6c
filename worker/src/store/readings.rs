//! Queue readings that a fleet shares: one process asks Temporal, and all show its reading.
//!
//! A lease in the queue's row decides which process asks. Each reading renews it, and any process may take an
//! expired one. So a fleet of any size asks as often as one process, and another process takes over after a crash.
//!
//! One statement handles all queues. One statement per queue would need a connection each, every second.

use std::time::Duration;

use sqlx::{Row as _, postgres::PgRow, postgres::types::PgInterval};

use super::{Database, pool::query};
use crate::metrics::{Queue, Reading};

/// The row of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedReading {
    /// The queue.
    pub queue: Queue,
    /// The reading and its age; `None` if Temporal could not be asked.
    pub reading: Option<(Reading, Duration)>,
    /// Whether the caller may take the lease: it holds the lease, or the lease has expired.
    pub leasable: bool,
}

impl Database {
    /// The rows of these queues. A queue that was never read has none.
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
        let mut connection = self.pool.begin().await?;
        let rows = query(
            "SELECT queue, kind, reader = $3 OR lease_until < now() AS leasable,
                    extract(epoch FROM now() - read_at)::float8 AS seconds,
                    depth, backlog_age_seconds, add_rate, dispatch_rate, pollers
             FROM queue_readings WHERE namespace = $1 AND queue = ANY($2)",
        )
        .bind(namespace)
        .bind(names)
        .bind(reader)
        .try_map(|row: PgRow| shared(&row))
        .fetch_all(&mut *connection);
        let rows = self.pool.with_timeout(rows).await;
        connection.end(rows).await
    }

    /// Acquires or renews the leases on queues. Returns the queues whose lease no other process holds.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn take_leases(
        &self,
        namespace: &str,
        queues: &[&Queue],
        reader: &str,
        length: Duration,
    ) -> sqlx::Result<Vec<Queue>> {
        let (names, kinds) = named(queues.iter().copied());
        let mut connection = self.pool.begin().await?;
        let taken = query(
            "INSERT INTO queue_readings (namespace, queue, kind, reader, lease_until)
             SELECT $1, queue, kind, $4, now() + $5 FROM unnest($2::text[], $3::text[]) AS wanted (queue, kind)
             ON CONFLICT (namespace, queue, kind) DO UPDATE
             SET reader = excluded.reader, lease_until = excluded.lease_until
             WHERE queue_readings.reader = excluded.reader OR queue_readings.lease_until < now()
             RETURNING queue, kind",
        )
        .bind(namespace)
        .bind(names)
        .bind(kinds)
        .bind(reader)
        .bind(interval(length))
        .try_map(|row: PgRow| queue(&row))
        .fetch_all(&mut *connection);
        let taken = self.pool.with_timeout(taken).await;
        connection.end(taken).await
    }

    /// Writes the new reading of each queue; `None` removes the old one.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn share_readings(
        &self,
        namespace: &str,
        reader: &str,
        readings: &[(&Queue, Option<&Reading>)],
    ) -> sqlx::Result<()> {
        let (names, kinds) = named(readings.iter().map(|(queue, _)| *queue));
        let mut connection = self.pool.begin().await?;
        let shared = query(
            "UPDATE queue_readings AS old
             SET read_at = CASE WHEN new.depth IS NULL THEN NULL ELSE now() END,
                 depth = new.depth, backlog_age_seconds = new.age,
                 add_rate = new.added, dispatch_rate = new.dispatched, pollers = new.pollers
             FROM unnest($3::text[], $4::text[], $5::bigint[], $6::float8[], $7::float8[], $8::float8[], $9::bigint[])
                  AS new (queue, kind, depth, age, added, dispatched, pollers)
             WHERE old.namespace = $1 AND old.reader = $2 AND old.queue = new.queue AND old.kind = new.kind",
        )
        .bind(namespace)
        .bind(reader)
        .bind(names)
        .bind(kinds)
        .bind(column(readings, |reading| reading.depth))
        .bind(column(readings, |reading| reading.backlog_age_seconds))
        .bind(column(readings, |reading| reading.add_rate))
        .bind(column(readings, |reading| reading.dispatch_rate))
        .bind(column(readings, |reading| reading.pollers))
        .execute(&mut *connection);
        let shared = self.pool.with_timeout(shared).await;
        connection.end(shared).await.map(drop)
    }

    /// Releases all leases of a process that shuts down, so that the next one need not wait until they expire.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn release_leases(&self, reader: &str) -> sqlx::Result<()> {
        let mut connection = self.pool.begin().await?;
        let released = query("UPDATE queue_readings SET lease_until = '-infinity' WHERE reader = $1")
            .bind(reader)
            .execute(&mut *connection);
        let released = self.pool.with_timeout(released).await;
        connection.end(released).await.map(drop)
    }
}

fn interval(length: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(length.as_micros()).unwrap_or(i64::MAX) }
}

/// Names and kinds of queues, as two columns.
fn named<'a>(queues: impl Iterator<Item = &'a Queue>) -> (Vec<&'a str>, Vec<&'static str>) {
    queues.map(|queue| (queue.name.as_str(), queue.kind())).unzip()
}

/// One value of each reading, as a column.
fn column<T>(readings: &[(&Queue, Option<&Reading>)], value: impl Fn(&Reading) -> T) -> Vec<Option<T>> {
    readings.iter().map(|(_, reading)| reading.map(&value)).collect()
}

fn queue(row: &PgRow) -> sqlx::Result<Queue> {
    Ok(Queue::of_kind(row.try_get("queue")?, row.try_get("kind")?))
}

fn shared(row: &PgRow) -> sqlx::Result<SharedReading> {
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
    Ok(SharedReading { queue: queue(row)?, reading, leasable: row.try_get("leasable")? })
}
