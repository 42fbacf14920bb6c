//! Root filesystems of Debian packages, made by mmdebstrap from the host's apt sources. The same packages give the same
//! bytes.
//!
//! The apt sources determine the versions of the packages. `bundle/debian.lock` records the versions of the last update
//! of the lock, and every difference from it is reported. A root filesystem is cached under its recipe and its part of
//! the lock. While the cache has it, no mirror is asked.

mod lock;
mod recipe;
mod unpack;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use support::command::{Cmd, CommandError};
use support::progress;

pub use lock::{Change, Lock, Package, drift};
pub use recipe::{Recipe, Way};

use crate::cache::{Cache, Key};
use crate::oci::{self, Tree};

/// The file that holds the lock.
pub const LOCK_FILE: &str = "bundle/debian.lock";
/// The maximum number of changed packages that a warning names. It counts the rest.
const NAMED_CHANGES: usize = 12;

/// The source of the packages, and the lock for their versions.
#[derive(Debug, Clone)]
pub struct Debian {
    /// Processor architecture, in Debian's naming (`amd64`).
    pub architecture: String,
    /// Name of the release (`bookworm`).
    pub suite: String,
    /// The text of apt's sources, in either of its two formats.
    pub sources: String,
    /// The versions in the lock file.
    pub lock: Lock,
    /// Whether versions that differ from the lock are an error.
    pub locked: bool,
    /// Folder for mmdebstrap's logs.
    pub logs: PathBuf,
}

/// A root filesystem.
#[derive(Debug, Clone)]
pub struct Rootfs {
    /// Its name in the recipes.
    pub name: String,
    /// The tar with its files.
    pub tar: PathBuf,
    /// The installed packages, in order of name.
    pub packages: Vec<Package>,
    /// The differences from the lock.
    pub drift: Vec<Change>,
}

impl Rootfs {
    /// The content of a regular file.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let file = File::open(&self.tar).with_context(|| format!("open {}", self.tar.display()))?;
        let wanted = Path::new(path.trim_start_matches('/'));
        for entry in tar::Archive::new(file).entries().context("read a root filesystem")? {
            let mut entry = entry.context("read a root filesystem")?;
            let found = entry.path().context("read a path in a root filesystem")?;
            if found.strip_prefix("./").unwrap_or(&found) == wanted && entry.header().entry_type().is_file() {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).with_context(|| format!("read {path}"))?;
                return Ok(content);
            }
        }
        bail!("root filesystem {} has no file {path}", self.name)
    }
}

impl Debian {
    /// Takes the packages from this host's apt sources.
    ///
    /// # Errors
    /// When the host has no apt sources.
    pub fn of_host(architecture: &str, lock: Lock, locked: bool, logs: &Path) -> Result<Self> {
        Ok(Self {
            architecture: architecture.to_owned(),
            suite: host_suite(&fs::read_to_string("/etc/os-release").unwrap_or_default())?,
            sources: host_sources(Path::new("/etc/apt"))?,
            lock,
            locked,
            logs: logs.to_owned(),
        })
    }

    /// The root filesystem of a recipe. It is made if the cache does not have it.
    ///
    /// # Errors
    /// When it cannot be made on this host, or `locked` is set and its packages differ from the lock.
    pub fn rootfs(&self, cache: &Cache, name: &str, recipe: &Recipe) -> Result<Rootfs> {
        let key = self.key(name, recipe)?;
        let place = match cache.get("rootfs", name, &key) {
            Some(place) => place,
            None => progress::step(&format!("root filesystem {name}"), || {
                cache.get_or_build("rootfs", name, &key, |place| self.make(name, recipe, place))
            })?,
        };
        let list = place.join("packages");
        let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
        let packages = text.lines().map(str::parse).collect::<Result<Vec<Package>>>()?;
        let drift = drift(self.lock.of(name), &packages);
        if !drift.is_empty() {
            let changes = summary(&drift);
            if self.locked {
                bail!(
                    "root filesystem {name} differs from {LOCK_FILE} ({changes}): use a mirror that has the locked \
                     versions and remove {}, or update the lock",
                    place.display()
                );
            }
            progress::note(&format!("the packages of {name} differ from {LOCK_FILE}: {changes}"));
        }
        Ok(Rootfs { name: name.to_owned(), tar: place.join("rootfs.tar"), packages, drift })
    }

    fn key(&self, name: &str, recipe: &Recipe) -> Result<String> {
        let locked: Vec<String> = self.lock.of(name).iter().map(Package::to_string).collect();
        Ok(Key::new("rootfs 1")
            .field("recipe", serde_json::to_string(recipe).context("serialise the recipe")?)
            .field("architecture", &self.architecture)
            .field("suite", &self.suite)
            .field("sources", &self.sources)
            .field("lock", locked.join("\n"))
            .finish())
    }

    fn make(&self, name: &str, recipe: &Recipe, place: &Path) -> Result<()> {
        // Not in the cache: apt downloads as another user, who cannot enter a home folder.
        let work = tempfile::Builder::new().prefix("slipway-rootfs-").tempdir().context("make a folder")?;
        let tar = work.path().join("raw.tar");
        self.mmdebstrap(name, recipe, &tar)?;
        let raw = unpack::read(&tar)?;
        let (mut tree, packages) = match recipe.way {
            Way::Install => unpack::installed(raw)?,
            Way::Extract => unpack::extracted(raw, recipe, work.path())?,
        };
        recipe.finish(&mut tree)?;
        write_tar(tree, &place.join("rootfs.tar"))?;
        let list: String = packages.iter().map(|package| format!("{package}\n")).collect();
        fs::write(place.join("packages"), list).context("write the list of packages")
    }

    fn mmdebstrap(&self, name: &str, recipe: &Recipe, tar: &Path) -> Result<()> {
        let mode = if rustix::process::geteuid().is_root() { "root" } else { "unshare" };
        let mut command = Cmd::new("mmdebstrap")
            .env("SOURCE_DATE_EPOCH", oci::EPOCH.to_string())
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg(format!("--mode={mode}"))
            .arg(format!("--architectures={}", self.architecture))
            .arg(format!("--include={}", recipe.packages.join(",")))
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            .args(host_apt_options().iter().map(|option| format!("--aptopt={option}")))
            .log(self.logs.join(format!("rootfs-{name}.log")))
            .stdin(self.sources.clone());
        command = match recipe.way {
            // The hook installs usr-is-merged instead of usrmerge, which depends on perl.
            Way::Install => command.args(["--variant=essential", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]),
            Way::Extract => command.args(["--variant=extract", "--skip=cleanup/apt/cache"]),
        };
        command.arg(&self.suite).arg(tar).arg("-").run().map(|_| ()).map_err(|error| explain(error, mode))
    }
}

fn explain(error: CommandError, mode: &str) -> anyhow::Error {
    let hint = match &error {
        CommandError::Start { .. } => "install mmdebstrap (apt-get install mmdebstrap)",
        CommandError::Failed { .. } if mode == "unshare" => {
            "run as root, or allow this user to create user namespaces (package uidmap, entries in /etc/subuid)"
        }
        CommandError::Failed { .. } => {
            "see the log; apt must reach its mirror, and the release must have these packages"
        }
        CommandError::TimedOut { .. } | CommandError::Interrupted { .. } => return error.into(),
    };
    anyhow::Error::from(error).context(format!("make a root filesystem: {hint}"))
}

/// The name of the host's release, from its os-release file.
fn host_suite(os_release: &str) -> Result<String> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .filter(|name| !name.is_empty())
        .context(
            "find the host's release: /etc/os-release has no VERSION_CODENAME; run on Debian or in a Debian container",
        )
}

/// The text of all apt sources of a host.
fn host_sources(etc: &Path) -> Result<String> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(more) = fs::read_dir(etc.join("sources.list.d")) {
        files.extend(more.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.retain(|file| file.extension().is_some_and(|end| end == "list" || end == "sources"));
    files.sort();
    let texts: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let sources = texts.join("\n\n");
    let live = |line: &str| line.starts_with("deb ") || line.starts_with("URIs:");
    if !sources.lines().any(live) {
        bail!("find apt's sources: {} has none; run on a host with apt or in a Debian container", etc.display());
    }
    Ok(sources)
}

/// The host's apt settings for downloads, such as proxies and timeouts. mmdebstrap does not read them itself.
fn host_apt_options() -> Vec<String> {
    let Ok(dump) = Cmd::new("apt-config").args(["dump", "--no-empty"]).quiet().read() else {
        return Vec::new();
    };
    let ours =
        ["Acquire::http", "Acquire::https", "Acquire::ftp", "Acquire::Check-", "Acquire::Retries", "Acquire::By-Hash"];
    dump.lines().filter(|line| ours.iter().any(|start| line.starts_with(start))).map(str::to_owned).collect()
}

fn write_tar(tree: Tree, path: &Path) -> Result<()> {
    let file = fs::File::create(path).with_context(|| format!("make {}", path.display()))?;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, file);
    oci::Layer::new("root filesystem", tree)?.write(&mut out)?;
    std::io::Write::flush(&mut out).with_context(|| format!("write {}", path.display()))
}

fn summary(changes: &[Change]) -> String {
    let mut named: Vec<String> = changes.iter().take(NAMED_CHANGES).map(Change::to_string).collect();
    if changes.len() > NAMED_CHANGES {
        named.push(format!("and {} more", changes.len() - NAMED_CHANGES));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suite_is_read_from_os_release() {
        assert_eq!(host_suite("NAME=\"x\"\nVERSION_CODENAME=bookworm\n").unwrap(), "bookworm");
        assert!(host_suite("NAME=Arch\n").unwrap_err().to_string().contains("/etc/os-release"));
    }

    #[test]
    fn sources_of_both_formats_are_read_and_disabled_ones_are_not() {
        let etc = tempfile::tempdir().unwrap();
        assert!(host_sources(etc.path()).unwrap_err().to_string().contains("a host with apt"));
        let parts = etc.path().join("sources.list.d");
        fs::create_dir(&parts).unwrap();
        fs::write(parts.join("a.sources"), "Types: deb\nURIs: http://mirror.example/debian\n").unwrap();
        fs::write(parts.join("b.list.disabled"), "deb http://other.example x y\n").unwrap();
        let sources = host_sources(etc.path()).unwrap();
        assert!(sources.contains("mirror.example") && !sources.contains("other.example"), "{sources}");
    }

    #[test]
    fn long_lists_of_changes_are_cut() {
        let change = |n: usize| Change::Added(Package { name: format!("p{n}"), version: "1".into() });
        let text = summary(&(0..20).map(change).collect::<Vec<_>>());
        assert!(text.contains("p11") && !text.contains("p12") && text.ends_with("and 8 more"), "{text}");
    }
}
