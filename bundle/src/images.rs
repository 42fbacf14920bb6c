//! The images in the node image. `bundle/images.toml` says what they consist of.
//!
//! [`ImageSource`] is the seam for where an image comes from. [`LocalSource`], the only source, assembles images from
//! built programs and Debian packages. A source that pulls by digest would be another implementation.

mod local;
mod plan;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

pub use local::{LocalSource, Shared};
pub(crate) use plan::labels;
pub use plan::{ImageSet, ImageSpec, NodeSpec, Plan, ProgramRef};

use crate::cache::Cache;
use crate::debian::{Debian, Rootfs};
use crate::oci::Image;
use crate::parts::Parts;

/// The file with the plan of the images.
pub const FILE: &str = "bundle/images.toml";
/// The component names of this workspace's own programs, which no pin names.
pub const OURS: [&str; 2] = ["worker", "temporal-scaler"];

/// Finds built programs and the folders of upstream modules.
pub trait PartSource {
    /// The path of a built program.
    ///
    /// # Errors
    /// When the program was not built.
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

/// Makes or fetches images.
pub trait ImageSource {
    /// The image of a specification.
    ///
    /// # Errors
    /// When the image cannot be made or fetched.
    fn image(&self, spec: &ImageSpec) -> Result<Image>;
}

/// A built image.
#[derive(Debug, Clone, Serialize)]
pub struct BuiltImage {
    /// Full reference with a tag.
    pub name: String,
    /// The manifest's digest.
    pub digest: String,
    /// Size of all layers together, not compressed.
    pub size_bytes: u64,
    /// The archive in the node image that contains it.
    pub set: ImageSet,
    /// The image itself.
    #[serde(skip)]
    pub image: Image,
}

/// Makes every image of the plan, in the plan's order.
///
/// # Errors
/// When an image cannot be made. The error names it.
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

/// The plan's root filesystems by name. Those that the cache lacks are made.
///
/// # Errors
/// As [`Debian::rootfs`].
pub fn root_filesystems(plan: &Plan, debian: &Debian, cache: &Cache) -> Result<BTreeMap<String, Rootfs>> {
    plan.rootfs.iter().map(|(name, recipe)| Ok((name.clone(), debian.rootfs(cache, name, recipe)?))).collect()
}
