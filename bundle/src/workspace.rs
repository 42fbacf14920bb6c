//! Paths: the checkout, its target folder, and the cache outside it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::Key;

/// The environment variable with the path of the cache.
pub const CACHE_VARIABLE: &str = "SLIPWAY_CACHE";

/// The folders that a command works in: those of a checkout, or of a program that came without one.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The checkout: where the workspace's Cargo.toml is. Without a checkout, a folder in the cache.
    pub root: PathBuf,
    checkout: bool,
}

impl Workspace {
    /// The checkout whose cargo runs this program. Nothing in the program names a checkout, so that two checkouts build
    /// the same program.
    pub fn checkout() -> Option<Self> {
        let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
        let root = manifest.parent()?.to_owned();
        root.join(crate::pins::FILE).is_file().then_some(Self { root, checkout: true })
    }

    /// The checkout in this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), checkout: true }
    }

    /// The folders of a program that runs without a checkout, as `slipway` of a bundle does. All users of a cache share
    /// one cluster.
    pub fn of_cache(cache: &Path) -> Self {
        Self { root: cache.join("slipway"), checkout: false }
    }

    /// The checkout that the tests run in.
    #[cfg(test)]
    pub(crate) fn here() -> Self {
        Self::checkout().unwrap()
    }

    /// Whether there are sources to build from.
    pub fn is_checkout(&self) -> bool {
        self.checkout
    }

    /// How the user calls this program.
    pub fn command(&self) -> &'static str {
        if self.checkout { "cargo xtask" } else { "slipway" }
    }

    /// The folder of what a command makes. It can be deleted at any time.
    pub fn target(&self) -> PathBuf {
        if self.checkout { self.root.join("target") } else { self.root.clone() }
    }

    /// The folder of the results of runs. Without a checkout it is in the current folder, where the user looks.
    pub fn results(&self) -> PathBuf {
        if self.checkout { self.target().join("e2e") } else { PathBuf::from("slipway-e2e") }
    }

    /// The file that describes the running cluster, a [`crate::cluster::Record`].
    pub fn cluster_file(&self) -> PathBuf {
        self.target().join("cluster").join("cluster.json")
    }

    /// The name of this checkout's cluster in kind. Another checkout's cluster has another name.
    pub fn cluster_name(&self) -> String {
        let id = Key::new("cluster").field("root", self.root.as_os_str().as_encoded_bytes()).finish();
        format!("slipway-{}", &id[..8])
    }

    /// The folder of the components' Go modules.
    pub fn components(&self) -> PathBuf {
        self.root.join("bundle").join("components")
    }

    /// The folder of the manifests.
    pub fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }
}

/// The cache that all checkouts of this user share: `$SLIPWAY_CACHE`, else `slipway` in the user's cache folder.
///
/// # Errors
/// When neither SLIPWAY_CACHE nor XDG_CACHE_HOME nor HOME is set.
pub fn cache_root() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os(CACHE_VARIABLE).filter(|dir| !dir.is_empty()) {
        return std::path::absolute(PathBuf::from(dir)).context("find the cache folder");
    }
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .with_context(|| {
            format!("find the cache folder: neither XDG_CACHE_HOME nor HOME is set; set {CACHE_VARIABLE}")
        })?;
    Ok(base.join("slipway"))
}
