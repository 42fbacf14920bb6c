//! A layer: a tree as a tar stream, with its digest. The same tree gives the same bytes.
//!
//! To compute a digest, every byte has to be read. So the cache keeps the digest under the identity of the sources:
//! path, size, modification time, inode. The bytes are not stored a second time.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::tarball::write_tree;
use super::{Content, Entry, Tree};
use crate::action::Action;
use crate::cache::{Cache, Key, discard_if_changed};

/// A layer of an image.
#[derive(Debug)]
pub struct Layer {
    name: String,
    source: Source,
    digest: String,
    size: u64,
}

#[derive(Debug)]
enum Source {
    /// The tar is generated from these entries each time.
    Tree(Tree),
    /// A tar on disk, which is copied unchanged.
    Tar(Content),
}

impl Layer {
    /// Makes a layer of a tree, and reads every byte to compute the digest.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn new(name: &str, tree: Tree) -> Result<Self> {
        Self::measured(name, Source::of(tree))
    }

    /// Makes a layer of a tree, with the digest from the cache if it is there.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn cached(cache: &Cache, name: &str, tree: Tree) -> Result<Self> {
        Self::remembered(cache, name, Source::of(tree))
    }

    /// Makes a layer of a tar file, with the digest from the cache if it is there.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_tar(cache: &Cache, name: &str, tar: &Path) -> Result<Self> {
        Self::remembered(cache, name, Source::Tar(Content::whole(tar)?))
    }

    /// A layer whose digest is known, of a tar. [`Layer::write`] compares both.
    pub(crate) fn known(tar: Content, digest: &str) -> Self {
        Self { name: digest.to_owned(), size: tar.size(), digest: digest.to_owned(), source: Source::Tar(tar) }
    }

    /// The layer's name in the image's history.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digest of the tar stream (`sha256:…`). The stream is not compressed, so this is also the diff id.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Length of the tar stream in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the tar stream.
    ///
    /// # Errors
    /// When a source cannot be read or changed since the digest was taken, or `out` cannot be written.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        let mut out = Measure::new(out);
        self.source.write(&mut out).with_context(|| format!("write layer {}", self.name))?;
        let (digest, _) = out.finish();
        if digest != self.digest {
            let faults: Vec<String> = self.source.files().into_iter().filter_map(discard_if_changed).collect();
            let faults: String = faults.iter().map(|fault| format!("; {fault}")).collect();
            bail!(
                "layer {} changed while it was used, from {} to {digest}{faults}: run the command again",
                self.name,
                self.digest
            );
        }
        Ok(())
    }

    fn measured(name: &str, source: Source) -> Result<Self> {
        let mut sink = io::sink();
        let mut out = Measure::new(&mut sink);
        source.write(&mut out).with_context(|| format!("read layer {name}"))?;
        let (digest, size) = out.finish();
        Ok(Self { name: name.to_owned(), source, digest, size })
    }

    fn remembered(cache: &Cache, name: &str, source: Source) -> Result<Self> {
        let action = Action::new("layer").input("source", source.identity()?).code(&super::CODE);
        if let Some(place) = cache.get("layers", name, &action) {
            let note = fs::read_to_string(place.join("digest")).context("read a cached digest")?;
            if let Some((digest, size)) = note.trim().split_once(' ')
                && let Ok(size) = size.parse()
            {
                return Ok(Self { name: name.to_owned(), source, digest: digest.to_owned(), size });
            }
        }
        let layer = Self::measured(name, source)?;
        cache.get_or_build("layers", name, &action, |place| {
            fs::write(place.join("digest"), format!("{} {}\n", layer.digest, layer.size)).context("remember a digest")
        })?;
        Ok(layer)
    }
}

impl Source {
    fn of(mut tree: Tree) -> Self {
        tree.add_parents();
        Self::Tree(tree)
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        match self {
            Self::Tree(tree) => write_tree(tree, out),
            Self::Tar(tar) => tar.copy(out),
        }
    }

    /// The files on disk that the bytes come from.
    fn files(&self) -> Vec<&Path> {
        let contents: Vec<&Content> = match self {
            Self::Tar(tar) => vec![tar],
            Self::Tree(tree) => tree
                .iter()
                .filter_map(|(_, entry)| match entry {
                    Entry::File { content, .. } => Some(content),
                    _ => None,
                })
                .collect(),
        };
        let files = contents.into_iter().filter_map(|content| match content {
            Content::File { path, .. } => Some(path.as_path()),
            _ => None,
        });
        files.collect()
    }

    /// A hash that changes when the bytes may have changed.
    fn identity(&self) -> Result<String> {
        let mut key = Key::new("layer");
        match self {
            Self::Tar(tar) => key = add(key.field("tar", ""), tar)?,
            Self::Tree(tree) => {
                for (path, entry) in tree.iter() {
                    key = key.field("path", path);
                    key = match entry {
                        Entry::Dir { mode, owner } => key.field("dir", format!("{mode:o} {owner:?}")),
                        Entry::Link { target } => key.field("link", target),
                        Entry::File { mode, owner, content } => {
                            add(key.field("file", format!("{mode:o} {owner:?}")), content)?
                        }
                    };
                }
            }
        }
        Ok(key.finish())
    }
}

/// Adds what changes when the bytes of a content may have changed.
fn add(key: Key, content: &Content) -> Result<Key> {
    Ok(match content {
        Content::Bytes(bytes) => key.field("bytes", bytes),
        Content::File { path, offset, size } => key.field("source", format!("{offset} {size} {}", identity(path)?)),
        Content::Archive(archive) => key.field("archive", archive.identity()),
    })
}

fn identity(path: &Path) -> Result<String> {
    let meta = path.metadata().with_context(|| format!("look at {}", path.display()))?;
    Ok(format!(
        "{} {} {}.{} {}.{} {}:{}",
        path.display(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
        meta.dev(),
        meta.ino()
    ))
}

/// Forwards bytes and computes their digest and number.
pub(crate) struct Measure<'a> {
    out: &'a mut dyn Write,
    hash: Sha256,
    size: u64,
}

impl<'a> Measure<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, hash: Sha256::new(), size: 0 }
    }

    pub(crate) fn finish(self) -> (String, u64) {
        (format!("sha256:{}", hex::encode(self.hash.finalize())), self.size)
    }
}

impl Write for Measure<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;
    use crate::oci::EPOCH;

    fn bytes(layer: &Layer) -> Vec<u8> {
        let mut out = Vec::new();
        layer.write(&mut out).unwrap();
        out
    }

    #[test]
    fn tar_holds_names_owners_times_and_bytes() {
        let mut tree = Tree::default();
        let long = format!("/{}/{}", "d".repeat(120), "f".repeat(150));
        tree.file(&long, 0o640, "hello".into()).unwrap();
        tree.put("/own", Entry::File { mode: 0o4755, owner: (999, 998), content: "x".into() }).unwrap();
        tree.link("/to", &"t".repeat(130)).unwrap();
        let layer = Layer::new("test", tree).unwrap();
        let data = bytes(&layer);
        assert_eq!(data.len() as u64, layer.size());
        let mut archive = tar::Archive::new(data.as_slice());
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), EPOCH);
            let name = entry.path().unwrap().display().to_string();
            let link = entry.link_name().unwrap().map(|link| link.display().to_string());
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let header = entry.header();
            found.insert(name, (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap(), content, link));
        }
        assert_eq!(found[&long[1..]], (0o640, 0, 0, "hello".into(), None));
        assert_eq!(found["own"], (0o4755, 999, 998, "x".into(), None));
        assert_eq!(found["to"].4.as_deref(), Some("t".repeat(130).as_str()));
        assert!(found.contains_key(&format!("{}/", "d".repeat(120))), "the parent is added: {:?}", found.keys());
    }

    #[test]
    fn remembered_digest_follows_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        let source = dir.path().join("program");
        let layer = || {
            let mut tree = Tree::default();
            tree.file("/program", 0o755, Content::whole(&source).unwrap()).unwrap();
            Layer::cached(&cache, "program", tree).unwrap()
        };
        fs::write(&source, "one").unwrap();
        let first = layer();
        assert_eq!(first.digest(), layer().digest());
        fs::write(&source, "two").unwrap();
        assert_ne!(first.digest(), layer().digest());
        let error = first.write(&mut io::sink()).unwrap_err().to_string();
        assert!(error.contains("changed while it was used"), "{error}");
    }

    #[test]
    fn damaged_entry_is_found_when_its_layer_is_written_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let action = Action::new("go");
        let build = || {
            let entry =
                cache.get_or_build("parts", "kind", &action, |place| Ok(fs::write(place.join("kind"), "good")?));
            entry.unwrap().join("kind")
        };
        let layer = Layer::of_tar(&cache, "kind", &build()).unwrap();
        fs::write(build(), "g0od").unwrap(); // of the same size, so the entry looks whole
        let error = layer.write(&mut io::sink()).unwrap_err().to_string();
        assert!(error.contains("the SHA-256 of kind is") && error.contains("run the command again"), "{error}");
        assert_eq!(fs::read_to_string(build()).unwrap(), "good");
    }

    #[test]
    fn one_source_twice_is_a_hard_link() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("tar");
        fs::write(&source, "....perl").unwrap();
        let content = Content::File { path: source, offset: 4, size: 4 };
        let mut tree = Tree::default();
        tree.file("/usr/bin/perl5", 0o755, content.clone()).unwrap();
        tree.file("/usr/bin/perl", 0o755, content).unwrap();
        let data = bytes(&Layer::new("perl", tree).unwrap());
        let mut archive = tar::Archive::new(data.as_slice());
        let last = archive.entries().unwrap().last().unwrap().unwrap();
        assert_eq!(last.path().unwrap().display().to_string(), "usr/bin/perl5");
        assert_eq!(last.link_name().unwrap().unwrap().display().to_string(), "usr/bin/perl");
    }
}
