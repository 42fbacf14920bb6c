//! A layer: a tree as a tar stream, always the same bytes for the same tree, with its digest.
//!
//! Knowing the digest takes reading every byte, so it is remembered in the cache under the identity of the sources
//! (path, size, time of last change, inode). The bytes themselves are not stored a second time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::{Content, EPOCH, Entry, Tree};
use crate::cache::{Cache, Key};

/// Files and folders that lie over the layers below.
#[derive(Debug)]
pub struct Layer {
    name: String,
    source: Source,
    digest: String,
    size: u64,
}

#[derive(Debug)]
enum Source {
    /// Written from its entries each time.
    Tree(Tree),
    /// A tar file on disk, passed as it is.
    Tar(PathBuf),
}

impl Layer {
    /// A layer of a tree; reads every byte of it.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn new(name: &str, tree: Tree) -> Result<Self> {
        Self::measured(name, Source::of(tree))
    }

    /// A layer of a tree; its digest is looked up in the cache first.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn cached(cache: &Cache, name: &str, tree: Tree) -> Result<Self> {
        Self::remembered(cache, name, Source::of(tree))
    }

    /// A layer that is a tar file already; its digest is looked up in the cache first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_tar(cache: &Cache, name: &str, tar: &Path) -> Result<Self> {
        Self::remembered(cache, name, Source::Tar(tar.to_owned()))
    }

    /// What the layer is, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digest of the tar stream (`sha256:…`); as it is not compressed, the diff id too.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Length of the tar stream.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the tar stream.
    ///
    /// # Errors
    /// When a source cannot be read or has changed since the digest was taken, or `out` cannot be written.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        let mut out = Measure::new(out);
        self.source.write(&mut out).with_context(|| format!("write layer {}", self.name))?;
        let (digest, _) = out.finish();
        if digest != self.digest {
            bail!("layer {} changed while it was used: was {}, is {digest}: run again", self.name, self.digest);
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
        let key = source.identity()?;
        if let Some(place) = cache.get("layers", name, &key) {
            let note = fs::read_to_string(place.join("digest")).context("read a remembered digest")?;
            if let Some((digest, size)) = note.trim().split_once(' ')
                && let Ok(size) = size.parse()
            {
                return Ok(Self { name: name.to_owned(), source, digest: digest.to_owned(), size });
            }
        }
        let layer = Self::measured(name, source)?;
        cache.get_or_build("layers", name, &key, |place| {
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
            Self::Tar(path) => Content::whole(path)?.copy(out),
        }
    }

    /// A key that changes whenever the bytes could have.
    fn identity(&self) -> Result<String> {
        let mut key = Key::new("layer 1");
        match self {
            Self::Tar(path) => key = key.field("tar", identity(path)?),
            Self::Tree(tree) => {
                for (path, entry) in tree.iter() {
                    key = key.field("path", path);
                    key = match entry {
                        Entry::Dir { mode, owner } => key.field("dir", format!("{mode:o} {owner:?}")),
                        Entry::Link { target } => key.field("link", target),
                        Entry::File { mode, owner, content } => {
                            let key = key.field("file", format!("{mode:o} {owner:?}"));
                            match content {
                                Content::Bytes(bytes) => key.field("bytes", bytes),
                                Content::File { path, offset, size } => {
                                    key.field("source", format!("{offset} {size} {}", identity(path)?))
                                }
                                Content::Archive(archive) => key.field("archive", archive.identity()),
                            }
                        }
                    };
                }
            }
        }
        Ok(key.finish())
    }
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

/// Writes a tree as a tar stream; files with one and the same source become hard links of the first.
pub(crate) fn write_tree(tree: &Tree, out: &mut dyn Write) -> Result<()> {
    let mut tar = tar::Builder::new(out);
    let mut seen: BTreeMap<(&Path, u64), &str> = BTreeMap::new();
    for (path, entry) in tree.iter() {
        match entry {
            Entry::Dir { mode, owner } => {
                let header = header(tar::EntryType::Directory, *mode, *owner, 0);
                append(&mut tar, header, &format!("{path}/"), None, None)?;
            }
            Entry::Link { target } => {
                append(&mut tar, header(tar::EntryType::Symlink, 0o777, (0, 0), 0), path, Some(target), None)?;
            }
            Entry::File { mode, owner, content } => {
                if let Content::File { path: source, offset, size: 1.. } = content {
                    if let Some(first) = seen.get(&(source.as_path(), *offset)) {
                        append(&mut tar, header(tar::EntryType::Link, *mode, *owner, 0), path, Some(first), None)?;
                        continue;
                    }
                    seen.insert((source, *offset), path);
                }
                let header = header(tar::EntryType::Regular, *mode, *owner, content.size());
                append(&mut tar, header, path, None, Some(content))?;
            }
        }
    }
    tar.into_inner().context("end the tar")?;
    Ok(())
}

pub(super) fn header(kind: tar::EntryType, mode: u32, owner: (u32, u32), size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0.into());
    header.set_gid(owner.1.into());
    header.set_mtime(EPOCH);
    header.set_size(size);
    header
}

/// Appends one entry; names that a plain header has no room for go into a PAX header before it.
pub(super) fn append(
    tar: &mut tar::Builder<&mut dyn Write>,
    mut header: tar::Header,
    path: &str,
    target: Option<&str>,
    content: Option<&Content>,
) -> Result<()> {
    let mut pax: Vec<(&str, &[u8])> = Vec::new();
    if header.set_path(path).is_err() {
        pax.push(("path", path.as_bytes()));
        header.set_path(shortened(path)).with_context(|| format!("name {path}"))?;
    }
    if let Some(target) = target
        && header.set_link_name_literal(target).is_err()
    {
        pax.push(("linkpath", target.as_bytes()));
        header.set_link_name_literal(shortened(target)).with_context(|| format!("link to {target}"))?;
    }
    if !pax.is_empty() {
        tar.append_pax_extensions(pax).with_context(|| format!("name {path}"))?;
    }
    header.set_cksum();
    tar.append(&header, io::empty()).with_context(|| format!("add {path}"))?;
    let Some(content) = content else { return Ok(()) };
    let out = tar.get_mut();
    content.copy(out).with_context(|| format!("add {path}"))?;
    let padding = content.size().next_multiple_of(512) - content.size();
    out.write_all(&[0; 512][..usize::try_from(padding).unwrap_or(0)]).with_context(|| format!("add {path}"))
}

/// The part of a long name that fits a plain header.
fn shortened(name: &str) -> String {
    let short: String = name.trim_end_matches('/').chars().filter(char::is_ascii).collect();
    short[short.len().saturating_sub(90)..].trim_start_matches('/').to_owned()
}

/// Passes bytes on, and knows their digest and count.
pub(super) struct Measure<'a> {
    out: &'a mut dyn Write,
    hash: Sha256,
    size: u64,
}

impl<'a> Measure<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, hash: Sha256::new(), size: 0 }
    }

    pub(super) fn finish(self) -> (String, u64) {
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
    use std::io::Read as _;

    use super::*;

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
        assert!(found.contains_key(&format!("{}/", "d".repeat(120))), "the parent is there: {:?}", found.keys());
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
