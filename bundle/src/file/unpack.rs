//! Unpacks the programs of a bundle and their files into the cache, once. The images stay in the bundle file.
//!
//! A bundle is checked while it is unpacked, and the cache gets it whole or not at all. Later the layers are compared
//! with their digests when an engine loads them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use support::progress;

use super::verify::{self, Blob, NodeBlobs};
use super::{About, CORPUS, DRIVER, FACTS, KIND, KUBECTL, PROGRAMS, SHARE, SHARED_MANIFESTS, SUITES};
use crate::cache::Cache;
use crate::node::NodeImage;
use crate::oci::{Content, Image, Layer};
use crate::release::{self, Release, Tags};

/// The file of the cache that says what was unpacked.
const CONTENTS: &str = "contents.json";

/// What is known of an unpacked bundle.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    about: About,
    /// Length of the bundle in bytes.
    bytes: u64,
    sha256: String,
    node: NodeBlobs,
}

/// What a bundle has for a cluster. Checks and unpacks the bundle if the cache does not have it.
///
/// # Errors
/// When the file cannot be read, is no bundle for this host and program, has faults, or the cache cannot be written.
pub fn open(cache: &Cache, file: &Path) -> Result<Release> {
    let claim = verify::begin(file)?;
    let file = &std::path::absolute(file).with_context(|| format!("find {}", file.display()))?;
    let folder = cache.get_or_build("bundles", "bundle", &verify::unpacking(&claim.id), |place| {
        progress::step(&format!("verify and unpack {}", file.display()), || {
            let verified = verify::unpack(file, &claim.id, place, &[PROGRAMS, SHARE])?;
            let contents =
                Contents { about: verified.about, bytes: verified.bytes, sha256: verified.sha256, node: verified.node };
            fs::write(place.join(CONTENTS), serde_json::to_vec(&contents)?).context("write what was unpacked")
        })
    })?;
    let contents: Contents = read_json(&folder.join(CONTENTS))?;
    let length = file.metadata().with_context(|| format!("look at {}", file.display()))?.len();
    let name = file.display();
    ensure!(length >= contents.bytes, "{name} is truncated: it ends after {length} bytes of {}", contents.bytes);
    ensure!(length == contents.bytes, "{name} is damaged: it has bytes after its last member");
    release(&folder, file, &contents).with_context(|| format!("use {name}"))
}

fn release(folder: &Path, file: &Path, contents: &Contents) -> Result<Release> {
    let about = &contents.about;
    let mut facts: Map<String, Value> = read_json(&folder.join(FACTS))?;
    let bundle = json!({"commit": about.commit, "modified": about.modified, "sha256": contents.sha256});
    facts.insert("bundle".to_owned(), bundle);
    let names: Vec<&str> = about.images.iter().map(|image| image.name.as_str()).collect();
    let release = Release {
        kind: folder.join(KIND),
        kubectl: folder.join(KUBECTL),
        driver: folder.join(DRIVER),
        node: NodeImage::of(node(file, about, &contents.node)),
        toolbox: release::toolbox(&names)?,
        tags: Tags::of(&names)?,
        manifests: folder.join(SHARED_MANIFESTS),
        corpus: folder.join(CORPUS),
        suites: folder.join(SUITES),
        facts: facts.into(),
    };
    for path in [&release.kind, &release.kubectl, &release.driver, &release.manifests, &release.corpus, &release.suites]
    {
        ensure!(path.exists(), "it has no {}", path.strip_prefix(folder).unwrap_or(path).display());
    }
    Ok(release)
}

fn node(file: &Path, about: &About, blobs: &NodeBlobs) -> Image {
    let layer = |Blob { digest, offset, size }: &Blob| {
        let content = Content::File { path: file.to_owned(), offset: *offset, size: *size };
        Arc::new(Layer::known(content, digest))
    };
    Image::known(&about.node, &blobs.config, &blobs.manifest, blobs.layers.iter().map(layer).collect())
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::file::verify::tests::bundle;
    use crate::file::{FORMAT, save};

    /// A bundle in a file `x.tar`, and a cache beside it.
    fn saved() -> (TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let (_sources, bundle) = bundle("x");
        save(&bundle, &dir.path().join("x.tar")).unwrap();
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        (dir, cache)
    }

    /// What the cache has of bundles.
    fn unpacked(cache: &Cache) -> usize {
        fs::read_dir(cache.root().join("bundles")).map_or(0, Iterator::count)
    }

    #[test]
    fn bundle_has_what_a_cluster_needs() {
        let (dir, cache) = saved();
        let release = open(&cache, &dir.path().join("x.tar")).unwrap();
        assert_eq!(fs::read_to_string(&release.kind).unwrap(), "kind");
        assert_eq!(release.driver.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_to_string(release.corpus.join("a/b.md")).unwrap(), "# A document");
        assert!(release.manifests.join("base/worker.yaml").is_file() && release.suites.is_dir());
        assert_eq!(release.toolbox, "slipway.local/toolbox:1");
        assert_eq!(release.facts["bundle"]["commit"], "0123456789".repeat(4));
        assert_eq!(release.node.reference, "slipway.local/node:1");
        let mut archive = Vec::new();
        release.node.write_over(&[], &mut archive).unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        assert_eq!((release.tags.etcd.as_str(), release.tags.coredns.as_str()), ("v3", "v1"));
        assert_eq!(archive.entries().unwrap().count(), 3 + 2 + 1, "a layout, two blobs of JSON, and a layer");
    }

    #[test]
    fn bundle_is_unpacked_once_and_its_layers_are_checked_each_time() {
        let (dir, cache) = saved();
        let file = dir.path().join("x.tar");
        let first = open(&cache, &file).unwrap();
        let bytes = fs::read(&file).unwrap();
        let base = bytes.windows(6).position(|window| window == b"a base").unwrap();
        let mut other = bytes.clone();
        other[base] ^= 1;
        fs::write(&file, &other).unwrap();
        let again = open(&cache, &file).unwrap();
        assert_eq!((again.kind, unpacked(&cache)), (first.kind, 1));
        let error = format!("{:#}", again.node.write_over(&[], &mut std::io::sink()).unwrap_err());
        assert!(error.contains("changed while it was used"), "{error}");
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert!(format!("{:#}", open(&cache, &file).unwrap_err()).contains("is truncated"));
        fs::write(&file, [&bytes[..], b"x"].concat()).unwrap();
        assert!(format!("{:#}", open(&cache, &file).unwrap_err()).contains("after its last member"));
    }

    #[test]
    fn bundle_with_a_fault_leaves_nothing_in_the_cache() {
        let (dir, cache) = saved();
        let file = dir.path().join("x.tar");
        let good = fs::read(&file).unwrap();
        let mut cases: Vec<(Vec<u8>, &str)> =
            (0..good.len()).step_by(509).map(|length| (good[..length].to_vec(), " is ")).collect();
        for at in (0..good.len()).step_by(509) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            cases.push((bad, " is "));
        }
        let text = |from: &str, to: &str| {
            let at = good.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
            [&good[..at], to.as_bytes(), &good[at + from.len()..]].concat()
        };
        cases.push((text("bin/kind\n", "../kind\n\n"), "is damaged"));
        cases.push((text(&format!("\"format\": {FORMAT}"), "\"format\": 9"), "is damaged: bundle.json"));
        for (bytes, expected) in cases {
            fs::write(&file, bytes).unwrap();
            let error = format!("{:#}", open(&cache, &file).unwrap_err());
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
            assert_eq!(unpacked(&cache), 0, "{error}");
        }
        fs::write(&file, &good).unwrap();
        open(&cache, &file).unwrap();
        assert_eq!(unpacked(&cache), 1, "the next run goes on");
    }
}
