//! What can be removed from the cache: entries that this checkout has no use for, and that nobody used for a while.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::{Cache, SEAL, files_below, remove_folder};

/// The kinds of entries, and the folder of Debian's packages. The engine's data and cargo's target folder are not
/// entries: they have a use as long as there is a checkout.
const KINDS: [&str; 10] =
    ["bundles", "c", "corpus", "layers", "layouts", "packages", "parts", "rootfs", crate::sysroot::NAME, "tools"];

/// An entry that can be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// Its path.
    pub path: PathBuf,
    /// The bytes that its removal frees.
    pub bytes: u64,
    /// The time of its last use.
    pub used: SystemTime,
}

impl Cache {
    /// The entries that are not in `needed` and were not used in the time `unused` before `now`, in order of path.
    ///
    /// # Errors
    /// When a folder of the cache cannot be read.
    pub fn garbage(&self, needed: &BTreeSet<PathBuf>, unused: Duration, now: SystemTime) -> Result<Vec<Garbage>> {
        let mut found = Vec::new();
        for folder in KINDS.map(|kind| self.root().join(kind)).iter().filter(|folder| folder.is_dir()) {
            for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
                let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
                let used = last_use(&path)?;
                if !needed.contains(&path) && now.duration_since(used).unwrap_or_default() >= unused {
                    found.push(Garbage { bytes: bytes(&path)?, path, used });
                }
            }
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(found)
    }

    /// Removes an entry, unless somebody used it since it was found. Answers whether it was removed.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, garbage: &Garbage) -> Result<bool> {
        let Garbage { path, used, .. } = garbage;
        let _lock = self.lock(&lock_of(path))?;
        if !path.exists() || last_use(path)? != *used {
            return Ok(false);
        }
        self.discard(path).map(|()| true)
    }

    /// Removes an entry. It is whole or gone at any time.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self, path: &Path) -> Result<()> {
        let _alone = self.lock("removals")?;
        if path.is_dir() {
            // Under another name first: an entry that is removed in part never looks whole.
            let gone = path.with_file_name(".removing");
            remove_folder(&gone)?;
            if *path != gone {
                fs::rename(path, &gone).with_context(|| format!("rename {}", path.display()))?;
                remove_folder(&gone)?;
            }
        } else {
            fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(())
    }
}

/// The lock that builds of this entry hold: its kind, and its name without the key.
fn lock_of(path: &Path) -> String {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let (kind, entry) = (name(path.parent()), name(Some(path)));
    match entry.strip_prefix(".building-").or_else(|| entry.rsplit_once('-').map(|(entry, _)| entry)) {
        Some(entry) => format!("{kind}-{entry}"),
        None => kind,
    }
}

fn last_use(path: &Path) -> Result<SystemTime> {
    let seal = path.join(SEAL);
    let meta = if seal.is_file() { seal.metadata() } else { path.symlink_metadata() };
    meta.and_then(|meta| meta.modified()).with_context(|| format!("look at {}", path.display()))
}

fn bytes(path: &Path) -> Result<u64> {
    let size = |path: &Path| {
        let meta = path.symlink_metadata().with_context(|| format!("look at {}", path.display()))?;
        anyhow::Ok(meta.len())
    };
    if path.is_dir() { files_below(path)?.iter().map(|file| size(file)).sum() } else { size(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn what_is_needed_or_was_used_lately_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let build = |program: &str| {
            let action = Action::new(program);
            cache.get_or_build("parts", "kind", &action, |place| Ok(fs::write(place.join("kind"), "12345")?)).unwrap()
        };
        let (ours, old, used) = (build("ours"), build("old"), build("used"));
        fs::create_dir(cache.root().join("packages")).unwrap();
        let package = cache.root().join("packages/aa.deb");
        fs::write(&package, "123").unwrap();
        fs::create_dir(cache.root().join("cargo-target")).unwrap();
        let later = SystemTime::now() + 10 * DAY;
        fs::File::open(used.join(SEAL)).unwrap().set_modified(later - DAY).unwrap();
        let needed = BTreeSet::from([ours.clone()]);
        let garbage = cache.garbage(&needed, 7 * DAY, later).unwrap();
        let paths: Vec<&Path> = garbage.iter().map(|it| it.path.as_path()).collect();
        assert_eq!(paths, [package.as_path(), old.as_path()]);
        assert_eq!(garbage[0].bytes, 3);
        assert_eq!(cache.garbage(&needed, 11 * DAY, later).unwrap(), []);
        // A build takes it meanwhile: `get` sets the time of its last use.
        let taken = Garbage { path: used.clone(), bytes: 5, used: later };
        assert!(!cache.remove(&taken).unwrap() && used.exists());
        for it in &garbage {
            assert!(cache.remove(it).unwrap() && !it.path.exists());
        }
        assert!(ours.exists() && cache.root().join("cargo-target").exists());
    }

    #[test]
    fn lock_is_that_of_the_build() {
        for (path, lock) in [
            ("/c/parts/local-path-provisioner-0123", "parts-local-path-provisioner"),
            ("/c/rootfs/.building-node", "rootfs-node"),
            ("/c/packages/aa.deb", "packages"),
        ] {
            assert_eq!(lock_of(Path::new(path)), lock);
        }
    }
}
