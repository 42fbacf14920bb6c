//! The images that the node carries: what `bundle/images.toml` says they are made of, and their making.
//!
//! Where an image's bytes come from is one seam, [`ImageSource`]. The one source here is [`LocalSource`], which puts
//! images together from built programs and Debian packages; one that pulls by digest would stand beside it.

mod local;
mod plan;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

pub use local::{LocalSource, Shared};
pub use plan::{ImageSet, ImageSpec, NodeSpec, Plan, ProgramRef};

use crate::cache::Cache;
use crate::debian::{Debian, Rootfs};
use crate::oci::Image;
use crate::parts::Parts;

/// The file that says what the images are made of.
pub const FILE: &str = "bundle/images.toml";
/// The component that stands for this workspace's own worker, which no pin names.
pub const WORKER: &str = "worker";

/// Where finished programs and the folders of upstream modules are found.
pub trait PartSource {
    /// The path of a finished program.
    ///
    /// # Errors
    /// When it was not built.
    fn program(&self, component: &str, name: &str) -> Result<PathBuf>;

    /// The folder of one of a component's modules.
    ///
    /// # Errors
    /// When the component has no such module.
    fn module_dir(&self, component: &str, module: &str) -> Result<PathBuf>;
}

impl PartSource for Parts {
    fn program(&self, component: &str, name: &str) -> Result<PathBuf> {
        Self::program(self, component, name)
    }

    fn module_dir(&self, component: &str, module: &str) -> Result<PathBuf> {
        Self::module_dir(self, component, module)
    }
}

/// Where an image's bytes come from.
pub trait ImageSource {
    /// The image of a specification.
    ///
    /// # Errors
    /// When it cannot be had.
    fn image(&self, spec: &ImageSpec) -> Result<Image>;
}

/// A finished image.
#[derive(Debug, Clone, Serialize)]
pub struct BuiltImage {
    /// Full reference with a tag.
    pub name: String,
    /// The manifest's digest.
    pub digest: String,
    /// All layers together, not compressed.
    pub size_bytes: u64,
    /// Which of the node's archives it travels in.
    pub set: ImageSet,
    /// The image itself.
    #[serde(skip)]
    pub image: Image,
}

/// Gets every image of the plan, in the plan's order.
///
/// # Errors
/// When one cannot be had; the error names it.
pub fn build(plan: &Plan, source: &dyn ImageSource) -> Result<Vec<BuiltImage>> {
    plan.images
        .iter()
        .map(|spec| {
            let image = source.image(spec)?;
            Ok(BuiltImage {
                name: image.name.clone(),
                digest: image.digest(),
                size_bytes: image.size(),
                set: spec.set,
                image,
            })
        })
        .collect()
}

/// The plan's root filesystems by name, from the cache or made now.
///
/// # Errors
/// As [`Debian::rootfs`].
pub fn root_filesystems(plan: &Plan, debian: &Debian, cache: &Cache) -> Result<BTreeMap<String, Rootfs>> {
    plan.rootfs
        .iter()
        .map(|(name, recipe)| Ok((name.clone(), debian.rootfs(cache, name, recipe)?)))
        .collect()
}
