//! The cache of finished work, keyed by content. An entry is complete or absent.
//!
//! An entry's key is a hash of all its inputs. An entry is built in a work folder and then renamed into its place, so
//! that an interrupted build leaves nothing that looks finished. A lock makes two checkouts build the same entry once.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// A cache of finished work in one folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache in this folder, and creates the folder if it is missing.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).with_context(|| format!("make the cache folder {}", root.display()))?;
        Ok(Self { root })
    }

    /// The folder of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of an entry, whether the entry exists or not.
    pub fn place(&self, kind: &str, name: &str, key: &str) -> PathBuf {
        self.root.join(kind).join(format!("{name}-{}", &key[..16.min(key.len())]))
    }

    /// The entry's path, if the entry exists.
    pub fn get(&self, kind: &str, name: &str, key: &str) -> Option<PathBuf> {
        Some(self.place(kind, name, key)).filter(|place| place.is_dir())
    }

    /// The entry's path. If the entry does not exist, `build` fills an empty folder that becomes the entry.
    ///
    /// # Errors
    /// The error of `build`, or a failure to lock or to rename the finished folder.
    pub fn get_or_build(
        &self,
        kind: &str,
        name: &str,
        key: &str,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let place = self.place(kind, name, key);
        if place.is_dir() {
            return Ok(place);
        }
        let parent = self.root.join(kind);
        fs::create_dir_all(&parent).with_context(|| format!("make {}", parent.display()))?;
        let _lock = self.lock(&format!("{kind}-{name}"))?;
        if place.is_dir() {
            return Ok(place); // another checkout built it while this one waited for the lock
        }
        // The holder of the lock owns the work folder. A killed build may have left files in it.
        let work = parent.join(format!(".building-{name}"));
        remove_folder(&work)?;
        fs::create_dir(&work).with_context(|| format!("make {}", work.display()))?;
        build(&work).inspect_err(|_| drop(remove_folder(&work)))?;
        fs::rename(&work, &place).with_context(|| format!("move {name} into the cache"))?;
        Ok(place)
    }

    /// Holds a named lock for as long as the returned file lives.
    ///
    /// # Errors
    /// When the lock file cannot be created or locked.
    pub fn lock(&self, name: &str) -> Result<File> {
        let dir = self.root.join("locks");
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let file = File::create(dir.join(name)).with_context(|| format!("make the lock {name}"))?;
        file.lock().with_context(|| format!("lock {name}"))?;
        Ok(file)
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// A key under construction. Its fields are labelled and have their lengths hashed, so that different inputs differ.
#[derive(Debug, Clone, Default)]
pub struct Key(Sha256);

impl Key {
    /// Starts the key of one kind of entry. Change `recipe` when the way to build the entry changes.
    pub fn new(recipe: &str) -> Self {
        Self::default().field("recipe", recipe)
    }

    /// Adds a labelled value.
    #[must_use]
    pub fn field(mut self, label: &str, value: impl AsRef<[u8]>) -> Self {
        for part in [label.as_bytes(), value.as_ref()] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds a file's content under a label.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn file(self, label: &str, path: &Path) -> Result<Self> {
        let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(self.field(label, content))
    }

    /// Adds the path and the content of every file below a folder, in order of path.
    ///
    /// # Errors
    /// When a file or folder cannot be read.
    pub fn tree(mut self, label: &str, root: &Path) -> Result<Self> {
        for path in files_below(root)? {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            self = self.file(&format!("{label}/{name}"), &path)?;
        }
        Ok(self)
    }

    /// The key as hexadecimal digits.
    pub fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}

/// All files below a folder, in order of path. Symbolic links are listed, not followed.
///
/// # Errors
/// When a folder cannot be read.
pub fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", folder.display()))?;
            if entry.file_type().with_context(|| format!("look at {}", entry.path().display()))?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The SHA-256 of a file as hexadecimal digits.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).with_context(|| format!("read {}", path.display()))?;
        if count == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_build_leaves_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let built = cache.get_or_build("parts", "x", "k", |place| {
            fs::write(place.join("half"), "…")?;
            anyhow::bail!("interrupted")
        });
        assert!(built.is_err());
        assert_eq!(cache.get("parts", "x", "k"), None);
        assert_eq!(fs::read_dir(dir.path().join("parts")).unwrap().count(), 0, "no incomplete entry stays");
    }

    #[test]
    fn second_build_is_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let first = cache.get_or_build("parts", "x", "k", |place| Ok(fs::write(place.join("p"), "1")?)).unwrap();
        let second = cache.get_or_build("parts", "x", "k", |_| anyhow::bail!("built again")).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn labels_keep_fields_apart() {
        let one = Key::new("r").field("a", "bc").finish();
        let two = Key::new("r").field("ab", "c").finish();
        assert_ne!(one, two);
    }
}
