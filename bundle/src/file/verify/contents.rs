//! Compares what the members of a bundle say of each other: the index, the images, their SBOMs, the provenance.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::reader::{Head, Reader};
use crate::file::{
    About, DOCKER_MANIFEST, INDEX, MANIFESTS, NAME, Named, OCI_LAYOUT, PROGRAMS, PROVENANCE, members, provenance,
    render, sbom, sbom_member,
};
use crate::oci;

/// The maximum length in bytes of a member whose content is kept.
const KEPT_BYTES: u64 = 16 << 20;

/// The sizes of all members, and the contents of those that are read again.
#[derive(Debug, Default)]
pub(super) struct Kept {
    sizes: BTreeMap<String, u64>,
    texts: BTreeMap<String, Vec<u8>>,
}

impl Kept {
    /// Reads a member. Answers its SHA-256.
    pub(super) fn read<R: Read>(&mut self, reader: &mut Reader<R>, head: &Head) -> Result<String> {
        let mut hash = Sha256::new();
        let mut text = Vec::new();
        // Layers are tars, and programs are ELF files. Everything else is text.
        let mut keep = head.size <= KEPT_BYTES && !head.name.starts_with(PROGRAMS);
        reader.body(head, |part| {
            hash.update(part);
            let json = !head.name.starts_with("blobs/") || !text.is_empty() || part.starts_with(b"{");
            keep = keep && json;
            if keep {
                text.extend_from_slice(part);
            }
        })?;
        self.sizes.insert(head.name.clone(), head.size);
        if keep {
            self.texts.insert(head.name.clone(), text);
        }
        Ok(hex::encode(hash.finalize()))
    }

    fn json(&self, name: &str) -> Result<Value> {
        let text = self.texts.get(name).with_context(|| format!("{name} is missing"))?;
        serde_json::from_slice(text).with_context(|| format!("{name} is not valid JSON"))
    }

    /// The blob of a descriptor, if it is there and has the descriptor's size.
    pub(super) fn blob(&self, descriptor: &Value) -> Result<String> {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let name = oci::blob_path(digest);
        let size = self.sizes.get(&name).with_context(|| format!("{name} is missing"))?;
        ensure!(descriptor["size"].as_u64() == Some(*size), "{name} has {size} bytes, not {}", descriptor["size"]);
        Ok(name)
    }
}

/// The faults in what the members say of each other.
pub(super) fn compare(about: &About, sums: &BTreeMap<String, String>, kept: &Kept) -> Vec<String> {
    let checks: [(&str, &dyn Fn() -> Result<()>); 4] = [
        (INDEX, &|| check_layout(about, kept)),
        ("sbom", &|| check_sboms(about, kept)),
        (PROVENANCE, &|| check_provenance(about, sums, kept)),
        ("manifests", &|| check_manifests(about, kept)),
    ];
    checks.iter().filter_map(|(name, check)| check().err().map(|fault| format!("{name}: {fault:#}"))).collect()
}

/// Follows every descriptor of the index. Each blob must be reached.
fn check_layout(about: &About, kept: &Kept) -> Result<()> {
    ensure!(kept.json(OCI_LAYOUT)?["imageLayoutVersion"] == "1.0.0", "{OCI_LAYOUT} has another version than 1.0.0");
    let index = kept.json(INDEX)?;
    let descriptors = index["manifests"].as_array().map_or(&[][..], Vec::as_slice);
    let mut reached = BTreeSet::new();
    let mut found = Vec::new();
    for descriptor in descriptors {
        let name = descriptor["annotations"][NAME].as_str().unwrap_or_default().to_owned();
        check_image(about, kept, descriptor, &mut reached).with_context(|| name.clone())?;
        found.push(Named { name, digest: descriptor["digest"].as_str().unwrap_or_default().to_owned() });
    }
    ensure!(found == about.images, "its images are not those of bundle.json");
    ensure!(about.images.iter().any(|image| image.name == about.node), "there is no node image {}", about.node);
    let docker = kept.json(DOCKER_MANIFEST)?;
    let tags: Vec<&str> = docker.as_array().into_iter().flatten().filter_map(|it| it["RepoTags"][0].as_str()).collect();
    let names: Vec<&str> = about.images.iter().map(|image| image.name.as_str()).collect();
    ensure!(tags == names, "{DOCKER_MANIFEST} has other images");
    let blobs = kept.sizes.keys().filter(|name| name.starts_with("blobs/"));
    let unused: Vec<&str> = blobs.filter(|blob| !reached.contains(*blob)).map(String::as_str).collect();
    ensure!(unused.is_empty(), "no image uses {}", unused.join(", "));
    Ok(())
}

fn check_image(about: &About, kept: &Kept, descriptor: &Value, reached: &mut BTreeSet<String>) -> Result<()> {
    ensure!(descriptor["mediaType"] == oci::MANIFEST_TYPE, "its type is {}", descriptor["mediaType"]);
    let platform = &descriptor["platform"];
    let architecture = about.architecture.as_str();
    ensure!(
        platform["architecture"] == architecture && platform["os"] == "linux",
        "its platform is {}/{}, not linux/{architecture}",
        platform["os"].as_str().unwrap_or("?"),
        platform["architecture"].as_str().unwrap_or("?")
    );
    let manifest_blob = kept.blob(descriptor)?;
    let manifest = kept.json(&manifest_blob)?;
    let config_blob = kept.blob(&manifest["config"])?;
    let config = kept.json(&config_blob)?;
    ensure!(config["architecture"] == architecture, "its configuration is for {}", config["architecture"]);
    let layers = manifest["layers"].as_array().context("its manifest has no layers")?;
    let digests: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let diffs: Vec<&Value> = config["rootfs"]["diff_ids"].as_array().into_iter().flatten().collect();
    ensure!(digests == diffs, "its configuration has other layers than its manifest");
    for layer in layers {
        reached.insert(kept.blob(layer)?);
    }
    reached.extend([manifest_blob, config_blob]);
    Ok(())
}

/// Each image has an SBOM of its own, and there is no other.
fn check_sboms(about: &About, kept: &Kept) -> Result<()> {
    let mut expected = BTreeSet::new();
    for image in &about.images {
        let name = sbom_member(&image.name);
        let sbom = kept.json(&name)?;
        let digest = sbom::digest(&sbom).with_context(|| format!("{name} is not a CycloneDX SBOM"))?;
        ensure!(digest == members::hash(&image.digest), "{name} is of an image {digest}");
        expected.insert(name);
    }
    let other = kept.sizes.keys().find(|name| name.starts_with("sbom/") && !expected.contains(*name));
    ensure!(other.is_none(), "{} is of no image", other.map_or("", String::as_str));
    Ok(())
}

/// The provenance names the commit, every image, and every program and manifest.
fn check_provenance(about: &About, sums: &BTreeMap<String, String>, kept: &Kept) -> Result<()> {
    let statement = kept.json(PROVENANCE)?;
    let (commit, found) = provenance::read(&statement).context("it is not SLSA provenance")?;
    ensure!(commit == about.commit, "its commit is {commit}, not {}", about.commit);
    let images = about.images.iter().map(|image| (image.name.clone(), members::hash(&image.digest).to_owned()));
    let files = sums.iter().filter(|(name, _)| provenance::is_subject(name));
    let expected: BTreeMap<String, String> =
        images.chain(files.map(|(name, sum)| (name.clone(), sum.clone()))).collect();
    ensure!(found == expected, "its subjects are not the images, programs and manifests of the bundle");
    Ok(())
}

/// Every image that a manifest names is in the bundle, under this digest.
fn check_manifests(about: &About, kept: &Kept) -> Result<()> {
    for (name, text) in kept.texts.iter().filter(|(name, _)| name.starts_with(MANIFESTS)) {
        let text = std::str::from_utf8(text).with_context(|| name.clone())?;
        render::check(text, &about.images).with_context(|| name.clone())?;
    }
    Ok(())
}
