//! The documents of a run: read from a folder, hashed and counted here, before anything is changed.
//!
//! What this file computes is the oracle's side of the comparison and is never read back from the
//! cluster.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::count::{Kind, words_of};
use crate::oracle::hash;
use crate::schedule::{generator, shuffled};

/// Bodies above this travel as claim checks, which costs the worker further trips to S3.
pub const CLAIM_CHECK: u64 = 64 * 1024;
/// One in so many documents of the load may be above [`CLAIM_CHECK`]: such documents belong to the
/// load, but each holds an IO slot several times as long, and the size of the load is derived from
/// the time that one trip takes.
pub const ONE_LARGE_IN: usize = 20;
/// Larger files are left out: no document of the guide's rates is that large.
const LARGEST: u64 = 2 * 1024 * 1024;
/// A run uses at most so many different documents up to [`CLAIM_CHECK`], drawn by its seed.
const MOST_SMALL: usize = 380;
/// And at most so many above it.
const MOST_LARGE: usize = 20;

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its key in the bucket: its hash and its name, so that equal keys hold equal bytes.
    pub key: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// The content's hash in hex.
    pub sha256: String,
    /// The oracle's count of its words.
    pub words: u64,
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
    /// Of those, files above the claim-check limit.
    pub large: usize,
    /// Files left out because they are empty, not UTF-8 or too large, or because two Markdown parsers
    /// do not agree on their words.
    pub left_out: usize,
    /// Their length in all.
    pub bytes: u64,
    /// Their words in all, by the oracle's count.
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
        "corpus {folder} holds no document to load ({left_out} files left out: empty, not UTF-8, above 2 MiB, or Markdown that two parsers read differently): \
         pass a folder with .html, .md or .txt files with --corpus DIR"
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
pub fn load(folder: &Path, seed: u64) -> Result<(Vec<Document>, Summary)> {
    if !folder.is_dir() {
        return Err(NoCorpus::Unreadable(folder.to_owned()).into());
    }
    let files = files_under(folder)?;
    let order = shuffled(files.len(), &mut generator(seed, "corpus"));
    let mut documents = Vec::<Document>::new();
    let mut large = Vec::new();
    let mut left_out = 0;
    for index in order {
        if documents.len() == MOST_SMALL {
            break;
        }
        match read(&files[index].0, files[index].1)? {
            Some(document) if document.bytes.len() as u64 <= CLAIM_CHECK => documents.push(document),
            Some(document) if large.len() < MOST_LARGE => large.push(document),
            Some(_) => {}
            None => left_out += 1,
        }
    }
    // A corpus of large documents only is loaded as it is: the user chose it.
    if !documents.is_empty() {
        large.truncate(documents.len() / (ONE_LARGE_IN - 1));
    }
    let large_used = large.len();
    documents.append(&mut large);
    documents.sort_by(|one, other| one.key.cmp(&other.key));
    documents.dedup_by(|one, other| one.key == other.key);
    if documents.is_empty() {
        return Err(NoCorpus::Empty {
            folder: folder.to_owned(),
            left_out,
        }
        .into());
    }
    let summary = Summary {
        folder: folder.display().to_string(),
        found: files.len(),
        used: documents.len(),
        large: large_used,
        left_out,
        bytes: documents.iter().map(|document| document.bytes.len() as u64).sum(),
        words: documents.iter().map(|document| document.words).sum(),
    };
    Ok((documents, summary))
}

/// HTML, Markdown and text files under `folder`, in the order of their paths; links are not followed.
fn files_under(folder: &Path) -> Result<Vec<(PathBuf, Kind)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries =
            std::fs::read_dir(&next).with_context(|| format!("reading folder {}", next.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("reading folder {}", next.display()))?;
            let kind = entry
                .file_type()
                .with_context(|| format!("looking at {}", entry.path().display()))?;
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Some(kind) = path
                    .extension()
                    .and_then(|ext| ext.to_str())
                    .and_then(Kind::of_extension)
            {
                found.push((path, kind));
            }
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

/// The document in a file, or none where the file cannot be one.
fn read(path: &Path, kind: Kind) -> Result<Option<Document>> {
    let length = std::fs::metadata(path)
        .with_context(|| format!("looking at {}", path.display()))?
        .len();
    if length == 0 || length > LARGEST {
        return Ok(None);
    }
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(None);
    };
    let Some(words) = words_of(kind, text) else {
        return Ok(None);
    };
    let sha256 = hash(&bytes);
    let name: String = path
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    Ok(Some(Document {
        key: format!("corpus/{}-{name}", &sha256[..16]),
        bytes,
        sha256,
        words,
    }))
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
        assert_eq!(documents.iter().map(|document| document.words).sum::<u64>(), 3);
        assert!(keys.iter().any(|key| key.ends_with("-a.md")), "{keys:?}");
        assert!(keys.iter().any(|key| key.ends_with("-b_b.html")), "{keys:?}");
        assert_eq!((summary.found, summary.used, summary.left_out), (4, 2, 2));
    }

    #[test]
    fn nothing_to_load_says_what_to_do() {
        let none = folder(&[("c.rs", b"no"), ("empty.md", b"")]);
        let error = load(none.path(), 1).unwrap_err();
        let told = NoCorpus::Empty {
            folder: none.path().to_owned(),
            left_out: 1,
        };
        assert_eq!(error.downcast_ref::<NoCorpus>(), Some(&told));
        assert!(error.to_string().contains("--corpus DIR"), "{error}");
        let error = load(Path::new("no/such/folder"), 1).unwrap_err();
        assert!(
            matches!(error.downcast_ref(), Some(NoCorpus::Unreadable(_))),
            "{error}"
        );
    }

    #[test]
    fn the_seed_draws_the_documents_and_large_ones_stay_few() {
        let long = "word ".repeat(14_000);
        let mut files: Vec<(String, Vec<u8>)> = (0..600)
            .map(|index| (format!("{index}.md"), format!("text {index}").into_bytes()))
            .collect();
        files.extend((0..30).map(|index| (format!("l{index}.md"), format!("{index} {long}").into_bytes())));
        let named: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_slice()))
            .collect();
        let folder = folder(&named);
        let keys = |seed| {
            let (documents, summary) = load(folder.path(), seed).unwrap();
            assert_eq!(documents.len(), MOST_SMALL + summary.large);
            assert!(
                summary.large > 0 && summary.large * ONE_LARGE_IN <= documents.len(),
                "{}",
                summary.large
            );
            documents
                .into_iter()
                .map(|document| document.key)
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(1), keys(1));
        assert_ne!(keys(1), keys(2));
    }
}
