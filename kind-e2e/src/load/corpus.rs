//! The documents of a run: read from a folder or generated, hashed and read here before anything is changed.
//!
//! What this file computes is the oracle's side of the comparison. It is never read back from the cluster.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::arrivals::{generator, shuffled};
use super::generated::{self, Generated};
use crate::cluster::Fixture;
use crate::text::{Kind, Reading, read};

/// A body above this many bytes travels as a claim (`DOCUMENT_INLINE_BYTES`).
pub const INLINE: u64 = 64 * 1024;
/// The folder of the claims in the bucket.
pub const CLAIMS: &str = "claims";
/// Requests to S3 for a document that travels as a claim, at most: the document, its claim and that of its text are
/// written and read.
pub const CLAIM_TRIPS: u32 = 5;
/// One in so many documents of the load may travel as a claim: each holds an IO slot several times as long.
const ONE_LARGE_IN: usize = 20;
/// Larger files are left out: no document of the guide's rates is that large.
const LARGEST: u64 = 2 * 1024 * 1024;
/// A run uses at most so many different files up to [`INLINE`], and above it, drawn by its seed.
const MOST_SMALL: usize = 340;
const MOST_LARGE: usize = 17;
/// Documents that are generated for a run: each form twice, two of them large.
const GENERATED: usize = 22;
/// Uploads at the same time.
const UPLOADS: usize = 8;

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its key in the bucket: its hash and its name, so that equal keys hold equal bytes.
    pub key: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// How often it goes through the latency on the way to S3, at most.
    pub trips: u32,
    /// What the worker must store of it.
    pub expected: Expected,
}

/// What the worker must store of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// What it says.
    pub reading: Reading,
    /// Its charset, [`NONE`] where it must have none; not compared where this is none.
    pub charset: Option<String>,
    /// Its language, likewise.
    pub language: Option<String>,
}

/// Stands for a column that is null.
pub const NONE: &str = "none";

impl From<Generated> for Document {
    fn from(generated: Generated) -> Self {
        let known = generated.known;
        let (charset, language) = (known.charset.unwrap_or(NONE), known.language.unwrap_or(NONE));
        Self::new(&generated.name, generated.bytes, known.reading, Some(charset), Some(language))
    }
}

impl Document {
    /// A document called `name`. Its charset and language are compared where they are given.
    pub fn new(name: &str, bytes: Vec<u8>, reading: Reading, charset: Option<&str>, language: Option<&str>) -> Self {
        let sha256 = hash(&bytes);
        let safe = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }
        };
        let name: String = name.chars().map(safe).collect();
        let length = bytes.len() as u64;
        Self {
            key: format!("corpus/{}-{name}", &sha256[..16]),
            bytes,
            trips: if length > INLINE { CLAIM_TRIPS } else { 1 },
            expected: Expected {
                bytes: length,
                sha256,
                reading,
                charset: charset.map(str::to_owned),
                language: language.map(str::to_owned),
            },
        }
    }
}

/// The claim of a document's body in the bucket.
pub fn claim_key(document: &Document) -> Path {
    Path::from_iter([CLAIMS, document.expected.sha256.as_str()])
}

/// SHA-256 in hex.
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What a run says about its documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The folder.
    pub folder: String,
    /// HTML, Markdown and text files found in it.
    pub found: usize,
    /// Files that were drawn for the run.
    pub used: usize,
    /// Documents that were generated for the run: PDF, and text in other charsets and languages.
    #[serde(default)]
    pub generated: usize,
    /// Documents that travel as claims.
    pub large: usize,
    /// Files left out: empty, not UTF-8, too large, or such that it cannot be said for certain what they say.
    pub left_out: usize,
    /// Their length in all.
    pub bytes: u64,
    /// Their words in all.
    pub words: u64,
}

/// Why a folder is no corpus.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NoCorpus {
    /// It cannot be read at all.
    #[error("corpus {0} is not a readable folder: pass one with --corpus DIR")]
    Unreadable(PathBuf),
    /// It holds nothing that can be loaded.
    #[error(
        "corpus {folder} holds no document to load ({left_out} files left out: empty, not UTF-8, above 2 MiB, or read \
         differently by two parsers): pass a folder with .html, .md or .txt files with --corpus DIR"
    )]
    Empty {
        /// The folder.
        folder: PathBuf,
        /// Files with the right extension that cannot be used.
        left_out: usize,
    },
}

/// Reads `folder` and draws the run's documents with `seed`.
///
/// # Errors
/// [`NoCorpus`] where there is nothing to load; anything else where a file cannot be read.
pub fn load(folder: &FilePath, seed: u64) -> Result<(Vec<Document>, Summary)> {
    if !folder.is_dir() {
        return Err(NoCorpus::Unreadable(folder.to_owned()).into());
    }
    let files = files_under(folder)?;
    let (mut documents, mut large, mut left_out) = (Vec::<Document>::new(), Vec::new(), 0);
    for index in shuffled(files.len(), &mut generator(seed, "corpus")) {
        if documents.len() == MOST_SMALL {
            break;
        }
        match document(&files[index].0, files[index].1)? {
            Some(document) if document.trips == 1 => documents.push(document),
            Some(document) if large.len() < MOST_LARGE => large.push(document),
            Some(_) => {}
            None => left_out += 1,
        }
    }
    // A corpus of large documents only is loaded as it is: the user chose it.
    if !documents.is_empty() {
        large.truncate(documents.len() / (ONE_LARGE_IN - 1));
    }
    documents.append(&mut large);
    if documents.is_empty() {
        let folder = folder.to_owned();
        return Err(NoCorpus::Empty { folder, left_out }.into());
    }
    let used = documents.len();
    documents.extend(generated::documents(seed, GENERATED).into_iter().map(Document::from));
    documents.sort_by(|one, other| one.key.cmp(&other.key));
    documents.dedup_by(|one, other| one.key == other.key);
    let summary = Summary {
        folder: folder.display().to_string(),
        found: files.len(),
        used,
        generated: GENERATED,
        large: documents.iter().filter(|document| document.trips > 1).count(),
        left_out,
        bytes: documents.iter().map(|document| document.expected.bytes).sum(),
        words: documents.iter().map(|document| document.expected.reading.words).sum(),
    };
    Ok((documents, summary))
}

/// HTML, Markdown and text files under `folder`, in the order of their paths; links are not followed.
fn files_under(folder: &FilePath) -> Result<Vec<(PathBuf, Kind)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let reading = || format!("reading folder {}", next.display());
        for entry in std::fs::read_dir(&next).with_context(reading)? {
            let path = entry.with_context(reading)?.path();
            let kind = std::fs::symlink_metadata(&path).with_context(reading)?.file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Some(kind) = path.extension().and_then(|ext| Kind::of_extension(ext.to_str()?))
            {
                found.push((path, kind));
            }
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

/// The document in a file; none where it cannot be said for certain what it says.
fn document(path: &FilePath, kind: Kind) -> Result<Option<Document>> {
    let length = std::fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?.len();
    if length == 0 || length > LARGEST {
        return Ok(None);
    }
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let Some(reading) = std::str::from_utf8(&bytes).ok().and_then(|text| read(kind, text)) else {
        return Ok(None);
    };
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    Ok(Some(Document::new(&name, bytes, reading, Some("UTF-8"), None)))
}

/// Puts every document into the bucket. Keys are of the content, so that a second run changes nothing.
///
/// # Errors
/// The bucket refuses a document.
pub async fn upload(fixture: &Fixture, documents: &[Document]) -> Result<()> {
    stream::iter(documents)
        .map(Ok::<_, anyhow::Error>)
        .try_for_each_concurrent(UPLOADS, async |document| {
            let store: &Arc<dyn ObjectStore> = &fixture.documents;
            let payload = PutPayload::from(document.bytes.clone());
            let put = store.put(&Path::from(document.key.as_str()), payload).await;
            put.with_context(|| format!("uploading {}", document.key))?;
            Ok(())
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn html_and_markdown_are_read_with_folders_below() {
        let folder = folder(&[
            ("a.md", b"# one two"),
            ("sub/b b.html", b"<p>three</p>"),
            ("c.rs", b"no"),
            ("empty.md", b""),
            ("latin.html", b"caf\xe9"),
        ]);
        let (documents, summary) = load(folder.path(), 1).unwrap();
        let keys: Vec<&str> = documents.iter().map(|document| document.key.as_str()).collect();
        assert_eq!(documents.len(), 2 + GENERATED);
        assert!(keys.iter().any(|key| key.ends_with("-a.md")), "{keys:?}");
        assert!(keys.iter().any(|key| key.ends_with("-b_b.html")), "{keys:?}");
        assert_eq!((summary.found, summary.used, summary.left_out), (4, 2, 2));
    }

    #[test]
    fn nothing_to_load_says_what_to_do() {
        let none = folder(&[("c.rs", b"no"), ("empty.md", b"")]);
        let error = load(none.path(), 1).unwrap_err();
        let shown = NoCorpus::Empty { folder: none.path().to_owned(), left_out: 1 };
        assert_eq!(error.downcast_ref::<NoCorpus>(), Some(&shown));
        assert!(error.to_string().contains("--corpus DIR"), "{error}");
        let error = load(FilePath::new("no/such/folder"), 1).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(NoCorpus::Unreadable(_))), "{error}");
    }

    #[test]
    fn the_seed_draws_the_documents_and_large_ones_stay_few() {
        let long = "word ".repeat(14_000);
        let mut files: Vec<(String, Vec<u8>)> =
            (0..600).map(|index| (format!("{index}.md"), format!("text {index}").into_bytes())).collect();
        files.extend((0..30).map(|index| (format!("l{index}.md"), format!("{index} {long}").into_bytes())));
        let named: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (name.as_str(), text.as_slice())).collect();
        let folder = folder(&named);
        let keys = |seed| {
            let (documents, summary) = load(folder.path(), seed).unwrap();
            assert!(documents.len() <= MOST_SMALL + MOST_LARGE + GENERATED);
            assert!(
                summary.large > 2 && summary.large * ONE_LARGE_IN <= documents.len() + 2 * ONE_LARGE_IN,
                "{}",
                summary.large
            );
            documents.into_iter().map(|document| document.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(1), keys(1));
        assert_ne!(keys(1), keys(2));
    }
}
