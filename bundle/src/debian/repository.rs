//! A repository in one folder, for mmdebstrap: exactly the packages of a root filesystem, each verified on its way in.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use support::command::Cmd;

use super::recipe::Way;
use super::{Package, fetch};
use crate::cache::Cache;

/// A repository on disk.
pub(super) struct Repository {
    /// The line of apt's sources for it. apt checks the files against the index here, and this index was verified.
    pub(super) source: String,
    /// The files of its packages.
    pub(super) debs: Vec<PathBuf>,
}

impl Repository {
    /// Copies packages from the cache into `folder`, which any user may read: apt reads it as another user.
    ///
    /// # Errors
    /// When the cache does not have a package as its hash says.
    pub(super) fn make(cache: &Cache, packages: &[Package], suite: &str, way: Way, folder: &Path) -> Result<Self> {
        let parents = [folder.parent().unwrap_or(folder), folder];
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        for folder in parents {
            readable(folder, 0o755)?;
        }
        let mut index = String::new();
        let mut debs = Vec::new();
        for package in packages {
            let file = format!("{}.deb", package.sha256);
            let deb = folder.join(&file);
            fetch::copy(cache, package, &deb)?;
            readable(&deb, 0o644)?;
            let control = match way {
                Way::Install => control(&deb)?,
                // Without dependencies: what the recipe leaves out must not be asked for.
                Way::Extract => format!(
                    "Package: {}\nVersion: {}\nArchitecture: {}",
                    package.name, package.version, package.architecture
                ),
            };
            let Package { size, sha256, .. } = package;
            let _ = write!(index, "{control}\nFilename: ./{file}\nSize: {size}\nSHA256: {sha256}\n\n");
            debs.push(deb);
        }
        let release = format!(
            "Suite: {suite}\nCodename: {suite}\nSHA256:\n {} {} Packages\n",
            hex::encode(Sha256::digest(&index)),
            index.len()
        );
        for (name, text) in [("Packages", index), ("Release", release)] {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            readable(&path, 0o644)?;
        }
        Ok(Self { source: format!("deb [trusted=yes] copy:{} ./", folder.display()), debs })
    }
}

fn control(deb: &Path) -> Result<String> {
    Cmd::new("dpkg-deb").arg("--field").arg(deb).quiet().read().context("read about a package")
}

fn readable(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(|| format!("share {}", path.display()))
}
