//! The database of documents, and how many connections to it one worker may hold.

use serde::{Deserialize, Serialize};

use super::{Faults, SecretUrl, concurrency::ConcurrencyConfig};

/// The `[database]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database` (`DATABASE_URL`).
    pub url: SecretUrl,
    /// Connections kept (`DB_POOL_SIZE`).
    pub pool_size: u32,
    /// Connections on top of these under need (`DB_MAX_OVERFLOW`).
    pub max_overflow: u32,
    /// Seconds to wait for a free connection before the activity fails and is retried.
    pub acquire_timeout_seconds: u64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: SecretUrl::from("postgres://localhost:5432/documents"),
            pool_size: 20,
            max_overflow: 30,
            acquire_timeout_seconds: 10,
        }
    }
}

impl DatabaseConfig {
    /// Connections that this worker opens at most: what is allowed, but never more than the slots can use.
    ///
    /// Each IO slot needs one at a time; one more serves the short notes of the CPU slots.
    pub fn connections(&self, concurrency: &ConcurrencyConfig) -> u32 {
        let allowed = self.pool_size.saturating_add(self.max_overflow);
        let useful = u32::try_from(concurrency.io_slots)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        allowed.min(useful)
    }

    pub(super) fn validate(&self, faults: &mut Faults) {
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
        if self.pool_size == 0 && self.max_overflow == 0 {
            faults.add("database.pool_size and database.max_overflow are both 0: raise DB_POOL_SIZE".into());
        }
        faults.require_at_least(
            "database.acquire_timeout_seconds",
            self.acquire_timeout_seconds,
            1,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_what_the_slots_can_use_and_never_more_than_allowed() {
        let concurrency = ConcurrencyConfig::default();
        let guide = DatabaseConfig::default();
        assert_eq!(guide.connections(&concurrency), 6);
        let small = DatabaseConfig {
            pool_size: 2,
            max_overflow: 1,
            ..guide
        };
        assert_eq!(small.connections(&concurrency), 3);
    }
}
