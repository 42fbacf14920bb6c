//! Documents and claims in an object store: S3, or a folder.
//!
//! A claim is a body that is too large for a workflow's history. Its key is the hash of its content, so a second
//! write has no effect, and a read checks it. The worker never deletes claims: the bucket needs the lifecycle rule of
//! `manifests/s3-lifecycle.json`.
//!
//! Only the guard sets timeouts and retries; the S3 client makes no retries. A missing or too large object is an
//! answer of the store, not a failure.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError as PoisonedLock},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use object_store::{
    GetOptions, GetResultPayload, PutOptions, PutPayload, local::LocalFileSystem, path::Path, prefix::PrefixStore,
};
use sha2::{Digest, Sha256};

use super::{
    refusal::{Cause, MAX_KEY_BYTES, Refusal, causes},
    s3,
};
use crate::{
    config::DocumentsConfig,
    cpu::compute,
    external::{Blame, CallError, Fault, Guard, Guards, Service},
    memory::{Memory, NoMemory, Reservation},
    text::{PoisonError, shortened},
};

/// Maximum buffer in bytes that is reserved because of a declared length. Longer bodies grow the buffer as they
/// arrive.
const MAX_RESERVED: u64 = 32 << 20;

/// Folder of the claims, below the root.
const CLAIMS: &str = "claims";

/// Maximum length of a name in a folder in bytes.
const MAX_NAME_BYTES: usize = 255;

/// Why a read or a write failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The document cannot be processed: not retried.
    #[error(transparent)]
    Poison(#[from] PoisonError),
    /// The store does not let this document be read. The caller decides whether that may change.
    #[error(
        "object store: {0}; it is retried until this worker has read another document, and for ten minutes at most"
    )]
    Forbidden(PoisonError),
    /// A claim cannot be read any more: the steps that made it have to run again.
    #[error(transparent)]
    ClaimLost(#[from] ClaimLost),
    /// There is no memory for the body.
    #[error(transparent)]
    Memory(#[from] NoMemory),
    /// The next attempt may succeed.
    #[error("object store: {act} {key:?}: {}", message(.source))]
    Transient {
        /// The operation.
        act: &'static str,
        /// The key.
        key: String,
        /// The error of the store or of the guard.
        source: Box<CallError<object_store::Error>>,
    },
}

/// Why a claim cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimLost {
    /// It is not in the store.
    #[error(
        "the claim {0} is not in the store any more: its document is read again; let no lifecycle rule delete claims \
         sooner than manifests/s3-lifecycle.json does"
    )]
    Missing(String),
    /// It is not what was written.
    #[error("the claim {0} is not what was written (its hash differs): its document is read again")]
    Corrupt(String),
}

impl StoreError {
    /// The pause that S3 asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Transient { source, .. } => match &**source {
                CallError::Service(error) => Refusal::of(error)?.retry_after,
                _ => None,
            },
            _ => None,
        }
    }

    /// How long the open circuit blocks calls.
    pub fn blocked_for(&self) -> Option<Duration> {
        match self {
            Self::Transient { source, .. } => match **source {
                CallError::CircuitOpen { blocked_for, .. } => Some(blocked_for),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The answer of S3 if there is one, because the error around it repeats the key and the address. Else the cause as
/// well, which the client's own text leaves out.
fn message(error: &CallError<object_store::Error>) -> String {
    match error {
        CallError::Service(error) => Refusal::of(error).map_or_else(|| with_cause(error), ToString::to_string),
        other => other.to_string(),
    }
}

/// An error and the first of its causes, such as a certificate that is not trusted.
fn with_cause(error: &object_store::Error) -> String {
    let (text, first) = (error.to_string(), causes(error).last().map(ToString::to_string));
    match first.filter(|first| !text.contains(first.as_str())) {
        Some(first) => format!("{text}: {first}"),
        None => text,
    }
}

impl Fault for object_store::Error {
    /// Without an answer, the connection to the service failed, or the service that gives credentials did.
    fn blame(&self) -> Blame {
        match (Refusal::of(self), self) {
            (Some(refusal), _) => refusal.cause().blame(),
            (None, Self::Generic { .. }) if io_error(self).is_some_and(is_of_one_file) => Blame::Request,
            (None, Self::Generic { .. }) => Blame::Service,
            _ => Blame::Request,
        }
    }
}

fn io_error(error: &object_store::Error) -> Option<io::ErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind)
}

/// Whether an error concerns one file of a folder, and not the folder.
fn is_of_one_file(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory)
}

/// A root that holds documents and claims.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    inner: Arc<dyn object_store::ObjectStore>,
    guard: Guard,
    root: String,
    kind: Kind,
    max_bytes: u64,
    last_read: Arc<Mutex<Option<SystemTime>>>,
}

#[derive(Debug, Clone)]
enum Kind {
    Folder,
    /// A bucket, with the prefix of all keys.
    Bucket {
        prefix: String,
    },
}

/// A key below the root.
#[derive(Debug)]
struct Key {
    path: Path,
    /// The key itself, if a [`Path`] cannot hold it.
    raw: Option<String>,
}

impl From<Path> for Key {
    fn from(path: Path) -> Self {
        Self { path, raw: None }
    }
}

impl Key {
    fn name(&self) -> String {
        self.raw.clone().unwrap_or_else(|| self.path.to_string())
    }
}

/// Why a working store gave no body.
#[derive(Debug)]
enum NoBody {
    Missing,
    TooBig { bytes: u64, limit: u64 },
    NoMemory(NoMemory),
}

/// A body, and the memory that is reserved for it and for what is done with it.
type Held = (Vec<u8>, Reservation);

impl ObjectStore {
    /// Opens the configured store. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL or the S3 settings are invalid, or the folder does not exist.
    pub fn open(config: &DocumentsConfig, guards: &Guards) -> anyhow::Result<Self> {
        let opening = || format!("opening {}", config.store_url);
        let (inner, kind): (Arc<dyn object_store::ObjectStore>, _) = match s3::bucket_and_prefix(&config.store_url) {
            Some((bucket, prefix)) => {
                let store = s3::open(config, bucket).with_context(opening)?;
                let kind = Kind::Bucket { prefix: prefix.to_owned() };
                match Path::parse(prefix).with_context(opening)? {
                    prefix if prefix.is_root() => (Arc::new(store), kind),
                    prefix => (Arc::new(PrefixStore::new(store, prefix)), kind),
                }
            }
            None => {
                let url = url::Url::parse(&config.store_url).context("reading documents.store_url")?;
                let folder = url.to_file_path().map_err(|()| anyhow::anyhow!("{url} names no folder"))?;
                (Arc::new(LocalFileSystem::new_with_prefix(&folder).with_context(opening)?), Kind::Folder)
            }
        };
        Ok(Self {
            inner,
            guard: guards.of(Service::S3, config.request_timeout()),
            root: config.store_url.trim_end_matches('/').to_owned(),
            kind,
            max_bytes: config.max_bytes,
            last_read: Arc::default(),
        })
    }

    /// Fails as a read would while the circuit is open. Nothing is sent.
    ///
    /// # Errors
    /// The circuit is open.
    pub fn check(&self) -> Result<(), StoreError> {
        self.guard.check().map_err(|error| transient("reading", "documents", error))
    }

    /// When this worker last read a document.
    pub fn last_read(&self) -> Option<SystemTime> {
        *self.last_read.lock().unwrap_or_else(PoisonedLock::into_inner)
    }

    /// The bytes of a document, and memory that is reserved for them.
    ///
    /// # Errors
    /// Poison if the store will never give it. Forbidden if that may change. Transient otherwise.
    pub async fn document(&self, source: &str, memory: &Memory) -> Result<Held, StoreError> {
        let key = self.key_of(source)?;
        match self.read(&key, self.max_bytes, memory, |bytes| bytes).await {
            Ok(Ok(held)) => {
                *self.last_read.lock().unwrap_or_else(PoisonedLock::into_inner) = Some(SystemTime::now());
                Ok(held)
            }
            Ok(Err(NoBody::Missing)) => Err(PoisonError::Missing { document: shortened(source) }.into()),
            Ok(Err(NoBody::TooBig { bytes, limit })) => Err(PoisonError::TooBig { bytes, limit }.into()),
            Ok(Err(NoBody::NoMemory(error))) => Err(error.into()),
            Err(error) => {
                let refusal = refused(&error);
                Err(match refusal.and_then(|refusal| refusal.cause().poison(source, refusal)) {
                    Some(forbidden @ PoisonError::Forbidden { .. }) => StoreError::Forbidden(forbidden),
                    Some(poison) => poison.into(),
                    None => transient("reading", &key.name(), error),
                })
            }
        }
    }

    /// The key of a source below the root.
    fn key_of(&self, source: &str) -> Result<Key, PoisonError> {
        let foreign = || PoisonError::ForeignSource { document: shortened(source), root: shortened(&self.root) };
        let key = source.strip_prefix(&self.root).and_then(|rest| rest.strip_prefix('/')).ok_or_else(foreign)?;
        let leaves = |part: &str| matches!(part, "." | "..");
        if key.split('/').any(leaves) || key.split('/').all(str::is_empty) {
            return Err(foreign());
        }
        let too_long = |limit| PoisonError::KeyTooLong { document: shortened(source), limit };
        match &self.kind {
            Kind::Bucket { prefix } => {
                let separator = usize::from(!prefix.is_empty());
                if prefix.len() + separator + key.len() > MAX_KEY_BYTES {
                    return Err(too_long(MAX_KEY_BYTES));
                }
                // A path has no empty parts. To S3, a key with them is another key.
                match Path::parse(key) {
                    Ok(path) if path.as_ref() == key => Ok(path.into()),
                    _ => Ok(Key { path: s3::placeholder(), raw: Some(key.to_owned()) }),
                }
            }
            Kind::Folder => {
                // To a file system, empty parts mean nothing.
                let parts: Vec<_> = key.split('/').filter(|part| !part.is_empty()).collect();
                if parts.iter().any(|part| part.len() > MAX_NAME_BYTES) {
                    return Err(too_long(MAX_NAME_BYTES));
                }
                Path::parse(parts.join("/")).map(Key::from).map_err(|_| foreign())
            }
        }
    }

    /// Writes a body under the hash of its content, and returns the hash in hex.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put_claim(&self, body: Vec<u8>) -> Result<String, StoreError> {
        let size = body.len();
        let hashed = move || (hex::encode(Sha256::digest(&body)), PutPayload::from(body));
        let (claim, body) = compute(size, hashed).await;
        let key = claim_key(&claim);
        let options = || PutOptions { extensions: s3::extensions(None), ..PutOptions::default() };
        let put = self.guard.call("put", || self.inner.put_opts(&key, body.clone(), options())).await;
        match put {
            Ok(_) => Ok(claim),
            Err(error) => Err(transient("writing", key.as_ref(), error)),
        }
    }

    /// The body of a claim. `need` is the memory in bytes for a body of this size and for what is done with it.
    ///
    /// # Errors
    /// The claim is lost, or the store cannot be read.
    pub async fn claim(&self, claim: &str, memory: &Memory, need: impl Fn(u64) -> u64) -> Result<Held, StoreError> {
        let key = Key::from(claim_key(claim));
        match self.read(&key, u64::MAX, memory, need).await {
            Ok(Ok((bytes, reserved))) => {
                let size = bytes.len();
                let hashed = move || (hex::encode(Sha256::digest(&bytes)), bytes);
                let (hash, bytes) = compute(size, hashed).await;
                if hash == claim { Ok((bytes, reserved)) } else { Err(ClaimLost::Corrupt(claim.to_owned()).into()) }
            }
            Ok(Err(NoBody::NoMemory(error))) => Err(error.into()),
            Ok(Err(NoBody::Missing | NoBody::TooBig { .. })) => Err(ClaimLost::Missing(claim.to_owned()).into()),
            Err(error) if refused(&error).is_some_and(|refusal| refusal.cause() == Cause::Archived) => {
                Err(ClaimLost::Missing(claim.to_owned()).into())
            }
            Err(error) => Err(transient("reading", &key.name(), error)),
        }
    }

    /// Reads a body as soon as there is memory for it. If that has to be waited for, the object is asked for again.
    async fn read(
        &self,
        key: &Key,
        limit: u64,
        memory: &Memory,
        need: impl Fn(u64) -> u64,
    ) -> Result<Result<Held, NoBody>, CallError<object_store::Error>> {
        let mut reserved = Reservation::default();
        loop {
            let room = |bytes| if reserved.covers(bytes) { Ok(reserved.clone()) } else { memory.try_reserve(bytes) };
            let read = self.guard.call("get", || self.read_once(key, limit, |bytes| room(need(bytes)))).await?;
            let Err(NoBody::NoMemory(NoMemory::NotNow(bytes))) = read else { return Ok(read) };
            // A step that waits holds nothing.
            drop(reserved);
            reserved = match memory.reserve(bytes).await {
                Ok(reserved) => reserved,
                Err(error) => return Ok(Err(NoBody::NoMemory(error))),
            };
        }
    }

    /// The body, or why there is none. All of them are answers of a working store. `room` reserves the memory for a
    /// body of this size, if it is free.
    async fn read_once(
        &self,
        key: &Key,
        limit: u64,
        room: impl Fn(u64) -> Result<Reservation, NoMemory>,
    ) -> object_store::Result<Result<Held, NoBody>> {
        let options = GetOptions { extensions: s3::extensions(key.raw.clone()), ..GetOptions::default() };
        let found = match self.inner.get_opts(&key.path, options).await {
            Err(error) if is_missing(&error) => return Ok(Err(NoBody::Missing)),
            found => found?,
        };
        let declared = found.meta.size;
        if declared > limit {
            return Ok(Err(NoBody::TooBig { bytes: declared, limit }));
        }
        let reserved = match room(declared) {
            Ok(reserved) => reserved,
            Err(error) => return Ok(Err(NoBody::NoMemory(error))),
        };
        // The length of an open file is known.
        if let GetResultPayload::File(..) = found.payload {
            return Ok(Ok((found.bytes().await?.into(), reserved)));
        }
        Ok(collect(found.into_stream(), declared, limit).await?.map(|bytes| (bytes, reserved)))
    }
}

fn is_missing(error: &object_store::Error) -> bool {
    match Refusal::of(error) {
        Some(refusal) => refusal.cause() == Cause::Missing,
        None => {
            matches!(error, object_store::Error::NotFound { .. })
                || io_error(error) == Some(io::ErrorKind::NotADirectory)
        }
    }
}

/// The answer of S3 that an error carries.
fn refused(error: &CallError<object_store::Error>) -> Option<&Refusal> {
    match error {
        CallError::Service(error) => Refusal::of(error),
        _ => None,
    }
}

/// Reads a body up to the limit. The declared length may be wrong: a server may send more, or declare none.
async fn collect<B: AsRef<[u8]>>(
    mut body: impl Stream<Item = object_store::Result<B>> + Unpin,
    declared: u64,
    limit: u64,
) -> object_store::Result<Result<Vec<u8>, NoBody>> {
    let reserved = usize::try_from(declared.min(MAX_RESERVED)).unwrap_or_default();
    let mut collected = Vec::with_capacity(reserved);
    while let Some(part) = body.next().await {
        let part = part?;
        let bytes = collected.len() as u64 + part.as_ref().len() as u64;
        if bytes > limit {
            return Ok(Err(NoBody::TooBig { bytes, limit }));
        }
        collected.extend_from_slice(part.as_ref());
    }
    Ok(Ok(collected))
}

fn claim_key(claim: &str) -> Path {
    Path::from_iter([CLAIMS, claim])
}

fn transient(act: &'static str, key: &str, source: CallError<object_store::Error>) -> StoreError {
    StoreError::Transient { act, key: shortened(key), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory::of(1 << 30)
    }

    fn folder_store(folder: &std::path::Path, max_bytes: u64) -> ObjectStore {
        let store_url = format!("file://{}", folder.display());
        let config = DocumentsConfig { store_url, max_bytes, ..DocumentsConfig::default() };
        ObjectStore::open(&config, &Guards::for_tests()).unwrap()
    }

    fn poison(error: StoreError) -> &'static str {
        match error {
            StoreError::Poison(poison) => poison.kind(),
            StoreError::Forbidden(_) => "forbidden",
            StoreError::ClaimLost(_) => "lost",
            StoreError::Memory(_) => "memory",
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
        assert_eq!(store.document(&source, &memory()).await.unwrap().0, b"# x");
    }

    #[tokio::test]
    async fn missing_foreign_and_too_big_are_poison() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("big"), "12345678901").unwrap();
        let store = folder_store(folder.path(), 10);
        let root = format!("file://{}", folder.path().display());
        assert_eq!(poison(store.document(&format!("{root}/none"), &memory()).await.unwrap_err()), "DocumentMissing");
        assert_eq!(poison(store.document(&format!("{root}/big"), &memory()).await.unwrap_err()), "DocumentTooBig");
        assert_eq!(poison(store.document("s3://elsewhere/a", &memory()).await.unwrap_err()), "ForeignSource");
        assert_eq!(poison(store.document(&format!("{root}/../etc"), &memory()).await.unwrap_err()), "ForeignSource");
        assert_eq!(poison(store.document(&format!("{root}x/a"), &memory()).await.unwrap_err()), "ForeignSource");
    }

    #[tokio::test]
    async fn a_body_that_is_longer_than_declared_is_refused_while_it_arrives() {
        let sent = std::cell::Cell::new(0);
        let parts = futures::stream::repeat_with(|| {
            sent.set(sent.get() + 1);
            Ok([b'x'; 4])
        });
        let error = collect(parts, 3, 10).await.unwrap().unwrap_err();
        assert!(matches!(error, NoBody::TooBig { bytes: 12, limit: 10 }));
        assert_eq!(sent.get(), 3);
        let parts = futures::stream::iter([Ok(*b"1234"), Ok(*b"5678")]);
        assert_eq!(collect(parts, 0, 8).await.unwrap().unwrap(), b"12345678");
    }

    #[tokio::test]
    async fn a_claim_written_twice_is_one_claim() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder_store(folder.path(), 10);
        let claim = store.put_claim(b"body".to_vec()).await.unwrap();
        assert_eq!(store.put_claim(b"body".to_vec()).await.unwrap(), claim);
        assert_eq!(store.claim(&claim, &memory(), |bytes| bytes).await.unwrap().0, b"body");
        assert_eq!(std::fs::read_dir(folder.path().join(CLAIMS)).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_claim_that_is_missing_or_changed_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder_store(folder.path(), 10);
        let claim = store.put_claim(b"body".to_vec()).await.unwrap();
        let file = folder.path().join(CLAIMS).join(&claim);
        std::fs::write(&file, "bodY").unwrap();
        let lost = store.claim(&claim, &memory(), |bytes| bytes).await.unwrap_err();
        assert!(matches!(&lost, StoreError::ClaimLost(ClaimLost::Corrupt(_))), "{lost}");
        std::fs::remove_file(&file).unwrap();
        let lost = store.claim(&claim, &memory(), |bytes| bytes).await.unwrap_err();
        assert!(matches!(&lost, StoreError::ClaimLost(ClaimLost::Missing(_))), "{lost}");
    }

    #[tokio::test]
    async fn names_that_a_folder_cannot_hold_are_poison_and_empty_parts_mean_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/b"), "x").unwrap();
        let store = folder_store(folder.path(), 10);
        let root = format!("file://{}", folder.path().display());
        assert_eq!(store.document(&format!("{root}/a//b"), &memory()).await.unwrap().0, b"x");
        let long = format!("{root}/{}", "x".repeat(MAX_NAME_BYTES + 1));
        assert_eq!(poison(store.document(&long, &memory()).await.unwrap_err()), "KeyTooLong");
        assert_eq!(poison(store.document(&format!("{root}/a/b/c"), &memory()).await.unwrap_err()), "DocumentMissing");
        assert_eq!(poison(store.document(&format!("{root}/"), &memory()).await.unwrap_err()), "ForeignSource");
    }

    #[test]
    fn the_key_of_a_source_is_what_is_below_the_root() {
        crate::tls::install_provider();
        let open = |store_url: &str| {
            let config = DocumentsConfig { store_url: store_url.to_owned(), ..DocumentsConfig::default() };
            ObjectStore::open(&config, &Guards::for_tests()).unwrap()
        };
        let store = open("s3://documents/Eingang 2024/");
        let of = |key: &str| store.key_of(&format!("s3://documents/Eingang 2024/{key}"));
        for (key, raw) in [("ü b/c%20d.md", false), ("a//b.pdf", true), ("a/", true), ("/a", true)] {
            let found = of(key).unwrap();
            assert_eq!((found.name().as_str(), found.raw.is_some()), (key, raw));
        }
        for key in ["", "/", "a/../b", "./a"] {
            assert_eq!(of(key).unwrap_err().kind(), "ForeignSource", "{key:?}");
        }
        let longest = MAX_KEY_BYTES - "Eingang 2024/".len();
        assert!(of(&"x".repeat(longest)).is_ok());
        assert_eq!(of(&"x".repeat(longest + 1)).unwrap_err().kind(), "KeyTooLong");
    }

    #[test]
    fn the_lifecycle_rule_that_ships_is_about_claims() {
        let rules = include_str!("../../../manifests/s3-lifecycle.json");
        let rules: serde_json::Value = serde_json::from_str(rules).unwrap();
        assert_eq!(rules["Rules"][0]["Filter"]["Prefix"], format!("{CLAIMS}/"));
        assert_eq!(rules["Rules"].as_array().unwrap().len(), 1, "no rule may delete documents");
    }

    #[tokio::test]
    async fn a_missing_document_is_an_answer_and_does_not_open_the_circuit() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "x").unwrap();
        let store = folder_store(folder.path(), 10);
        let root = format!("file://{}", folder.path().display());
        for _ in 0..10 {
            let missing = store.document(&format!("{root}/none"), &memory()).await.unwrap_err();
            assert_eq!(poison(missing), "DocumentMissing");
        }
        assert_eq!(store.document(&format!("{root}/a"), &memory()).await.unwrap().0, b"x");
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
            let error = store.document("s3://documents/a", &memory()).await.unwrap_err();
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
