//! Root filesystems of Debian packages. The same packages give the same bytes.
//!
//! `bundle/debian.lock` has every package with its path in Debian's archive, its size and its SHA-256. Packages are
//! fetched by path from the host's mirrors, from Debian's archive or from its snapshot service, and verified.
//! mmdebstrap installs or extracts them from a repository that has these packages and no others.
//!
//! [`Debian::choose`] chooses packages anew, for an update of the lock. A build that is not locked also does so for a
//! root filesystem whose packages no mirror has any more, and says so. A root filesystem is cached under its recipe and
//! the hashes of its packages. While the cache has it, no mirror is asked.

mod fetch;
mod lock;
mod mirrors;
mod recipe;
mod repository;
mod resolve;
mod unpack;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use support::command::CommandError;
use support::progress;

pub(crate) use fetch::{copy, place};
pub use lock::{Change, Choice, Lock, Package, drift};
pub use mirrors::{Archive, Mirror};
pub use recipe::{Recipe, Way};

use crate::action::Action;
use crate::cache::Cache;
use crate::oci::{self, Tree};
use crate::sysroot::{self, Sysroot};

/// The file of a root filesystem in the cache.
pub(crate) const TAR: &str = "rootfs.tar";
/// The file that holds the lock.
pub const LOCK_FILE: &str = "bundle/debian.lock";
/// The code that makes a root filesystem of packages, as an input of it.
const CODE: [&str; 4] = [
    include_str!("debian.rs"),
    include_str!("debian/recipe.rs"),
    include_str!("debian/repository.rs"),
    include_str!("debian/unpack.rs"),
];
/// The maximum number of packages that a message names. It counts the rest.
const NAMED: usize = 12;

/// Why a build cannot use the packages of the lock. A build that is not locked chooses others instead.
#[derive(Debug, thiserror::Error)]
pub enum NotLocked {
    /// Nothing may be fetched, and the cache lacks packages.
    #[error("the cache lacks {packages} of {LOCK_FILE}, and --offline forbids to fetch: {}", crate::parts::FETCH_FIRST)]
    Offline {
        /// The packages, with their versions.
        packages: String,
    },
    /// No mirror has a package.
    #[error(
        "no mirror has {packages} of {LOCK_FILE} ({reasons}): update the lock with `cargo xtask images --update-lock`, \
         or use --locked=false for other versions"
    )]
    Missing {
        /// The packages, with their versions.
        packages: String,
        /// What each mirror said about one of them.
        reasons: String,
    },
    /// The recipe asks for other packages than it did when the lock was written.
    #[error(
        "recipe {rootfs} of {} has changed since {LOCK_FILE} was written: update the lock with `cargo xtask \
         images --update-lock`, or use --locked=false",
        crate::images::FILE
    )]
    Recipe {
        /// The root filesystem, or the sysroot.
        rootfs: String,
    },
}

/// Chooses packages for recipes, all at one time.
type Chooser = fn(&Debian, &[&Recipe]) -> Result<Vec<Vec<Package>>>;

/// The packages that are locked, and where they come from.
#[derive(Debug, Clone)]
pub struct Debian {
    /// Processor architecture, in Debian's naming (`amd64`).
    pub architecture: String,
    /// Name of the release (`bookworm`).
    pub suite: String,
    /// The places that have packages, in the order in which they are asked.
    pub mirrors: Vec<Mirror>,
    /// The lock.
    pub lock: Lock,
    /// Whether it is an error if the packages of the lock cannot be used.
    pub locked: bool,
    /// Folder for mmdebstrap's logs.
    pub logs: PathBuf,
    /// The version of mmdebstrap on this host.
    mmdebstrap: String,
    chooser: Chooser,
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
    /// Takes the packages of a lock from this host's mirrors, from Debian's archive and from its snapshot service.
    pub fn of_host(lock: Lock, locked: bool, logs: &Path) -> Self {
        Self {
            architecture: lock.architecture.clone(),
            suite: lock.suite.clone(),
            mirrors: mirrors::of_host(Path::new("/etc/apt"), &lock),
            lock,
            locked,
            logs: logs.to_owned(),
            mmdebstrap: Action::new("mmdebstrap").arg("--version").command().quiet().read().unwrap_or_default(),
            chooser: resolve::resolve,
        }
    }

    /// The same without any mirror: what the cache lacks is an error.
    #[must_use]
    pub fn offline(self) -> Self {
        Self { mirrors: Vec::new(), locked: true, ..self }
    }

    /// Puts the locked packages of a root filesystem into the cache.
    ///
    /// # Errors
    /// [`NotLocked`] if no mirror has a package, and another error if a mirror has it with other bytes.
    pub fn fetch(&self, cache: &Cache, name: &str) -> Result<()> {
        fetch::ensure(cache, &self.mirrors, self.lock.of(name))
    }

    /// Chooses the current packages of every recipe and makes them the lock. `now` is the time in UTC, in the format of
    /// the snapshot service. If the choice is that of the lock, its time stays.
    ///
    /// # Errors
    /// When no mirror has the indexes of the release, or a package does not exist.
    pub fn choose(&mut self, recipes: &BTreeMap<String, Recipe>, now: &str) -> Result<()> {
        let wanted: Vec<&Recipe> = recipes.values().collect();
        let chosen = progress::step("choose Debian packages", || (self.chooser)(self, &wanted))?;
        let chosen = recipes.iter().zip(chosen);
        let chosen = chosen
            .map(|((name, recipe), packages)| (name.clone(), Choice { recipe: recipe.identity(), packages }))
            .collect();
        if chosen != self.lock.rootfs || self.lock.snapshot.is_empty() {
            now.clone_into(&mut self.lock.snapshot);
        }
        self.lock.rootfs = chosen;
        Ok(())
    }

    /// The root filesystem of a recipe. It is made if the cache does not have it.
    ///
    /// # Errors
    /// When it cannot be made on this host. With `locked`, [`NotLocked`] when the packages of the lock cannot be used.
    pub fn rootfs(&self, cache: &Cache, name: &str, recipe: &Recipe) -> Result<Rootfs> {
        let made = |packages: &[Package]| Ok(cache.get("rootfs", name, &self.action(recipe, packages)?).is_some());
        let packages = self.packages(cache, name, recipe, made)?;
        let action = self.action(recipe, &packages)?;
        let place = match cache.get("rootfs", name, &action) {
            Some(place) => place,
            None => progress::step(&format!("root filesystem {name}"), || {
                cache.get_or_build("rootfs", name, &action, |place| {
                    self.make(cache, name, recipe, &packages, &action, place)
                })
            })?,
        };
        let drift = drift(self.lock.of(name), &packages);
        Ok(Rootfs { name: name.to_owned(), tar: place.join(TAR), packages, drift })
    }

    /// The sysroot of this recipe. Its packages are in the cache, or it is.
    ///
    /// # Errors
    /// With `locked`, [`NotLocked`] when the packages of the lock cannot be used.
    pub fn sysroot(&self, cache: &Cache, recipe: &Recipe) -> Result<Sysroot> {
        let made = |packages: &[Package]| {
            let action = Sysroot::new(recipe, packages.to_vec(), Vec::new()).action()?;
            Ok(cache.get(sysroot::NAME, sysroot::NAME, &action).is_some())
        };
        let packages = self.packages(cache, sysroot::NAME, recipe, made)?;
        let drift = drift(self.lock.of(sysroot::NAME), &packages);
        Ok(Sysroot::new(recipe, packages, drift))
    }

    /// The packages of a recipe. The cache has them, or has `made` something of them.
    fn packages(
        &self,
        cache: &Cache,
        name: &str,
        recipe: &Recipe,
        made: impl Fn(&[Package]) -> Result<bool>,
    ) -> Result<Vec<Package>> {
        let available = |packages: Vec<Package>| {
            if !made(&packages)? {
                fetch::ensure(cache, &self.mirrors, &packages)?;
            }
            Ok(packages)
        };
        match self.locked_packages(name, recipe).and_then(available) {
            Err(error) if !self.locked && error.is::<NotLocked>() => {
                progress::note(&format!("{name} gets other packages: {error:#}"));
                let chosen = (self.chooser)(self, &[recipe]).and_then(|mut chosen| chosen.pop().context("choose none"));
                available(chosen.with_context(|| format!("choose other packages, because {error:#}"))?)
            }
            packages => packages,
        }
    }

    fn locked_packages(&self, name: &str, recipe: &Recipe) -> Result<Vec<Package>> {
        match self.lock.rootfs.get(name) {
            Some(choice) if choice.recipe == recipe.identity() => Ok(choice.packages.clone()),
            _ => Err(NotLocked::Recipe { rootfs: name.to_owned() }.into()),
        }
    }

    /// How a root filesystem is made of these packages.
    ///
    /// # Errors
    /// When the recipe cannot be serialised.
    pub fn action(&self, recipe: &Recipe, packages: &[Package]) -> Result<Action> {
        let recipe = &Recipe { about: String::new(), ..recipe.clone() };
        let action = packages
            .iter()
            .fold(Action::new("mmdebstrap"), |action, package| action.input(&package.to_string(), &package.sha256));
        let action = action
            .input("mmdebstrap", &self.mmdebstrap)
            .input("recipe", serde_json::to_string(recipe).context("serialise the recipe")?)
            .code(&CODE)
            .code_of("layers", &oci::CODE)
            .env("SOURCE_DATE_EPOCH", oci::EPOCH.to_string())
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("--mode={mode}")
            .arg(format!("--architectures={}", self.architecture))
            .arg("--aptopt=APT::Install-Recommends \"false\"");
        let action = match recipe.way {
            // The hook installs usr-is-merged instead of usrmerge, which depends on perl.
            Way::Install => action
                .args(["--variant=essential", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"])
                .arg(format!("--include={}", recipe.packages.join(","))),
            Way::Extract => {
                let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
                action.arg("--variant=extract").arg(format!("--include={}", names.join(",")))
            }
        };
        Ok(action.args([self.suite.as_str(), "{tar}", "{source}"]))
    }

    fn make(
        &self,
        cache: &Cache,
        name: &str,
        recipe: &Recipe,
        packages: &[Package],
        action: &Action,
        place: &Path,
    ) -> Result<()> {
        // Not in the cache: apt reads the packages as another user, who cannot enter a home folder.
        let work = tempfile::Builder::new().prefix("slipway-rootfs-").tempdir().context("make a folder")?;
        let tar = work.path().join("raw.tar");
        let folder = work.path().join("repository");
        let repository = repository::Repository::make(cache, packages, &self.suite, recipe.way, &folder)?;
        let mode = if rustix::process::geteuid().is_root() { "root" } else { "unshare" };
        let action = action.clone().place("mode", mode).place("tar", &tar).place("source", &repository.source);
        let mmdebstrap = action.command().log(self.logs.join(format!("rootfs-{name}.log")));
        mmdebstrap.run().map_err(|error| explain(error, mode))?;
        let mut tree = unpack::read(&tar)?;
        match recipe.way {
            Way::Install => check_installed(name, packages, &unpack::installed(&tree)?)?,
            Way::Extract => {
                unpack::keep_files_of(&mut tree, &repository.debs)?;
                unpack::add_status(&mut tree, &repository.debs)?;
            }
        }
        recipe.finish(&mut tree)?;
        write_tar(tree, &place.join(TAR))
    }
}

/// Refuses a root filesystem in which apt installed other packages than those that were chosen.
fn check_installed(name: &str, chosen: &[Package], installed: &[String]) -> Result<()> {
    let chosen: Vec<String> = chosen.iter().map(ToString::to_string).collect();
    let missing = chosen.iter().filter(|package| !installed.contains(package)).map(|package| format!("-{package}"));
    let added = installed.iter().filter(|package| !chosen.contains(package)).map(|package| format!("+{package}"));
    let changes: Vec<String> = missing.chain(added).collect();
    ensure!(changes.is_empty(), "apt installed other packages in root filesystem {name}: {}", cut(&changes));
    Ok(())
}

fn explain(error: CommandError, mode: &str) -> anyhow::Error {
    let hint = match &error {
        CommandError::Start { .. } => "install mmdebstrap (apt-get install mmdebstrap)",
        CommandError::Failed { .. } if mode == "unshare" => {
            "run as root, or allow this user to create user namespaces (package uidmap, entries in /etc/subuid)"
        }
        CommandError::Failed { .. } => "see the log",
        CommandError::TimedOut { .. } | CommandError::Interrupted { .. } => return error.into(),
    };
    anyhow::Error::from(error).context(format!("make a root filesystem: {hint}"))
}

fn write_tar(tree: Tree, path: &Path) -> Result<()> {
    let file = fs::File::create(path).with_context(|| format!("make {}", path.display()))?;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, file);
    oci::Layer::new("root filesystem", tree)?.write(&mut out)?;
    std::io::Write::flush(&mut out).with_context(|| format!("write {}", path.display()))
}

/// A list of names, of which the first are named and the rest are counted.
pub(crate) fn cut(names: &[String]) -> String {
    let mut named = names[..NAMED.min(names.len())].join(", ");
    if names.len() > NAMED {
        named.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::fetch::tests::{Server, package};
    use super::lock::tests::lock;
    use super::*;

    fn recipe() -> Recipe {
        toml::from_str("about = ''\nway = 'extract'\npackages = ['a']").unwrap()
    }

    /// Debian with a lock of `a=1` for one root filesystem, and `a=2` as the current version.
    fn debian(server: &Server, locked: bool) -> Debian {
        let old = package("a=1", "old bytes");
        Debian {
            mirrors: vec![server.mirror()],
            chooser: |_, recipes| Ok(recipes.iter().map(|_| vec![package("a=2", "new bytes")]).collect()),
            ..Debian::of_host(lock("x", &recipe().identity(), vec![old]), locked, Path::new("logs"))
        }
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        (dir, cache)
    }

    #[test]
    fn locked_version_is_used_although_there_is_a_newer_one() {
        let (old, new) = (package("a=1", "old bytes"), package("a=2", "new bytes"));
        let server = Server::start(&[(&old, "old bytes"), (&new, "new bytes")]);
        let (_dir, cache) = cache();
        assert_eq!(debian(&server, false).packages(&cache, "x", &recipe(), |_| Ok(false)).unwrap(), [old]);
    }

    #[test]
    fn version_that_is_gone_is_an_error_if_locked_and_replaced_if_not() {
        let new = package("a=2", "new bytes");
        let server = Server::start(&[(&new, "new bytes")]);
        let (_dir, cache) = cache();
        let error = debian(&server, true).packages(&cache, "x", &recipe(), |_| Ok(false)).unwrap_err();
        let text = format!("{error:#}");
        assert!(error.is::<NotLocked>() && text.contains("a=1") && text.contains("--update-lock"), "{text}");
        let loose = debian(&server, false);
        let packages = loose.packages(&cache, "x", &recipe(), |_| Ok(false)).unwrap();
        let drift: Vec<String> = drift(loose.lock.of("x"), &packages).iter().map(Change::to_string).collect();
        assert_eq!(drift, ["a 1 → 2"]);
    }

    #[test]
    fn altered_package_is_an_error_even_if_not_locked() {
        let old = package("a=1", "old bytes");
        let server = Server::start(&[(&old, "bad bytes")]);
        let (_dir, cache) = cache();
        let error =
            format!("{:#}", debian(&server, false).packages(&cache, "x", &recipe(), |_| Ok(false)).unwrap_err());
        assert!(error.contains("a=1") && error.contains(&old.sha256), "{error}");
    }

    #[test]
    fn lock_that_is_older_than_the_recipe_is_not_used() {
        let new = package("a=2", "new bytes");
        let server = Server::start(&[(&new, "new bytes")]);
        let (_dir, cache) = cache();
        let mut changed = recipe();
        changed.packages.push("b".into());
        let error = debian(&server, true).packages(&cache, "x", &changed, |_| Ok(false)).unwrap_err();
        assert!(error.is::<NotLocked>() && error.to_string().contains("recipe x of"), "{error}");
        assert_eq!(debian(&server, false).packages(&cache, "x", &changed, |_| Ok(false)).unwrap(), [new]);
    }

    #[test]
    fn cached_root_filesystem_needs_no_mirror() {
        let server = Server::start(&[]);
        let (_dir, cache) = cache();
        let debian = debian(&server, true);
        let action = debian.action(&recipe(), debian.lock.of("x")).unwrap();
        cache.get_or_build("rootfs", "x", &action, |place| Ok(fs::write(place.join("rootfs.tar"), "tar")?)).unwrap();
        assert_eq!(debian.rootfs(&cache, "x", &recipe()).unwrap().drift, []);
        assert!(server.requests().is_empty());
    }

    #[test]
    fn key_follows_the_bytes_of_the_packages_and_not_the_host() {
        let server = Server::start(&[]);
        let mut one = debian(&server, true);
        let key = |debian: &Debian, bytes: &str| debian.action(&recipe(), &[package("a=1", bytes)]).unwrap().key();
        let before = key(&one, "x");
        assert_ne!(before, key(&one, "y"));
        one.mirrors = vec![Mirror::new(Archive::Main, "http://anna:geheim@other.example/debian")];
        assert_eq!(before, key(&one, "x"));
    }

    #[test]
    fn update_of_the_lock_keeps_its_time_if_nothing_changed() {
        let server = Server::start(&[]);
        let mut debian = debian(&server, false);
        let recipes = BTreeMap::from([("x".to_owned(), recipe())]);
        for (now, expected) in [("20270101T000000Z", "20270101T000000Z"), ("20270102T000000Z", "20270101T000000Z")] {
            debian.choose(&recipes, now).unwrap();
            assert_eq!((debian.lock.snapshot.as_str(), debian.lock.of("x")[0].version.as_str()), (expected, "2"));
        }
    }

    #[test]
    fn packages_that_apt_added_or_left_out_are_named() {
        let chosen = [package("a=1", ""), package("b=1", "")];
        check_installed("x", &chosen, &["a=1".into(), "b=1".into()]).unwrap();
        let error = check_installed("x", &chosen, &["a=1".into(), "c=1".into()]).unwrap_err().to_string();
        assert!(error.ends_with("root filesystem x: -b=1, +c=1"), "{error}");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..20).map(|n| format!("p{n}")).collect();
        let text = cut(&names);
        assert!(text.contains("p11") && !text.contains("p12") && text.ends_with("and 8 more"), "{text}");
        assert_eq!(cut(&names[..1]), "p0");
    }
}
