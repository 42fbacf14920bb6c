//! What a cluster is made from, wherever it comes from: built in a checkout, or read from a bundle.
//!
//! Everything that creates or judges a cluster takes a [`Release`], and so does not know where it comes from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::assemble::Assembly;
use crate::corpus;
use crate::manifests;
use crate::node::NodeImage;
use crate::parts::Builder;

/// Start of the name of the image with a shell and curl, in which the guide's monitoring commands run.
const TOOLBOX: &str = "slipway.local/toolbox:";
/// The folder of a checkout with the names of scenarios and mutations.
pub const SUITES: &str = "kind-e2e";
/// The files in it.
pub const SUITE_FILES: [&str; 3] = ["scenarios.toml", "mutations.toml", "faults.toml"];

/// Start of the names of the images that kubeadm starts in a version of its own choice, unless it is told one.
const ETCD: &str = "registry.k8s.io/etcd:";
const COREDNS: &str = "registry.k8s.io/coredns/coredns:";

/// The tags of images that kubeadm is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    /// etcd's tag.
    pub etcd: String,
    /// CoreDNS' tag.
    pub coredns: String,
}

impl Tags {
    /// The tags among the names of all images.
    pub(crate) fn of(names: &[&str]) -> Result<Self> {
        let tag = |start: &str| {
            let tag = names.iter().find_map(|name| name.strip_prefix(start));
            tag.map(str::to_owned).with_context(|| format!("find the image {start}…"))
        };
        Ok(Self { etcd: tag(ETCD)?, coredns: tag(COREDNS)? })
    }
}

/// The programs, images and files of one version.
#[derive(Debug)]
pub struct Release {
    /// The program that creates nodes.
    pub kind: PathBuf,
    /// The kubectl that belongs to the cluster's version.
    pub kubectl: PathBuf,
    /// The program that loads and judges a cluster.
    pub driver: PathBuf,
    /// The node image, which contains all other images.
    pub node: NodeImage,
    /// Reference of the image with a shell and curl.
    pub toolbox: String,
    /// The tags of the images that kubeadm does not know by its own version.
    pub tags: Tags,
    /// The folder of the manifests, with those of KEDA and metrics-server.
    pub manifests: PathBuf,
    /// The folder of the default documents.
    pub corpus: PathBuf,
    /// The folder with [`SUITE_FILES`].
    pub suites: PathBuf,
    /// What the report of a run says about the release.
    pub facts: Value,
}

impl Release {
    /// What was built in a checkout. Copies the upstream manifests to where the kustomizations expect them.
    ///
    /// # Errors
    /// When a program is missing, or a file cannot be read or written.
    pub fn of_checkout(builder: &Builder<'_>, built: Assembly) -> Result<Self> {
        let manifests = builder.workspace.manifests();
        manifests::stage(&built.parts, &manifests)?;
        let names: Vec<&str> = built.images.iter().map(|image| image.name.as_str()).collect();
        Ok(Self {
            kind: built.parts.program("kind", "kind")?,
            kubectl: built.parts.program("kubernetes", "kubectl")?,
            toolbox: toolbox(&names)?,
            tags: Tags::of(&names)?,
            corpus: corpus::default_corpus(builder.pins, &built.parts, builder.cache)?,
            suites: builder.workspace.root.join(SUITES),
            facts: facts(builder, &built),
            driver: built.driver,
            node: built.node,
            manifests,
        })
    }
}

impl Release {
    /// Name and digest of every image.
    ///
    /// # Errors
    /// When the facts of the release do not have them.
    pub(crate) fn images(&self) -> Result<BTreeMap<String, String>> {
        let listed = self.facts["images"].as_array().context("find the images of the release")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let images = listed.iter().map(|image| text(&image["name"]).zip(text(&image["digest"])));
        images.collect::<Option<_>>().context("read the images of the release")
    }
}

/// The image with a shell and curl among images.
pub(crate) fn toolbox(images: &[&str]) -> Result<String> {
    images
        .iter()
        .find(|name| name.starts_with(TOOLBOX))
        .map(|name| (*name).to_owned())
        .context("find the toolbox image")
}

/// What the report of a run says about what was built.
pub(crate) fn facts(builder: &Builder<'_>, built: &Assembly) -> Value {
    let pins: BTreeMap<&str, String> = builder
        .pins
        .built()
        .map(|(name, component)| (name.as_str(), format!("{} {}", component.module, component.version)))
        .collect();
    let packages = built.packages.rootfs.iter().map(|(name, choice)| {
        (name.as_str(), choice.packages.iter().map(ToString::to_string).collect::<Vec<String>>())
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pins": pins,
        "images": built.images,
        "node_image": {
            "name": built.node.reference,
            "digest": built.node.digest,
            "size_bytes": built.node.size_bytes,
        },
        "debian": packages.collect::<BTreeMap<_, _>>(),
        "tools": built.outputs.tools,
        "unlocked": built.unlocked,
    })
}
