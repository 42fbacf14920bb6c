//! A small bundle, and every kind of damage to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::file::provenance::{Origin, statement};
use crate::file::sbom::{self, Component};
use crate::file::{Bundle, Commit, Named, PROVENANCE, sbom_member};
use crate::oci::{Config, Content, Image, Layer, Tree};

const HOST: &str = "amd64";
const IMAGE: &str = "slipway.local/toolbox:1";
/// The images whose tags kubeadm is told.
const KUBEADM: [&str; 2] = ["registry.k8s.io/coredns/coredns:v1", "registry.k8s.io/etcd:v3"];
/// What a bundle has beside its images, so that a cluster can be made of it.
const FILES: [(&str, &str); 8] = [
    ("bin/kind", "kind"),
    ("bin/kind-e2e", "a driver"),
    ("bin/kubectl", "a program"),
    ("bin/slipway", "slipway"),
    ("share/corpus/a/b.md", "# A document"),
    ("share/facts.json", "{\"unlocked\":[]}"),
    ("share/manifests/base/worker.yaml", "kind: Pod"),
    ("share/suites/scenarios.toml", ""),
];

/// What a bundle is made from. A test changes one thing, and makes a bundle whose checksums are right.
struct Parts {
    about: About,
    images: Vec<Image>,
    files: BTreeMap<String, Content>,
}

impl Parts {
    /// Images that share a layer, whose sources are in `dir`. `text` is in one of them.
    fn new(dir: &Path, text: &str) -> Self {
        Self::of(dir, text, &KUBEADM, &FILES)
    }

    /// The same with these images of the control plane, and these files.
    fn of(dir: &Path, text: &str, control_plane: &[&str], files: &[(&str, &str)]) -> Self {
        std::fs::write(dir.join("one"), text).unwrap();
        let base = layer("/base", "a base".into());
        let worker = layer("/app/worker", Content::whole(dir.join("one")).unwrap());
        let config = Config { architecture: HOST.into(), entrypoint: vec!["/base".into()], ..Config::default() };
        let node = Image::new("slipway.local/node:1", &config, vec![Arc::clone(&base)]);
        // Of the same content, so that they have no blobs of their own.
        let control_plane = control_plane.iter().map(|&name| node.clone().renamed(name)).collect::<Vec<_>>();
        let images: Vec<Image> =
            [node, Image::new(IMAGE, &config, vec![base, worker])].into_iter().chain(control_plane).collect();
        let named: Vec<Named> =
            images.iter().map(|image| Named { name: image.name.clone(), digest: image.digest() }).collect();
        let manifest = format!("kind: Pod\nspec:\n- image: {IMAGE}@{}\n", named[1].digest);
        let texts = files.iter().copied().chain([("manifests/worker.yaml", manifest.as_str())]);
        let subjects = texts.clone().map(|(name, text)| (name.to_owned(), hex_of(text.as_bytes()))).collect();
        let mut files: BTreeMap<String, Content> = texts.map(|(name, text)| (name.to_owned(), text.into())).collect();
        let commit = Commit { id: "0123456789".repeat(4), modified: false };
        let origin = Origin { commit: &commit, toolchains: &BTreeMap::new(), unlocked: &[], locks: BTreeMap::new() };
        let provenance = statement(&origin, &named, &subjects).to_string();
        files.insert(PROVENANCE.into(), provenance.into());
        for image in &named {
            let components = BTreeSet::from([Component::cargo("serde", "1.0.0")]);
            files.insert(sbom_member(&image.name), sbom::render(image, &components).to_string().into());
        }
        let text = "a licence";
        let list = json!({"pkg:cargo/serde@1.0.0": {"LICENSE": hex_of(text.as_bytes())}});
        files.insert("licenses/components.json".into(), list.to_string().into());
        files.insert(licence(text), text.into());
        let about = About {
            format: FORMAT,
            version: "0.1.0".into(),
            commit: commit.id,
            modified: false,
            architecture: HOST.into(),
            node: images[0].name.clone(),
            images: named,
        };
        Self { about, images, files }
    }

    fn bundle(self) -> Bundle {
        Bundle::new(&self.about, &self.images, self.files).unwrap()
    }
}

/// A bundle, and the folder of its sources.
pub(in crate::file) fn bundle(text: &str) -> (TempDir, Bundle) {
    let dir = tempfile::tempdir().unwrap();
    let bundle = Parts::new(dir.path(), text).bundle();
    (dir, bundle)
}

/// The member with a licence's text.
fn licence(text: &str) -> String {
    format!("licenses/texts/{}.txt", hex_of(text.as_bytes()))
}

fn layer(path: &str, content: Content) -> Arc<Layer> {
    let mut tree = Tree::default();
    tree.file(path, 0o755, content).unwrap();
    Arc::new(Layer::new(path, tree).unwrap())
}

fn bytes(bundle: &Bundle) -> Vec<u8> {
    let mut out = Vec::new();
    bundle.write(&mut out).unwrap();
    out
}

fn checked(bytes: &[u8]) -> Result<Verified> {
    check(&mut Reader::new(bytes), HOST)
}

fn fault(bytes: &[u8]) -> String {
    format!("{:#}", checked(bytes).unwrap_err())
}

/// The fault of a bundle that is made with one change.
fn changed(change: impl FnOnce(&mut Parts)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut parts = Parts::new(dir.path(), "x");
    change(&mut parts);
    fault(&bytes(&parts.bundle()))
}

/// Each member's name, and the positions of its header, its content, and its end with the padding.
fn members(bytes: &[u8]) -> Vec<(String, usize, usize, usize)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let (head, content) = (entry.raw_header_position() as usize, entry.raw_file_position() as usize);
        let end = content + (entry.size().next_multiple_of(512)) as usize;
        (entry.path().unwrap().display().to_string(), head, content, end)
    });
    entries.collect()
}

/// `UPDATE_SEED=1 cargo test -p bundle seed` writes it.
#[test]
fn seed_of_the_fuzz_target_is_a_bundle_of_this_format() {
    let dir = tempfile::tempdir().unwrap();
    let made = bytes(&Parts::of(dir.path(), "x", &[], &FILES[..1]).bundle());
    checked(&made).unwrap();
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/bundle/two-images.tar");
    if std::env::var_os("UPDATE_SEED").is_some() {
        std::fs::write(&seed, &made).unwrap();
    }
    assert!(std::fs::read(&seed).unwrap() == made, "{}: set UPDATE_SEED=1 to write it", seed.display());
}

#[test]
fn bundles_from_two_folders_are_equal_and_without_faults() {
    let (one, first) = bundle("x");
    let (two, second) = bundle("x");
    assert_ne!(one.path(), two.path());
    let first = bytes(&first);
    assert!(first == bytes(&second), "the same bytes");
    let (_three, third) = bundle("y");
    assert!(first != bytes(&third), "other content, other bytes");
    let verified = checked(&first).unwrap();
    assert_eq!(verified.bytes, first.len() as u64);
    assert_eq!(verified.sha256, hex_of(&first));
    assert_eq!(verified.members, members(&first).len());
    assert_eq!(verified.about.images.len(), 2 + KUBEADM.len());
}

#[test]
fn members_are_in_order_and_the_layout_is_complete() {
    let members = members(&bytes(&bundle("x").1));
    let names: Vec<&str> = members.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names[..2], [ABOUT, SUMS]);
    assert!(names[2..].is_sorted(), "{names:?}");
    for name in ["oci-layout", "index.json", "manifest.json"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(names.iter().filter(|name| name.starts_with("blobs/")).count(), 2 * 2 + 2, "a shared layer is once");
}

#[test]
fn every_changed_byte_is_found_with_its_member() {
    let good = bytes(&bundle("x").1);
    let members = members(&good);
    let mut bad = good.clone();
    for at in 0..good.len() {
        bad[at] ^= 1;
        let fault = fault(&bad);
        bad[at] ^= 1;
        assert!(!fault.contains('\n'), "one line: {fault}");
        match members.iter().find(|(_, head, _, end)| (*head..*end).contains(&at)) {
            // A changed checksum is told as a member that does not match it.
            Some((name, _, content, _)) if name == SUMS && at >= *content => {}
            Some((name, ..)) => assert!(fault.contains(name.as_str()), "byte {at} of {name}: {fault}"),
            None => assert!(fault.contains("the end") || fault.contains("last member"), "byte {at}: {fault}"),
        }
    }
}

#[test]
fn truncated_bundle_is_told_as_such() {
    let good = bytes(&bundle("x").1);
    for length in (512..good.len()).step_by(101) {
        let fault = fault(&good[..length]);
        assert!(fault.starts_with(&format!("is truncated: it ends after {length} bytes")), "{fault}");
    }
}

#[test]
fn missing_and_added_members_are_named() {
    let good = bytes(&bundle("x").1);
    let members = members(&good);
    for (name, head, _, end) in &members[2..] {
        let without = [&good[..*head], &good[*end..]].concat();
        assert_eq!(fault(&without), format!("is damaged: {name} is missing"));
    }
    let mut other = crate::file::members::head("bin/other", 0).unwrap().as_bytes().to_vec();
    let (_, head, ..) = members[3];
    other = [&good[..head], &other, &good[head..]].concat();
    assert_eq!(fault(&other), "is damaged: bin/other is not listed in SHA256SUMS");
    assert!(fault(&[&good[..], b"more"].concat()).contains("after its last member"));
}

#[test]
fn name_that_leaves_the_folder_is_no_member() {
    for name in ["share/../../x", "/x"] {
        let mut header = oci::header(tar::EntryType::Regular, 0o644, (0, 0), 0);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let file = [header.as_bytes(), &[0; 1024][..]].concat();
        let fault = Reader::new(file.as_slice()).head(Some("share/x")).unwrap_err().to_string();
        assert_eq!(fault, "is damaged: the header of share/x, at byte 0", "{name}");
    }
}

#[test]
fn what_is_not_a_bundle_says_so() {
    let other = [crate::file::members::head("x", 0).unwrap().as_bytes(), &[0; 1024][..]].concat();
    for bytes in [&b""[..], b"hello", &[b'x'; 4096], &other] {
        assert!(fault(bytes).starts_with("is not a bundle"), "{}", fault(bytes));
    }
    assert_eq!(fault(&[[0x1f, 0x8b].as_slice(), &[0; 600]].concat()), "is compressed: decompress it with gzip first");
}

#[test]
fn newer_format_and_foreign_architecture_are_told_first() {
    let newer = changed(|parts| {
        parts.about.format = FORMAT + 1;
        parts.files.clear();
    });
    let expected = format!(
        "has format {}, and this program reads format {FORMAT}: use the version of Slipway that made it",
        FORMAT + 1
    );
    assert_eq!(newer, expected);
    let foreign = changed(|parts| parts.about.architecture = "arm64".into());
    assert_eq!(foreign, "is for arm64, and this host is amd64");
}

#[test]
fn image_of_another_architecture_is_found() {
    let foreign = changed(|parts| {
        let config = Config { architecture: "arm64".into(), ..Config::default() };
        parts.images[1] = Image::new(IMAGE, &config, parts.images[1].layers.clone());
    });
    assert!(foreign.contains(IMAGE) && foreign.contains("arm64"), "{foreign}");
}

#[test]
fn members_that_do_not_agree_are_found() {
    let sbom = sbom_member(IMAGE);
    let with = |name: &str, text: &str| {
        let (name, text) = (name.to_owned(), text.to_owned());
        changed(move |parts| {
            parts.files.insert(name, text.into());
        })
    };
    let cases = [
        ("an image more", changed(|parts| drop(parts.about.images.pop())), "not those of bundle.json"),
        ("no node image", changed(|parts| parts.about.node = "node:2".into()), "no node image node:2"),
        ("no SBOM", changed(|parts| drop(parts.files.remove(&sbom_member(IMAGE)))), sbom.as_str()),
        ("an SBOM more", with("sbom/x.cdx.json", "{}"), "sbom/x.cdx.json is of no image"),
        ("an SBOM that is no SBOM", with(&sbom, "{}"), sbom.as_str()),
        ("an SBOM that is no JSON", with(&sbom, "{"), "not valid JSON"),
        ("no licence", changed(|parts| drop(parts.files.remove(&licence("a licence")))), "licenses: licenses/texts/"),
        ("a licence more", with("licenses/texts/x.txt", "x"), "licenses: no component has licenses/texts/x.txt"),
        ("a component less", with("licenses/components.json", "{}"), "does not have pkg:cargo/serde@1.0.0"),
        ("another licence", with(&licence("a licence"), "x"), "has another SHA-256 than its name"),
        ("a commit", changed(|parts| parts.about.commit = "f".repeat(40)), "its commit is 0123"),
        ("provenance that is none", with(PROVENANCE, "{}"), "not SLSA provenance"),
        ("a program that provenance does not name", with("bin/x", "x"), "subjects"),
        ("a manifest with a tag", with("manifests/worker.yaml", &format!("image: {IMAGE}")), "manifests/worker.yaml"),
        ("a blob that nobody uses", with(&format!("blobs/sha256/{}", hex_of(b"x")), "x"), "no image uses blobs/"),
        ("a blob under another name", with(&format!("blobs/sha256/{}", "0".repeat(64)), "x"), "its SHA-256 is"),
    ];
    for (case, fault, expected) in cases {
        assert!(fault.contains(expected), "{case}: {fault}");
    }
}

#[test]
fn layer_of_another_size_than_its_descriptor_is_found() {
    let manifest = |size: u64| json!({"digest": format!("sha256:{}", "a".repeat(64)), "size": size});
    let mut kept = Kept::default();
    let mut file = crate::file::members::head("blobs/x", 0).unwrap().as_bytes().to_vec();
    file.extend([0; 1024]);
    let mut reader = Reader::new(file.as_slice());
    let head = reader.head(None).unwrap().unwrap();
    kept.read(&mut reader, &Head { name: format!("blobs/sha256/{}", "a".repeat(64)), ..head }).unwrap();
    kept.blob(&manifest(0)).unwrap();
    assert!(kept.blob(&manifest(7)).unwrap_err().to_string().contains("has 0 bytes, not 7"));
}
