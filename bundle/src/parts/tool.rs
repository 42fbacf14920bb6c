//! Programs of crates that only checks run. They are built quickly rather than well: they work for seconds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use support::command::Cmd;
use support::progress;

use super::{Builder, FETCH_FIRST};
use crate::action::Action;
use crate::cache::{remove_folder, sha256_file};

impl Builder<'_> {
    /// The program of a crate that the pins name as a tool. Cargo fetches and builds it as the host's settings say,
    /// because it is in nothing that ships.
    ///
    /// # Errors
    /// When it does not build, or the crate has another hash than the pins say.
    pub fn tool(&self, name: &str) -> Result<PathBuf> {
        let pinned = self.pins.tools.get(name).with_context(|| format!("{} has no tool {name}", crate::pins::FILE))?;
        let args = ["install", "--locked", "--debug", "--no-default-features", "--version", &pinned.version, name];
        let action =
            Action::new("cargo").args(args).input("crate", &pinned.sha256).input("rustc", crate::rustc::about()?);
        let place = self.cache.get_or_build("tools", name, &action, |place| {
            progress::step(&format!("build {name} {}", pinned.version), || {
                let target = place.join("target");
                let install = Cmd::new("cargo").cwd("/").args(args).arg("--root").arg(place);
                let install = if self.offline { install.arg("--offline") } else { install };
                let install = install.env("CARGO_TARGET_DIR", &target).env("CARGO_PROFILE_DEV_DEBUG", "0");
                let install =
                    install.env("CARGO_PROFILE_DEV_STRIP", "true").log(self.logs.join(format!("build-{name}.log")));
                let hint = if self.offline { format!(": {FETCH_FIRST}") } else { String::new() };
                install.run().with_context(|| format!("build {name}{hint}"))?;
                check(name, &pinned.version, &pinned.sha256)?;
                remove_folder(&target)
            })
        })?;
        Ok(place.join("bin").join(name))
    }
}

/// Compares the crate that cargo fetched with its hash.
fn check(name: &str, version: &str, sha256: &str) -> Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    let cache = home.context("find the home of cargo: neither CARGO_HOME nor HOME is set")?.join("registry/cache");
    let file = format!("{name}-{version}.crate");
    for mirror in fs::read_dir(&cache).with_context(|| format!("list {}", cache.display()))? {
        let path = mirror.with_context(|| format!("list {}", cache.display()))?.path().join(&file);
        if path.is_file() {
            let found = sha256_file(&path)?;
            ensure!(
                found == sha256,
                "{}: its SHA-256 is {found}, and {} has {sha256}",
                path.display(),
                crate::pins::FILE
            );
            return Ok(());
        }
    }
    bail!("cargo has built {name}, and {} has no {file}", cache.display())
}
