//! Checks flake.nix without a network: it parses, its lock file has the pinned nixpkgs, and every output evaluates for
//! every system.
//!
//! nix/stub replaces nixpkgs, so the check does not show that an output builds. Of the host it uses only the programs
//! of Nix. Store, state and configuration are in a temporary folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use support::command::Cmd;

/// The locked nixpkgs: nixos-26.05 of 2026-09-18. Revision, time and hash were compared with other projects' public
/// files. They are repeated here so that flake.lock cannot change unnoticed.
const REVISION: &str = "cf9d2fb3e50fa1cd5114c47505ea9177f7ff5f49";
/// The locked revision's commit time, in seconds since 1970.
const LAST_MODIFIED: u64 = 1_789_749_394;
/// The hash of the locked revision's files.
const NAR_HASH: &str = "sha256-cFTsMQz8Hzn8MT49oaeLSHg62tE86NykugCWkeM2ypk=";

/// The files and folders that the flake reads. Only these are copied to Nix's store.
const READ_BY_FLAKE: [&str; 15] = [
    "Cargo.lock",
    "Cargo.toml",
    "bundle",
    "capacity",
    "clippy.toml",
    "docs",
    "flake.lock",
    "flake.nix",
    "kind-e2e",
    "nix",
    "rustfmt.toml",
    "scaler",
    "support",
    "worker",
    "xtask",
];

const SYSTEMS: [&str; 4] = ["aarch64-darwin", "aarch64-linux", "x86_64-darwin", "x86_64-linux"];
const LINUX: [&str; 2] = ["aarch64-linux", "x86_64-linux"];

/// A Nix function that evaluates every derivation of an output, by system and name, and returns their names.
const NAMES: &str = "builtins.mapAttrs (system: builtins.mapAttrs (name: it: builtins.seq it.drvPath it.name))";
/// The same for `formatter`, which has one derivation for each system.
const FORMATTERS: &str = "builtins.mapAttrs (system: it: { default = builtins.seq it.drvPath it.name; })";

/// Checks the flake of the checkout at `root`. Needs Nix 2.8 or newer.
///
/// # Errors
/// When Nix is missing, the lock file differs from the pin or from flake.nix, or an output is missing or does not
/// evaluate.
pub(crate) fn check(root: &Path) -> Result<()> {
    Cmd::new("nix").arg("--version").quiet().run().context(
        "check flake.nix: Nix does not run here; install it (on Debian and Ubuntu with `apt-get install nix-bin`)",
    )?;
    check_lock(&fs::read_to_string(root.join("flake.lock")).context("read flake.lock")?)?;
    let scratch = Scratch::new(root)?;
    scratch.parse()?;
    scratch.lock_matches_inputs()?;
    scratch.check_shape()?;
    for (output, apply, expected) in expected_outputs() {
        let found = scratch.evaluate(output, apply)?;
        compare(output, &expected, &found)?;
    }
    Ok(())
}

/// Compares a lock file with the constants in this file.
fn check_lock(text: &str) -> Result<()> {
    let lock: Value = serde_json::from_str(text).context("parse flake.lock")?;
    let locked = &lock["nodes"]["nixpkgs"]["locked"];
    let expected = json!({
        "lastModified": LAST_MODIFIED,
        "narHash": NAR_HASH,
        "owner": "NixOS",
        "repo": "nixpkgs",
        "rev": REVISION,
        "type": "github",
    });
    ensure!(
        *locked == expected,
        "flake.lock pins nixpkgs to {locked}, expected {expected}: to change the pin, change the constants in \
         xtask/src/nix.rs, too"
    );
    Ok(())
}

/// The names of an output's derivations, by system.
type Outputs = BTreeMap<String, BTreeSet<String>>;

/// The flake's outputs: the name, the Nix function that lists the derivations, and the expected list.
fn expected_outputs() -> [(&'static str, &'static str, Outputs); 4] {
    let everywhere = |names: &[&str], on_linux: &[&str]| {
        let named = |system: &str| {
            let linux = if LINUX.contains(&system) { on_linux } else { &[] };
            names.iter().chain(linux).map(|&name| name.to_owned()).collect()
        };
        SYSTEMS.iter().map(|&system| (system.to_owned(), named(system))).collect()
    };
    [
        ("packages", NAMES, everywhere(&["default", "worker"], &["image"])),
        ("checks", NAMES, everywhere(&["clippy", "nixfmt", "rustfmt", "worker"], &["image"])),
        ("devShells", NAMES, everywhere(&["default"], &[])),
        ("formatter", FORMATTERS, everywhere(&["default"], &[])),
    ]
}

fn compare(output: &str, expected: &Outputs, found: &Outputs) -> Result<()> {
    ensure!(
        found == expected,
        "flake.nix: output {output} is {found:?}, expected {expected:?} (see expected_outputs in xtask/src/nix.rs)"
    );
    Ok(())
}

/// A temporary folder with a copy of the flake and a Nix store that nothing else uses.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new(root: &Path) -> Result<Self> {
        let scratch = Self { dir: tempfile::tempdir().context("create a folder for checking flake.nix")? };
        fs::create_dir(scratch.flake()).context("create a folder for checking flake.nix")?;
        for name in READ_BY_FLAKE {
            let (from, to) = (root.join(name), scratch.flake().join(name));
            copy(&from, &to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
        }
        Ok(scratch)
    }

    fn flake(&self) -> PathBuf {
        self.dir.path().join("flake")
    }

    fn reference(&self) -> String {
        format!("path:{}", self.flake().display())
    }

    /// A program of Nix that does not use the configuration, store and caches of the user and the host.
    fn nix(&self, program: &str) -> Cmd {
        let settings = [
            "experimental-features = nix-command flakes",
            "build-users-group =",
            "sandbox = false",
            "substituters =",
            "download-attempts = 1",
            "flake-registry =",
        ];
        let at = |name: &str| self.dir.path().join(name);
        Cmd::new(program)
            .cwd(self.flake())
            .env("HOME", at("home"))
            .env("XDG_CACHE_HOME", at("cache"))
            .env("NIX_CONF_DIR", at("etc"))
            .env("NIX_CONFIG", settings.join("\n"))
            .env("NIX_DATA_DIR", at("share"))
            .env("NIX_LOG_DIR", at("log"))
            .env("NIX_STATE_DIR", at("var"))
            .env("NIX_STORE_DIR", at("store"))
            .env("NIX_USER_CONF_FILES", "")
            .env_remove("NIX_PATH")
            .env_remove("NIX_REMOTE")
    }

    /// A command of `nix` with the stub in place of nixpkgs.
    fn with_stub(&self, arguments: &[&str]) -> Cmd {
        let stub = format!("{}/nix/stub", self.reference());
        self.nix("nix").args(arguments).args(["--no-write-lock-file", "--override-input", "nixpkgs"]).arg(stub)
    }

    fn parse(&self) -> Result<()> {
        let mut files = vec![self.flake().join("flake.nix")];
        for folder in ["nix", "nix/stub"] {
            for entry in fs::read_dir(self.flake().join(folder))? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "nix") {
                    files.push(path);
                }
            }
        }
        self.nix("nix-instantiate").arg("--parse").args(files).run().context("parse the flake's files")?;
        Ok(())
    }

    /// Lets Nix compare the lock file with flake.nix. If they differ, Nix would have to write the lock file, and fails.
    fn lock_matches_inputs(&self) -> Result<()> {
        self.nix("nix")
            .args(["flake", "metadata", "--json", "--no-update-lock-file"])
            .arg(self.reference())
            .run()
            .context("flake.lock does not match flake.nix: run `nix flake lock` with a network")?;
        Ok(())
    }

    fn check_shape(&self) -> Result<()> {
        self.with_stub(&["flake", "check", "--no-build"]).arg(self.reference()).run().context("evaluate flake.nix")?;
        Ok(())
    }

    fn evaluate(&self, output: &str, apply: &str) -> Result<Outputs> {
        let installable = format!("{}#{output}", self.reference());
        let printed = self
            .with_stub(&["eval", "--json", "--apply", apply])
            .arg(installable)
            .read()
            .with_context(|| format!("evaluate output {output} of flake.nix for every system"))?;
        let names: BTreeMap<String, BTreeMap<String, String>> =
            serde_json::from_str(&printed).with_context(|| format!("parse the output of `nix eval`: {printed:?}"))?;
        Ok(names.into_iter().map(|(system, named)| (system, named.into_keys().collect())).collect())
    }
}

impl Drop for Scratch {
    /// Makes the store writable. Nix stores files read-only, and only root could delete their folders.
    fn drop(&mut self) {
        make_writable(&self.dir.path().join("store"));
    }
}

fn make_writable(dir: &Path) {
    let Ok(metadata) = fs::symlink_metadata(dir) else {
        return;
    };
    if !metadata.is_dir() {
        return;
    }
    let mut permissions = metadata.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o700);
    let _ = fs::set_permissions(dir, permissions);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        make_writable(&entry.path());
    }
}

/// Copies a file, or a folder with its content.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let kind = fs::metadata(from)?.file_type();
    if kind.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if kind.is_file() {
        fs::copy(from, to)?;
    } else {
        bail!("{} is neither a file nor a folder", from.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(revision: &str) -> String {
        let locked = json!({
            "lastModified": LAST_MODIFIED, "narHash": NAR_HASH, "owner": "NixOS", "repo": "nixpkgs",
            "rev": revision, "type": "github",
        });
        json!({ "nodes": { "nixpkgs": { "locked": locked } } }).to_string()
    }

    #[test]
    fn the_pinned_lock_is_accepted() {
        check_lock(&lock(REVISION)).unwrap();
    }

    #[test]
    fn changed_lock_is_refused_with_both_revisions() {
        let error = check_lock(&lock("0000")).unwrap_err().to_string();
        assert!(error.contains("0000") && error.contains(REVISION), "{error}");
    }

    #[test]
    fn a_lock_without_nixpkgs_is_refused() {
        assert!(check_lock("{}").is_err());
    }

    #[test]
    fn image_is_expected_only_on_linux() {
        let [(_, _, packages), ..] = expected_outputs();
        assert!(packages["x86_64-linux"].contains("image"));
        assert!(!packages["aarch64-darwin"].contains("image"));
    }
}
