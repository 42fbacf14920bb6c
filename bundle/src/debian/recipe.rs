//! The recipe of a root filesystem: its packages, what is deleted from it and what is added. Runs no processes.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cache::Key;
use crate::oci::{ROOT, Tree};

/// Patterns that are deleted from every root filesystem. Some files the container engine supplies. Some depend on the
/// time, host or mirror of the build. Some, such as manual pages, nobody reads in a container.
const DELETE: &[&str] = &[
    "/dev/*",
    "/proc/*",
    "/sys/*",
    "/run/*",
    "/tmp/*",
    "/boot",
    "/media",
    "/srv",
    "/etc/apt",
    "/etc/hostname",
    "/etc/machine-id",
    "/etc/resolv.conf",
    "/etc/*-",
    "/etc/.pwd.lock",
    "/etc/cron.*",
    "/etc/logrotate.d",
    "/usr/share/bash-completion",
    "/usr/share/bug",
    "/usr/share/doc/*/*",
    "/usr/share/doc-base",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale/*",
    "/usr/share/man",
    "/usr/share/zsh",
    "/var/backups",
    "/var/cache/*",
    "/var/lib/apt",
    "/var/lib/dpkg/*-old",
    "/var/lib/dpkg/lock*",
    "/var/lib/dpkg/triggers/Lock",
    "/var/lib/systemd/catalog/database",
    "/var/log/*",
];
/// Patterns that are kept although [`DELETE`] covers them: the licences of the packages.
const KEEP: &[&str] = &["/usr/share/doc/*/copyright"];

/// How the packages are put into the root filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// They are installed with Debian's essential packages, and their maintainer scripts run.
    Install,
    /// Only their files and those of their dependencies are extracted. No scripts run.
    Extract,
}

/// The recipe of a root filesystem.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its purpose, in one line.
    pub about: String,
    /// How the packages are put in.
    pub way: Way,
    /// The packages. Their dependencies are added.
    pub packages: Vec<String>,
    /// Dependencies that are left out, with all that only they depend on. Only for `extract`.
    #[serde(default)]
    pub without: Vec<String>,
    /// Patterns of paths to delete. `*` matches any characters except a slash. A folder is deleted with its content.
    #[serde(default)]
    pub delete: Vec<String>,
    /// Folders to create, with their modes in octal.
    #[serde(default)]
    pub dirs: BTreeMap<String, String>,
    /// Symbolic links to create, with their targets.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Small files to create, with their text.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

impl Recipe {
    /// A hash of what its packages are chosen for. What is deleted and added has no part in it.
    pub fn identity(&self) -> String {
        let list = |names: &[String]| {
            let mut sorted = names.to_vec();
            sorted.sort();
            sorted.join(" ")
        };
        let way = match self.way {
            Way::Install => "install",
            Way::Extract => "extract",
        };
        let key = Key::new("packages 1").field("way", way);
        let key = key.field("packages", list(&self.packages)).field("without", list(&self.without)).finish();
        key[..16].to_owned()
    }

    /// Whether a path is deleted.
    pub fn deletes(&self, path: &str) -> bool {
        let mut patterns = DELETE.iter().copied().chain(self.delete.iter().map(String::as_str));
        patterns.any(|pattern| covers(pattern, path)) && !KEEP.iter().any(|pattern| covers(pattern, path))
    }

    /// Deletes from the tree and adds to it what the recipe says.
    ///
    /// # Errors
    /// When a path or a mode of the recipe is invalid.
    pub fn finish(&self, tree: &mut Tree) -> Result<()> {
        tree.retain(|path| !self.deletes(path));
        for path in ["/proc", "/sys", "/dev", "/run", "/etc"] {
            tree.dir(path, 0o755, ROOT)?;
        }
        tree.dir("/tmp", 0o1777, ROOT)?;
        for (path, mode) in &self.dirs {
            let mode = u32::from_str_radix(mode, 8).with_context(|| format!("read the mode {mode:?} of {path}"))?;
            tree.dir(path, mode, ROOT)?;
        }
        for (path, target) in &self.links {
            tree.link(path, target)?;
        }
        for (path, text) in &self.files {
            tree.file(path, 0o644, text.as_str().into())?;
        }
        Ok(())
    }
}

/// Whether a pattern matches this path or a folder above it.
fn covers(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    pattern.split('/').all(|wanted| parts.next().is_some_and(|part| matches(wanted, part)))
}

/// Whether a name matches a pattern in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).filter(|at| name.is_char_boundary(*at)).any(|at| matches(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_paths_and_what_is_below_them() {
        let cases = [
            ("/usr/share/man", "/usr/share/man/man1/x", true),
            ("/usr/share/man", "/usr/share/manual", false),
            ("/dev/*", "/dev", false),
            ("/dev/*", "/dev/pts/0", true),
            ("/etc/*.wants/*", "/etc/a.wants/b", true),
            ("/etc/*.wants/*", "/etc/a.wants", false),
            ("/x/*udev*", "/x/systemd-udevd.socket", true),
            ("/x/*é", "/x/café", true),
        ];
        for (pattern, path, wanted) in cases {
            assert_eq!(covers(pattern, path), wanted, "{pattern} {path}");
        }
    }

    #[test]
    fn identity_follows_the_choice_of_packages_alone() {
        let parse = |text: &str| toml::from_str::<Recipe>(&format!("about = ''\n{text}")).unwrap().identity();
        let one = parse("way = 'extract'\npackages = ['a', 'b']");
        assert_eq!(one, parse("way = 'extract'\npackages = ['b', 'a']\ndelete = ['/x']"));
        for other in [
            "way = 'install'\npackages = ['a', 'b']",
            "way = 'extract'\npackages = ['a']",
            "way = 'extract'\npackages = ['a', 'b']\nwithout = ['c']",
        ] {
            assert_ne!(one, parse(other), "{other}");
        }
    }

    #[test]
    fn licences_stay() {
        let mut tree = Tree::default();
        for path in ["/usr/share/doc/x/copyright", "/usr/share/doc/x/NEWS.gz", "/etc/apt/sources.list"] {
            tree.file(path, 0o644, "x".into()).unwrap();
        }
        let recipe = Recipe {
            about: String::new(),
            way: Way::Extract,
            packages: vec![],
            without: vec![],
            delete: vec![],
            dirs: BTreeMap::from([("/data".into(), "700".into())]),
            links: BTreeMap::from([("/bin".into(), "usr/bin".into())]),
            files: BTreeMap::new(),
        };
        recipe.finish(&mut tree).unwrap();
        assert!(tree.get("/usr/share/doc/x/copyright").is_some());
        assert!(tree.get("/usr/share/doc/x/NEWS.gz").is_none());
        assert!(tree.get("/etc/apt/sources.list").is_none());
        assert!(tree.get("/bin").is_some() && tree.get("/data").is_some());
    }
}
