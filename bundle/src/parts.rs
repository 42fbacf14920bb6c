//! Parts: the programs in the images, built from pinned sources and cached by content.
//!
//! The programs of a component are one cache entry. Go builds with the pinned version of itself: if the host has another
//! one, it fetches that as a module and checks its hash. [`cargo`] builds the programs of the workspace.
//!
//! Everything is fetched first, with the settings of the host. Then an [`Action`] builds, without them.

pub mod audit;
pub mod cargo;
mod tool;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use support::command::{Cmd, CommandError};
use support::progress;

use crate::action::Action;
use crate::cache::Cache;
use crate::pins::{Component, Pins};
use crate::steps;
use crate::sysroot::Sysroot;
use crate::workspace::Workspace;

/// The architecture of the images, in the naming of Go and OCI.
pub const ARCHITECTURE: &str = "amd64";

/// What to do about inputs that are missing.
pub(crate) const FETCH_FIRST: &str = "run `cargo xtask fetch` while there is a network";

/// Builds parts or takes them from the cache.
#[derive(Debug, Clone)]
pub struct Builder<'a> {
    /// The checkout.
    pub workspace: &'a Workspace,
    /// The pins of the checkout.
    pub pins: &'a Pins,
    /// The cache.
    pub cache: &'a Cache,
    /// The folder for the output of the builds.
    pub logs: PathBuf,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// The C compiler and libraries, if they are not those of the lock.
    pub sysroot: Option<Sysroot>,
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
            parts.folders.insert((*name).to_owned(), self.component(name)?);
            parts.modules.insert((*name).to_owned(), self.modules(name, component)?);
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
            if self.cache.get("parts", name, &self.action(name, component)?).is_none() {
                missing.push(name.clone());
            }
        }
        Ok(missing)
    }

    /// How the programs of a component are built.
    ///
    /// # Errors
    /// When the component's go.mod or go.sum cannot be read, or it needs a C compiler and there is none.
    pub fn action(&self, name: &str, component: &Component) -> Result<Action> {
        let dir = self.workspace.components().join(name);
        let names: Vec<&str> = component.programs.iter().map(|program| program.name.as_str()).collect();
        let mut action = Action::new("go")
            .args(["-C", "{module}", "build", "-trimpath", "-buildvcs=false"])
            .args(tags(component))
            .args(["-ldflags".to_owned(), ldflags(component), "-o".to_owned(), "{out}/".to_owned()])
            .args(component.programs.iter().map(|program| program.package.as_str()))
            .env("GOENV", "off")
            .env("GOPROXY", "off")
            .file("go.mod", &dir.join("go.mod"))?
            .file("go.sum", &dir.join("go.sum"))?
            .input("names", names.join(" "))
            .place("module", dir);
        for (name, value) in self.go_variables(component) {
            action = action.env(name, value);
        }
        if component.cgo {
            for (variable, program) in [("AR", "ar"), ("CC", "cc"), ("PKG_CONFIG", "pkg-config")] {
                action = action.env(variable, format!("{{sysroot}}/bin/{program}"));
            }
            action = action.c_compiler(&self.sysroot()?)?;
        }
        Ok(action)
    }

    /// The folder of a component's programs, which are built if the cache does not have them.
    ///
    /// # Errors
    /// When the component does not build. The error names it.
    pub fn component(&self, name: &str) -> Result<PathBuf> {
        let component = self.pins.component(name)?;
        let action = self.action(name, component)?;
        self.cache.get_or_build("parts", name, &action, |place| {
            progress::step(&format!("build {name} {}", component.version), || {
                self.fetch_modules(name, component)?;
                let (build, modules) = go_folders()?;
                let go = action.clone().place("out", place).local("GOCACHE", build).local("GOMODCACHE", modules);
                let go = if component.cgo { go.place("sysroot", self.sysroot_folder()?) } else { go };
                // The Go compiler is faster with fewer garbage collections, and its output is the same. The limit is
                // for the linkers of large programs.
                let go = go.local("GOGC", "1200").local("GOMEMLIMIT", "1500MiB").command().log(self.log(name));
                go.run().map_err(|error| explain(name, error))?;
                rename_programs(component, place)
            })
        })
    }

    /// The C compiler and libraries.
    ///
    /// # Errors
    /// When the lock of the packages or the plan of the images cannot be read.
    pub fn sysroot(&self) -> Result<Sysroot> {
        match &self.sysroot {
            Some(sysroot) => Ok(sysroot.clone()),
            None => steps::locked_sysroot(self),
        }
    }

    /// The folder of the C compiler and libraries, which are fetched and unpacked if the cache does not have them.
    ///
    /// # Errors
    /// When a package cannot be fetched or unpacked.
    pub fn sysroot_folder(&self) -> Result<PathBuf> {
        // What is not of the lock is there already.
        let fetch = || if self.sysroot.is_none() { steps::fetch_sysroot(self) } else { Ok(()) };
        self.sysroot()?.folder(self.cache, fetch)
    }

    /// Fetches what a component's packages are compiled from, and Go of the pinned version. Go checks every hash.
    pub(crate) fn fetch_modules(&self, name: &str, component: &Component) -> Result<()> {
        let packages = component.programs.iter().map(|program| &program.package);
        let list = self.go(name, component).args(["list", "-deps"]).args(tags(component)).args(packages);
        list.quiet().log(self.log(name)).run().map(drop).map_err(|error| explain(name, error))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("build-{name}.log"))
    }

    /// Go of the pinned version in a component's folder, with the host's settings of how to fetch.
    fn go(&self, name: &str, component: &Component) -> Cmd {
        let go = Cmd::new("go").cwd(self.workspace.components().join(name)).env_remove("GOEXPERIMENT");
        let go = if self.offline { go.env("GOPROXY", "off") } else { go };
        self.go_variables(component).into_iter().fold(go, |go, (name, value)| go.env(name, value))
    }

    /// The variables that decide which packages there are and how they are compiled.
    fn go_variables(&self, component: &Component) -> [(&'static str, String); 7] {
        [
            ("CGO_ENABLED", u8::from(component.cgo).to_string()),
            ("GOAMD64", "v1".into()),
            ("GOARCH", ARCHITECTURE.into()),
            ("GOFLAGS", "-mod=readonly".into()),
            ("GOOS", "linux".into()),
            ("GOTOOLCHAIN", format!("go{}", self.pins.toolchain.go)),
            ("GOWORK", "off".into()),
        ]
    }

    /// The folders of a component's pinned modules, which are fetched if Go's module cache lacks them.
    ///
    /// # Errors
    /// When a module cannot be fetched.
    pub fn modules(&self, name: &str, component: &Component) -> Result<BTreeMap<String, PathBuf>> {
        let modules: Vec<&str> = component.modules().map(|(module, _)| module).collect();
        let listed = || {
            let list = self.go(name, component).args(["list", "-m", "-f", "{{.Path}} {{.Dir}}"]);
            let listing = list.args(&modules).quiet().read()?;
            anyhow::Ok(parse_module_dirs(&listing))
        };
        let dirs = listed()?;
        if dirs.len() == modules.len() {
            return Ok(dirs);
        }
        // The cache has the programs, but Go's module cache lacks the module. Go checks the download against go.sum.
        for module in modules.iter().filter(|module| !dirs.contains_key(**module)) {
            let download = self.go(name, component).args(["mod", "download", *module]);
            download.run().map_err(|error| explain(name, error))?;
        }
        listed()
    }

    /// Puts a module into Go's module cache. Go checks its hash with its database of checksums.
    pub(crate) fn fetch_module(&self, module: &str, version: &str) -> Result<()> {
        let named = format!("{module}@{version}");
        let fetch = Cmd::new("go").cwd("/").args(["mod", "download", &named]).env("GOTOOLCHAIN", "local");
        let fetch = if self.offline { fetch.env("GOPROXY", "off") } else { fetch };
        let hint = if self.offline { format!(": {FETCH_FIRST}") } else { String::new() };
        fetch.quiet().run().map(drop).with_context(|| format!("fetch module {named} for its licence{hint}"))
    }
}

/// The folders of Go's build cache and of its module cache, as the host sets them.
fn go_folders() -> Result<(PathBuf, PathBuf)> {
    let said = Cmd::new("go").args(["env", "GOCACHE", "GOMODCACHE"]).env("GOTOOLCHAIN", "local").quiet().read()?;
    let (build, modules) = said.split_once('\n').context("find the folders of Go's caches")?;
    Ok((build.into(), modules.into()))
}

fn tags(component: &Component) -> Option<String> {
    (!component.tags.is_empty()).then(|| format!("-tags={}", component.tags.join(",")))
}

fn ldflags(component: &Component) -> String {
    let mut flags = vec!["-s -w -buildid="];
    flags.extend(component.ldflags.iter().map(String::as_str));
    flags.extend(component.link_static.then_some("-extldflags \"-static\""));
    flags.join(" ")
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
    } else if text.contains("disabled by GOPROXY=off") {
        format!("component {name}: Go's module cache lacks a module, and --offline forbids to fetch it: {FETCH_FIRST}")
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
