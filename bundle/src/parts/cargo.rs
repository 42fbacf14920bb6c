//! The programs of the workspace. Cargo builds them in a target folder inside the cache, so that a second clone compiles
//! only the crates of the workspace.
//!
//! Cargo takes settings from its home, from the folders above the one that it runs in, and from variables. So it runs in
//! `/` with a home of its own, which has the host's crates and where they come from, and no other setting.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use support::command::Cmd;
use support::progress;
use toml::{Table, Value};

use super::audit::Crates;
use super::{Builder, FETCH_FIRST};
use crate::action::Action;
use crate::cache::Cache;
use crate::crates::{member_names, path_closure};
use crate::rustc::{self, host_triple};
use crate::workspace::Workspace;

/// A program of the workspace that cargo builds with the release profile.
#[derive(Debug, Clone, Copy)]
pub struct CargoProgram {
    /// The name of the package, and of its folder.
    pub package: &'static str,
    /// The name of the binary.
    pub binary: &'static str,
}

/// The worker, which the worker image contains.
pub const WORKER: CargoProgram = CargoProgram { package: "worker", binary: "temporal-worker" };
/// The scaler, whose image contains nothing else.
pub const SCALER: CargoProgram = CargoProgram { package: "temporal-scaler", binary: "temporal-scaler" };
/// The load driver, which loads and judges a cluster.
pub const KIND_E2E: CargoProgram = CargoProgram { package: "kind-e2e", binary: "kind-e2e" };
/// The commands, which a bundle has as `slipway`. Only a bundle needs them.
pub const SLIPWAY: CargoProgram = CargoProgram { package: "xtask", binary: "xtask" };
/// What one run of cargo builds. What ships is apart from the driver, whose features would be compiled into it.
pub const RUNS: [&[CargoProgram]; 2] = [&[WORKER, SCALER], &[KIND_E2E]];

/// The target triple for which rustc links with its own LLD.
const RUST_LLD: &str = "x86_64-unknown-linux-gnu";
/// The file in the shared target folder that names the checkout whose crates the folder holds.
const CHECKOUT: &str = ".checkout";
/// The lock of the shared target folder.
const TARGET: &str = "cargo-target";
/// Tables of cargo's settings that do not decide what is built.
const HARMLESS: [&str; 8] = ["alias", "cache", "credential-alias", "http", "net", "registries", "registry", "source"];

impl Builder<'_> {
    /// Builds programs of the workspace in one run of cargo if they are not in the cache.
    ///
    /// # Errors
    /// When cargo fails, or the sources change during the build.
    pub fn cargo(&self, programs: &[CargoProgram]) -> Result<Vec<PathBuf>> {
        let action = self.cargo_action(programs)?;
        let place = self.cache.get_or_build("parts", &run_name(programs), &action, |place| {
            progress::step(&format!("build {} with cargo", run_name(programs)), || {
                self.cargo_build(programs, &action, place)
            })?;
            // The action describes the programs only if the sources did not change during the build.
            let changes = self.cargo_action(programs)?.differences(&action);
            ensure!(changes.is_empty(), "{} changed during the build: run the command again", changes.join(", "));
            Ok(())
        })?;
        Ok(programs.iter().map(|program| place.join(program.binary)).collect())
    }

    /// How programs of the workspace are built: from the folders of their packages, the lock file and the compilers.
    ///
    /// # Errors
    /// When a source cannot be read, or a compiler is missing.
    pub fn cargo_action(&self, programs: &[CargoProgram]) -> Result<Action> {
        let root = &self.workspace.root;
        // The build names the target, so that flags apply to the programs, but not to build scripts and procedural
        // macros, which cannot be linked statically.
        let triple = host_triple()?;
        let for_c = triple.replace('-', "_");
        let mut action = Action::new("cargo")
            .args(["build", "--release", "--frozen", "--manifest-path", "{root}/Cargo.toml", "--target", &triple])
            .args(programs.iter().flat_map(|program| ["--package", program.package]))
            .env("CARGO_ENCODED_RUSTFLAGS", flags(&triple))
            .env(&format!("AR_{for_c}"), "{sysroot}/bin/ar")
            .env(&format!("CC_{for_c}"), "{sysroot}/bin/cc")
            .input("rustc", rustc::about()?)
            .input(rustc::FILES, rustc::files(self.cache)?.unwrap_or_default())
            .code(&[include_str!("audit.rs")])
            .c_compiler(&self.sysroot()?)?
            .file("Cargo.toml", &root.join("Cargo.toml"))?
            .file("Cargo.lock", &root.join("Cargo.lock"))?
            .place("root", root);
        for folder in self.folders(programs)? {
            action = action.tree(&folder.to_string_lossy(), &root.join(&folder))?;
        }
        Ok(action)
    }

    fn folders(&self, programs: &[CargoProgram]) -> Result<BTreeSet<PathBuf>> {
        let mut folders = BTreeSet::new();
        for program in programs {
            folders.extend(path_closure(&self.workspace.root, program.package)?);
        }
        Ok(folders)
    }

    fn cargo_build(&self, programs: &[CargoProgram], action: &Action, place: &Path) -> Result<()> {
        let _lock = self.cache.lock(TARGET)?;
        self.fetch_crates()?;
        let target = target_of(self.workspace, self.cache)?;
        let home = private_home(self.cache, &self.workspace.root)?;
        let log = self.logs.join("build-cargo.log");
        let cargo = action.clone().place("paths", remapped(&target, &home)?).place("sysroot", self.sysroot_folder()?);
        let cargo = cargo.local("CARGO_HOME", &home).local("CARGO_TARGET_DIR", &target);
        cargo.command().log(log).run().context("build the workspace's programs")?;
        let folders = self.folders(programs)?;
        let tree = self.tree(programs, &home)?;
        for CargoProgram { package, binary } in programs {
            let built = target.join(host_triple()?).join("release").join(binary);
            check_sources(&self.workspace.root, &folders, &built.with_extension("d"))?;
            let program = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
            let program = Crates::of_tree(&tree, package).and_then(|crates| crates.embed(&program));
            let program = program.with_context(|| format!("put the list of crates into {binary}"))?;
            let finished = place.join(binary);
            fs::write(&finished, program).with_context(|| format!("write {}", finished.display()))?;
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&finished, executable).with_context(|| format!("write {}", finished.display()))?;
        }
        Ok(())
    }

    /// What is linked into programs that are built in one run: no build scripts, procedural macros and tests.
    fn tree(&self, programs: &[CargoProgram], home: &Path) -> Result<String> {
        let tree = Action::new("cargo")
            .args(["tree", "--frozen", "--manifest-path", "{root}/Cargo.toml", "--target", &host_triple()?])
            .args(programs.iter().flat_map(|program| ["--package", program.package]))
            .args(["--edges", "normal,no-proc-macro", "--prefix", "depth", "--format", "{p}"])
            .place("root", &self.workspace.root)
            .local("CARGO_HOME", home);
        tree.command().quiet().read().context("list the crates of the workspace's programs")
    }

    /// Fetches the crates of Cargo.lock, as the host's settings say. Cargo checks every hash.
    pub(crate) fn fetch_crates(&self) -> Result<()> {
        let fetch = Cmd::new("cargo").cwd(&self.workspace.root).args(["fetch", "--locked", "--target"]);
        let fetch = fetch
            .arg(host_triple()?)
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "")
            .log(self.logs.join("build-cargo.log"));
        let fetch = if self.offline { fetch.arg("--offline") } else { fetch };
        let hint = if self.offline { format!(": {FETCH_FIRST}") } else { String::new() };
        fetch.run().map(drop).with_context(|| format!("fetch the crates of Cargo.lock{hint}"))
    }
}

/// The name of what one run of cargo builds.
pub fn run_name(programs: &[CargoProgram]) -> String {
    programs.iter().map(|program| program.binary).collect::<Vec<_>>().join("+")
}

/// Refuses a program that is compiled from a file of the checkout that its action does not have. `list` is the list of
/// files that cargo writes beside a program.
fn check_sources(root: &Path, folders: &BTreeSet<PathBuf>, list: &Path) -> Result<()> {
    let text = fs::read_to_string(list).with_context(|| format!("read {}", list.display()))?;
    let (_, files) = text.split_once(": ").with_context(|| format!("read {}", list.display()))?;
    // A space in a path is written as `\ `.
    for file in files.replace("\\ ", "\0").split_whitespace().map(|file| file.replace('\0', " ")) {
        if let Ok(file) = Path::new(&file).strip_prefix(root) {
            ensure!(
                folders.iter().any(|folder| file.starts_with(folder)),
                "{} is compiled in and is outside the folders of the packages, so it is not in the key: move it into one",
                file.display()
            );
        }
    }
    Ok(())
}

/// Cargo in the checkout, with the shared target folder and the host's settings. For tests, whose results are not kept.
///
/// # Errors
/// When the folder cannot be prepared.
pub fn cargo(workspace: &Workspace, cache: &Cache) -> Result<Cmd> {
    let _lock = cache.lock(TARGET)?;
    Ok(Cmd::new("cargo").cwd(&workspace.root).env("CARGO_TARGET_DIR", target_of(workspace, cache)?))
}

/// The target folder that all checkouts share, so that dependencies are compiled once. The caller holds its lock.
fn target_of(workspace: &Workspace, cache: &Cache) -> Result<PathBuf> {
    let target = cache.root().join(TARGET);
    let checkout = target.join(CHECKOUT);
    let ours = workspace.root.as_os_str().as_encoded_bytes();
    if fs::read(&checkout).ok().as_deref() != Some(ours) {
        forget_workspace(&workspace.root, &target)?;
        fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
        fs::write(&checkout, ours).with_context(|| format!("write {}", checkout.display()))?;
    }
    Ok(target)
}

/// Removes the crates of the workspace from the target folder. Cargo stores them under the same names for every
/// checkout and compares modification times, so that it could use a crate of another checkout.
fn forget_workspace(root: &Path, target: &Path) -> Result<()> {
    let triple = host_triple()?;
    let packages: Vec<String> = member_names(root)?.iter().map(|name| format!("--package={name}")).collect();
    for profile in [vec![], vec!["--release", "--target", &triple]] {
        let clean = Cmd::new("cargo").cwd(root).env("CARGO_TARGET_DIR", target).env("RUSTC_WRAPPER", "");
        let clean =
            clean.env("RUSTC_WORKSPACE_WRAPPER", "").args(["clean", "--locked"]).args(profile).args(&packages).quiet();
        clean.run().context("remove another checkout's crates from the shared target folder")?;
    }
    Ok(())
}

/// The home of cargo in builds: the host's crates, and where they come from.
fn private_home(cache: &Cache, root: &Path) -> Result<PathBuf> {
    for name in ["/.cargo/config.toml", "/.cargo/config"] {
        refuse_deciding(Path::new(name))?;
    }
    let host = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let host = host.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    let host = host.context("find the home of cargo: neither CARGO_HOME nor HOME is set")?;
    let home = cache.root().join("cargo-home");
    fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
    for name in ["registry", "git"] {
        let link = home.join(name);
        let _ = fs::remove_file(&link);
        if host.join(name).is_dir() {
            std::os::unix::fs::symlink(host.join(name), &link).with_context(|| format!("make {}", link.display()))?;
        }
    }
    let settings = root.ancestors().map(|folder| folder.join(".cargo")).chain([host]);
    let path = home.join("config.toml");
    fs::write(&path, sources(settings)?.to_string()).with_context(|| format!("write {}", path.display()))?;
    Ok(home)
}

/// Where the settings in these folders take crates from. The first folder that says something wins, as in cargo. It says
/// under which name cargo keeps them. Their bytes are those of Cargo.lock.
fn sources(folders: impl Iterator<Item = PathBuf>) -> Result<Table> {
    let mut found = Table::new();
    for folder in folders {
        for file in ["config", "config.toml"].map(|name| folder.join(name)) {
            let settings = read_settings(&file)?;
            let entries = ["source", "registries"].into_iter().filter_map(|table| Some((table, settings.get(table)?)));
            for (table, entries) in entries {
                let merged = found.entry(table).or_insert_with(|| Value::Table(Table::new()));
                for (name, entry) in entries.as_table().into_iter().flatten() {
                    if let Some(merged) = merged.as_table_mut().filter(|merged| !merged.contains_key(name)) {
                        merged.insert(name.clone(), absolute(entry.clone(), folder.parent()));
                    }
                }
            }
        }
    }
    Ok(found)
}

/// A source whose folder does not depend on the place of the file that names it.
fn absolute(mut source: Value, base: Option<&Path>) -> Value {
    for key in ["directory", "local-registry"] {
        if let (Some(Value::String(path)), Some(base)) = (source.get_mut(key), base) {
            *path = base.join(&*path).to_string_lossy().into_owned();
        }
    }
    source
}

/// Refuses settings that cargo reads in every folder and that change what it builds.
fn refuse_deciding(file: &Path) -> Result<()> {
    let deciding: Vec<String> =
        read_settings(file)?.into_iter().map(|(name, _)| name).filter(|name| !HARMLESS.contains(&&**name)).collect();
    ensure!(
        deciding.is_empty(),
        "{} changes what cargo builds in every folder ({}): move it to the home folder of a user",
        file.display(),
        deciding.join(", ")
    );
    Ok(())
}

fn read_settings(file: &Path) -> Result<Table> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Table::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(Table::new()),
        text => text
            .with_context(|| format!("read {}", file.display()))?
            .parse()
            .with_context(|| format!("parse {}", file.display())),
    }
}

/// Compiler flags for the workspace's programs.
///
/// - The compiler of the sysroot links them, with its libraries.
/// - The programs are linked statically, because their image contains nothing else.
/// - They have a fixed load address. Relocation would write to pages, and so make 3 MB of each worker private memory.
///   Heap and stacks stay at random addresses.
/// - Rust's LLD folds identical functions.
/// - Paths of this machine are replaced, see [`remapped`].
fn flags(triple: &str) -> String {
    let mut flags = vec!["-Clinker={sysroot}/bin/cc", "-Ctarget-feature=+crt-static", "-Crelocation-model=static"];
    flags.extend((triple == RUST_LLD).then_some("-Clink-arg=-Wl,--icf=all"));
    flags.push("{paths}");
    flags.join("\x1f")
}

/// The flags that replace paths of this machine: the target folder, cargo's home, and in it the folder of crates, whose
/// name depends on the mirror. The checkout's path is not replaced: cargo compiles the workspace's crates with relative
/// paths, and a flag with the checkout's path would make a second clone compile every dependency again.
fn remapped(target: &Path, home: &Path) -> Result<OsString> {
    let mut paths = vec![(target.to_owned(), "/target"), (home.to_owned(), "/cargo")];
    let crates = home.join("registry/src");
    for mirror in fs::read_dir(&crates).into_iter().flatten() {
        paths.push((mirror.with_context(|| format!("list {}", crates.display()))?.path(), "/cargo/registry/src"));
    }
    paths.sort();
    let flags = paths.into_iter().map(|(from, to)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flag
    });
    Ok(flags.collect::<Vec<_>>().join(std::ffi::OsStr::new("\x1f")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn of_the_hosts_settings_only_the_sources_of_crates_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (near, home) = (dir.path().join("checkout/.cargo"), dir.path().join("home/.cargo"));
        write(&near.join("config.toml"), "[alias]\nx = 'y'\n[source.mirror]\ndirectory = 'vendor'");
        write(
            &home.join("config.toml"),
            "[build]\nrustflags = ['-Copt-level=0']\nrustc-wrapper = 'false'\n[profile.release]\nopt-level = 0\n\
             [source.crates-io]\nreplace-with = 'mirror'\n[source.mirror]\nregistry = 'sparse+http://far.example'",
        );
        let found = sources([near, dir.path().join("none"), home].into_iter()).unwrap();
        let expected = format!(
            "[source.mirror]\ndirectory = '{}'\n[source.crates-io]\nreplace-with = 'mirror'",
            dir.path().join("checkout/vendor").display()
        );
        assert_eq!(found, expected.parse::<Table>().unwrap());
    }

    #[test]
    fn settings_of_every_folder_are_refused_if_they_decide() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        refuse_deciding(&file).unwrap();
        write(&file, "[net]\noffline = true\n[source.crates-io]\nreplace-with = 'x'");
        refuse_deciding(&file).unwrap();
        write(&file, "[net]\noffline = true\n[build]\nrustflags = []");
        let error = refuse_deciding(&file).unwrap_err().to_string();
        assert!(error.contains("config.toml") && error.contains("(build)"), "{error}");
    }

    #[test]
    fn file_outside_the_packages_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("worker.d");
        let folders = BTreeSet::from([PathBuf::from("worker"), PathBuf::from("a b")]);
        let check = |files: &str| {
            write(&list, &format!("/target/worker: {files}\n"));
            check_sources(Path::new("/co"), &folders, &list)
        };
        check("/co/worker/src/main.rs /co/a\\ b/x.rs /target/out/gen.rs").unwrap();
        let error = check("/co/worker/src/main.rs /co/manifests/x.json").unwrap_err().to_string();
        assert!(error.starts_with("manifests/x.json is compiled in"), "{error}");
    }
}
