//! Compares what the members of a bundle say of each other: the index, the images, their SBOMs, the provenance.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{Read, Write as _};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::reader::{Head, Reader};
use crate::file::members::BLOCK;
use crate::file::{
    About, BLOBS, DOCKER_MANIFEST, INDEX, MANIFESTS, NAME, Named, OCI_LAYOUT, PROGRAMS, PROVENANCE, REVISION, SHARE,
    licences, members, provenance, render, sbom, sbom_member,
};
use crate::oci;

/// The maximum length in bytes of a member whose content is kept.
const KEPT_BYTES: u64 = 16 << 20;

/// The sizes of all members, and the contents of those that are read again.
#[derive(Debug, Default)]
pub(super) struct Kept {
    unpacking: Option<Unpacking>,
    sizes: BTreeMap<String, u64>,
    offsets: BTreeMap<String, u64>,
    texts: BTreeMap<String, Vec<u8>>,
}

/// The members that are written to disk while the file is read.
#[derive(Debug)]
pub(super) struct Unpacking {
    /// The folder that they are written below.
    pub(super) folder: PathBuf,
    /// The start of their names.
    pub(super) prefixes: &'static [&'static str],
}

/// The node image, whose layers stay in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::file) struct NodeBlobs {
    pub(in crate::file) config: String,
    pub(in crate::file) manifest: String,
    pub(in crate::file) layers: Vec<Blob>,
}

/// A blob, and its place in the file in bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::file) struct Blob {
    pub(in crate::file) digest: String,
    pub(in crate::file) offset: u64,
    pub(in crate::file) size: u64,
}

impl Kept {
    pub(super) fn of(unpacking: Option<Unpacking>) -> Self {
        Self { unpacking, ..Self::default() }
    }

    /// Reads a member. Answers its SHA-256.
    pub(super) fn read<R: Read>(&mut self, reader: &mut Reader<R>, head: &Head) -> Result<String> {
        let mut hash = Sha256::new();
        let mut text = Vec::new();
        let of_programs = [PROGRAMS, SHARE, licences::TEXTS].iter().any(|folder| head.name.starts_with(folder));
        let wanted = |it: &&Unpacking| it.prefixes.iter().any(|prefix| head.name.starts_with(prefix));
        let unpacking = self.unpacking.as_ref().filter(wanted);
        let mut file = unpacking.map(|it| create(&it.folder, &head.name)).transpose()?;
        // Layers are tars, programs are ELF files, and their files matter to them alone. Everything else is text.
        let mut keep = head.size <= KEPT_BYTES && !of_programs;
        let offset = reader.at();
        reader.body(head, |part| {
            hash.update(part);
            let json = !head.name.starts_with(BLOBS) || !text.is_empty() || part.starts_with(b"{");
            keep = keep && json;
            if keep {
                text.extend_from_slice(part);
            }
            file.as_mut().map_or(Ok(()), |file| file.write_all(part)).with_context(|| format!("unpack {}", head.name))
        })?;
        self.offsets.insert(head.name.clone(), offset);
        self.sizes.insert(head.name.clone(), head.size);
        if keep {
            self.texts.insert(head.name.clone(), text);
        }
        Ok(hex::encode(hash.finalize()))
    }

    /// The node image of a bundle without faults.
    pub(super) fn node(&self, about: &About) -> Result<NodeBlobs> {
        let node = about.images.iter().find(|image| image.name == about.node).context("it is not there")?;
        let manifest_blob = oci::blob_path(&node.digest);
        let manifest = self.json(&manifest_blob)?;
        let layers = manifest["layers"].as_array().into_iter().flatten().map(|layer| {
            let name = self.blob(layer)?;
            let digest = layer["digest"].as_str().unwrap_or_default().to_owned();
            Ok(Blob { digest, offset: self.offsets[&name], size: self.sizes[&name] })
        });
        let config = self.text(&self.blob(&manifest["config"])?)?;
        Ok(NodeBlobs { config, manifest: self.text(&manifest_blob)?, layers: layers.collect::<Result<_>>()? })
    }

    /// Where the blobs with their headers are. They follow each other, because members are in order of name.
    pub(super) fn blobs(&self) -> Range<u64> {
        let mut blobs = self.offsets.iter().filter(|(name, _)| name.starts_with(BLOBS));
        let start = blobs.next().map_or(0, |(_, offset)| offset - BLOCK);
        let end = blobs.next_back().map_or(start, |(name, offset)| offset + self.sizes[name].next_multiple_of(BLOCK));
        start..end
    }

    /// The content of a text.
    pub(super) fn text(&self, name: &str) -> Result<String> {
        let bytes = self.texts.get(name).with_context(|| format!("{name} is missing"))?;
        Ok(String::from_utf8(bytes.clone())?)
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

/// Creates the file of a member below a folder. A name with `..` or a leading slash has no valid header.
fn create(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    let file = File::create_new(&path).with_context(|| format!("make {}", path.display()))?;
    if name.starts_with(PROGRAMS) {
        file.set_permissions(Permissions::from_mode(0o755)).with_context(|| format!("make {}", path.display()))?;
    }
    Ok(file)
}

/// The faults in what the members say of each other.
pub(super) fn compare(about: &About, sums: &BTreeMap<String, String>, kept: &Kept) -> Vec<String> {
    let checks: [(&str, &dyn Fn() -> Result<()>); 5] = [
        (INDEX, &|| check_layout(about, kept)),
        ("sbom", &|| check_sboms(about, kept)),
        ("licenses", &|| check_licences(sums, kept)),
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
    let revision = &index["annotations"][REVISION];
    ensure!(*revision == about.commit, "its commit is {revision}, not {}", about.commit);
    ensure!(about.images.iter().any(|image| image.name == about.node), "there is no node image {}", about.node);
    let docker = kept.json(DOCKER_MANIFEST)?;
    let tags: Vec<&str> = docker.as_array().into_iter().flatten().filter_map(|it| it["RepoTags"][0].as_str()).collect();
    let names: Vec<&str> = about.images.iter().map(|image| image.name.as_str()).collect();
    ensure!(tags == names, "{DOCKER_MANIFEST} has other images");
    let blobs = kept.sizes.keys().filter(|name| name.starts_with(BLOBS));
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

/// Each component of an SBOM has a licence text, and each text is that of its name.
fn check_licences(sums: &BTreeMap<String, String>, kept: &Kept) -> Result<()> {
    let mut purls = BTreeSet::new();
    for name in kept.texts.keys().filter(|name| name.starts_with("sbom/")) {
        purls.extend(sbom::purls(&kept.json(name)?).map(str::to_owned));
    }
    licences::check(&kept.json(licences::list())?, &purls, sums.keys())?;
    let other = sums.iter().find(|(name, sum)| {
        name.strip_prefix(licences::TEXTS).is_some_and(|text| text.strip_suffix(".txt") != Some(sum.as_str()))
    });
    ensure!(other.is_none(), "{} has another SHA-256 than its name", other.map_or("", |(name, _)| name));
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
