//! Finds the programs of the servers: at the paths that `cargo xtask test` passes, else on PATH, else in Debian's
//! folders of Postgres and of daemons.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Debian's folder of Postgres: one folder per version with a `bin` in it, not on PATH.
const DEBIAN_POSTGRES: &str = "/usr/lib/postgresql";

/// Debian's folder of daemons such as PgBouncer, which is not on the PATH of every user.
const DEBIAN_DAEMONS: &str = "/usr/sbin";

/// A program that is built from the pinned sources. The variable holds its path.
pub(crate) fn built(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    on_path(name).with_context(|| {
        format!("there is no {name} on PATH: set {variable} to its path, or run `cargo xtask test`, which builds it")
    })
}

/// A program of the system.
pub(crate) fn installed(name: &str) -> Result<PathBuf> {
    on_path(name)
        .or_else(|| in_debian_postgres(name))
        .or_else(|| Some(Path::new(DEBIAN_DAEMONS).join(name)).filter(|program| program.is_file()))
        .with_context(|| format!("there is no {name} on PATH: install it, or run `cargo xtask test`, which does"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Searches the newest version that has the program.
fn in_debian_postgres(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN_POSTGRES).ok()?.flatten();
    versions
        .map(|version| version.path())
        .filter(|version| version.join("bin").join(name).is_file())
        .max_by_key(|version| number(version))
        .map(|version| version.join("bin").join(name))
}

fn number(version: &Path) -> u32 {
    version.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).unwrap_or(0)
}
