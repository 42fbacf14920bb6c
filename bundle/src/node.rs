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

pub(crate) use self::files::API_SERVER_FOLDER;
use crate::cache::Cache;
use crate::debian::Rootfs;
use crate::images::{self, BuiltImage, ImageSet, PartSource, Plan};
use crate::oci::{Archive, Config, Content, Image, Layer, Tree};
use crate::pins::Pins;

/// The command, run in a node, that waits until containerd has every image. It fails if an image cannot be imported.
pub const WAIT_FOR_IMAGES: [&str; 4] = ["/kind/bin/slipway-import", "control-plane", "services", "worker"];

/// The layers of a node image, the lowest first. None is a part of the node itself; the others are images for it.
const LAYERS: [Option<ImageSet>; 6] =
    [None, None, Some(ImageSet::ControlPlane), Some(ImageSet::Services), None, Some(ImageSet::Worker)];

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

    /// The sets of images that a node of other layers lacks to be as this one. None if the node itself differs, or its
    /// control plane.
    pub fn differing_sets(&self, present: &[String]) -> Option<Vec<&'static str>> {
        differing_sets(&self.layers(), present)
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

fn differing_sets(ours: &[&str], present: &[String]) -> Option<Vec<&'static str>> {
    if [ours.len(), present.len()] != [LAYERS.len(); 2] {
        return None;
    }
    let pairs = ours.iter().zip(present).zip(LAYERS).filter(|((ours, present), _)| *ours != *present);
    pairs.map(|(_, set)| set.filter(|set| *set != ImageSet::ControlPlane).map(|set| set.name())).collect()
}

/// Assembles the node image.
///
/// # Errors
/// When an input is missing or cannot be read.
pub fn build(from: &Ingredients<'_>) -> Result<NodeImage> {
    let mut own = vec![
        Layer::of_tar(from.cache, "node-rootfs", &from.rootfs.tar)?,
        Layer::cached(from.cache, "node-programs", programs(from)?)?,
        Layer::cached(from.cache, "node-files", files::tree(from)?)?,
    ]
    .into_iter();
    let layer = |set: Option<ImageSet>| match set {
        Some(set) => Layer::cached(from.cache, &format!("node-images-{}", set.name()), image_set(from, set)?),
        None => own.next().context("find a layer of the node itself"),
    };
    let layers = LAYERS.into_iter().map(layer).collect::<Result<Vec<_>>>()?;

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
    fn only_a_node_that_differs_in_images_of_pods_can_become_another() {
        let layers = ["root", "programs", "control", "services", "files", "worker"];
        let other = |changed: &[usize]| {
            let each = layers.iter().enumerate();
            each.map(|(at, name)| if changed.contains(&at) { "other".into() } else { (*name).to_owned() }).collect()
        };
        let sets = |present: Vec<String>| differing_sets(&layers, &present);
        assert_eq!(sets(other(&[])), Some(vec![]));
        assert_eq!(sets(other(&[5])), Some(vec!["worker"]));
        assert_eq!(sets(other(&[3, 5])), Some(vec!["services", "worker"]));
        for own in [0, 1, 2, 4] {
            assert_eq!(sets(other(&[own, 5])), None, "{own}");
        }
        assert_eq!(sets(other(&[])[..5].to_vec()), None);
    }

    #[test]
    fn digests_are_cut() {
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
    }
}
