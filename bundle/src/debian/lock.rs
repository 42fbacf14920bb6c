//! The lock: every package of each root filesystem, with its place in Debian's archive and its hash. Parses, checks and
//! compares, and runs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::LOCK_FILE;

/// A package: which one it is, where it is, and the hash of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name of the binary package.
    pub name: String,
    /// Version, in dpkg's format.
    pub version: String,
    /// Processor architecture, or `all`.
    pub architecture: String,
    /// Path of its file in the archive (`pool/main/b/bash/…`).
    pub path: String,
    /// Size of its file in bytes.
    pub size: u64,
    /// SHA-256 of its file, in hexadecimal digits.
    pub sha256: String,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.version)
    }
}

impl Package {
    /// Refuses what is not a package of Debian's archive: the fields become parts of paths, URLs and apt's indexes.
    ///
    /// # Errors
    /// When a field is invalid. The error names it.
    pub(super) fn check(&self, architecture: &str) -> Result<()> {
        ensure!(is_plain(&self.name) && is_plain(&self.version), "{self:?}: it has no valid name and version");
        ensure!(
            self.architecture == architecture || self.architecture == "all",
            "package {self} is for {}, and the lock is for {architecture}",
            self.architecture
        );
        let safe = self.path.starts_with("pool/") && self.path.ends_with(".deb") && is_plain(&self.path);
        ensure!(safe && !self.path.contains(".."), "package {self}: {:?} is not a path in the pool", self.path);
        ensure!(is_sha256(&self.sha256), "package {self}: {:?} is not a SHA-256", self.sha256);
        ensure!(self.size > 0, "package {self} has no bytes");
        Ok(())
    }
}

/// Whether a text is part of a path, and of a lock between quotes, as it is.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The packages of a root filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The hash of the recipe that they were chosen for ([`super::Recipe::identity`]).
    pub recipe: String,
    /// The packages in order of name.
    pub packages: Vec<Package>,
}

/// The packages of all root filesystems.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// The Debian release of the packages.
    pub suite: String,
    /// The processor architecture.
    pub architecture: String,
    /// When the packages were current, in UTC and in the format of the snapshot service: `20261127T080000Z`.
    pub snapshot: String,
    /// What was chosen for each root filesystem.
    pub rootfs: BTreeMap<String, Choice>,
}

/// The lock file, as parsed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    suite: String,
    architecture: String,
    snapshot: String,
    rootfs: BTreeMap<String, FileChoice>,
    package: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileChoice {
    recipe: String,
    packages: Vec<String>,
}

impl Lock {
    /// Reads the lock of a checkout.
    ///
    /// # Errors
    /// When the file is missing, is not a valid lock, or is of another release or architecture.
    pub fn load(root: &Path, suite: &str, architecture: &str) -> Result<Self> {
        let path = root.join(LOCK_FILE);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let lock = Self::parse(&text)?;
        lock.check_target(suite, architecture)?;
        Ok(lock)
    }

    fn check_target(&self, suite: &str, architecture: &str) -> Result<()> {
        ensure!(
            self.suite == suite && self.architecture == architecture,
            "{LOCK_FILE} is of {} for {}, and the images are of {suite} for {architecture}: update it with `cargo \
             xtask images --update-lock`",
            self.suite,
            self.architecture
        );
        Ok(())
    }

    /// Parses a lock.
    ///
    /// # Errors
    /// When the text is not a valid lock. The error names what is invalid.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).with_context(|| format!("parse {LOCK_FILE}"))
    }

    fn read(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        ensure!(is_snapshot(&file.snapshot), "snapshot {:?} is not a time such as 20261127T080000Z", file.snapshot);
        for (what, text) in [("suite", &file.suite), ("architecture", &file.architecture)] {
            ensure!(is_plain(text), "{what} {text:?} is no name");
        }
        let mut packages = BTreeMap::new();
        for package in file.package {
            package.check(&file.architecture)?;
            if let Some(twice) = packages.insert(package.name.clone(), package) {
                bail!("package {} is there twice", twice.name);
            }
        }
        let mut unused: BTreeSet<String> = packages.keys().cloned().collect();
        let mut rootfs = BTreeMap::new();
        for (name, choice) in file.rootfs {
            ensure!(is_key(&name), "root filesystem {name:?} is no name of a-z, 0-9, - and _");
            ensure!(is_plain(&choice.recipe), "recipe {:?} of {name} is no hash", choice.recipe);
            let mut chosen = Vec::new();
            for wanted in &choice.packages {
                let package = packages.get(wanted);
                chosen.push(package.with_context(|| format!("{name} has {wanted}, which is no package here"))?.clone());
                unused.remove(wanted);
            }
            chosen.sort();
            rootfs.insert(name, Choice { recipe: choice.recipe, packages: chosen });
        }
        if let Some(unused) = unused.first() {
            bail!("package {unused} belongs to no root filesystem");
        }
        Ok(Self { suite: file.suite, architecture: file.architecture, snapshot: file.snapshot, rootfs })
    }

    /// The text of the lock file. The same lock gives the same text.
    pub fn render(&self) -> String {
        let mut text = String::from(
            "# Every Debian package of the images, by root filesystem (see images.toml), with its place in Debian's\n\
             # archive and its hash. Written by `cargo xtask images --update-lock`; not edited by hand.\n",
        );
        text.push_str(&format!(
            "suite = \"{}\"\narchitecture = \"{}\"\n# When these packages were current (UTC).\nsnapshot = \"{}\"\n",
            self.suite, self.architecture, self.snapshot
        ));
        for (name, choice) in &self.rootfs {
            text.push_str(&format!("\n[rootfs.{name}]\nrecipe = \"{}\"\npackages = [\n", choice.recipe));
            text.extend(choice.packages.iter().map(|package| format!("    \"{}\",\n", package.name)));
            text.push_str("]\n");
        }
        let packages: BTreeSet<&Package> = self.rootfs.values().flat_map(|choice| &choice.packages).collect();
        for Package { name, version, architecture, path, size, sha256 } in packages {
            text.push_str(&format!(
                "\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"\narchitecture = \"{architecture}\"\n\
                 path = \"{path}\"\nsize = {size}\nsha256 = \"{sha256}\"\n"
            ));
        }
        text
    }

    /// The packages of a root filesystem. Empty if the lock does not have it.
    pub fn of(&self, rootfs: &str) -> &[Package] {
        self.rootfs.get(rootfs).map_or(&[], |choice| choice.packages.as_slice())
    }
}

/// Whether a text is a key of TOML without quotes.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Whether a text is a time of the snapshot service, such as `20261127T080000Z`.
fn is_snapshot(text: &str) -> bool {
    let (date, time) = text.split_once('T').unwrap_or_default();
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(date, 8) && time.strip_suffix('Z').is_some_and(|time| digits(time, 6))
}

/// One difference between two lists of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The version differs.
    Version {
        /// The package.
        name: String,
        /// The lock's version.
        locked: String,
        /// The version that is used.
        now: String,
    },
    /// The version is the same, and the bytes differ.
    Bytes(Package),
    /// The package is not in the lock.
    Added(Package),
    /// The package is only in the lock.
    Removed(Package),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { name, locked, now } => write!(f, "{name} {locked} → {now}"),
            Self::Bytes(package) => write!(f, "{package} with other bytes"),
            Self::Added(package) => write!(f, "+{package}"),
            Self::Removed(package) => write!(f, "-{package}"),
        }
    }
}

/// The differences between the packages of the lock and those that are used, in order of name.
pub fn drift(locked: &[Package], now: &[Package]) -> Vec<Change> {
    let by_name = |packages: &[Package]| -> BTreeMap<String, Package> {
        packages.iter().map(|package| (package.name.clone(), package.clone())).collect()
    };
    let (locked, mut now) = (by_name(locked), by_name(now));
    let mut changes = BTreeMap::new();
    for (name, old) in locked {
        let change = match now.remove(&name) {
            None => Change::Removed(old),
            Some(new) if new.version != old.version => {
                Change::Version { name: name.clone(), locked: old.version, now: new.version }
            }
            Some(new) if new.sha256 != old.sha256 => Change::Bytes(new),
            Some(_) => continue,
        };
        changes.insert(name, change);
    }
    changes.extend(now.into_iter().map(|(name, new)| (name, Change::Added(new))));
    changes.into_values().collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A package from `name=version`. Its hash follows from both.
    pub(in crate::debian) fn package(text: &str) -> Package {
        let (name, version) = text.split_once('=').unwrap();
        Package {
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
            path: format!("pool/main/{name}_{}_amd64.deb", version.replace(':', "")),
            size: 1,
            sha256: crate::cache::Key::new(text).finish(),
        }
    }

    fn packages(list: &[&str]) -> Vec<Package> {
        list.iter().map(|text| package(text)).collect()
    }

    /// A lock of one root filesystem.
    pub(in crate::debian) fn lock(rootfs: &str, recipe: &str, packages: Vec<Package>) -> Lock {
        Lock {
            suite: "bookworm".into(),
            architecture: "amd64".into(),
            snapshot: "20261127T080000Z".into(),
            rootfs: BTreeMap::from([(rootfs.into(), Choice { recipe: recipe.into(), packages })]),
        }
    }

    #[test]
    fn drift_names_what_changed() {
        let cases: [(&[&str], &[&str], &[&str]); 5] = [
            (&["a=1", "b=2"], &["a=1", "b=2"], &[]),
            (&["a=1", "b=2"], &["b=2", "a=1"], &[]),
            (&["a=1"], &["a=1+deb12u1"], &["a 1 → 1+deb12u1"]),
            (&["a=1", "b=2"], &["b=2", "c=3"], &["-a=1", "+c=3"]),
            (&[], &["a=1"], &["+a=1"]),
        ];
        for (locked, now, wanted) in cases {
            let found: Vec<String> = drift(&packages(locked), &packages(now)).iter().map(Change::to_string).collect();
            assert_eq!(found, wanted, "{locked:?} against {now:?}");
        }
        let other = Package { sha256: "0".repeat(64), ..package("a=1") };
        assert_eq!(drift(&packages(&["a=1"]), &[other])[0].to_string(), "a=1 with other bytes");
    }

    #[test]
    fn lock_survives_writing_and_reading() {
        let mut lock = lock("node", "aa", packages(&["a=1:2.3-4", "b=2~rc1"]));
        lock.rootfs.insert("tool".into(), Choice { recipe: "bb".into(), packages: packages(&["b=2~rc1"]) });
        let text = lock.render();
        assert_eq!(text.matches("[[package]]").count(), 2, "a shared package is there once:\n{text}");
        assert_eq!(Lock::parse(&text).unwrap(), lock);
    }

    #[test]
    fn invalid_locks_are_refused_with_what_is_wrong() {
        let valid = lock("node", "aa", packages(&["a=1"])).render();
        let hash = package("a=1").sha256;
        let cases = [
            ("suite = \"bookworm\"\n", "", "suite"),
            ("20261127T080000Z", "yesterday", "yesterday"),
            ("pool/main", "../main", "path in the pool"),
            ("pool/main", "pool/../main", "path in the pool"),
            (hash.as_str(), "abc", "not a SHA-256"),
            ("size = 1", "size = 0", "no bytes"),
            ("version = \"1\"", "version = \"1\\n2\"", "valid name and version"),
            ("version = \"1\"", "version = '1\"'", "valid name and version"),
            ("\"bookworm\"", "'book\\worm'", "suite"),
            ("[rootfs.node]", "[rootfs.\"no.de\"]", "no.de"),
            ("recipe = \"aa\"", "recipe = 'a\"a'", "recipe"),
            ("    \"a\",\n", "    \"b\",\n", "node has b"),
            ("    \"a\",\n", "", "belongs to no root filesystem"),
            ("size = 1", "size = 1\nmd5 = \"x\"", "md5"),
        ];
        for (from, to, wanted) in cases {
            let text = valid.replace(from, to);
            assert_ne!(text, valid, "{from:?} is not in the lock");
            let error = format!("{:#}", Lock::parse(&text).unwrap_err());
            assert!(error.contains(LOCK_FILE) && error.contains(wanted), "{wanted:?} is not in {error}");
        }
    }

    #[test]
    fn lock_of_another_release_or_architecture_is_refused() {
        let lock = lock("node", "aa", packages(&["a=1"]));
        lock.check_target("bookworm", "amd64").unwrap();
        for (suite, architecture) in [("trixie", "amd64"), ("bookworm", "arm64")] {
            let error = lock.check_target(suite, architecture).unwrap_err().to_string();
            let named = error.contains(suite) && error.contains(architecture) && error.contains("--update-lock");
            assert!(named, "{error}");
        }
        let foreign = lock.render().replacen("architecture = \"amd64\"", "architecture = \"arm64\"", 1);
        let error = format!("{:#}", Lock::parse(&foreign).unwrap_err());
        assert!(error.contains("a=1 is for amd64, and the lock is for arm64"), "{error}");
    }
}
