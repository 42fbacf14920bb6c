//! The lock: the packages of each root filesystem and their versions. Parses and compares, and runs nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::LOCK_FILE;

/// A package and its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Name of the binary package.
    pub name: String,
    /// Version, in dpkg's format.
    pub version: String,
}

impl FromStr for Package {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((name, version)) if !name.is_empty() && !version.is_empty() => {
                Ok(Self { name: name.to_owned(), version: version.to_owned() })
            }
            _ => bail!("{text:?} is not name=version"),
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.version)
    }
}

/// The packages of all root filesystems.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// The Debian release of the packages.
    pub suite: String,
    /// The processor architecture.
    pub architecture: String,
    /// Packages in order of name, by root filesystem.
    pub rootfs: BTreeMap<String, Vec<Package>>,
}

/// The lock file, as parsed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    suite: String,
    architecture: String,
    rootfs: BTreeMap<String, Vec<String>>,
}

impl Lock {
    /// Reads the lock of a checkout.
    ///
    /// # Errors
    /// When the file is missing or is not a valid lock.
    pub fn load(root: &Path) -> Result<Self> {
        let path = root.join(LOCK_FILE);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text)
    }

    /// Parses a lock.
    ///
    /// # Errors
    /// When the text is not a valid lock, or a package is not `name=version`.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).with_context(|| format!("parse {LOCK_FILE}"))?;
        let mut rootfs = BTreeMap::new();
        for (name, lines) in file.rootfs {
            let mut packages = lines
                .iter()
                .map(|line| line.parse())
                .collect::<Result<Vec<Package>>>()
                .with_context(|| format!("parse {LOCK_FILE}, {name}"))?;
            packages.sort();
            rootfs.insert(name, packages);
        }
        Ok(Self { suite: file.suite, architecture: file.architecture, rootfs })
    }

    /// The text of the lock file. The same lock gives the same text.
    pub fn render(&self) -> String {
        let mut text = String::from(
            "# The Debian packages that the images were last made of, by root filesystem (see images.toml).\n\
             # Written by `cargo xtask images --update-lock`; not edited by hand.\n",
        );
        text.push_str(&format!("suite = \"{}\"\narchitecture = \"{}\"\n\n[rootfs]\n", self.suite, self.architecture));
        for (name, packages) in &self.rootfs {
            text.push_str(&format!("{name} = [\n"));
            text.extend(packages.iter().map(|package| format!("    \"{package}\",\n")));
            text.push_str("]\n");
        }
        text
    }

    /// The packages of a root filesystem. Empty if the lock does not have it.
    pub fn of(&self, rootfs: &str) -> &[Package] {
        self.rootfs.get(rootfs).map_or(&[], Vec::as_slice)
    }
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
        /// The installed version.
        now: String,
    },
    /// The package is not in the lock.
    Added(Package),
    /// The package is only in the lock.
    Removed(Package),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { name, locked, now } => write!(f, "{name} {locked} → {now}"),
            Self::Added(package) => write!(f, "+{package}"),
            Self::Removed(package) => write!(f, "-{package}"),
        }
    }
}

/// The differences between the packages of the lock and the installed ones, in order of name.
pub fn drift(locked: &[Package], now: &[Package]) -> Vec<Change> {
    let version = |packages: &'_ [Package]| -> BTreeMap<String, String> {
        packages.iter().map(|package| (package.name.clone(), package.version.clone())).collect()
    };
    let (locked, now) = (version(locked), version(now));
    let mut changes = BTreeMap::new();
    for (name, old) in &locked {
        match now.get(name) {
            Some(new) if new == old => None,
            Some(new) => Some(Change::Version { name: name.clone(), locked: old.clone(), now: new.clone() }),
            None => Some(Change::Removed(Package { name: name.clone(), version: old.clone() })),
        }
        .map(|change| changes.insert(name.clone(), change));
    }
    for (name, version) in now.iter().filter(|(name, _)| !locked.contains_key(*name)) {
        changes.insert(name.clone(), Change::Added(Package { name: name.clone(), version: version.clone() }));
    }
    changes.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(list: &[&str]) -> Vec<Package> {
        list.iter().map(|text| text.parse().unwrap()).collect()
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
    }

    #[test]
    fn lock_survives_writing_and_reading() {
        let lock = Lock {
            suite: "bookworm".into(),
            architecture: "amd64".into(),
            rootfs: BTreeMap::from([("node".into(), packages(&["a=1:2.3-4", "b=2~rc1"]))]),
        };
        assert_eq!(Lock::parse(&lock.render()).unwrap(), lock);
    }

    #[test]
    fn invalid_locks_are_refused() {
        for text in ["suite = 'x'", "suite='x'\narchitecture='y'\n[rootfs]\nnode=['bash']", "what"] {
            assert!(Lock::parse(text).unwrap_err().to_string().contains(LOCK_FILE), "{text}");
        }
    }
}
