//! The database of documents, and how many connections to it one process may open.

use std::{fs, time::Duration};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Faults, SecretUrl, concurrency::ConcurrencyConfig};

/// The `[database]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database` (`DATABASE_URL`).
    pub url: SecretUrl,
    /// File that holds the URL, such as a mounted Secret (`DATABASE_URL_FILE`). It takes precedence over `url`. It is
    /// read again when the database refuses the user or the password.
    pub url_file: Option<String>,
    /// Whether a process that finds an old schema migrates it at start (`DB_MIGRATE_AT_START`). If not, it waits until
    /// `temporal-worker migrate` has run. With a current schema, no process needs the right to change it.
    pub migrate_at_start: bool,
    /// Connections that stay open once opened. A process opens at most `pool_size` plus `max_overflow` connections,
    /// and at most one more than its IO slots.
    pub pool_size: u32,
    /// Additional connections under load, which are closed when idle.
    pub max_overflow: u32,
    /// Seconds to wait for a free connection before the activity fails and is retried.
    pub acquire_timeout_seconds: u64,
    /// Timeout in seconds that the server applies to a statement and to an idle transaction. If no answer arrives
    /// some seconds later, the connection is closed and the activity retried. 0 leaves it to the server.
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
            url_file: None,
            migrate_at_start: true,
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
    /// The URL in force. If a file holds it, each call reads the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn current_url(&self) -> anyhow::Result<SecretUrl> {
        let Some(path) = &self.url_file else {
            return Ok(self.url.clone());
        };
        let text = fs::read_to_string(path).with_context(|| format!("reading database.url_file, {path:?}"))?;
        Ok(SecretUrl::from(text.trim()))
    }

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
        self.validate_url(faults);
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

impl DatabaseConfig {
    fn validate_url(&self, faults: &mut Faults) {
        const USE: &str = "postgres://user:password@host:port/database";
        let (key, variable) = match &self.url_file {
            Some(_) => ("database.url_file", "the content of DATABASE_URL_FILE"),
            None => ("database.url", "DATABASE_URL"),
        };
        let url = match self.current_url() {
            Ok(url) => url,
            Err(error) => {
                let (path, cause) = (self.url_file.as_deref().unwrap_or_default(), error.root_cause());
                faults.add(format!("{key} (DATABASE_URL_FILE) is {path:?}: {cause}; set it to a file with {USE}"));
                return;
            }
        };
        if !faults.require_escaped(key, &url) {
            return;
        }
        match url::Url::parse(url.expose()) {
            Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => {}
            Ok(url) => faults.add(format!("{key} has the scheme {:?}: set {variable} to {USE}", url.scheme())),
            Err(error) => faults.add(format!("{key} is not a URL ({error}): set {variable} to {USE}")),
        }
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
