//! Who holds connections to Postgres: the workers, each by its address, and everybody else, by database.
//!
//! What is made of a reading is pure.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPool;

/// The `application_name` that a worker gives its connections.
const WORKER: &str = "temporal-worker";

/// The connections at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Of each worker, by its address.
    pub workers: BTreeMap<String, u32>,
    /// Of the others, by database.
    pub others: BTreeMap<String, u32>,
    /// What Postgres allows users that are no superusers.
    pub allowed: u32,
}

impl Connections {
    /// Of all workers together.
    pub fn of_workers(&self) -> u32 {
        self.workers.values().sum()
    }

    /// Of the worker that has most.
    pub fn most_of_a_worker(&self) -> u32 {
        self.workers.values().copied().max().unwrap_or(0)
    }

    /// Of everybody.
    pub fn all(&self) -> u32 {
        self.of_workers() + self.others.values().sum::<u32>()
    }
}

/// Reads the connections. Postgres shows a plain user little of other roles' sessions, so those are counted by
/// database.
///
/// # Errors
/// The database cannot be read.
pub async fn read(pool: &PgPool) -> Result<Connections> {
    let workers: Vec<(Option<String>, i64)> = sqlx::query_as(
        "select host(client_addr), count(*) from pg_stat_activity \
         where application_name = $1 and datname = current_database() group by 1",
    )
    .bind(WORKER)
    .fetch_all(pool)
    .await
    .context("reading pg_stat_activity")?;
    let databases: Vec<(String, i32, bool)> = sqlx::query_as(
        "select datname::text, numbackends, datname = current_database() from pg_stat_database \
         where datname is not null and numbackends > 0",
    )
    .fetch_all(pool)
    .await
    .context("reading pg_stat_database")?;
    let allowed: i32 = sqlx::query_scalar(
        "select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int",
    )
    .fetch_one(pool)
    .await
    .context("reading max_connections")?;
    Ok(of_counts(workers, databases, u32::try_from(allowed).unwrap_or(0)))
}

/// `databases`: name, connections, and whether it is the workers' own.
fn of_counts(workers: Vec<(Option<String>, i64)>, databases: Vec<(String, i32, bool)>, allowed: u32) -> Connections {
    let workers: BTreeMap<String, u32> = workers
        .into_iter()
        .map(|(address, count)| (address.unwrap_or_default(), u32::try_from(count).unwrap_or(u32::MAX)))
        .collect();
    let of_workers: u32 = workers.values().sum();
    let others = databases.into_iter().map(|(name, count, ours)| {
        let count = u32::try_from(count).unwrap_or(0);
        let others = if ours { count.saturating_sub(of_workers) } else { count };
        (name, others)
    });
    Connections { others: others.collect(), workers, allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_told_apart_by_address_and_from_everybody_else() {
        let worker = |address: &str, count| (Some(address.to_owned()), count);
        let found = of_counts(
            vec![worker("10.244.0.7", 4), worker("10.244.0.8", 6)],
            vec![("documents".to_owned(), 13, true), ("temporal".to_owned(), 91, false)],
            297,
        );
        assert_eq!((found.of_workers(), found.most_of_a_worker(), found.all()), (10, 6, 104));
        assert_eq!((found.others["documents"], found.others["temporal"]), (3, 91));
        assert_eq!(found.allowed, 297);
    }
}
