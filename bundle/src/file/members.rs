//! The members of a bundle file, and their bytes. The size is known before anything is written.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{ABOUT, About, DOCKER_MANIFEST, INDEX, NAME, OCI_LAYOUT, PROGRAMS, REF_NAME, REVISION, SUMS, VERSION};
use crate::oci::{self, Content, Image, Layer, Measure};

/// The block size of a tar in bytes.
pub(super) const BLOCK: u64 = 512;

/// A bundle, ready to be written.
#[derive(Debug)]
pub struct Bundle {
    /// In the order in which they are written.
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    /// SHA-256 in hexadecimal digits.
    hash: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Content(Content),
    Layer(Arc<Layer>),
}

impl Member {
    fn size(&self) -> u64 {
        match &self.source {
            Source::Content(content) => content.size(),
            Source::Layer(layer) => layer.size(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let size = self.size();
        out.write_all(head(&self.name, size)?.as_bytes())?;
        match &self.source {
            Source::Layer(layer) => layer.write(out)?,
            Source::Content(content) => {
                let mut out = Measure::new(out);
                content.copy(&mut out)?;
                let (found, _) = out.finish();
                ensure!(hash(&found) == self.hash, "it changed while it was used: run the command again");
            }
        }
        let padding = size.next_multiple_of(BLOCK) - size;
        Ok(out.write_all(&[0; BLOCK as usize][..usize::try_from(padding)?])?)
    }
}

impl Bundle {
    /// Makes a bundle of images and further files.
    ///
    /// # Errors
    /// When a file cannot be read, or a name is too long for a tar.
    pub fn new(about: &About, images: &[Image], files: BTreeMap<String, Content>) -> Result<Self> {
        let mut members = BTreeMap::new();
        for (name, content) in files {
            let hash = sum(&content)?;
            members.insert(name.clone(), Member { name, hash, source: Source::Content(content) });
        }
        let mut put = |name: String, bytes: &[u8]| {
            members.insert(name.clone(), of_bytes(name, bytes));
        };
        put(OCI_LAYOUT.to_owned(), &oci::to_bytes(&json!({"imageLayoutVersion": "1.0.0"})));
        put(INDEX.to_owned(), &index(images, about));
        put(DOCKER_MANIFEST.to_owned(), &oci::docker_manifest(images));
        for image in images {
            put(oci::blob_path(&image.id()), image.config());
            put(oci::blob_path(&image.digest()), image.manifest());
        }
        for layer in images.iter().flat_map(|image| &image.layers) {
            let name = oci::blob_path(layer.digest());
            let hash = hash(layer.digest()).to_owned();
            let source = Source::Layer(Arc::clone(layer));
            members.insert(name.clone(), Member { name, hash, source });
        }
        let mut about = serde_json::to_vec_pretty(about).context("write what the bundle is")?;
        about.push(b'\n');
        let about = of_bytes(ABOUT.to_owned(), &about);
        let lines = std::iter::once(&about).chain(members.values());
        let sums: String = lines.map(|member| format!("{}  {}\n", member.hash, member.name)).collect();
        let mut all = vec![about, of_bytes(SUMS.to_owned(), sums.as_bytes())];
        all.extend(members.into_values());
        Ok(Self { members: all })
    }

    /// A bundle of members that are there already: name, SHA-256 and content of each, in their order.
    pub(super) fn of_members(members: Vec<(String, String, Content)>) -> Self {
        let member = |(name, hash, content)| Member { name, hash, source: Source::Content(content) };
        Self { members: members.into_iter().map(member).collect() }
    }

    /// Length of the file in bytes.
    pub fn size(&self) -> u64 {
        let members = self.members.iter().map(|member| BLOCK + member.size().next_multiple_of(BLOCK));
        members.sum::<u64>() + 2 * BLOCK
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When a source cannot be read or has changed, or `out` cannot be written.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        for member in &self.members {
            member.write(out).with_context(|| format!("write {}", member.name))?;
        }
        Ok(out.write_all(&[0; 2 * BLOCK as usize])?)
    }
}

/// A member's header in the tar. There is one for each name and size. Only programs are executable.
pub(super) fn head(name: &str, size: u64) -> Result<tar::Header> {
    let mode = if name.starts_with(PROGRAMS) { 0o755 } else { 0o644 };
    let mut head = oci::header(tar::EntryType::Regular, mode, (0, 0), size);
    head.set_path(name).with_context(|| format!("name {name} in a tar"))?;
    head.set_cksum();
    Ok(head)
}

/// The SHA-256 of a content in hexadecimal digits.
pub(super) fn sum(content: &Content) -> Result<String> {
    let mut sink = io::sink();
    let mut out = Measure::new(&mut sink);
    content.copy(&mut out)?;
    Ok(hash(&out.finish().0).to_owned())
}

/// The hexadecimal digits of a digest.
pub(super) fn hash(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

fn of_bytes(name: String, bytes: &[u8]) -> Member {
    let hash = hash(&oci::digest(bytes)).to_owned();
    Member { name, hash, source: Source::Content(Content::Bytes(bytes.into())) }
}

/// The index of the images. The commit is in it, and in no image: equal pins give equal images in every commit.
fn index(images: &[Image], about: &About) -> Vec<u8> {
    let manifests: Vec<_> = images
        .iter()
        .map(|image| {
            json!({
                "mediaType": oci::MANIFEST_TYPE,
                "digest": image.digest(),
                "size": image.manifest().len(),
                "platform": {"os": "linux", "architecture": about.architecture},
                "annotations": {NAME: image.name, REF_NAME: image.name},
            })
        })
        .collect();
    oci::to_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": oci::INDEX_TYPE,
        "manifests": manifests,
        "annotations": {VERSION: about.version, REVISION: about.commit},
    }))
}
