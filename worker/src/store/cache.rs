//! A cache of extraction results in Redis, keyed by the hash of the document's bytes: equal documents are extracted
//! once.
//!
//! No state of the cache fails an activity. If it is unreachable, slow, empty or wrong, the cost is at most one
//! short timeout, and the result is computed. While the circuit is open, the cache is not called.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RetryMethod, ServerErrorKind, aio::MultiplexedConnection,
};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tracing::{debug, error, warn};

use crate::{
    config::CacheConfig,
    cpu::compute,
    external::{Blame, CallError, Fault, Guard, Guards, Service},
    metrics::Metrics,
    text::{EXTRACT_VERSION, Extract, MediaType},
};

/// Length in bytes of the checksum at the start of a value.
const CHECKSUM: usize = 32;

/// A cache of extraction results.
#[derive(Debug, Clone)]
pub struct ExtractCache {
    redis: Arc<Redis>,
    guard: Guard,
    metrics: Metrics,
    ttl: Duration,
    max_bytes: usize,
}

impl ExtractCache {
    /// Opens the configured cache, if any. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL is invalid.
    pub fn open(config: &CacheConfig, guards: &Guards, metrics: &Metrics) -> anyhow::Result<Option<Self>> {
        let Some(url) = &config.url else {
            return Ok(None);
        };
        let client = Client::open(url.expose()).context("reading cache.url")?;
        Ok(Some(Self {
            redis: Arc::new(Redis::new(client)),
            guard: guards.of(Service::Redis, config.timeout()),
            metrics: metrics.clone(),
            ttl: Duration::from_secs(config.ttl_seconds),
            max_bytes: config.max_bytes,
        }))
    }

    /// Connects, so that the log says at the start what would otherwise only show as a cache without hits: wrong
    /// credentials, no answer, a Redis Cluster.
    pub async fn check(self) {
        let connected = self.guard.call("connect", || self.redis.connection()).await;
        if let Err(error) = connected {
            warn!(%error, "the cache cannot be used for now: every result is computed");
        }
    }

    /// The cached result, or the computed one, which is then cached.
    ///
    /// # Errors
    /// The computation failed.
    pub async fn get_or_compute<E>(
        &self,
        key: &str,
        work: impl Future<Output = Result<Extract, E>>,
    ) -> Result<Extract, E> {
        let found = self.find(key).await;
        self.metrics.count_lookup(found.outcome());
        match found {
            Lookup::Hit(extract) => Ok(*extract),
            // A cache that did not answer must not delay the document again.
            Lookup::Unavailable => work.await,
            Lookup::Miss | Lookup::Corrupt => {
                let extract = work.await?;
                Ok(self.write(key, extract).await)
            }
        }
    }

    async fn find(&self, key: &str) -> Lookup {
        let read = self.guard.call("get", || self.redis.head(key, CHECKSUM + self.max_bytes));
        match self.value_or_disconnect(read.await).await {
            None => Lookup::Unavailable,
            Some(value) if value.is_empty() => Lookup::Miss,
            Some(value) => match compute(value.len(), move || decode(&value)).await {
                Some(extract) => Lookup::Hit(Box::new(extract)),
                None => Lookup::Corrupt,
            },
        }
    }

    /// Writes a result, and returns it.
    async fn write(&self, key: &str, extract: Extract) -> Extract {
        let (limit, size) = (self.max_bytes, extract.passages.iter().map(|passage| passage.text.len()).sum());
        let (extract, value) = compute(size, move || {
            let value = encode(&extract, limit);
            (extract, value)
        })
        .await;
        match value {
            Some(value) => {
                let write = self.guard.call("put", || self.redis.set(key, &value, self.ttl));
                self.value_or_disconnect(write.await).await;
            }
            None => debug!(key, "the result is too large for the cache"),
        }
        extract
    }

    /// The answer, or `None`. After an error, the next call opens a new connection, because this one may be dead.
    async fn value_or_disconnect<T>(&self, answer: Result<T, CallError<RedisError>>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(CallError::CircuitOpen { .. }) => None,
            Err(error) => {
                debug!(%error, "the call to the cache failed");
                if let CallError::Service(error) = &error
                    && error.kind() == ErrorKind::Server(ServerErrorKind::Moved)
                {
                    self.redis.report_cluster();
                }
                self.redis.disconnect().await;
                None
            }
        }
    }
}

/// How a look-up ended.
enum Lookup {
    Hit(Box<Extract>),
    Miss,
    /// The value is not a valid result: it is overwritten.
    Corrupt,
    /// The call failed, or the circuit is open.
    Unavailable,
}

impl Lookup {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Hit(_) => "hit",
            Self::Miss => "miss",
            Self::Corrupt => "corrupt",
            Self::Unavailable => "away",
        }
    }
}

/// The cache key of a result. It holds everything that determines the result, including settings and the code's
/// version.
pub fn extract_key(media_type: MediaType, passage_words: usize, sha256: &str) -> String {
    let media_type = media_type.as_str();
    format!("slipway:extract:{EXTRACT_VERSION}:{media_type}:{passage_words}:{sha256}")
}

/// Encodes a result: the SHA-256 of its JSON, then the JSON. `None` if the JSON is longer than `max_bytes`.
fn encode(extract: &Extract, max_bytes: usize) -> Option<Vec<u8>> {
    let mut value = Bounded { bytes: vec![0; CHECKSUM], limit: CHECKSUM.saturating_add(max_bytes) };
    serde_json::to_writer(&mut value, extract).ok()?;
    let mut bytes = value.bytes;
    let checksum = Sha256::digest(&bytes[CHECKSUM..]);
    bytes[..CHECKSUM].copy_from_slice(&checksum);
    Some(bytes)
}

/// Decodes a result; `None` if the value was truncated, changed, or written by other code.
fn decode(value: &[u8]) -> Option<Extract> {
    let (checksum, json) = value.split_at_checked(CHECKSUM)?;
    if Sha256::digest(json)[..] != *checksum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// A writer that fails at a limit, so that a value that is too large is never built.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > self.limit {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Fault for RedisError {
    fn blame(&self) -> Blame {
        match self.retry_method() {
            RetryMethod::NoRetry => Blame::Request,
            _ => Blame::Service,
        }
    }
}

/// One connection, opened on first use and shared by all callers.
#[derive(Debug)]
struct Redis {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Whether the log says that this is a node of a cluster.
    cluster_reported: AtomicBool,
}

impl Redis {
    fn new(client: Client) -> Self {
        Self { client, connection: Mutex::new(None), cluster_reported: AtomicBool::new(false) }
    }

    /// The connection. Callers wait while it is opened; the only timeout is that of each caller's guard.
    async fn connection(&self) -> redis::RedisResult<MultiplexedConnection> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        // A user may lack the right to ask.
        let info: redis::RedisResult<String> = redis::cmd("INFO").arg("cluster").query_async(&mut connection).await;
        if info.is_ok_and(|info| info.contains("cluster_enabled:1")) {
            self.report_cluster();
        }
        *held = Some(connection.clone());
        Ok(connection)
    }

    /// Logs once that the server is a node of a cluster.
    fn report_cluster(&self) {
        if !self.cluster_reported.swap(true, Ordering::Relaxed) {
            error!(
                "REDIS_URL leads to a node of a Redis Cluster, which is not supported: most results are not cached; \
                 set it to a single server, or unset it"
            );
        }
    }

    async fn disconnect(&self) {
        *self.connection.lock().await = None;
    }

    /// The first bytes of a value; empty if the key does not exist. The limit protects against large values of
    /// other programs.
    async fn head(&self, key: &str, bytes: usize) -> redis::RedisResult<Vec<u8>> {
        let mut connection = self.connection().await?;
        redis::cmd("GETRANGE").arg(key).arg(0).arg(bytes).query_async(&mut connection).await
    }

    async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> redis::RedisResult<()> {
        let mut connection = self.connection().await?;
        redis::cmd("SET").arg(key).arg(value).arg("EX").arg(ttl.as_secs()).query_async(&mut connection).await
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Instant};

    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        config::{ExternalConfig, SecretUrl},
        text,
    };

    const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn an_extract(words: &str) -> Extract {
        text::extract(MediaType::Plain, words.as_bytes(), 50, &text::Cancel::default()).unwrap()
    }

    proptest! {
        #[test]
        fn a_value_is_decoded_only_if_no_byte_has_changed(
            words in "[a-zé\" \n]{0,200}",
            place in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let extract = an_extract(&words);
            let mut value = encode(&extract, usize::MAX).unwrap();
            prop_assert_eq!(decode(&value), Some(extract));
            prop_assert_eq!(decode(&value[..place.index(value.len())]), None);
            let place = place.index(value.len());
            value[place] ^= flip;
            prop_assert_eq!(decode(&value), None);
        }
    }

    #[test]
    fn a_value_longer_than_the_limit_is_not_built() {
        let extract = an_extract("one two three");
        let json = serde_json::to_vec(&extract).unwrap().len();
        assert_eq!(encode(&extract, json).map(|value| value.len()), Some(CHECKSUM + json));
        assert_eq!(encode(&extract, json - 1), None);
    }

    #[test]
    fn a_value_of_another_shape_is_not_an_extract() {
        let mut value = Sha256::digest(b"{}").to_vec();
        value.extend_from_slice(b"{}");
        assert_eq!(decode(&value), None);
    }

    #[test]
    fn everything_that_changes_the_result_changes_the_key() {
        let key = extract_key(MediaType::Html, 200, SHA256);
        assert_eq!(key, format!("slipway:extract:{EXTRACT_VERSION}:text/html:200:{SHA256}"));
        for other in [
            extract_key(MediaType::Plain, 200, SHA256),
            extract_key(MediaType::Html, 100, SHA256),
            extract_key(MediaType::Html, 200, &SHA256.replace('9', "8")),
        ] {
            assert_ne!(other, key);
        }
    }

    /// A cache at this address with a timeout of 50 ms and a circuit that opens after two failures.
    fn cache(address: &str) -> (ExtractCache, Metrics) {
        let config = CacheConfig {
            url: Some(SecretUrl::from(format!("redis://{address}").as_str())),
            timeout_milliseconds: 50,
            ..CacheConfig::default()
        };
        let limits = ExternalConfig { circuit_failures: 2, ..ExternalConfig::default() };
        let metrics = Metrics::new(Duration::from_secs(15)).unwrap();
        let guards = Guards::new(&limits, metrics.external());
        let cache = ExtractCache::open(&config, &guards, &metrics).unwrap();
        (cache.unwrap(), metrics)
    }

    async fn compute_four(cache: &ExtractCache) -> Duration {
        let started = Instant::now();
        let extract = an_extract("computed without the cache");
        for _ in 0..4 {
            let made = cache.get_or_compute("key", async { Ok::<_, Infallible>(extract.clone()) }).await;
            assert_eq!(made, Ok(extract.clone()));
        }
        started.elapsed()
    }

    fn assert_called_twice(metrics: &Metrics, outcome: &str) {
        let text = metrics.exposition().unwrap();
        let calls = |outcome: &str, count: u32| {
            format!(
                "document_external_calls_total{{operation=\"get\",outcome=\"{outcome}\",service=\"redis\"}} {count}\n"
            )
        };
        for line in [
            "document_cache_total{outcome=\"away\"} 4\n".to_owned(),
            "document_external_circuit_open{service=\"redis\"} 1\n".to_owned(),
            calls(outcome, 2),
            calls("circuit_open", 2),
        ] {
            assert!(text.contains(&line), "{line:?} is missing in:\n{text}");
        }
    }

    #[tokio::test]
    async fn without_a_server_results_are_computed_and_the_circuit_opens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let (cache, metrics) = cache(&address);
        compute_four(&cache).await;
        assert_called_twice(&metrics, "failed");
    }

    #[tokio::test]
    async fn a_server_that_never_answers_costs_a_timeout_until_the_circuit_opens() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let (cache, metrics) = cache(&address);
        let took = compute_four(&cache).await;
        assert_called_twice(&metrics, "timeout");
        assert!(took < Duration::from_secs(2), "two timeouts of 50 ms took {took:?}");
    }

    #[test]
    fn without_a_url_there_is_no_cache() {
        let metrics = Metrics::new(Duration::ZERO).unwrap();
        let guards = Guards::new(&ExternalConfig::default(), metrics.external());
        let cache = ExtractCache::open(&CacheConfig::default(), &guards, &metrics).unwrap();
        assert!(cache.is_none());
        assert!(!metrics.exposition().unwrap().contains("redis"));
    }
}
