//! The cache of finished work, keyed by content. An entry is complete or absent.
//!
//! An entry's key is the hash of the [`Action`] that makes it. An entry is built in a work folder and then renamed into
//! its place, so that an interrupted build leaves nothing that looks finished. A lock makes two checkouts build the same
//! entry once.
//!
//! Before the rename an entry is written through to the disk, with its action and the sizes and hashes of its files. An
//! entry whose files have other sizes, such as none after a power loss, is built again. Other hashes are found when an
//! image is written, and by `cargo xtask verify`.

mod garbage;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use support::progress;
use support::wait::{Probe, blocking::eventually};

use crate::action::Action;
use crate::host;

pub use garbage::Garbage;

/// The file in an entry that holds its [`Seal`]. Its modification time is that of the entry's last use.
pub(crate) const SEAL: &str = ".sealed";

/// The number of digits of a key in the name of an entry.
const KEY: usize = 16;
/// What programs and the kernel say if a disk is full, in lower case.
const FULL: &str = "no space left on device";

/// What an entry consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seal {
    /// The build that made it.
    pub action: Action,
    /// The seconds that the build took. 0 in entries of an older version.
    #[serde(default)]
    pub seconds: f64,
    /// Its files by their paths in it.
    pub files: BTreeMap<String, Sealed>,
}

/// A file of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 as hexadecimal digits.
    pub sha256: String,
}

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
    pub fn place(&self, kind: &str, name: &str, action: &Action) -> PathBuf {
        self.root.join(kind).join(format!("{name}-{}", &action.key()[..KEY]))
    }

    /// The entry's path, if the entry exists and its files have their sizes.
    pub fn get(&self, kind: &str, name: &str, action: &Action) -> Option<PathBuf> {
        let place = self.place(kind, name, action);
        sized(&place).ok()?;
        // An entry of another user cannot be touched. Then its age is that of its last build.
        let _ = File::open(place.join(SEAL)).and_then(|seal| seal.set_modified(SystemTime::now()));
        Some(place)
    }

    /// The entry's path. If the entry does not exist, `build` fills an empty folder that becomes the entry.
    ///
    /// # Errors
    /// The error of `build`, or a failure to lock or to rename the finished folder.
    pub fn get_or_build(
        &self,
        kind: &str,
        name: &str,
        action: &Action,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Some(place) = self.get(kind, name, action) {
            return Ok(place);
        }
        let place = self.place(kind, name, action);
        let parent = self.root.join(kind);
        fs::create_dir_all(&parent).with_context(|| format!("make {}", parent.display()))?;
        let _lock = self.lock(&format!("{kind}-{name}"))?;
        if place.is_dir() {
            match sized(&place) {
                Ok(_) => return Ok(place), // another checkout built it while this one waited for the lock
                Err(fault) => {
                    progress::note(&format!("{} is damaged and made again: {fault}", place.display()));
                    remove_folder(&place)?;
                }
            }
        }
        // The holder of the lock owns the work folder. A killed build may have left files in it.
        let work = parent.join(format!(".building-{name}"));
        remove_folder(&work)?;
        fs::create_dir(&work).with_context(|| format!("make {}", work.display()))?;
        let start = Instant::now();
        let sealed = build(&work).and_then(|()| seal(&work, action, start.elapsed().as_secs_f64()));
        let done = sealed.and_then(|()| persist(&work, &place).with_context(|| format!("move {name} into the cache")));
        if let Err(error) = done {
            // Before the work folder is removed, which frees space.
            let error = self.explain_full(name, error);
            let _ = remove_folder(&work);
            return Err(error);
        }
        Ok(place)
    }

    /// The seconds that the last build of this name took, whatever it was built from. None if there was none.
    pub fn last_build(&self, kind: &str, name: &str) -> Option<f64> {
        let entries = fs::read_dir(self.root.join(kind)).ok()?;
        let of_name = |path: &Path| {
            let key = path.file_name()?.to_str()?.strip_prefix(name)?.strip_prefix('-')?;
            (key.len() == KEY && key.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(())
        };
        let paths = entries.flatten().map(|entry| entry.path()).filter(|path| of_name(path).is_some());
        let seals = paths.map(|path| path.join(SEAL));
        let seal = seals.max_by_key(|seal| seal.metadata().and_then(|meta| meta.modified()).ok())?;
        let seal: Seal = serde_json::from_slice(&fs::read(seal).ok()?).ok()?;
        Some(seal.seconds).filter(|seconds| *seconds > 0.0)
    }

    /// Says so if a disk is full: with what was to be written, and where how much is free.
    pub(crate) fn explain_full(&self, name: &str, error: anyhow::Error) -> anyhow::Error {
        let text = format!("{error:#}");
        if !text.to_lowercase().contains(FULL) {
            return error;
        }
        let free = |folder: &Path| {
            let bytes = host::disk_free(folder).map_or_else(|| "unknown".to_owned(), host::gib);
            format!("{bytes} in {}", folder.display())
        };
        let (cache, temporary) = (free(&self.root), free(&std::env::temp_dir()));
        anyhow::anyhow!(
            "the disk is full at {name} (free: {cache}, {temporary}): free some, run `cargo xtask gc`, or set {} to a \
             folder on another disk; {text}",
            crate::workspace::CACHE_VARIABLE
        )
    }

    /// Holds a named lock for as long as the returned file lives. While another process holds it, says which.
    ///
    /// # Errors
    /// When the lock file cannot be created or locked, or the user does not want to wait.
    pub fn lock(&self, name: &str) -> Result<File> {
        let dir = self.root.join("locks");
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let path = dir.join(name);
        let file = File::options().create(true).append(true).open(&path);
        let mut file = file.with_context(|| format!("make the lock {}", path.display()))?;
        let what = format!("the lock {}", path.display());
        let holder = || match fs::read_to_string(&path) {
            Ok(text) if !text.is_empty() => text,
            _ => "another process".to_owned(),
        };
        let mut told = false;
        eventually(&what, Duration::MAX, || match file.try_lock() {
            Ok(()) => Ok(Probe::Ready(())),
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut told, true) {
                    progress::note(&format!("waiting for {what}, which {} holds", holder()));
                }
                Ok(Probe::NotYet(format!("{} holds it", holder())))
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {name}")),
        })?;
        let holder =
            format!("process {} in {}", std::process::id(), std::env::current_dir().unwrap_or_default().display());
        let written = file.set_len(0).and_then(|()| file.write_all(holder.as_bytes()));
        written.with_context(|| format!("write {}", path.display()))?;
        Ok(file)
    }
}

/// Records the files of an entry, and writes all of them through to the disk.
fn seal(entry: &Path, action: &Action, seconds: f64) -> Result<()> {
    let mut files = BTreeMap::new();
    let mut folders = vec![entry.to_owned()];
    for file in files_below(entry)? {
        let meta = file.symlink_metadata().with_context(|| format!("look at {}", file.display()))?;
        if meta.is_file() {
            sync(&file)?;
            let name = file.strip_prefix(entry).unwrap_or(&file).to_string_lossy().into_owned();
            files.insert(name, Sealed { size: meta.len(), sha256: sha256_file(&file)? });
        }
        folders.extend(
            file.parent().filter(|parent| folders.last().map(PathBuf::as_path) != Some(*parent)).map(Path::to_owned),
        );
    }
    let path = entry.join(SEAL);
    let text = serde_json::to_vec(&Seal { action: action.clone(), seconds, files }).context("serialise a seal")?;
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    sync(&path)?;
    folders.iter().try_for_each(|folder| sync(folder))
}

/// An entry's seal, if its files have the sizes that they were built with. Otherwise what is wrong with it.
fn sized(entry: &Path) -> Result<Seal, String> {
    let text = fs::read(entry.join(SEAL)).map_err(|error| format!("{SEAL}: {error}"))?;
    let seal: Seal = serde_json::from_slice(&text).map_err(|error| format!("{SEAL}: {error}"))?;
    for (name, Sealed { size, .. }) in &seal.files {
        let found = entry.join(name).symlink_metadata();
        let found = found.map_or_else(|_| "absent".to_owned(), |meta| meta.len().to_string());
        if found != size.to_string() {
            return Err(format!("{name} has {found} bytes, expected {size}"));
        }
    }
    Ok(seal)
}

/// An entry's seal, if every byte of it is as it was built. Otherwise what is wrong with it. Reads all of it.
///
/// # Errors
/// What is wrong, with the name of the file.
pub fn unchanged(entry: &Path) -> Result<Seal, String> {
    let seal = sized(entry)?;
    for (name, Sealed { sha256, .. }) in &seal.files {
        let found = sha256_file(&entry.join(name)).map_err(|error| format!("{name}: {error:#}"))?;
        if found != *sha256 {
            return Err(format!("the SHA-256 of {name} is {found}, expected {sha256}"));
        }
    }
    Ok(seal)
}

/// Removes the entry that this file belongs to, if it is not as it was built. So the next run builds it again. Answers
/// what was wrong with it.
pub(crate) fn discard_if_changed(file: &Path) -> Option<String> {
    let entry = file.ancestors().skip(1).find(|folder| folder.join(SEAL).is_file())?;
    let fault = unchanged(entry).err()?;
    remove_folder(entry).ok()?;
    Some(format!("{} is damaged and was removed: {fault}", entry.display()))
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

/// A hash of labelled values, for names and identities. The lengths are hashed too, so that different values differ.
#[derive(Debug, Clone, Default)]
pub struct Key(Sha256);

impl Key {
    /// Starts the hash of one kind of thing.
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

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        (dir, cache)
    }

    fn build(cache: &Cache) -> PathBuf {
        let built = cache.get_or_build("parts", "x", &Action::new("k"), |place| {
            fs::create_dir(place.join("d"))?;
            fs::write(place.join("p"), "program")?;
            Ok(fs::write(place.join("d").join("q"), "other")?)
        });
        built.unwrap()
    }

    #[test]
    fn failed_build_leaves_no_entry() {
        let (dir, cache) = cache();
        let built = cache.get_or_build("parts", "x", &Action::new("k"), |place| {
            fs::write(place.join("half"), "…")?;
            anyhow::bail!("interrupted")
        });
        assert!(built.is_err());
        assert_eq!(cache.get("parts", "x", &Action::new("k")), None);
        assert_eq!(fs::read_dir(dir.path().join("parts")).unwrap().count(), 0, "no incomplete entry stays");
    }

    #[test]
    fn full_disk_is_named_with_what_was_built_and_the_way_out() {
        let (dir, cache) = cache();
        let fails = |error: fn() -> anyhow::Error| {
            cache.get_or_build("parts", "keda", &Action::new("k"), |_| Err(error())).unwrap_err().to_string()
        };
        let of_kernel = fails(|| anyhow::Error::new(std::io::Error::from_raw_os_error(28)).context("write keda"));
        let of_go = fails(|| anyhow::anyhow!("build component keda: go: compile: writing x: No space left on device"));
        for text in [of_kernel, of_go] {
            let place = format!("in {}", dir.path().display());
            for part in ["the disk is full at keda", &place, "cargo xtask gc", "SLIPWAY_CACHE"] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
        assert_eq!(fails(|| anyhow::anyhow!("no rule")), "no rule");
        assert_eq!(fs::read_dir(dir.path().join("parts")).unwrap().count(), 0);
    }

    #[test]
    fn lock_says_who_holds_it_and_the_next_one_waits() {
        let (dir, cache) = cache();
        let held = cache.lock("x").unwrap();
        let said = fs::read_to_string(dir.path().join("locks/x")).unwrap();
        assert!(said.starts_with(&format!("process {} in /", std::process::id())), "{said}");
        let path = dir.path().join("locks/x");
        assert!(matches!(File::open(&path).unwrap().try_lock(), Err(TryLockError::WouldBlock)));
        std::thread::scope(|scope| {
            let next = scope.spawn(|| cache.lock("x").map(drop));
            drop(held);
            next.join().unwrap().unwrap();
        });
    }

    #[test]
    fn two_builds_of_one_entry_at_once_run_once() {
        let (_dir, cache) = cache();
        let runs = std::sync::atomic::AtomicUsize::new(0);
        let build = || {
            cache.get_or_build("parts", "x", &Action::new("k"), |place| {
                runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                Ok(fs::write(place.join("p"), "program")?)
            })
        };
        std::thread::scope(|scope| {
            let threads = [scope.spawn(build), scope.spawn(build), scope.spawn(build)];
            threads.into_iter().for_each(|thread| drop(thread.join().unwrap().unwrap()));
        });
        assert_eq!(runs.into_inner(), 1);
    }

    #[test]
    fn time_of_the_last_build_is_that_of_the_newest_entry_of_the_name() {
        let (_dir, cache) = cache();
        assert_eq!(cache.last_build("parts", "x"), None);
        let entry = |name: &str, key: &str, seconds: f64| {
            let place = cache.place("parts", name, &Action::new(key));
            fs::create_dir_all(&place).unwrap();
            seal(&place, &Action::new(key), seconds).unwrap();
            place
        };
        let old = entry("x", "a", 7.5);
        let new = entry("x", "b", 9.0);
        entry("x-y", "a", 4.0);
        let earlier = SystemTime::now() - Duration::from_secs(60);
        for (place, time) in [(&old, earlier), (&new, SystemTime::now())] {
            File::options().append(true).open(place.join(SEAL)).unwrap().set_modified(time).unwrap();
        }
        assert_eq!(cache.last_build("parts", "x"), Some(9.0));
        assert_eq!(cache.last_build("parts", "x-y"), Some(4.0));
    }

    #[test]
    fn second_build_is_not_run() {
        let (_dir, cache) = cache();
        let first = build(&cache);
        let second = cache.get_or_build("parts", "x", &Action::new("k"), |_| anyhow::bail!("built again")).unwrap();
        assert_eq!(first, second);
        assert!(cache.get_or_build("parts", "x", &Action::new("other"), |_| anyhow::bail!("built")).is_err());
    }

    #[test]
    fn entry_of_another_size_is_built_again() {
        let (_dir, cache) = cache();
        let place = build(&cache);
        for name in ["p", "d/q", SEAL] {
            fs::write(place.join(name), "").unwrap(); // what a power loss may leave
            assert_eq!(cache.get("parts", "x", &Action::new("k")), None, "{name}");
            assert_eq!(fs::read_to_string(build(&cache).join("p")).unwrap(), "program");
        }
        for name in ["d/q", SEAL] {
            fs::remove_file(place.join(name)).unwrap();
            assert!(build(&cache).join(name).exists());
        }
    }

    #[test]
    fn seal_has_the_action_and_finds_a_changed_byte() {
        let (_dir, cache) = cache();
        let place = build(&cache);
        let seal = unchanged(&place).unwrap();
        assert_eq!(seal.action, Action::new("k"));
        assert_eq!(seal.files["d/q"], Sealed { size: 5, sha256: hex::encode(Sha256::digest("other")) });
        assert_eq!(discard_if_changed(&place.join("d/q")), None);
        fs::write(place.join("d/q"), "0ther").unwrap();
        let fault = discard_if_changed(&place.join("p")).unwrap();
        assert!(fault.contains("d/q") && !place.exists(), "{fault}");
        assert_eq!(discard_if_changed(Path::new("/proc/self/status")), None, "no entry of a cache");
    }

    #[test]
    fn labels_keep_fields_apart() {
        let one = Key::new("r").field("a", "bc").finish();
        let two = Key::new("r").field("ab", "c").finish();
        assert_ne!(one, two);
    }
}
