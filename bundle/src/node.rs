//! The node image: a kind node that contains every image that will run on it.
//!
//! It is built in Rust from kind's files, because `kind build node-image` needs a registry and a container engine. What
//! kind's Dockerfile does with commands is data here: files, links, and the deletions of the recipe `rootfs.node`.
//!
//! The layers that change most often come last, so that an engine with an older node image has to load only those.

mod files;
mod oci_spec;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::debian::Rootfs;
use crate::images::{self, BuiltImage, ImageSet, PartSource, Plan};
use crate::oci::{Archive, Config, Content, Image, Layer, Tree};
use crate::pins::Pins;

/// The command, run in a node, that waits until containerd has every image. It fails if an image cannot be imported.
pub const WAIT_FOR_IMAGES: [&str; 4] = ["/kind/bin/slipway-import", "control-plane", "services", "worker"];

/// The inputs of a node image.
pub struct Ingredients<'a> {
    /// The plan of the images.
    pub plan: &'a Plan,
    /// The pins.
    pub pins: &'a Pins,
    /// The built programs, and the folder of kind's module.
    pub parts: &'a dyn PartSource,
    /// The root filesystem that the plan names for the node.
    pub rootfs: &'a Rootfs,
    /// The images that the node image contains.
    pub images: &'a [BuiltImage],
    /// The manifest of the default storage class, which kind applies.
    pub storage_manifest: &'a Path,
    /// The cache.
    pub cache: &'a Cache,
    /// Processor architecture, in Go's naming.
    pub architecture: &'a str,
}

/// A finished node image.
#[derive(Debug)]
pub struct NodeImage {
    /// Reference with a tag that changes with the content. If an engine has this reference, nothing has to be loaded.
    pub reference: String,
    /// The manifest's digest.
    pub digest: String,
    /// Size of all layers together, not compressed.
    pub size_bytes: u64,
    archive: Archive,
}

impl NodeImage {
    /// The node image that this image is.
    pub(crate) fn of(image: Image) -> Self {
        Self {
            reference: image.name.clone(),
            digest: image.digest(),
            size_bytes: image.size(),
            archive: Archive::new(vec![image]),
        }
    }

    /// The image itself.
    ///
    /// # Errors
    /// Never: the archive is made of one image.
    pub fn image(&self) -> Result<&Image> {
        self.archive.images().first().context("find the node image")
    }

    /// Digests of the layers, with the lowest first, as `docker image inspect` lists them.
    pub fn layers(&self) -> Vec<&str> {
        self.archive.images().iter().flat_map(|image| &image.layers).map(|layer| layer.digest()).collect()
    }

    /// Writes the archive that `docker load` reads. The archive is not on disk: the layers are generated while written.
    ///
    /// # Errors
    /// When a source changed since its digest was taken, or `out` cannot be written.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        self.archive.write(out)
    }

    /// Writes the archive without the lowest layers that it has in common with `present`, an image of the engine. An
    /// engine with Docker's own image store takes those layers from there. With containerd's store it does not.
    ///
    /// # Errors
    /// As [`NodeImage::write`].
    pub fn write_over(&self, present: &[String], out: &mut dyn Write) -> Result<()> {
        let layers = self.layers();
        let shared = layers.iter().zip(present).take_while(|(ours, theirs)| *ours == *theirs).count();
        let skipped: BTreeSet<&str> = layers[..shared].iter().copied().collect();
        self.archive.write_without(&skipped, out)
    }
}

/// Assembles the node image.
///
/// # Errors
/// When an input is missing or cannot be read.
pub fn build(from: &Ingredients<'_>) -> Result<NodeImage> {
    let mut layers = vec![
        Layer::of_tar(from.cache, "node-rootfs", &from.rootfs.tar)?,
        Layer::cached(from.cache, "node-programs", programs(from)?)?,
    ];
    for set in [ImageSet::ControlPlane, ImageSet::Services] {
        layers.push(Layer::cached(from.cache, &format!("node-images-{}", set.name()), image_set(from, set)?)?);
    }
    layers.push(Layer::cached(from.cache, "node-files", files::tree(from)?)?);
    layers.push(Layer::cached(from.cache, "node-images-worker", image_set(from, ImageSet::Worker)?)?);

    let config = Config {
        architecture: from.architecture.to_owned(),
        // kind sets both when it creates the container. They are here for those who run the image by hand.
        entrypoint: vec!["/usr/local/bin/entrypoint".into(), "/sbin/init".into()],
        stop_signal: "SIGRTMIN+3".into(),
        env: vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            "container=docker".into(), // tells systemd that it runs in a container
        ],
        labels: images::labels(&from.plan.node.name),
        ..Config::default()
    };
    let image = Image::new("", &config, layers.into_iter().map(Arc::new).collect());
    let digest = image.digest();
    let version = &from.pins.component("kubernetes")?.version;
    let reference = format!("{}:{version}-{}", from.plan.node.name, short(&digest));
    Ok(NodeImage::of(image.renamed(reference)))
}

fn programs(from: &Ingredients<'_>) -> Result<Tree> {
    let mut tree = Tree::default();
    for (path, program) in &from.plan.node.programs {
        let built = from.parts.program(&program.component, &program.program)?;
        tree.file(path, 0o755, Content::whole(built)?)?;
    }
    Ok(tree)
}

/// The images of one set, as an archive for the node to import.
fn image_set(from: &Ingredients<'_>, set: ImageSet) -> Result<Tree> {
    let images: Vec<Image> =
        from.images.iter().filter(|image| image.set == set).map(|image| image.image.clone()).collect();
    let mut tree = Tree::default();
    let archive = Content::Archive(Arc::new(Archive::new(images)));
    tree.file(&format!("/kind/images/{}.tar", set.name()), 0o644, archive)
        .with_context(|| format!("add the images of {}", set.name()))?;
    Ok(tree)
}

/// The first twelve digits of a digest's hash.
fn short(digest: &str) -> &str {
    let hash = digest.split_once(':').map_or(digest, |(_, hash)| hash);
    &hash[..12.min(hash.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_names_every_set() {
        let sets: Vec<&str> = ImageSet::ALL.iter().map(|set| set.name()).collect();
        assert_eq!(WAIT_FOR_IMAGES[1..], sets);
    }

    #[test]
    fn digests_are_cut() {
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
    }
}
