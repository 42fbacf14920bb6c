//! Paths: the checkout, its target folder, and the cache outside it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::Key;

/// The environment variable with the path of the cache.
pub const CACHE_VARIABLE: &str = "SLIPWAY_CACHE";

/// The folders of one checkout.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The checkout: where the workspace's Cargo.toml is.
    pub root: PathBuf,
}

impl Workspace {
    /// The checkout that this program was built from.
    pub fn here() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self { root: manifest.parent().unwrap_or(manifest).to_owned() }
    }

    /// The checkout's build folder. It can be deleted at any time.
    pub fn target(&self) -> PathBuf {
        self.root.join("target")
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
