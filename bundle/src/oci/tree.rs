//! The files, links and folders of a layer. Reads the files on disk that it refers to, and writes none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::Archive;

/// User and group root.
pub const ROOT: (u32, u32) = (0, 0);

/// Folders that are links into /usr on Debian since bookworm. A layer with a folder of such a name would hide the files
/// of the layers below.
const LINKED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// The source of a file's bytes.
#[derive(Debug, Clone)]
pub enum Content {
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
    /// A part of a file on disk.
    File {
        /// The file.
        path: PathBuf,
        /// The offset of the part in bytes.
        offset: u64,
        /// The length of the part in bytes.
        size: u64,
    },
    /// An archive of images, generated while it is read.
    Archive(Arc<Archive>),
}

impl Content {
    /// A whole file on disk.
    ///
    /// # Errors
    /// When the file does not exist.
    pub fn whole(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let size = path.metadata().with_context(|| format!("look at {}", path.display()))?.len();
        Ok(Self::File { path, offset: 0, size })
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
            Self::Archive(archive) => archive.size(),
        }
    }

    /// Writes the bytes to `out`.
    pub fn copy(&self, out: &mut dyn io::Write) -> Result<()> {
        match self {
            Self::Bytes(bytes) => out.write_all(bytes).context("write a file's bytes"),
            Self::File { path, offset, size } => {
                let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
                file.seek(SeekFrom::Start(*offset)).with_context(|| format!("seek in {}", path.display()))?;
                let copied = io::copy(&mut io::BufReader::with_capacity(1 << 20, file.take(*size)), out)
                    .with_context(|| format!("copy {}", path.display()))?;
                if copied != *size {
                    bail!("{} changed while it was read: {copied} bytes instead of {size}", path.display());
                }
                Ok(())
            }
            Self::Archive(archive) => archive.write(out),
        }
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes().into())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().into())
    }
}

/// A folder, a file or a link.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A folder.
    Dir {
        /// Permission bits.
        mode: u32,
        /// User and group.
        owner: (u32, u32),
    },
    /// A file.
    File {
        /// Permission bits.
        mode: u32,
        /// User and group.
        owner: (u32, u32),
        /// Its content.
        content: Content,
    },
    /// A symbolic link.
    Link {
        /// Its target.
        target: String,
    },
}

/// Entries by their paths without a leading slash, in order of path. Putting a path again replaces its entry.
#[derive(Debug, Clone, Default)]
pub struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// Puts an entry at an absolute path.
    ///
    /// # Errors
    /// When the path is not absolute, has an empty, `.` or `..` part, or leads through a folder that is a link.
    pub fn put(&mut self, path: &str, entry: Entry) -> Result<()> {
        let plain = plain(path)?;
        let first = plain.split('/').next().unwrap_or_default();
        if LINKED.contains(&first) && (plain.contains('/') || !matches!(entry, Entry::Link { .. })) {
            bail!("{path}: /{first} is a link to /usr/{first} in the root filesystems: use the path in /usr");
        }
        self.0.insert(plain, entry);
        Ok(())
    }

    /// Puts a file owned by root.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn file(&mut self, path: &str, mode: u32, content: Content) -> Result<()> {
        self.put(path, Entry::File { mode, owner: ROOT, content })
    }

    /// Puts a folder.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn dir(&mut self, path: &str, mode: u32, owner: (u32, u32)) -> Result<()> {
        self.put(path, Entry::Dir { mode, owner })
    }

    /// Puts a symbolic link.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.put(path, Entry::Link { target: target.to_owned() })
    }

    /// Puts every file below a folder on disk below `to`, all with the same mode.
    ///
    /// # Errors
    /// When the folder cannot be read, or as [`Tree::put`].
    pub fn copy_dir(&mut self, from: &Path, to: &str, mode: u32) -> Result<()> {
        for path in crate::cache::files_below(from)? {
            let below = path.strip_prefix(from).unwrap_or(&path);
            let target = format!("{}/{}", to.trim_end_matches('/'), below.display());
            self.file(&target, mode, Content::whole(&path)?)?;
        }
        Ok(())
    }

    /// Puts every entry of another tree into this one.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The entry at an absolute path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path.trim_matches('/'))
    }

    /// Keeps the entries for which `keep`, called with the absolute path, is true.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|path, _| keep(&format!("/{path}")));
    }

    /// The paths (without a leading slash) and entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Adds missing parent folders. Without them some engines create the folders with mode 0600.
    pub(super) fn add_parents(&mut self) {
        let mut missing = Vec::new();
        for path in self.0.keys() {
            let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
            missing.extend(parents.filter(|parent| !self.0.contains_key(*parent)).map(str::to_owned));
        }
        for parent in missing {
            self.0.insert(parent, Entry::Dir { mode: 0o755, owner: ROOT });
        }
    }
}

/// An absolute path without its leading slash.
fn plain(path: &str) -> Result<String> {
    let Some(plain) = path.strip_prefix('/') else { bail!("{path}: a path in an image must be absolute") };
    if plain.split('/').any(|part| matches!(part, "" | "." | "..")) {
        bail!("{path}: a path in an image must not have an empty, `.` or `..` part");
    }
    Ok(plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_paths_are_refused() {
        let mut tree = Tree::default();
        for path in ["etc/x", "/etc//x", "/etc/../x", "/", "/bin/sh", "/lib"] {
            assert!(tree.file(path, 0o644, "".into()).is_err(), "{path}");
        }
        assert!(tree.link("/bin", "usr/bin").is_ok());
    }

    #[test]
    fn parents_come_before_what_is_in_them() {
        let mut tree = Tree::default();
        tree.file("/a/b/c", 0o644, "".into()).unwrap();
        tree.dir("/a-b", 0o700, (7, 7)).unwrap();
        tree.add_parents();
        let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "a-b", "a/b", "a/b/c"]);
    }
}
