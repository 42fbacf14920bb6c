//! Builds everything from the pins to the node image in one call, for `images`, `up` and `e2e`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use support::interrupt::side_by_side;
use support::progress;

use crate::debian::{Debian, LOCK_FILE, Lock};
use crate::images::{self, BuiltImage, LocalSource, Plan};
use crate::node::{self, Ingredients, NodeImage};
use crate::parts::{ARCHITECTURE, Builder, KIND_E2E, Parts, SCALER, WORKER};

/// Name of the image with a shell and curl, in which the guide's monitoring commands run.
const TOOLBOX: &str = "slipway.local/toolbox:";
/// The manifest of the default storage class, below `manifests/`.
const STORAGE: &str = "services/storage/storage.yaml";

/// The results of [`assemble`].
#[derive(Debug)]
pub struct Assembly {
    /// The programs, including the worker.
    pub parts: Parts,
    /// The program that loads and judges a cluster.
    pub driver: PathBuf,
    /// The images that the node image contains.
    pub images: Vec<BuiltImage>,
    /// The node image.
    pub node: NodeImage,
    /// Reference of the image with a shell and curl.
    pub toolbox: String,
    /// The installed Debian packages of each root filesystem, in the form of the lock.
    pub packages: Lock,
}

/// Builds the parts, the images and the node image. Uses what is in the cache.
///
/// With `locked`, Debian packages that differ from the lock are an error.
///
/// # Errors
/// When something cannot be built. The error names it.
pub fn assemble(builder: &Builder<'_>, locked: bool) -> Result<Assembly> {
    let root = &builder.workspace.root;
    let plan = Plan::load(root, builder.pins)?;
    let debian = Debian::of_host(ARCHITECTURE, Lock::load(root)?, locked, &builder.logs)?;
    // Side by side, because each of the three waits now and then: for the network, for a lock, for the linker.
    let ((rootfs, programs), mut parts) = side_by_side(
        || {
            side_by_side(
                || images::root_filesystems(&plan, &debian, builder.cache),
                || builder.cargo(&[WORKER, SCALER, KIND_E2E]),
            )
        },
        || builder.components(),
    )?;
    let folder = programs[0].parent().context("find the folder of the built programs")?;
    images::OURS.iter().for_each(|component| parts.add(component, folder));
    let source = LocalSource {
        pins: builder.pins,
        parts: &parts,
        rootfs: &rootfs,
        cache: builder.cache,
        architecture: ARCHITECTURE,
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
    let toolbox = images.iter().find(|image| image.name.starts_with(TOOLBOX)).context("find the toolbox image")?;
    Ok(Assembly {
        driver: programs[2].clone(),
        toolbox: toolbox.name.clone(),
        packages: Lock {
            suite: debian.suite.clone(),
            architecture: debian.architecture,
            rootfs: rootfs.iter().map(|(name, rootfs)| (name.clone(), rootfs.packages.clone())).collect(),
        },
        parts,
        images,
        node,
    })
}

/// Writes the lock file from the installed packages.
///
/// # Errors
/// When the file cannot be written.
pub fn write_lock(root: &Path, lock: &Lock) -> Result<()> {
    let path = root.join(LOCK_FILE);
    std::fs::write(&path, lock.render()).with_context(|| format!("write {}", path.display()))
}
