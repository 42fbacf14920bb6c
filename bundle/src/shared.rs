//! Built programs and root filesystems in a registry, so that another host need not build them.
//!
//! An entry of the cache is an artifact there: a tag with the entry's name and the key of its build, and a blob for
//! each file. Who takes it trusts nothing of the registry: the key says that it was built from the same inputs, and
//! each file must have the digest that `bundle/outputs.lock` has. So only what the lock has is shared.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::command::Cmd;
use support::{interrupt, progress};

use crate::cache::{Cache, remove_folder, sha256_file, unchanged};
use crate::file::registry::run;
use crate::oci;
use crate::outputs::Outputs;
use crate::steps::Step;

/// The type of an entry, and of a file in it.
const ARTIFACT: &str = "application/vnd.slipway.entry.v1";
const FILE: &str = "application/vnd.slipway.file.v1";
/// The annotation with the name of a file.
const TITLE: &str = "org.opencontainers.image.title";
/// The file in the cache that names the registry of all commands.
const REMEMBERED: &str = "from";

/// The registry that all commands take from.
pub fn remembered(cache: &Cache) -> Option<String> {
    let text = fs::read_to_string(cache.root().join(REMEMBERED)).ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Makes every command take from this registry. An empty name makes them take from none.
///
/// # Errors
/// When the cache cannot be written.
pub fn remember(cache: &Cache, repository: &str) -> Result<()> {
    let file = cache.root().join(REMEMBERED);
    fs::write(&file, format!("{repository}\n")).with_context(|| format!("write {}", file.display()))
}

/// Sends the entries of these steps to a repository, as far as the cache and the lock have them. Answers their names.
///
/// # Errors
/// When an entry differs from the lock, or the registry does not take it. What was sent is not sent again.
pub fn publish(crane: &Path, cache: &Cache, steps: &[Step], lock: &Outputs, repository: &str) -> Result<Vec<String>> {
    let mut sent = Vec::new();
    for step in steps {
        let entry = step.place(cache);
        let Some(files) = locked_files(step, lock).filter(|_| entry.is_dir()) else { continue };
        let seal = unchanged(&entry).map_err(|fault| anyhow::anyhow!("{} is damaged: {fault}", entry.display()))?;
        for (name, digest) in &files {
            let found = seal.files.get(name).map(|file| format!("sha256:{}", file.sha256)).unwrap_or_default();
            ensure!(found == *digest, "{name} of {} is {found}, and the lock has {digest}", step.name);
        }
        progress::step(&format!("send {}", step.name), || send(crane, cache, step, &entry, &files, repository))?;
        sent.push(step.name.clone());
    }
    Ok(sent)
}

fn send(
    crane: &Path,
    cache: &Cache,
    step: &Step,
    entry: &Path,
    files: &BTreeMap<String, String>,
    repository: &str,
) -> Result<()> {
    let _lock = cache.lock(&format!("send-{}", step.name))?;
    let layout = cache.root().join("layouts").join(format!("send-{}", step.name));
    remove_folder(&layout)?;
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("make {}", blobs.display()))?;
    let write = |bytes: &[u8]| -> Result<Value> {
        let digest = oci::digest(bytes);
        fs::write(layout.join(oci::blob_path(&digest)), bytes).context("write a blob")?;
        Ok(json!({"digest": digest, "size": bytes.len()}))
    };
    let mut layers = Vec::new();
    for (name, digest) in files {
        let (file, blob) = (entry.join(name), layout.join(oci::blob_path(digest)));
        if !blob.exists() {
            let linked = fs::hard_link(&file, &blob).or_else(|_| fs::copy(&file, &blob).map(drop));
            linked.with_context(|| format!("copy {}", file.display()))?;
        }
        let size = file.metadata().with_context(|| format!("look at {}", file.display()))?.len();
        layers.push(json!({"mediaType": FILE, "digest": digest, "size": size, "annotations": {TITLE: name}}));
    }
    let mut config = write(b"{}")?;
    config["mediaType"] = json!("application/vnd.oci.empty.v1+json");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": oci::MANIFEST_TYPE,
        "artifactType": ARTIFACT,
        "config": config,
        "layers": layers,
    });
    let mut manifest = write(&oci::to_bytes(&manifest))?;
    manifest["mediaType"] = json!(oci::MANIFEST_TYPE);
    let index = json!({"schemaVersion": 2, "mediaType": oci::INDEX_TYPE, "manifests": [manifest]});
    for (name, value) in [("oci-layout", json!({"imageLayoutVersion": "1.0.0"})), ("index.json", index)] {
        fs::write(layout.join(name), oci::to_bytes(&value)).with_context(|| format!("write {name}"))?;
    }
    let target = reference(step, repository);
    run(&Cmd::new(crane).arg("push").arg(&layout).arg(&target)).with_context(|| format!("send {target}"))?;
    remove_folder(&layout)
}

/// Whether there is an entry that the cache lacks and a registry could have.
pub fn is_useful(cache: &Cache, steps: &[Step], lock: &Outputs) -> bool {
    steps.iter().any(|step| lacks(cache, step) && locked_files(step, lock).is_some())
}

fn lacks(cache: &Cache, step: &Step) -> bool {
    cache.get(step.kind, &step.name, &step.action).is_none()
}

/// Takes the entries of these steps that the cache lacks and a repository has, and answers their names. The rest has to
/// be built: what is not there, and what differs from the lock. A registry that does not answer is asked once.
///
/// # Errors
/// When the cache cannot be written.
pub fn take(crane: &Path, cache: &Cache, steps: &[Step], lock: &Outputs, repository: &str) -> Result<Vec<String>> {
    let mut taken = Vec::new();
    for step in steps.iter().filter(|step| lacks(cache, step)) {
        let Some(files) = locked_files(step, lock) else { continue };
        let source = reference(step, repository);
        let digest = match run(&Cmd::new(crane).args(["manifest", &source])) {
            Ok(manifest) => match differs(&manifest, &files) {
                None => oci::digest(manifest.as_bytes()),
                Some(why) => {
                    progress::note(&format!("{source} is not used: {why}"));
                    continue;
                }
            },
            Err(error) if absent(&error) => continue,
            Err(error) => {
                interrupt::check()?;
                progress::note(&format!("{repository} does not answer, and what is missing is built: {error:#}"));
                break;
            }
        };
        let source = format!("{repository}@{digest}");
        let got = cache.get_or_build(step.kind, &step.name, &step.action, |place| {
            progress::step(&format!("take {} from {repository}", step.name), || {
                fetch(crane, cache, &source, &files, place)
            })
        });
        match got {
            Ok(_) => taken.push(step.name.clone()),
            Err(error) => {
                interrupt::check()?;
                progress::note(&format!("{} is built, because it could not be taken: {error:#}", step.name));
            }
        }
    }
    Ok(taken)
}

fn fetch(crane: &Path, cache: &Cache, source: &str, files: &BTreeMap<String, String>, place: &Path) -> Result<()> {
    let layout = cache.root().join("layouts").join(format!("take-{}", &source[source.len() - 16..]));
    fs::create_dir_all(&layout).with_context(|| format!("make {}", layout.display()))?;
    let _ = fs::remove_file(layout.join("index.json"));
    run(&Cmd::new(crane).args(["pull", "--format", "oci", source]).arg(&layout)).context("take it")?;
    for (name, digest) in files {
        let (blob, file) = (layout.join(oci::blob_path(digest)), place.join(name));
        // A copy, because another program of the same bytes may need the blob, too.
        fs::copy(&blob, &file).with_context(|| format!("copy {}", blob.display()))?;
        let found = sha256_file(&file)?;
        ensure!(*digest == format!("sha256:{found}"), "the SHA-256 of {name} is {found}, and the lock has {digest}");
        fs::set_permissions(&file, Permissions::from_mode(0o755))
            .with_context(|| format!("write {}", file.display()))?;
    }
    remove_folder(&layout)
}

/// The files of an entry and their digests, if the lock has all of them.
fn locked_files(step: &Step, lock: &Outputs) -> Option<BTreeMap<String, String>> {
    let files = step.files.iter().map(|file| Some((file.clone(), step.locked(file, lock).1?.clone())));
    files.collect::<Option<BTreeMap<_, _>>>().filter(|files| !files.is_empty())
}

/// How an entry in a registry differs from the lock, if it does.
fn differs(manifest: &str, files: &BTreeMap<String, String>) -> Option<String> {
    let manifest: Value = serde_json::from_str(manifest).unwrap_or_default();
    if manifest["artifactType"] != ARTIFACT {
        return Some(format!("its type is {}", manifest["artifactType"]));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let found: BTreeMap<String, String> =
        layers.map(|layer| (text(&layer["annotations"][TITLE]), text(&layer["digest"]))).collect();
    if let Some(name) = found.keys().find(|name| !files.contains_key(*name)) {
        return Some(format!("it has a file {name:?}"));
    }
    let other = files.iter().find(|(name, digest)| found.get(*name) != Some(*digest))?;
    let (name, digest) = other;
    Some(format!("its {name} is {}, and the lock has {digest}", found.get(name).map_or("absent", String::as_str)))
}

/// The name of an entry in a repository.
fn reference(step: &Step, repository: &str) -> String {
    format!("{repository}:{}-{}", step.name.replace('+', "_"), &step.action.key()[..16])
}

/// Whether a registry said that it does not have something.
fn absent(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "404 Not Found"].iter().any(|code| text.contains(code))
}

#[cfg(test)]
mod tests;
