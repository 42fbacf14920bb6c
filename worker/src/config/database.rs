//! The database of documents, and how many connections to it one process may open.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Faults, SecretUrl, concurrency::ConcurrencyConfig};

/// The `[database]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database` (`DATABASE_URL`).
    pub url: SecretUrl,
    /// Connections that stay open once opened. A process opens at most `pool_size` plus `max_overflow` connections,
    /// and at most one more than its IO slots. `temporal-worker watch` opens at most 2.
    pub pool_size: u32,
    /// Additional connections under load, which are closed when idle.
    pub max_overflow: u32,
    /// Seconds to wait for a free connection before the activity fails and is retried.
    pub acquire_timeout_seconds: u64,
    /// Timeout in seconds that the server applies to a statement and to an idle transaction. If no answer arrives
    /// some seconds later, the connection is closed and the activity retried. 0 leaves it to the server, for a
    /// PgBouncer that rejects the startup parameter `options`.
    pub statement_timeout_seconds: u64,
    /// Days that a row of the tables `attempts` and `effects` is kept. Each worker deletes older rows every hour.
    pub retention_days: u16,
    /// Whether the table `attempts` gets a row for the first attempt at each step, too, and not only for later ones.
    /// For tests.
    pub record_first_attempts: bool,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: SecretUrl::from("postgres://localhost:5432/documents"),
            pool_size: 20,
            max_overflow: 30,
            acquire_timeout_seconds: 10,
            statement_timeout_seconds: 30,
            retention_days: 30,
            record_first_attempts: false,
        }
    }
}

impl DatabaseConfig {
    /// Maximum number of connections: the lower of what the settings allow and what the slots can use.
    ///
    /// Each IO slot needs one connection at a time. One more serves the short statements of the CPU slots.
    pub fn connections(&self, slots: usize) -> u32 {
        let allowed = self.pool_size.saturating_add(self.max_overflow);
        let useful = u32::try_from(slots).unwrap_or(u32::MAX).saturating_add(1);
        allowed.min(useful)
    }

    /// Maximum number of these connections that stay open when idle.
    pub fn connections_kept(&self, slots: usize) -> u32 {
        self.pool_size.min(self.connections(slots))
    }

    /// Timeout of the wait for a free connection.
    pub fn acquire_timeout(&self) -> Duration {
        Duration::from_secs(self.acquire_timeout_seconds)
    }

    /// Timeout of a statement, if any.
    pub fn statement_timeout(&self) -> Option<Duration> {
        (self.statement_timeout_seconds > 0).then(|| Duration::from_secs(self.statement_timeout_seconds))
    }

    pub(super) fn validate(&self, concurrency: &ConcurrencyConfig, faults: &mut Faults) {
        match url::Url::parse(self.url.expose()) {
            Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => {}
            Ok(url) => faults.add(format!(
                "database.url has the scheme {:?}: set DATABASE_URL to postgres://user:password@host:port/database",
                url.scheme()
            )),
            Err(error) => faults.add(format!(
                "database.url is not a URL ({error}): set DATABASE_URL to postgres://user:password@host:port/database"
            )),
        }
        let allowed = self.pool_size.saturating_add(self.max_overflow);
        if usize::try_from(allowed).is_ok_and(|allowed| allowed < concurrency.io_slots) {
            faults.add(format!(
                "database.pool_size and database.max_overflow are {allowed} together, fewer than \
                 concurrency.io_slots, {}: activities would wait inside a slot; raise DB_POOL_SIZE or \
                 DB_MAX_OVERFLOW, or lower TEMPORAL_IO_ACTIVITY_CONCURRENCY",
                concurrency.io_slots
            ));
        }
        faults.require_at_least("database.acquire_timeout_seconds", self.acquire_timeout_seconds, 1);
        faults.require_at_least("database.retention_days", self.retention_days, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_by_the_slots_and_by_the_settings() {
        let slots = ConcurrencyConfig::default().io_slots;
        let guide = DatabaseConfig::default();
        assert_eq!(guide.connections(slots), 6);
        assert_eq!(guide.connections_kept(slots), 6);
        assert_eq!(guide.connections(1), 2, "temporal-worker watch");
        let small = DatabaseConfig { pool_size: 2, max_overflow: 1, ..guide };
        assert_eq!(small.connections(slots), 3);
        assert_eq!(small.connections_kept(slots), 2);
    }

    #[test]
    fn a_statement_timeout_of_0_means_none() {
        let config = DatabaseConfig::default();
        assert_eq!(config.statement_timeout(), Some(Duration::from_secs(30)));
        let open = DatabaseConfig { statement_timeout_seconds: 0, ..config };
        assert_eq!(open.statement_timeout(), None);
    }
}
