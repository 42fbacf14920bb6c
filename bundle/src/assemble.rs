//! Everything from pins to the node image, in one call: what `images`, `up` and `e2e` have in common.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use support::interrupt::side_by_side;
use support::progress;

use crate::debian::{Debian, LOCK_FILE, Lock};
use crate::images::{self, BuiltImage, LocalSource, Plan};
use crate::node::{self, Ingredients, NodeImage};
use crate::parts::{ARCHITECTURE, Builder, KIND_E2E, Parts, WORKER};

/// The image with a shell and curl, for the guide's monitoring commands.
const TOOLBOX: &str = "slipway.local/toolbox:";
/// Where kind's default storage class is described, below `manifests/`.
const STORAGE: &str = "services/storage/storage.yaml";

/// Everything built.
#[derive(Debug)]
pub struct Assembly {
    /// The programs, the worker's among them.
    pub parts: Parts,
    /// The program that loads and judges a cluster.
    pub driver: PathBuf,
    /// The images that the node carries.
    pub images: Vec<BuiltImage>,
    /// The node image.
    pub node: NodeImage,
    /// Reference of the image with a shell and curl.
    pub toolbox: String,
    /// The Debian packages in each root filesystem, as the lock would have them.
    pub packages: Lock,
}

/// Builds parts, images and the node image, each from the cache where it is there.
///
/// `locked`: Debian packages other than those of the lock are an error.
///
/// # Errors
/// The first thing that cannot be built, named.
pub fn assemble(builder: &Builder<'_>, locked: bool) -> Result<Assembly> {
    let root = &builder.workspace.root;
    let plan = Plan::load(root, builder.pins)?;
    let debian = Debian::of_host(ARCHITECTURE, Lock::load(root)?, locked, &builder.logs)?;
    // Each of the three waits for something at times: a network, a lock, a link on one core.
    let ((rootfs, programs), mut parts) = side_by_side(
        || {
            side_by_side(
                || images::root_filesystems(&plan, &debian, builder.cache),
                || builder.cargo(&[WORKER, KIND_E2E]),
            )
        },
        || builder.components(),
    )?;
    let worker = programs[0].parent().context("find the worker's folder")?;
    parts.add(images::WORKER, worker);
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
        rootfs: rootfs
            .get(&plan.node.rootfs)
            .context("find the node's root filesystem")?,
        images: &images,
        storage_manifest: &builder.workspace.manifests().join(STORAGE),
        cache: builder.cache,
        architecture: ARCHITECTURE,
    };
    let node = progress::step("assemble the node image", || node::build(&ingredients))?;
    let toolbox = images
        .iter()
        .find(|image| image.name.starts_with(TOOLBOX))
        .context("find the toolbox image")?;
    Ok(Assembly {
        driver: programs[1].clone(),
        toolbox: toolbox.name.clone(),
        packages: Lock {
            suite: debian.suite.clone(),
            architecture: debian.architecture,
            rootfs: rootfs
                .iter()
                .map(|(name, rootfs)| (name.clone(), rootfs.packages.clone()))
                .collect(),
        },
        parts,
        images,
        node,
    })
}

/// Writes the lock anew from what was installed.
///
/// # Errors
/// When the file cannot be written.
pub fn write_lock(root: &Path, lock: &Lock) -> Result<()> {
    let path = root.join(LOCK_FILE);
    std::fs::write(&path, lock.render()).with_context(|| format!("write {}", path.display()))
}
