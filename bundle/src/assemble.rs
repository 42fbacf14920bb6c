//! Builds everything from the pins to the node image in one call, for `images`, `up` and `e2e`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use support::interrupt::side_by_side;
use support::progress;

use crate::cache::Cache;
use crate::debian::{Change, Debian, LOCK_FILE, Lock, Rootfs, cut};
use crate::images::{self, BuiltImage, LocalSource, Plan};
use crate::node::{self, Ingredients, NodeImage};
use crate::outputs::{OUTPUTS_FILE, Outputs};
use crate::parts::{ARCHITECTURE, Builder, Parts, cargo};
use crate::pins::Pins;
use crate::rustc;
use crate::steps;
use crate::sysroot::{self, Sysroot};

/// The manifest of the default storage class, below `manifests/`.
const STORAGE: &str = "services/storage/storage.yaml";

/// The results of [`assemble`].
#[derive(Debug)]
pub struct Assembly {
    /// The programs, including the worker.
    pub parts: Parts,
    /// The program that loads and judges a cluster.
    pub driver: PathBuf,
    /// The root filesystems by name.
    pub rootfs: BTreeMap<String, Rootfs>,
    /// The images that the node image contains.
    pub images: Vec<BuiltImage>,
    /// The node image.
    pub node: NodeImage,
    /// The C compiler and libraries.
    pub sysroot: Sysroot,
    /// The Debian packages of each root filesystem, in the form of the lock.
    pub packages: Lock,
    /// The digests of the outputs, in the form of the lock.
    pub outputs: Outputs,
    /// How inputs and outputs differ from the locks, one line for each. Empty if everything is as locked.
    pub unlocked: Vec<String>,
}

/// What a build does about the locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locking {
    /// A difference from a lock is an error.
    Strict,
    /// A difference from a lock is reported.
    Loose,
    /// The lock of the outputs is about to be written anew. The Debian packages are those of their lock.
    Outputs,
    /// Both locks are about to be written anew, with Debian's current packages.
    All {
        /// The time in UTC, in the format of Debian's snapshot service: `20261127T080000Z`.
        now: String,
    },
}

/// Refuses locks that are not valid, or not for this checkout's pins. So a build that is bound to fail does not begin.
///
/// # Errors
/// When a lock that the build needs cannot be read. The error names it.
pub fn check_locks(root: &Path, pins: &Pins, locking: &Locking) -> Result<()> {
    if !matches!(locking, Locking::All { .. }) {
        Lock::load(root, &pins.debian.suite, ARCHITECTURE)?;
    }
    if matches!(locking, Locking::Strict | Locking::Loose) {
        let changes = Outputs::load(root)?.names_that_differ(&Plan::load(root, pins)?, pins)?;
        if !changes.is_empty() && *locking == Locking::Strict {
            bail!(
                "{OUTPUTS_FILE} was written for other pins ({}): update it with `cargo xtask images \
                 --update-lock=outputs`",
                cut(&changes)
            );
        }
    }
    Ok(())
}

/// Tells, or with `Strict` refuses, a rustc other than that of the pins and the lock. So it is known before a build.
///
/// # Errors
/// When there is no rustc, or with `Strict` the wrong one.
pub fn check_rustc(root: &Path, pins: &Pins, cache: &Cache, locking: &Locking) -> Result<()> {
    let lock = Outputs::load(root).ok().filter(|_| matches!(locking, Locking::Strict | Locking::Loose));
    if let Some(about) = rustc::difference(pins, lock.as_ref(), cache)? {
        ensure!(*locking != Locking::Strict, "{about}; or use --locked=false");
        progress::note(&about);
    }
    Ok(())
}

fn debian(builder: &Builder<'_>, plan: &Plan, locking: &Locking) -> Result<Debian> {
    let suite = &builder.pins.debian.suite;
    let lock = Lock::load(&builder.workspace.root, suite, ARCHITECTURE);
    if builder.offline {
        return Ok(Debian::of_host(lock?, true, &builder.logs).offline());
    }
    let Locking::All { now } = locking else {
        return Ok(Debian::of_host(lock?, *locking != Locking::Loose, &builder.logs));
    };
    let none = || Lock { suite: suite.clone(), architecture: ARCHITECTURE.to_owned(), ..Lock::default() };
    let mut debian = Debian::of_host(lock.unwrap_or_else(|_| none()), true, &builder.logs);
    debian.choose(&plan.recipes(), now)?;
    Ok(debian)
}

/// Builds the parts, the images and the node image. Uses what is in the cache.
///
/// # Errors
/// When something cannot be built, or differs from its lock where that is an error. The error names it.
pub fn assemble(builder: &Builder<'_>, locking: &Locking) -> Result<Assembly> {
    let root = &builder.workspace.root;
    let plan = Plan::load(root, builder.pins)?;
    let debian = debian(builder, &plan, locking)?;
    let sysroot = debian.sysroot(builder.cache, &plan.sysroot)?;
    let builder = &Builder { sysroot: Some(sysroot.clone()), ..builder.clone() };
    let pending = steps::pending(builder)?;
    if !pending.is_empty() {
        progress::note(&format!("to build, the longest first: {}", steps::describe(&pending)));
    }
    builder.sysroot_folder()?;
    // Beside the programs, because it waits for the network and the disk.
    let (rootfs, ()) = side_by_side(
        || images::root_filesystems(&plan, &debian, builder.cache),
        || steps::build_in_columns(builder, &pending),
    )?;
    // The cache has all of these now.
    let programs = cargo::RUNS.iter().map(|programs| builder.cargo(programs)).collect::<Result<Vec<_>>>()?;
    let mut parts = builder.components()?;
    let [ours, driver] = [&programs[0], &programs[1]];
    let folder = ours[0].parent().context("find the folder of the built programs")?;
    images::OURS.iter().for_each(|component| parts.add(component, folder));
    let source = LocalSource {
        pins: builder.pins,
        parts: &parts,
        rootfs: &rootfs,
        cache: builder.cache,
        architecture: ARCHITECTURE,
        sysroot: (builder.sysroot_folder()?, sysroot.clone()),
        shared: images::Shared::default(),
    };
    let images = progress::step("assemble the images", || images::build(&plan, &source))?;
    let ingredients = Ingredients {
        plan: &plan,
        pins: builder.pins,
        parts: &parts,
        rootfs: rootfs.get(&plan.node.rootfs).context("find the node's root filesystem")?,
        images: &images,
        storage_manifest: &builder.workspace.manifests().join(STORAGE),
        cache: builder.cache,
        architecture: ARCHITECTURE,
    };
    let node = progress::step("assemble the node image", || node::build(&ingredients))?;
    let outputs = Outputs::of(builder.pins, &parts, &rootfs, &images, (builder.cache, &sysroot))?;
    let mut unlocked: Vec<String> = drift(sysroot::NAME, &sysroot.drift).into_iter().collect();
    // It was said before the build began.
    let rustc = rustc::difference(builder.pins, Outputs::load(root).ok().as_ref(), builder.cache)?;
    unlocked.extend(rootfs.values().filter_map(|rootfs| drift(&rootfs.name, &rootfs.drift)));
    unlocked.iter().for_each(|line| progress::note(line));
    if matches!(locking, Locking::Strict | Locking::Loose) {
        unlocked.extend(rustc);
    }
    if matches!(locking, Locking::Strict | Locking::Loose) {
        unlocked.extend(compare(&Outputs::load(root)?, &outputs, *locking == Locking::Strict)?);
    }
    Ok(Assembly {
        driver: driver[0].clone(),
        packages: used(debian.lock, &rootfs, &sysroot),
        sysroot,
        rootfs,
        outputs,
        unlocked,
        parts,
        images,
        node,
    })
}

/// The differences of packages from the lock.
fn drift(name: &str, changes: &[Change]) -> Option<String> {
    let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
    (!changes.is_empty()).then(|| format!("Debian packages of {name}: {}", cut(&changes)))
}

/// The lock with the packages that were used.
fn used(mut lock: Lock, rootfs: &BTreeMap<String, Rootfs>, sysroot: &Sysroot) -> Lock {
    let rootfs = rootfs.iter().map(|(name, rootfs)| (name.as_str(), &rootfs.packages));
    for (name, packages) in rootfs.chain([(sysroot::NAME, &sysroot.packages)]) {
        lock.rootfs.entry(name.to_owned()).or_default().packages.clone_from(packages);
    }
    lock
}

/// The differences of the outputs from their lock. With `strict` they are an error.
fn compare(locked: &Outputs, built: &Outputs, strict: bool) -> Result<Vec<String>> {
    let mut lines = locked.differences(built);
    if lines.is_empty() {
        return Ok(lines);
    }
    lines.extend(locked.explanation(built));
    if strict {
        bail!(
            "what was built differs from its lock:\n  - {}\nupdate the lock with `cargo xtask images \
             --update-lock=outputs` if this is what you want, or use --locked=false",
            lines.join("\n  - ")
        );
    }
    lines.iter().for_each(|line| progress::note(line));
    Ok(lines)
}

/// Writes the lock files from what was built.
///
/// # Errors
/// When a file cannot be written.
pub fn write_locks(root: &Path, built: &Assembly) -> Result<()> {
    for (file, text) in [(LOCK_FILE, built.packages.render()), (OUTPUTS_FILE, built.outputs.render())] {
        let path = root.join(file);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn locks_of_this_checkout_fit_its_pins_and_recipes() {
        let root = Workspace::here().root;
        let pins = Pins::load(&root).unwrap();
        check_locks(&root, &pins, &Locking::Strict).unwrap();
        let plan = Plan::load(&root, &pins).unwrap();
        let lock = Lock::load(&root, &pins.debian.suite, ARCHITECTURE).unwrap();
        let wanted: BTreeMap<String, String> =
            plan.recipes().into_iter().map(|(name, recipe)| (name, recipe.identity())).collect();
        let locked: BTreeMap<String, String> =
            lock.rootfs.iter().map(|(name, choice)| (name.clone(), choice.recipe.clone())).collect();
        assert_eq!(locked, wanted, "run `cargo xtask images --update-lock`");
        let outputs = Outputs::load(&root).unwrap();
        for (file, text) in [(LOCK_FILE, lock.render()), (OUTPUTS_FILE, outputs.render())] {
            assert_eq!(std::fs::read_to_string(root.join(file)).unwrap(), text, "{file} was edited by hand");
        }
        let mut other = outputs;
        other.programs.remove("kind/kind").unwrap();
        other.images.insert("slipway.local/toxiproxy:v0".into(), "sha256:aa".into());
        assert_eq!(other.names_that_differ(&plan, &pins).unwrap(), ["+kind/kind", "-slipway.local/toxiproxy:v0"]);
    }

    #[test]
    fn output_that_differs_is_an_error_if_locked_and_reported_if_not() {
        let with = |digest: &str, go: &str| Outputs {
            tools: BTreeMap::from([("go".into(), go.into())]),
            programs: BTreeMap::from([("kind/kind".into(), digest.into())]),
            ..Outputs::default()
        };
        let locked = with("sha256:aa", "1.26.8");
        assert_eq!(compare(&locked, &locked, true).unwrap(), Vec::<String>::new());
        let built = with("sha256:bb", "1.27.0");
        let error = compare(&locked, &built, true).unwrap_err().to_string();
        for part in ["kind/kind", "sha256:aa", "sha256:bb", "1.27.0", "--update-lock=outputs"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        assert_eq!(compare(&locked, &built, false).unwrap().len(), 2);
    }
}
