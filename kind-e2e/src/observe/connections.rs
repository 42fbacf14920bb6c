//! Who holds connections to Postgres, by `pg_stat_activity`: the workers, each by its address, and everybody else.
//!
//! One reading is one query; what it comes to is pure.

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
    /// Of the others, by user and database.
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

/// One group of `pg_stat_activity`: application, user, database, address, and how many.
type Group = (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    i64,
);

/// Reads the connections of clients.
///
/// # Errors
/// The database cannot be read.
pub async fn read(pool: &PgPool) -> Result<Connections> {
    let groups: Vec<Group> = sqlx::query_as(
        "select application_name, usename::text, datname::text, host(client_addr), count(*) \
         from pg_stat_activity where backend_type = 'client backend' group by 1, 2, 3, 4",
    )
    .fetch_all(pool)
    .await
    .context("reading pg_stat_activity")?;
    let allowed: i32 = sqlx::query_scalar(
        "select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int",
    )
    .fetch_one(pool)
    .await
    .context("reading max_connections")?;
    Ok(of_groups(groups, u32::try_from(allowed).unwrap_or(0)))
}

fn of_groups(groups: Vec<Group>, allowed: u32) -> Connections {
    let mut found = Connections {
        allowed,
        ..Connections::default()
    };
    for (application, user, database, address, count) in groups {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let text = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
        let (kind, name) = match application.as_deref() {
            Some(WORKER) => (&mut found.workers, text(address)),
            _ => (&mut found.others, format!("{} on {}", text(user), text(database))),
        };
        *kind.entry(name).or_default() += count;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_told_apart_by_address_and_from_everybody_else() {
        let group = |application: &str, user: &str, database: &str, address: &str, count| {
            let some = |text: &str| Some(text.to_owned());
            (
                some(application),
                some(user),
                some(database),
                some(address),
                count,
            )
        };
        let found = of_groups(
            vec![
                group("temporal-worker", "slipway", "documents", "10.244.0.7", 4),
                group("temporal-worker", "slipway", "documents", "10.244.0.8", 6),
                group("", "temporal", "temporal", "10.244.0.5", 90),
                group("", "slipway", "documents", "10.244.0.1", 3),
                group("psql", "temporal", "temporal", "10.244.0.1", 1),
            ],
            297,
        );
        assert_eq!(
            (found.of_workers(), found.most_of_a_worker(), found.all()),
            (10, 6, 104)
        );
        assert_eq!(found.others["temporal on temporal"], 91);
        assert_eq!(found.allowed, 297);
    }
}
