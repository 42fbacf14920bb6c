//! Several images in one tar that `docker load` (from 20.10 on) and `ctr images import` both read.
//!
//! Docker reads `manifest.json`. containerd reads `oci-layout` and `index.json`. Both refer to the same blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use serde_json::json;

use super::tarball::{append, header};
use super::{Content, INDEX_TYPE, Image, Layer, MANIFEST_TYPE, to_bytes};
use crate::cache::Key;

/// The block size of a tar in bytes. Headers have one block, and content is padded to whole blocks.
const BLOCK: u64 = 512;

/// Several images in one tar, which has each blob once.
#[derive(Debug)]
pub struct Archive {
    images: Vec<Image>,
    /// Indexes, manifests and configurations: path and content.
    metadata: Vec<(String, Vec<u8>)>,
    layers: BTreeMap<String, Arc<Layer>>,
}

impl Archive {
    /// Makes an archive of these images. Their order does not matter.
    pub fn new(mut images: Vec<Image>) -> Self {
        images.sort_by(|one, two| one.name.cmp(&two.name));
        let mut blobs = BTreeMap::new();
        let mut layers = BTreeMap::new();
        for image in &images {
            blobs.insert(blob_path(&image.id()), image.config.clone());
            blobs.insert(blob_path(&image.digest()), image.manifest.clone());
            for layer in &image.layers {
                layers.insert(blob_path(layer.digest()), Arc::clone(layer));
            }
        }
        let mut metadata = vec![
            ("oci-layout".to_owned(), to_bytes(&json!({"imageLayoutVersion": "1.0.0"}))),
            ("index.json".to_owned(), index(&images)),
            ("manifest.json".to_owned(), docker_manifest(&images)),
        ];
        metadata.extend(blobs);
        Self { images, metadata, layers }
    }

    /// The images of the archive, in order of name.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Length of the tar in bytes.
    pub fn size(&self) -> u64 {
        let metadata = self.metadata.iter().map(|(_, bytes)| bytes.len() as u64);
        let layers = self.layers.values().map(|layer| layer.size());
        metadata.chain(layers).map(|size| BLOCK + size.next_multiple_of(BLOCK)).sum::<u64>() + 2 * BLOCK
    }

    /// Writes the tar.
    ///
    /// # Errors
    /// When a layer's source cannot be read, or `out` cannot be written.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        self.write_without(&BTreeSet::new(), out)
    }

    /// Writes the tar without the layers with these digests, for an engine that has them.
    ///
    /// # Errors
    /// As [`Archive::write`].
    pub fn write_without(&self, present: &BTreeSet<&str>, out: &mut dyn Write) -> Result<()> {
        let mut tar = tar::Builder::new(&mut *out);
        for (path, bytes) in &self.metadata {
            let header = header(tar::EntryType::Regular, 0o644, (0, 0), bytes.len() as u64);
            append(&mut tar, header, path, None, Some(&Content::Bytes(bytes.as_slice().into())))?;
        }
        for (path, layer) in &self.layers {
            if present.contains(layer.digest()) {
                continue;
            }
            let mut head = header(tar::EntryType::Regular, 0o644, (0, 0), layer.size());
            head.set_path(path)?;
            head.set_cksum();
            let out = tar.get_mut();
            out.write_all(head.as_bytes())?;
            layer.write(out)?; // a layer is a tar, so it has whole blocks and needs no padding
        }
        tar.into_inner()?;
        Ok(())
    }

    /// A key that changes when the bytes of the tar change.
    pub(super) fn identity(&self) -> String {
        self.images.iter().fold(Key::new("archive"), |key, image| key.field(&image.name, image.digest())).finish()
    }
}

pub(crate) fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn index(images: &[Image]) -> Vec<u8> {
    let manifests: Vec<_> = images
        .iter()
        .map(|image| {
            let tag = image.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
            json!({
                "mediaType": MANIFEST_TYPE,
                "digest": image.digest(),
                "size": image.manifest.len(),
                "annotations": {
                    "io.containerd.image.name": image.name,
                    "org.opencontainers.image.ref.name": tag,
                },
            })
        })
        .collect();
    to_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": manifests,
    }))
}

pub(crate) fn docker_manifest(images: &[Image]) -> Vec<u8> {
    let entries: Vec<_> = images
        .iter()
        .map(|image| {
            let layers: Vec<String> = image.layers.iter().map(|layer| blob_path(layer.digest())).collect();
            json!({"Config": blob_path(&image.id()), "RepoTags": [image.name], "Layers": layers})
        })
        .collect();
    to_bytes(&json!(entries))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::oci::{Config, Tree};

    fn layer(path: &str) -> Arc<Layer> {
        let mut tree = Tree::default();
        tree.file(path, 0o755, path.into()).unwrap();
        Arc::new(Layer::new(path, tree).unwrap())
    }

    fn files(archive: &Archive, present: &BTreeSet<&str>) -> BTreeMap<String, Vec<u8>> {
        let mut data = Vec::new();
        archive.write_without(present, &mut data).unwrap();
        let mut tar = tar::Archive::new(data.as_slice());
        let mut files = BTreeMap::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert!(files.insert(entry.path().unwrap().display().to_string(), bytes).is_none(), "each blob once");
        }
        files
    }

    #[test]
    fn every_blob_is_there_once_under_its_digest() {
        let base = layer("/base");
        let one = Image::new("slipway.local/one:1", &Config::default(), vec![Arc::clone(&base), layer("/one")]);
        let two = Image::new("registry.k8s.io/two:2", &Config::default(), vec![Arc::clone(&base), layer("/two")]);
        let archive = Archive::new(vec![one, two]);
        let mut data = Vec::new();
        archive.write(&mut data).unwrap();
        assert_eq!(data.len() as u64, archive.size(), "the size is known before it is written");
        let files = files(&archive, &BTreeSet::new());
        for (path, bytes) in &files {
            if let Some(hash) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(hash, hex::encode(Sha256::digest(bytes)), "{path}");
            }
        }
        assert_eq!(files.len(), 3 + 2 * 2 + 3, "indexes, manifests and configurations, layers");
        let docker: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(docker[0]["RepoTags"][0], "registry.k8s.io/two:2");
        assert!(files.contains_key(docker[0]["Layers"][1].as_str().unwrap()));
        assert_eq!(index["manifests"][1]["annotations"]["io.containerd.image.name"], "slipway.local/one:1");
        let skipped = super::tests::files(&archive, &BTreeSet::from([base.digest()]));
        assert_eq!(skipped.len(), files.len() - 1, "a layer that the engine has is omitted");
    }
}
