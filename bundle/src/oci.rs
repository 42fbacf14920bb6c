//! Container images assembled from files, without a container engine. The same files give the same digest.
//!
//! A [`Tree`] is a set of files. A [`Layer`] is a tree as a tar stream with its digest. An [`Image`] is layers with a
//! configuration. An [`Archive`] is several images in one tar that `docker load` and `ctr images import` both read.
//! A layer's bytes are generated from its sources each time they are read, and not stored on disk.

mod archive;
mod layer;
mod tarball;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

pub use archive::Archive;
pub(crate) use archive::{blob_path, docker_manifest};
pub use layer::Layer;
pub(crate) use layer::Measure;
pub(crate) use tarball::header;
pub use tree::{Content, Entry, ROOT, Tree};

/// The time of every file and image: 2026-01-01T00:00:00Z, in seconds since 1970.
pub const EPOCH: u64 = 1_767_225_600;
/// The code that makes the bytes of layers, as an input of what is made with it.
pub(crate) const CODE: [&str; 5] = [
    include_str!("oci.rs"),
    include_str!("oci/archive.rs"),
    include_str!("oci/layer.rs"),
    include_str!("oci/tarball.rs"),
    include_str!("oci/tree.rs"),
];
/// [`EPOCH`] in the format of an image configuration.
const CREATED: &str = "2026-01-01T00:00:00Z";

pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// How a container of an image starts.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Processor architecture, in Go's naming (`amd64`).
    pub architecture: String,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub cmd: Vec<String>,
    /// Environment variables, as `NAME=value`.
    pub env: Vec<String>,
    /// Numeric user, with a group if needed (`999:999`). Empty means root.
    pub user: String,
    /// Working directory. Empty means the root folder.
    pub workdir: String,
    /// Signal that stops a container. Empty means SIGTERM.
    pub stop_signal: String,
    /// Folders that become volumes.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// An image: its name, configuration, manifest and layers.
#[derive(Debug, Clone)]
pub struct Image {
    /// Full reference with a tag.
    pub name: String,
    /// Layers, with the lowest first.
    pub layers: Vec<Arc<Layer>>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Image {
    /// Makes an image of these layers.
    pub fn new(name: impl Into<String>, config: &Config, layers: Vec<Arc<Layer>>) -> Self {
        let config = config_blob(config, &layers);
        let manifest = manifest_blob(&config, &layers);
        Self { name: name.into(), layers, config, manifest }
    }

    /// An image of which everything is known.
    pub(crate) fn known(name: &str, config: &str, manifest: &str, layers: Vec<Arc<Layer>>) -> Self {
        Self { name: name.to_owned(), layers, config: config.into(), manifest: manifest.into() }
    }

    /// The same image under another name.
    #[must_use]
    pub fn renamed(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The manifest's digest (`sha256:…`): what `name@digest` refers to.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// The configuration's digest (`sha256:…`): Docker's image id.
    pub fn id(&self) -> String {
        digest(&self.config)
    }

    /// The manifest's bytes.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// The configuration's bytes.
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// Size in bytes of all layers together, not compressed.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size()).sum()
    }
}

fn config_blob(config: &Config, layers: &[Arc<Layer>]) -> Vec<u8> {
    /// Docker's field names. Empty fields are omitted.
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Run<'a> {
        #[serde(skip_serializing_if = "str::is_empty")]
        user: &'a str,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        env: &'a [String],
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        entrypoint: &'a [String],
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        cmd: &'a [String],
        #[serde(skip_serializing_if = "str::is_empty")]
        working_dir: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        stop_signal: &'a str,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        volumes: BTreeMap<&'a str, BTreeMap<(), ()>>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        labels: &'a BTreeMap<String, String>,
    }
    let run = Run {
        user: &config.user,
        env: &config.env,
        entrypoint: &config.entrypoint,
        cmd: &config.cmd,
        working_dir: &config.workdir,
        stop_signal: &config.stop_signal,
        volumes: config.volumes.iter().map(|volume| (volume.as_str(), BTreeMap::new())).collect(),
        labels: &config.labels,
    };
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.digest()).collect();
    let history: Vec<_> = layers.iter().map(|layer| json!({"created": CREATED, "created_by": layer.name()})).collect();
    to_bytes(&json!({
        "created": CREATED,
        "architecture": config.architecture,
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    }))
}

fn manifest_blob(config: &[u8], layers: &[Arc<Layer>]) -> Vec<u8> {
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| json!({"mediaType": LAYER_TYPE, "digest": layer.digest(), "size": layer.size()}))
        .collect();
    to_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest(config), "size": config.len()},
        "layers": layers,
    }))
}

/// JSON with sorted keys. `serde_json` sorts them unless its feature `preserve_order` is on, which no crate here sets.
pub(crate) fn to_bytes(value: &serde_json::Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The digest of a blob, in OCI's format.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(paths: &[&str]) -> Image {
        let mut tree = Tree::default();
        for path in paths {
            tree.file(path, 0o755, Content::Bytes(path.as_bytes().into())).unwrap();
        }
        let config = Config {
            architecture: "amd64".into(),
            entrypoint: vec!["/app/a".into()],
            user: "65532".into(),
            volumes: vec!["/data".into()],
            ..Config::default()
        };
        Image::new("slipway.local/x:1", &config, vec![Arc::new(Layer::new("files", tree).unwrap())])
    }

    #[test]
    fn order_of_insertion_does_not_change_the_digest() {
        assert_eq!(image(&["/app/a", "/b", "/app/c"]).digest(), image(&["/app/c", "/app/a", "/b"]).digest());
    }

    #[test]
    fn content_changes_the_digest() {
        assert_ne!(image(&["/app/a"]).digest(), image(&["/app/b"]).digest());
    }

    #[test]
    fn configuration_is_as_docker_reads_it() {
        let config: serde_json::Value = serde_json::from_slice(&image(&["/app/a"]).config).unwrap();
        assert_eq!(config["config"]["Entrypoint"][0], "/app/a");
        assert_eq!(config["config"]["User"], "65532");
        assert_eq!(config["config"]["Volumes"]["/data"], json!({}));
        assert_eq!(config["config"].get("Cmd"), None, "empty fields are omitted");
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn name_is_not_part_of_the_digest() {
        let one = image(&["/app/a"]);
        let digest = one.digest();
        assert_eq!(digest, one.renamed("slipway.local/y:2").digest());
    }
}
