//! The cache of finished work, keyed by content. An entry is complete or absent.
//!
//! An entry's key is a hash of all its inputs. An entry is built in a work folder and then renamed into its place, so
//! that an interrupted build leaves nothing that looks finished. A lock makes two checkouts build the same entry once.
//!
//! Before the rename an entry is written through to the disk, with a list of its files and their sizes. An entry whose
//! files have other sizes, such as none after a power loss, is built again.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use support::progress;

/// The file in an entry that lists the sizes and paths of its other files. Entries of older versions have none.
pub(crate) const SEAL: &str = ".sealed";

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

    /// The entry's path, if the entry exists and is undamaged.
    pub fn get(&self, kind: &str, name: &str, key: &str) -> Option<PathBuf> {
        Some(self.place(kind, name, key)).filter(|place| place.is_dir() && damage(place).is_none())
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
        if let Some(place) = self.get(kind, name, key) {
            return Ok(place);
        }
        let place = self.place(kind, name, key);
        let parent = self.root.join(kind);
        fs::create_dir_all(&parent).with_context(|| format!("make {}", parent.display()))?;
        let _lock = self.lock(&format!("{kind}-{name}"))?;
        if place.is_dir() {
            match damage(&place) {
                None => return Ok(place), // another checkout built it while this one waited for the lock
                Some(file) => {
                    progress::note(&format!("{} is damaged and made again: {file}", place.display()));
                    remove_folder(&place)?;
                }
            }
        }
        // The holder of the lock owns the work folder. A killed build may have left files in it.
        let work = parent.join(format!(".building-{name}"));
        remove_folder(&work)?;
        fs::create_dir(&work).with_context(|| format!("make {}", work.display()))?;
        build(&work).inspect_err(|_| drop(remove_folder(&work)))?;
        seal(&work).inspect_err(|_| drop(remove_folder(&work)))?;
        persist(&work, &place).with_context(|| format!("move {name} into the cache"))?;
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

/// Lists the files of an entry, and writes all of them through to the disk.
fn seal(entry: &Path) -> Result<()> {
    let mut list = String::new();
    let mut folders = vec![entry.to_owned()];
    for file in files_below(entry)? {
        let meta = file.symlink_metadata().with_context(|| format!("look at {}", file.display()))?;
        if meta.is_file() {
            sync(&file)?;
            list.push_str(&format!("{} {}\n", meta.len(), file.strip_prefix(entry).unwrap_or(&file).display()));
        }
        folders.extend(
            file.parent().filter(|parent| folders.last().map(PathBuf::as_path) != Some(*parent)).map(Path::to_owned),
        );
    }
    let path = entry.join(SEAL);
    fs::write(&path, list).with_context(|| format!("write {}", path.display()))?;
    sync(&path)?;
    folders.iter().try_for_each(|folder| sync(folder))
}

/// What is wrong with an entry. None if its files have the sizes that they were built with.
fn damage(entry: &Path) -> Option<String> {
    let list = match fs::read_to_string(entry.join(SEAL)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("{SEAL}: {error}")),
        Ok(list) => list,
    };
    if list.is_empty() {
        return Some(format!("{SEAL} has 0 bytes"));
    }
    list.lines().find_map(|line| {
        let (size, name) = line.split_once(' ')?;
        let found =
            entry.join(name).symlink_metadata().map_or_else(|_| "absent".to_owned(), |meta| meta.len().to_string());
        (found != size).then(|| format!("{name} has {found} bytes, expected {size}"))
    })
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).with_context(|| format!("write {} to the disk", path.display()))
}

/// Renames a file or folder, which survives a power loss from then on: whole at its new place, or not there.
pub(crate) fn persist(from: &Path, to: &Path) -> Result<()> {
    sync(from)?;
    fs::rename(from, to).with_context(|| format!("rename {} to {}", from.display(), to.display()))?;
    sync(to.parent().unwrap_or(to))
}

/// Removes a folder with all that is in it. A folder that does not exist is no error.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
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
    fn damaged_entry_is_built_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let build = || {
            let built = cache.get_or_build("parts", "x", "k", |place| {
                fs::create_dir(place.join("d"))?;
                fs::write(place.join("p"), "program")?;
                Ok(fs::write(place.join("d").join("q"), "other")?)
            });
            built.unwrap()
        };
        let place = build();
        for name in ["p", "d/q", SEAL] {
            fs::write(place.join(name), "").unwrap(); // what a power loss may leave
            assert_eq!(cache.get("parts", "x", "k"), None, "{name}");
            assert_eq!(fs::read_to_string(build().join("p")).unwrap(), "program");
        }
        fs::remove_file(place.join("d/q")).unwrap();
        assert!(build().join("d/q").exists());
        fs::remove_file(place.join(SEAL)).unwrap();
        assert_eq!(cache.get("parts", "x", "k"), Some(place), "an entry of an older version");
    }

    #[test]
    fn labels_keep_fields_apart() {
        let one = Key::new("r").field("a", "bc").finish();
        let two = Key::new("r").field("ab", "c").finish();
        assert_ne!(one, two);
    }
}
