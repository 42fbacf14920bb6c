//! The cache of extraction results: its address, lifetime and limits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Faults, SecretUrl};

/// The `[cache]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS (`REDIS_URL`). A Redis Cluster is not
    /// supported. Unset: no cache.
    pub url: Option<SecretUrl>,
    /// Lifetime of a result in seconds (`CACHE_TTL_SECONDS`).
    pub ttl_seconds: u64,
    /// Timeout of a call in milliseconds (`CACHE_TIMEOUT_MILLISECONDS`).
    pub timeout_milliseconds: u64,
    /// Maximum size of a cached result in bytes (`CACHE_MAX_BYTES`).
    pub max_bytes: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { url: None, ttl_seconds: 24 * 60 * 60, timeout_milliseconds: 250, max_bytes: 1 << 20 }
    }
}

impl CacheConfig {
    /// Timeout of one call.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_milliseconds)
    }

    pub(super) fn validate(&self, faults: &mut Faults) {
        const USE: &str = "set REDIS_URL to redis://host:6379, or unset it for no cache";
        if let Some(url) = &self.url {
            match url::Url::parse(url.expose()) {
                _ if !faults.require_escaped("cache.url", url) => {}
                Ok(url) if matches!(url.scheme(), "redis" | "rediss") && url.has_host() => {}
                Ok(_) => faults.add(format!("cache.url is {:?}: {USE}", url.masked())),
                Err(error) => faults.add(format!("cache.url is not a URL ({error}): {USE}")),
            }
        }
        faults.require_at_least("cache.ttl_seconds", self.ttl_seconds, 1);
        faults.require_at_least("cache.timeout_milliseconds", self.timeout_milliseconds, 1);
        faults.require_at_least("cache.max_bytes", self.max_bytes, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_redis_url_is_valid_and_its_password_is_masked() {
        let cases = [
            ("redis://redis:6379", ""),
            ("rediss://user:hunter2@redis/1", ""),
            ("http://user:hunter2@redis", "cache.url is \"http://user:***@redis\""),
            ("redis:6379", "cache.url is \"***\""),
            ("redis", "cache.url is not a URL"),
        ];
        for (url, wanted) in cases {
            let config = CacheConfig { url: Some(SecretUrl::from(url)), ..CacheConfig::default() };
            let mut faults = Faults::default();
            config.validate(&mut faults);
            assert_eq!(faults.list().is_empty(), wanted.is_empty(), "{url}: {faults}");
            assert!(faults.to_string().contains(wanted), "{url}: {faults}");
            assert!(!faults.to_string().contains("hunter2"), "{url}: {faults}");
        }
    }
}
