//! Checks flake.nix without a network: it parses, its lock file is the pin, and every output evaluates for every system.
//!
//! nixpkgs is stood in for by nix/stub, so this says nothing about whether an output builds. Nothing of the host takes
//! part but the programs of Nix themselves: store, state and configuration are in a folder that goes away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use support::command::Cmd;

/// The locked nixpkgs: nixos-26.05 of 2026-09-18. Revision, time and hash were compared with other projects' public
/// files when they were set; stated here again so that flake.lock cannot move unseen.
const REVISION: &str = "cf9d2fb3e50fa1cd5114c47505ea9177f7ff5f49";
/// The locked revision's commit time, in seconds since 1970.
const LAST_MODIFIED: u64 = 1_789_749_394;
/// The hash of the locked revision's files.
const NAR_HASH: &str = "sha256-cFTsMQz8Hzn8MT49oaeLSHg62tE86NykugCWkeM2ypk=";

/// What the flake may read, so what a copy of it needs. The rest of the checkout stays out of Nix's store.
const READ_BY_FLAKE: [&str; 14] = [
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
    "support",
    "worker",
    "xtask",
];

const SYSTEMS: [&str; 4] = ["aarch64-darwin", "aarch64-linux", "x86_64-darwin", "x86_64-linux"];
const LINUX: [&str; 2] = ["aarch64-linux", "x86_64-linux"];

/// Forces every derivation of one output (system → name → derivation) and names it.
const NAMES: &str =
    "builtins.mapAttrs (system: builtins.mapAttrs (name: it: builtins.seq it.drvPath it.name))";
/// The same for `formatter`, which has no names (system → derivation).
const FORMATTERS: &str = "builtins.mapAttrs (system: it: { default = builtins.seq it.drvPath it.name; })";

/// Checks the flake of the checkout at `root`. Needs Nix 2.8 or newer, and no network.
///
/// # Errors
/// When Nix is missing, the lock file differs from the pin or from flake.nix, or an output is missing or fails to
/// evaluate.
pub(crate) fn check(root: &Path) -> Result<()> {
    Cmd::new("nix").arg("--version").quiet().run().context(
        "check flake.nix: Nix does not run here; install it (Debian, Ubuntu: `apt-get install nix-bin`; others: nixos.org)",
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

/// Compares a lock file with the pin stated here.
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
        "flake.lock pins nixpkgs to {locked}, expected {expected}: if the pin is meant to move, move the constants in \
         xtask/src/nix.rs with it"
    );
    Ok(())
}

/// Which derivations each output has, system by system.
type Outputs = BTreeMap<String, BTreeSet<String>>;

/// The flake's outputs: name, the function that lists them, and what it must list.
fn expected_outputs() -> [(&'static str, &'static str, Outputs); 4] {
    let everywhere = |names: &[&str], on_linux: &[&str]| {
        let named = |system: &str| {
            let linux = if LINUX.contains(&system) { on_linux } else { &[] };
            names.iter().chain(linux).map(|&name| name.to_owned()).collect()
        };
        SYSTEMS
            .iter()
            .map(|&system| (system.to_owned(), named(system)))
            .collect()
    };
    [
        ("packages", NAMES, everywhere(&["default", "worker"], &["image"])),
        (
            "checks",
            NAMES,
            everywhere(&["clippy", "nixfmt", "rustfmt", "worker"], &["image"]),
        ),
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

/// A copy of the flake, and a Nix store beside it that nothing else uses.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new(root: &Path) -> Result<Self> {
        let scratch = Self {
            dir: tempfile::tempdir().context("make a folder for checking flake.nix")?,
        };
        fs::create_dir(scratch.flake()).context("make a folder for checking flake.nix")?;
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

    /// One of Nix's programs, kept away from the user's and the host's configuration, store and caches.
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

    /// A command of `nix` on the flake, with the stub for nixpkgs.
    fn with_stub(&self, arguments: &[&str]) -> Cmd {
        let stub = format!("{}/nix/stub", self.reference());
        self.nix("nix")
            .args(arguments)
            .args(["--no-write-lock-file", "--override-input", "nixpkgs"])
            .arg(stub)
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
        self.nix("nix-instantiate")
            .arg("--parse")
            .args(files)
            .run()
            .context("parse the flake's files")?;
        Ok(())
    }

    /// Nix reads the lock file as it would for a user: where flake.nix asks for something else, it would want to write.
    fn lock_matches_inputs(&self) -> Result<()> {
        self.nix("nix")
            .args(["flake", "metadata", "--json", "--no-update-lock-file"])
            .arg(self.reference())
            .run()
            .context("flake.lock does not fit flake.nix: run `nix flake lock` where there is a network")?;
        Ok(())
    }

    fn check_shape(&self) -> Result<()> {
        self.with_stub(&["flake", "check", "--no-build"])
            .arg(self.reference())
            .run()
            .context("evaluate flake.nix")?;
        Ok(())
    }

    fn evaluate(&self, output: &str, apply: &str) -> Result<Outputs> {
        let installable = format!("{}#{output}", self.reference());
        let printed = self
            .with_stub(&["eval", "--json", "--apply", apply])
            .arg(installable)
            .read()
            .with_context(|| format!("evaluate output {output} of flake.nix for every system"))?;
        let names: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(&printed)
            .with_context(|| format!("read what `nix eval` printed: {printed:?}"))?;
        Ok(names
            .into_iter()
            .map(|(system, named)| (system, named.into_keys().collect()))
            .collect())
    }
}

impl Drop for Scratch {
    /// Nix takes away the right to write to what it has stored, which would keep a user other than root from deleting it.
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

/// Copies a file, or a folder with the files and folders in it.
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
    fn a_lock_that_moved_is_refused_by_both_revisions() {
        let error = check_lock(&lock("0000")).unwrap_err().to_string();
        assert!(error.contains("0000") && error.contains(REVISION), "{error}");
    }

    #[test]
    fn a_lock_without_nixpkgs_is_refused() {
        assert!(check_lock("{}").is_err());
    }

    #[test]
    fn an_image_is_expected_on_linux_alone() {
        let [(_, _, packages), ..] = expected_outputs();
        assert!(packages["x86_64-linux"].contains("image"));
        assert!(!packages["aarch64-darwin"].contains("image"));
    }
}
