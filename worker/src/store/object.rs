//! Documents and claims in an object store: S3, or a folder.
//!
//! A claim is a body that is too large for a workflow's history. Its key is the hash of its content, so a second
//! write has no effect. The worker never deletes claims; the bucket needs a lifecycle rule on `claims/`.
//!
//! Only the guard sets timeouts and retries; the S3 client makes no retries. A missing or too large object is an
//! answer of the store, not a failure.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use object_store::{
    ClientOptions, GetResultPayload, ObjectStoreExt as _, PutPayload, RetryConfig, aws::AmazonS3Builder,
    local::LocalFileSystem, path::Path, prefix::PrefixStore,
};
use sha2::{Digest, Sha256};

use crate::{
    config::DocumentsConfig,
    external::{Blame, CallError, Fault, Guard, Guards, Service},
    text::PoisonError,
};

/// Maximum buffer in bytes that is reserved because of a declared length. Longer bodies grow the buffer as they
/// arrive.
const MAX_RESERVED: u64 = 32 << 20;

/// Folder of the claims, below the root.
const CLAIMS: &str = "claims";

/// Timeout of a connection to S3. It detects a network that drops packets earlier than the timeout of the call
/// does.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a read or a write failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The document cannot be processed: not retried.
    #[error(transparent)]
    Poison(#[from] PoisonError),
    /// The next attempt may succeed.
    #[error("object store: {act} {key:?}: {source}")]
    Transient {
        /// The operation.
        act: &'static str,
        /// The key.
        key: String,
        /// The error of the store or of the guard.
        source: Box<CallError<object_store::Error>>,
    },
}

impl Fault for object_store::Error {
    /// `Generic` stands for a broken connection or a status of 500 and above.
    fn blame(&self) -> Blame {
        match self {
            Self::Generic { .. } => Blame::Service,
            _ => Blame::Request,
        }
    }
}

/// A root that holds documents and claims.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    inner: Arc<dyn object_store::ObjectStore>,
    guard: Guard,
    root: String,
    max_bytes: u64,
}

impl ObjectStore {
    /// Opens the configured store. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL or the S3 settings are invalid, or the folder does not exist.
    pub fn open(config: &DocumentsConfig, guards: &Guards) -> anyhow::Result<Self> {
        let url = url::Url::parse(&config.store_url).context("reading documents.store_url")?;
        let inner: Arc<dyn object_store::ObjectStore> = match url.scheme() {
            "file" => {
                let folder = url.to_file_path().map_err(|()| anyhow::anyhow!("{url} names no folder"))?;
                Arc::new(LocalFileSystem::new_with_prefix(&folder).with_context(|| format!("opening {url}"))?)
            }
            _ => s3(config, &url)?,
        };
        let root = config.store_url.trim_end_matches('/').to_owned();
        Ok(Self { inner, guard: guards.of(Service::S3, config.request_timeout()), root, max_bytes: config.max_bytes })
    }

    /// The bytes of a document.
    ///
    /// # Errors
    /// Poison if the source is outside the store, missing or too big; transient otherwise.
    pub async fn document(&self, source: &str) -> Result<Vec<u8>, StoreError> {
        let key = self.key_of(source)?;
        self.read(&key, source, self.max_bytes).await
    }

    /// The key of a source below the root.
    fn key_of(&self, source: &str) -> Result<Path, PoisonError> {
        let foreign = || PoisonError::ForeignSource { document: source.to_owned(), root: self.root.clone() };
        let key = source.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/')).ok_or_else(foreign)?;
        Path::parse(key).map_err(|_| foreign())
    }

    /// Writes a body under the hash of its content, and returns the hash in hex.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put_claim(&self, body: Vec<u8>) -> Result<String, StoreError> {
        let claim = hex::encode(Sha256::digest(&body));
        let key = claim_key(&claim);
        let body = PutPayload::from(body);
        let put = self.guard.call("put", || self.inner.put(&key, body.clone())).await;
        match put {
            Ok(_) => Ok(claim),
            Err(error) => Err(transient("writing", &key, error)),
        }
    }

    /// The body of a claim.
    ///
    /// # Errors
    /// The store cannot be read, or lacks the claim.
    pub async fn claim(&self, claim: &str) -> Result<Vec<u8>, StoreError> {
        let key = claim_key(claim);
        self.read(&key, key.as_ref(), u64::MAX).await
    }

    async fn read(&self, key: &Path, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let body = self
            .guard
            .call("get", || self.read_once(key, name, limit))
            .await
            .map_err(|error| transient("reading", key, error))?;
        Ok(body?)
    }

    /// The body, or why it is refused. Both are answers of a working store.
    async fn read_once(
        &self,
        key: &Path,
        name: &str,
        limit: u64,
    ) -> object_store::Result<Result<Vec<u8>, PoisonError>> {
        let found = match self.inner.get(key).await {
            Err(object_store::Error::NotFound { .. }) => {
                return Ok(Err(PoisonError::Missing { document: name.to_owned() }));
            }
            found => found?,
        };
        let declared = found.meta.size;
        if declared > limit {
            return Ok(Err(PoisonError::TooBig { bytes: declared, limit }));
        }
        // The length of an open file is known.
        if let GetResultPayload::File(..) = found.payload {
            return Ok(Ok(found.bytes().await?.into()));
        }
        collect(found.into_stream(), declared, limit).await
    }
}

/// Reads a body up to the limit. The declared length may be wrong: a server may send more, or declare none.
async fn collect<B: AsRef<[u8]>>(
    mut body: impl Stream<Item = object_store::Result<B>> + Unpin,
    declared: u64,
    limit: u64,
) -> object_store::Result<Result<Vec<u8>, PoisonError>> {
    let reserved = usize::try_from(declared.min(MAX_RESERVED)).unwrap_or_default();
    let mut collected = Vec::with_capacity(reserved);
    while let Some(part) = body.next().await {
        let part = part?;
        let bytes = collected.len() as u64 + part.as_ref().len() as u64;
        if bytes > limit {
            return Ok(Err(PoisonError::TooBig { bytes, limit }));
        }
        collected.extend_from_slice(part.as_ref());
    }
    Ok(Ok(collected))
}

fn claim_key(claim: &str) -> Path {
    Path::from_iter([CLAIMS, claim])
}

fn transient(act: &'static str, key: &Path, source: CallError<object_store::Error>) -> StoreError {
    StoreError::Transient { act, key: key.to_string(), source: Box::new(source) }
}

/// An S3 client from the AWS settings of the environment (profile, instance role), overridden by the configuration.
fn s3(config: &DocumentsConfig, url: &url::Url) -> anyhow::Result<Arc<dyn object_store::ObjectStore>> {
    let bucket = url.host_str().context("documents.store_url names no bucket: use s3://bucket")?;
    let client = ClientOptions::new()
        .with_allow_http(config.s3_allow_http)
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT_TIMEOUT);
    let retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let mut builder =
        AmazonS3Builder::from_env().with_bucket_name(bucket).with_client_options(client).with_retry(retries);
    if let Some(endpoint) = &config.s3_endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &config.s3_region {
        builder = builder.with_region(region);
    }
    if let (Some(id), Some(key)) = (&config.s3_access_key_id, &config.s3_secret_access_key) {
        builder = builder.with_access_key_id(id).with_secret_access_key(key.expose());
    }
    let store = builder.build().with_context(|| format!("opening {url}"))?;
    let prefix = url.path().trim_matches('/');
    Ok(if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_store(folder: &std::path::Path, max_bytes: u64) -> ObjectStore {
        let store_url = format!("file://{}", folder.display());
        let config = DocumentsConfig { store_url, max_bytes, ..DocumentsConfig::default() };
        ObjectStore::open(&config, &Guards::for_tests()).unwrap()
    }

    fn poison(error: StoreError) -> &'static str {
        match error {
            StoreError::Poison(poison) => poison.kind(),
            StoreError::Transient { .. } => "transient",
        }
    }

    #[tokio::test]
    async fn a_document_is_read_by_its_source() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a b")).unwrap();
        std::fs::write(folder.path().join("a b/c%20d.md"), "# x").unwrap();
        let store = folder_store(folder.path(), 10);
        let source = format!("file://{}/a b/c%20d.md", folder.path().display());
        assert_eq!(store.document(&source).await.unwrap(), b"# x");
    }

    #[tokio::test]
    async fn missing_foreign_and_too_big_are_poison() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("big"), "12345678901").unwrap();
        let store = folder_store(folder.path(), 10);
        let root = format!("file://{}", folder.path().display());
        assert_eq!(poison(store.document(&format!("{root}/none")).await.unwrap_err()), "DocumentMissing");
        assert_eq!(poison(store.document(&format!("{root}/big")).await.unwrap_err()), "DocumentTooBig");
        assert_eq!(poison(store.document("s3://elsewhere/a").await.unwrap_err()), "ForeignSource");
        assert_eq!(poison(store.document(&format!("{root}/../etc")).await.unwrap_err()), "ForeignSource");
        assert_eq!(poison(store.document(&format!("{root}x/a")).await.unwrap_err()), "ForeignSource");
    }

    #[tokio::test]
    async fn a_body_that_is_longer_than_declared_is_refused_while_it_arrives() {
        let sent = std::cell::Cell::new(0);
        let parts = futures::stream::repeat_with(|| {
            sent.set(sent.get() + 1);
            Ok([b'x'; 4])
        });
        let error = collect(parts, 3, 10).await.unwrap().unwrap_err();
        assert_eq!((error.kind(), sent.get()), ("DocumentTooBig", 3));
        let parts = futures::stream::iter([Ok(*b"1234"), Ok(*b"5678")]);
        assert_eq!(collect(parts, 0, 8).await.unwrap().unwrap(), b"12345678");
    }

    #[tokio::test]
    async fn a_claim_written_twice_is_one_claim() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder_store(folder.path(), 10);
        let claim = store.put_claim(b"body".to_vec()).await.unwrap();
        assert_eq!(store.put_claim(b"body".to_vec()).await.unwrap(), claim);
        assert_eq!(store.claim(&claim).await.unwrap(), b"body");
        assert_eq!(std::fs::read_dir(folder.path().join(CLAIMS)).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_missing_document_is_an_answer_and_does_not_open_the_circuit() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "x").unwrap();
        let store = folder_store(folder.path(), 10);
        let root = format!("file://{}", folder.path().display());
        for _ in 0..10 {
            let missing = store.document(&format!("{root}/none")).await.unwrap_err();
            assert_eq!(poison(missing), "DocumentMissing");
        }
        assert_eq!(store.document(&format!("{root}/a")).await.unwrap(), b"x");
    }

    #[tokio::test]
    async fn an_unreachable_store_opens_the_circuit_and_its_errors_stay_transient() {
        crate::tls::install_provider();
        let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", unused.local_addr().unwrap());
        drop(unused);
        let config = DocumentsConfig {
            s3_endpoint: Some(endpoint),
            s3_region: Some("us-east-1".into()),
            s3_access_key_id: Some("id".into()),
            s3_secret_access_key: Some(crate::config::Secret::from("key".to_owned())),
            s3_allow_http: true,
            ..DocumentsConfig::default()
        };
        let store = ObjectStore::open(&config, &Guards::for_tests()).unwrap();
        let mut errors = Vec::new();
        // Each call makes three attempts, so the second attempt of the second call is the fifth failure in a row.
        for _ in 0..3 {
            let error = store.document("s3://documents/a").await.unwrap_err();
            errors.push(error.to_string());
            assert_eq!(poison(error), "transient");
        }
        assert!(errors[0].contains("error sending request"), "{errors:?}");
        assert!(
            errors[2].ends_with("s3 is not called for now, because it failed too often (circuit open)"),
            "{errors:?}"
        );
    }

    #[test]
    fn s3_opens_without_certificates_on_the_machine() {
        let config = DocumentsConfig {
            s3_endpoint: Some("http://127.0.0.1:1".into()),
            s3_allow_http: true,
            ..DocumentsConfig::default()
        };
        crate::tls::install_provider();
        assert!(ObjectStore::open(&config, &Guards::for_tests()).is_ok());
    }
}
