//! Moves a bundle to a registry and back. `crane` moves the bytes, by digest and only those that are missing.
//!
//! In the registry a bundle is an index of its images, and of one artifact that has all other members in a tar. One
//! repository has all of it. A bundle that was pulled has the same bytes as the one that was pushed.
//!
//! `crane` reads and writes an OCI image layout in a folder. The folder is in the cache, and stays there after a
//! failure, so that the next run goes on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use support::command::Cmd;
use support::{interrupt, progress};

use super::verify::{self, Verified};
use super::{BLOBS, Bundle, INDEX, OCI_LAYOUT, Saved, save};
use crate::cache::{Cache, remove_folder};
use crate::oci::{self, Content};

/// The type of the artifact with the members that are no blobs, and the type of their tar.
const ARTIFACT: &str = "application/vnd.slipway.bundle.v3";
const MEMBERS: &str = "application/vnd.slipway.bundle.members.v3.tar";
/// The type and the content of a configuration that says nothing.
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
/// The maximum length of an index or manifest in bytes.
const JSON_BYTES: u64 = 4 << 20;

/// Sends a bundle to a repository. Answers the reference with the digest. `repository` may have a tag.
///
/// # Errors
/// When the bundle has faults, or the registry does not take it. What was sent is not sent again.
pub fn push(crane: &Path, cache: &Cache, file: &Path, repository: &str) -> Result<String> {
    let claim = verify::begin(file)?;
    let tagged = match tag(repository) {
        Some(_) => repository.to_owned(),
        None => format!("{repository}:{}-{:.12}", claim.about.version, claim.about.commit),
    };
    let _lock = cache.lock(&format!("push-{}", claim.id))?;
    let layout = progress::step(&format!("verify {}", file.display()), || {
        cache.get_or_build("layouts", "push", &verify::unpacking(&claim.id), |place| {
            let verified = verify::unpack(file, &claim.id, place, &[BLOBS])?;
            write_layout(file, &verified, place)
        })
    })?;
    let pushed = progress::step(&format!("push {tagged}"), || {
        run(&Cmd::new(crane).args(["push", "--index"]).arg(&layout).arg(&tagged))
            .with_context(|| format!("push {tagged}"))
    })?;
    remove_folder(&layout)?;
    Ok(pushed)
}

/// Fetches a bundle from a repository, and writes it to a file as [`save`] does. `reference` has a tag or a digest.
///
/// # Errors
/// When the registry does not have it, or serves something else. What was fetched is not fetched again.
pub fn pull(crane: &Path, cache: &Cache, reference: &str, file: &Path) -> Result<Saved> {
    let told = || format!("pull {reference}");
    let digest = run(&Cmd::new(crane).args(["digest", reference])).with_context(told)?;
    let named = format!("{}@{digest}", repository(reference));
    let name = format!("pull-{}", hash(&digest)?);
    let _lock = cache.lock(&name)?;
    let folder = cache.root().join("layouts").join(&name);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    // An index that was begun names what is fetched again now.
    let _ = fs::remove_file(folder.join(INDEX));
    progress::step(&told(), || {
        run(&Cmd::new(crane).args(["pull", "--format", "oci", &named]).arg(&folder)).with_context(told)
    })?;
    let bundle = of_layout(&folder, &digest).with_context(|| format!("{reference} is no bundle"))?;
    let saved = progress::step(&format!("write {}", file.display()), || save(&bundle, file))?;
    remove_folder(&folder)?;
    Ok(saved)
}

/// Runs crane. Its error is its last line.
pub(crate) fn run(crane: &Cmd) -> Result<String> {
    let ended = crane.run_any()?;
    interrupt::check()?;
    if ended.status.success() {
        return Ok(ended.stdout.trim().to_owned());
    }
    let last = ended.stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(anyhow!("crane: {}", last.trim_start_matches("Error: ").trim()))
}

/// The tag of a reference. A port is none.
fn tag(reference: &str) -> Option<&str> {
    reference.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'))
}

/// A reference without its tag or digest.
fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    tag(name).map_or(name, |tag| &name[..name.len() - tag.len() - 1])
}

/// Makes the layout of a bundle in a folder that has its blobs.
fn write_layout(file: &Path, verified: &Verified, folder: &Path) -> Result<()> {
    let members = write_members(file, verified, folder)?;
    let config = write_blob(folder, EMPTY.1)?;
    let artifact = json!({
        "schemaVersion": 2,
        "mediaType": oci::MANIFEST_TYPE,
        "artifactType": ARTIFACT,
        "config": {"mediaType": EMPTY.0, "digest": config, "size": EMPTY.1.len()},
        "layers": [members],
    });
    let artifact = oci::to_bytes(&artifact);
    let descriptor = json!({
        "mediaType": oci::MANIFEST_TYPE,
        "artifactType": ARTIFACT,
        "digest": write_blob(folder, &artifact)?,
        "size": artifact.len(),
    });
    let mut index: Value = serde_json::from_str(&verified.index)?;
    index["manifests"].as_array_mut().context("find the images")?.push(descriptor);
    for (name, value) in [(OCI_LAYOUT, json!({"imageLayoutVersion": "1.0.0"})), (INDEX, index)] {
        fs::write(folder.join(name), oci::to_bytes(&value)).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

/// Writes the members that are no blobs as a blob, and answers its descriptor. The blobs are in one piece in a bundle.
fn write_members(file: &Path, verified: &Verified, folder: &Path) -> Result<Value> {
    let mut input = File::open(file).with_context(|| format!("open {}", file.display()))?;
    let mut blob = tempfile::NamedTempFile::new_in(folder).context("make a blob")?;
    let (digest, size) = {
        let mut out = oci::Measure::new(&mut blob);
        io::copy(&mut (&mut input).take(verified.blobs.start), &mut out).context("copy the members")?;
        input.seek(SeekFrom::Start(verified.blobs.end)).context("skip the blobs")?;
        io::copy(&mut input, &mut out).context("copy the members")?;
        out.finish()
    };
    blob.persist(folder.join(oci::blob_path(&digest))).context("name a blob")?;
    Ok(json!({"mediaType": MEMBERS, "digest": digest, "size": size}))
}

fn write_blob(folder: &Path, bytes: &[u8]) -> Result<String> {
    let digest = oci::digest(bytes);
    fs::write(folder.join(oci::blob_path(&digest)), bytes).context("write a blob")?;
    Ok(digest)
}

/// The bundle in a layout that `crane` wrote.
fn of_layout(folder: &Path, digest: &str) -> Result<Bundle> {
    let index = read_json(folder, digest)?;
    let mut manifests = index["manifests"].as_array().into_iter().flatten();
    let artifact = manifests.find(|it| it["artifactType"] == ARTIFACT).context("its index has no such artifact")?;
    let artifact = read_json(folder, text(&artifact["digest"]))?;
    let rest = blob(folder, text(&artifact["layers"][0]["digest"]))?;
    let mut contents: BTreeMap<String, Content> = BTreeMap::new();
    let order = verify::list(&rest, |name, offset, size| {
        contents.insert(name.to_owned(), Content::File { path: rest.clone(), offset, size });
    })?;
    let members = order.into_iter().map(|(name, hash)| {
        let content = match name.strip_prefix(BLOBS) {
            Some(blob) => Content::whole(self::blob(folder, &blob.replace('/', ":"))?)?,
            None => contents.remove(&name).with_context(|| format!("{name} is missing"))?,
        };
        Ok((name, hash, content))
    });
    Ok(Bundle::of_members(members.collect::<Result<Vec<_>>>()?))
}

/// The digits of a digest. They are checked, because digests come from the registry and become names of files.
fn hash(digest: &str) -> Result<&str> {
    let hash = digest.strip_prefix("sha256:").unwrap_or_default();
    ensure!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest:?} is no digest");
    Ok(hash)
}

/// The file of a blob.
fn blob(folder: &Path, digest: &str) -> Result<PathBuf> {
    hash(digest)?;
    let path = folder.join(oci::blob_path(digest));
    ensure!(path.is_file(), "blob {digest} is missing");
    Ok(path)
}

fn read_json(folder: &Path, digest: &str) -> Result<Value> {
    let mut bytes = Vec::new();
    let file = File::open(blob(folder, digest)?).context("open a blob")?;
    file.take(JSON_BYTES).read_to_end(&mut bytes).context("read a blob")?;
    serde_json::from_slice(&bytes).with_context(|| format!("parse blob {digest}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
