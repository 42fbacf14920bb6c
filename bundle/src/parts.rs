//! Parts: the programs in the images, built from pinned sources and cached by content.
//!
//! The programs of a component are one cache entry. Its key is the pin, go.mod, go.sum, the version of Go and the
//! architecture. Go builds with the pinned version of itself: if the host has another one, it fetches that as a module
//! and checks its hash. Cargo builds the worker and the load driver in a target folder inside the cache, so that a
//! second clone compiles only the crates of the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use support::command::{Cmd, CommandError};
use support::progress;

use crate::cache::{Cache, Key};
use crate::crates::{member_names, path_closure};
use crate::pins::{Component, Pins};
use crate::workspace::Workspace;

/// The architecture of the images, in the naming of Go and OCI.
pub const ARCHITECTURE: &str = "amd64";

/// Builds parts or takes them from the cache.
#[derive(Debug)]
pub struct Builder<'a> {
    /// The checkout.
    pub workspace: &'a Workspace,
    /// The pins of the checkout.
    pub pins: &'a Pins,
    /// The cache.
    pub cache: &'a Cache,
    /// The folder for the output of the builds.
    pub logs: PathBuf,
}

/// The built parts: a folder of programs for each component.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    folders: BTreeMap<String, PathBuf>,
    modules: BTreeMap<String, BTreeMap<String, PathBuf>>,
}

impl Parts {
    /// Adds a folder of programs that no pin names, which are those of the workspace.
    pub fn add(&mut self, component: &str, folder: &Path) {
        self.folders.insert(component.to_owned(), folder.to_owned());
    }

    /// The path of a built program.
    ///
    /// # Errors
    /// When the component was not built or has no such program.
    pub fn program(&self, component: &str, name: &str) -> Result<PathBuf> {
        let folder = self.folders.get(component).with_context(|| format!("component {component} was not built"))?;
        let path = folder.join(name);
        if !path.is_file() {
            bail!("component {component} has no program {name} (looked for {})", path.display());
        }
        Ok(path)
    }

    /// The folder of a component's module in Go's module cache, with the upstream files.
    ///
    /// # Errors
    /// When the component was not built.
    pub fn module_dir(&self, component: &str, module: &str) -> Result<PathBuf> {
        self.modules
            .get(component)
            .and_then(|modules| modules.get(module))
            .cloned()
            .with_context(|| format!("component {component} has no module {module}"))
    }
}

impl Builder<'_> {
    /// Builds every component of the pins that is no tool and is not in the cache, one after the other.
    ///
    /// # Errors
    /// When a component does not build. The error names it.
    pub fn components(&self) -> Result<Parts> {
        let names: Vec<&str> = self.pins.built().map(|(name, _)| name.as_str()).collect();
        self.some(&names)
    }

    /// Builds these components if they are not in the cache.
    ///
    /// # Errors
    /// When a component does not build. The error names it.
    pub fn some(&self, names: &[&str]) -> Result<Parts> {
        let mut parts = Parts::default();
        for name in names {
            let component = self.pins.component(name)?;
            let folder = self.component(name, component)?;
            parts.folders.insert((*name).to_owned(), folder);
            parts.modules.insert((*name).to_owned(), self.module_dirs(name, component)?);
        }
        Ok(parts)
    }

    /// The components that are not in the cache.
    ///
    /// # Errors
    /// When a component's go.mod or go.sum cannot be read.
    pub fn missing(&self) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for (name, component) in self.pins.built() {
            let key = self.component_key(name, component)?;
            if self.cache.get("parts", name, &key).is_none() {
                missing.push(name.clone());
            }
        }
        Ok(missing)
    }

    fn component_key(&self, name: &str, component: &Component) -> Result<String> {
        let dir = self.workspace.components().join(name);
        let pin = serde_json::to_vec(&Component { about: String::new(), ..component.clone() })?;
        Ok(Key::new("go-component-1")
            .field("pin", pin)
            .file("go.mod", &dir.join("go.mod"))?
            .file("go.sum", &dir.join("go.sum"))?
            .field("go", &self.pins.toolchain.go)
            .field("architecture", ARCHITECTURE)
            .finish())
    }

    fn component(&self, name: &str, component: &Component) -> Result<PathBuf> {
        let key = self.component_key(name, component)?;
        self.cache.get_or_build("parts", name, &key, |place| {
            progress::step(&format!("build {name} {}", component.version), || {
                let log = self.logs.join(format!("build-{name}.log"));
                self.go_build(name, component, place, &log).map_err(|error| explain(name, error))?;
                rename_programs(component, place)
            })
        })
    }

    fn go_build(&self, name: &str, component: &Component, place: &Path, log: &Path) -> Result<(), CommandError> {
        let mut ldflags = vec!["-s -w -buildid=".to_owned()];
        ldflags.extend(component.ldflags.iter().cloned());
        if component.link_static {
            ldflags.push("-extldflags \"-static\"".to_owned());
        }
        let mut command = self
            .go(name)
            .env("CGO_ENABLED", if component.cgo { "1" } else { "0" })
            .env("GOOS", "linux")
            .env("GOARCH", ARCHITECTURE)
            // The Go compiler is faster with fewer garbage collections, and its output is the same.
            .env("GOGC", "400")
            .args(["build", "-trimpath", "-buildvcs=false"])
            .log(log);
        if !component.tags.is_empty() {
            command = command.arg("-tags").arg(component.tags.join(","));
        }
        let mut out = OsString::from(place);
        out.push("/");
        command = command.arg("-ldflags").arg(ldflags.join(" ")).arg("-o").arg(out);
        command.args(component.programs.iter().map(|program| &program.package)).run().map(drop)
    }

    /// Go of the pinned version in a component's folder, without the user's settings that would change the build.
    fn go(&self, name: &str) -> Cmd {
        Cmd::new("go")
            .cwd(self.workspace.components().join(name))
            .env("GOTOOLCHAIN", format!("go{}", self.pins.toolchain.go))
            .env("GOFLAGS", "-mod=readonly")
            .env("GOWORK", "off")
            .env_remove("GOEXPERIMENT")
    }

    fn module_dirs(&self, name: &str, component: &Component) -> Result<BTreeMap<String, PathBuf>> {
        let modules: Vec<&str> = component.modules().map(|(module, _)| module).collect();
        let listed = || {
            let listing =
                self.go(name).args(["list", "-m", "-f", "{{.Path}} {{.Dir}}"]).args(&modules).quiet().read()?;
            anyhow::Ok(parse_module_dirs(&listing))
        };
        let dirs = listed()?;
        if dirs.len() == modules.len() {
            return Ok(dirs);
        }
        // The cache has the programs, but Go's module cache lacks the module. Go checks the download against go.sum.
        for module in modules.iter().filter(|module| !dirs.contains_key(**module)) {
            self.go(name).args(["mod", "download", *module]).run().map_err(|error| explain(name, error))?;
        }
        listed()
    }
}

fn parse_module_dirs(listing: &str) -> BTreeMap<String, PathBuf> {
    listing
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, dir)| !dir.is_empty())
        .map(|(module, dir)| (module.to_owned(), PathBuf::from(dir)))
        .collect()
}

fn explain(name: &str, error: CommandError) -> anyhow::Error {
    let text = error.to_string();
    let hint = if text.contains("checksum mismatch") || text.contains("SECURITY ERROR") {
        format!("component {name}: the content of a module differs from its hash in bundle/components/{name}/go.sum")
    } else if text.contains("missing go.sum entry") {
        format!(
            "component {name}: go.sum has no hash for a module that go.mod requires; run `go mod tidy` in \
             bundle/components/{name}"
        )
    } else {
        format!("build component {name}")
    };
    anyhow::Error::new(error).context(hint)
}

fn rename_programs(component: &Component, place: &Path) -> Result<()> {
    for program in &component.programs {
        let built = place.join(go_binary_name(&program.package));
        let wanted = place.join(&program.name);
        if built != wanted {
            std::fs::rename(&built, &wanted)
                .with_context(|| format!("rename {} to {}", built.display(), program.name))?;
        }
    }
    Ok(())
}

/// The name that `go build` gives a program: the last path element, or the one before a major version.
fn go_binary_name(package: &str) -> &str {
    let mut elements = package.rsplit('/');
    let last = elements.next().unwrap_or(package);
    let is_major =
        last.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    if is_major { elements.next().unwrap_or(last) } else { last }
}

/// The installed Go's version, as `1.26.8`.
///
/// # Errors
/// When there is no Go on PATH.
pub fn go_version() -> Result<String> {
    let version = Cmd::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").quiet().read()?;
    Ok(version.trim_start_matches("go").to_owned())
}

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
/// The commands, which a bundle has as `slipway`.
pub const SLIPWAY: CargoProgram = CargoProgram { package: "xtask", binary: "xtask" };

impl Builder<'_> {
    /// Builds programs of the workspace in one run of cargo if they are not in the cache.
    ///
    /// # Errors
    /// When cargo fails, or the sources change during the build.
    pub fn cargo(&self, programs: &[CargoProgram]) -> Result<Vec<PathBuf>> {
        let key = self.cargo_key(programs)?;
        let names: Vec<&str> = programs.iter().map(|program| program.binary).collect();
        let place = self.cache.get_or_build("parts", &names.join("+"), &key, |place| {
            progress::step(&format!("build {} with cargo", names.join(" and ")), || self.cargo_build(programs, place))?;
            // The key describes the programs only if the sources did not change during the build.
            ensure!(self.cargo_key(programs)? == key, "the sources changed during the build: run the command again");
            Ok(())
        })?;
        Ok(names.iter().map(|name| place.join(name)).collect())
    }

    /// The key of programs: the package folders that they are compiled from, the lock file, the compiler. A file that
    /// is included from outside a package folder is not in the key, as [`path_closure`] says.
    fn cargo_key(&self, programs: &[CargoProgram]) -> Result<String> {
        let root = &self.workspace.root;
        let mut key = Key::new("cargo-program-3")
            .file("Cargo.toml", &root.join("Cargo.toml"))?
            .file("Cargo.lock", &root.join("Cargo.lock"))?
            .field("rustc", Cmd::new("rustc").arg("-vV").quiet().read()?);
        let mut folders = BTreeSet::new();
        for program in programs {
            key = key.field("binary", program.binary);
            folders.extend(path_closure(root, program.package)?);
        }
        for folder in folders {
            key = key.tree(&folder.to_string_lossy(), &root.join(&folder))?;
        }
        Ok(key.finish())
    }

    fn cargo_build(&self, programs: &[CargoProgram], place: &Path) -> Result<()> {
        let target = cargo_target(self.cache);
        let triple = host_triple()?;
        let mut command = cargo(self.workspace, self.cache)?
            .args(["build", "--release", "--locked", "--target", &triple])
            .env("RUSTFLAGS", flags(&triple, &target))
            .log(self.logs.join("build-cargo.log"));
        for program in programs {
            command = command.args(["--package", program.package]);
        }
        command.run().context("build the workspace's programs")?;
        for program in programs {
            let built = target.join(&triple).join("release").join(program.binary);
            std::fs::copy(&built, place.join(program.binary)).with_context(|| format!("copy {}", built.display()))?;
        }
        Ok(())
    }
}

/// The file in the shared target folder that names the checkout whose crates the folder holds.
const CHECKOUT: &str = ".checkout";

/// The target folder that all checkouts share, so that dependencies are compiled once.
fn cargo_target(cache: &Cache) -> PathBuf {
    cache.root().join("cargo-target")
}

/// Cargo in the checkout, with the shared target folder.
///
/// # Errors
/// When the folder cannot be prepared.
pub fn cargo(workspace: &Workspace, cache: &Cache) -> Result<Cmd> {
    let target = cargo_target(cache);
    let cargo = || Cmd::new("cargo").cwd(&workspace.root).env("CARGO_TARGET_DIR", &target);
    let _lock = cache.lock("cargo-target")?;
    let checkout = target.join(CHECKOUT);
    let ours = workspace.root.as_os_str().as_encoded_bytes();
    if std::fs::read(&checkout).ok().as_deref() != Some(ours) {
        forget_workspace(&workspace.root, &cargo)?;
        std::fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
        std::fs::write(&checkout, ours).with_context(|| format!("write {}", checkout.display()))?;
    }
    Ok(cargo())
}

/// Removes the crates of the workspace from the target folder. Cargo stores them under the same names for every
/// checkout and compares modification times, so that it could use a crate of another checkout.
fn forget_workspace(root: &Path, cargo: &impl Fn() -> Cmd) -> Result<()> {
    let triple = host_triple()?;
    let packages: Vec<String> = member_names(root)?.iter().map(|name| format!("--package={name}")).collect();
    for profile in [vec![], vec!["--release", "--target", &triple]] {
        cargo()
            .args(["clean", "--locked"])
            .args(profile)
            .args(&packages)
            .quiet()
            .run()
            .context("remove another checkout's crates from the shared target folder")?;
    }
    Ok(())
}

/// The target triple of this machine. The build names it, so that [`flags`] apply to the programs, but not to build
/// scripts and procedural macros, which cannot be linked statically.
pub(crate) fn host_triple() -> Result<String> {
    let version = Cmd::new("rustc").arg("-vV").quiet().read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("find the host in the output of `rustc -vV`")?.to_owned())
}

/// The target triple for which rustc links with its own LLD.
const RUST_LLD: &str = "x86_64-unknown-linux-gnu";

/// Compiler flags for the workspace's programs.
///
/// - The programs are linked statically, because their image contains nothing else.
/// - They have a fixed load address. Relocation would write to pages, and so make 3 MB of each worker private memory.
///   Heap and stacks stay at random addresses.
/// - Rust's LLD folds identical functions.
/// - Paths of this machine are replaced. The checkout's path is not: cargo compiles the workspace's crates with
///   relative paths, and a flag with the checkout's path would make a second clone compile every dependency again.
fn flags(triple: &str, target: &Path) -> OsString {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let mut flags = OsString::from("-C target-feature=+crt-static -C relocation-model=static");
    if triple == RUST_LLD {
        flags.push(" -C link-arg=-Wl,--icf=all");
    }
    for (from, to) in [(Some(target), "/target"), (home.as_deref(), "/cargo")] {
        if let Some(from) = from {
            flags.push(" --remap-path-prefix=");
            flags.push(from);
            flags.push("=");
            flags.push(to);
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_names_a_program_after_the_last_element_that_is_no_major_version() {
        for (package, name) in [
            ("go.etcd.io/etcd/server/v3", "server"),
            ("sigs.k8s.io/kind", "kind"),
            ("go.temporal.io/server/cmd/tools/sql", "sql"),
            ("example.com/v2x", "v2x"),
        ] {
            assert_eq!(go_binary_name(package), name);
        }
    }

    #[test]
    fn checksum_mismatch_names_the_component() {
        let failed =
            Cmd::new("sh").args(["-c", "echo 'verifying x: checksum mismatch' >&2; exit 1"]).run().unwrap_err();
        let error = format!("{:#}", explain("keda", failed));
        assert!(error.starts_with("component keda:"), "{error}");
        assert!(error.contains("go.sum"), "{error}");
    }
}
