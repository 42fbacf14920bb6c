//! The SBOM of an image, in CycloneDX 1.6. Pure: what is in the image comes in, JSON comes out.
//!
//! Go modules come from the build information in each program, crates from the list in each, Debian packages from the
//! root filesystem. It has no time, and its serial number comes from the image's digest.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Named;
use super::members::hash;

const FORMAT: &str = "CycloneDX";
const SPEC: &str = "1.6";
/// CycloneDX' type of an image.
const CONTAINER: &str = "container";

/// Something with a version that is in an image. Ordered by its package URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Component {
    purl: String,
    name: String,
    version: String,
    /// CycloneDX' type.
    kind: &'static str,
}

impl Component {
    /// A Go module, or Go's standard library under the name `stdlib`.
    pub(super) fn go(module: &str, version: &str) -> Self {
        Self::library("golang", module, version, "")
    }

    /// A crate of crates.io or of this workspace.
    pub(super) fn cargo(name: &str, version: &str) -> Self {
        Self::library("cargo", name, version, "")
    }

    /// A Debian package.
    pub(super) fn debian(name: &str, version: &str, architecture: &str, suite: &str) -> Self {
        let mut component = Self::library("deb", name, version, &format!("?arch={architecture}&distro={suite}"));
        component.purl = component.purl.replacen("pkg:deb/", "pkg:deb/debian/", 1);
        component
    }

    /// An image in an image.
    pub(super) fn image(image: &Named) -> Self {
        let (name, version) = image.name.rsplit_once(':').unwrap_or((&image.name, ""));
        let last = name.rsplit('/').next().unwrap_or(name).to_lowercase();
        let purl =
            format!("pkg:oci/{last}@{}?repository_url={}&tag={}", encode(&image.digest), encode(name), encode(version));
        Self { purl, name: name.to_owned(), version: version.to_owned(), kind: CONTAINER }
    }

    /// Its name without its version.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Its package URL.
    pub(super) fn purl(&self) -> &str {
        &self.purl
    }

    /// Its name if it is of this kind of packages, such as `cargo`.
    pub(super) fn of(&self, kind: &str) -> Option<&str> {
        let rest = self.purl.strip_prefix("pkg:")?.strip_prefix(kind)?;
        rest.starts_with('/').then_some(&*self.name)
    }

    /// Whether it is an image.
    pub(super) fn is_image(&self) -> bool {
        self.kind == CONTAINER
    }

    fn library(kind: &str, name: &str, version: &str, qualifiers: &str) -> Self {
        let path: Vec<String> = name.split('/').map(encode).collect();
        let purl = format!("pkg:{kind}/{}@{}{qualifiers}", path.join("/"), encode(version));
        Self { purl, name: name.to_owned(), version: version.to_owned(), kind: "library" }
    }
}

/// The text with every byte percent-encoded that a package URL does not allow.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// The SBOM of an image.
pub(super) fn render(image: &Named, components: &BTreeSet<Component>) -> Value {
    let subject = Component::image(image);
    let hashes = json!([{"alg": "SHA-256", "content": hash(&image.digest)}]);
    let components: Vec<Value> = components.iter().map(entry).collect();
    let mut about = entry(&subject);
    about["hashes"] = hashes;
    json!({
        "bomFormat": FORMAT,
        "specVersion": SPEC,
        "serialNumber": serial(hash(&image.digest)),
        "version": 1,
        "metadata": {"component": about},
        "components": components,
    })
}

fn entry(component: &Component) -> Value {
    let Component { purl, name, version, kind } = component;
    json!({"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl})
}

/// A UUID of version 8, whose content is free, from the digits of a digest.
fn serial(digits: &str) -> String {
    let part = |from, to| digits.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
}

/// The digits of the digest of the image that an SBOM is about.
pub(super) fn digest(sbom: &Value) -> Result<&str> {
    ensure!(sbom["bomFormat"] == FORMAT, "its bomFormat is {}", sbom["bomFormat"]);
    ensure!(sbom["specVersion"] == SPEC, "its specVersion is {}", sbom["specVersion"]);
    ensure!(sbom["components"].is_array(), "it has no components");
    sbom["metadata"]["component"]["hashes"][0]["content"].as_str().context("it names no image")
}

/// The modules in the output of `go version -m`, and Go's standard library.
pub(super) fn go_modules(listing: &str) -> BTreeSet<Component> {
    let mut modules: Vec<(&str, &str)> = Vec::new();
    for line in listing.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["mod" | "dep", module, version, ..] => modules.push((module, version)),
            // The line before this one was replaced by this module.
            ["=>", module, version, ..] => {
                modules.pop();
                modules.push((module, version));
            }
            [program, version] if program.ends_with(':') => {
                modules.push(("stdlib", version.trim_start_matches("go")));
            }
            _ => {}
        }
    }
    let modules = modules.into_iter().filter(|(_, version)| *version != "(devel)");
    modules.map(|(module, version)| Component::go(module, version)).collect()
}

/// The package URLs of the components of an SBOM that are no images.
pub(super) fn purls(sbom: &Value) -> impl Iterator<Item = &str> {
    let components = sbom["components"].as_array().into_iter().flatten();
    components.filter(|component| component["type"] != CONTAINER).filter_map(|component| component["purl"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(components: &BTreeSet<Component>) -> Vec<&str> {
        components.iter().map(|component| component.purl.as_str()).collect()
    }

    #[test]
    fn modules_are_read_with_their_replacements() {
        let listing = "/x/kind: go1.26.8\n\tpath\tsigs.k8s.io/kind\n\tmod\tslipway/kind\t(devel)\t\n\
                       \tdep\tgithub.com/old/x\tv1.0.0\n\t=>\tgithub.com/new/x\tv1.0.1\th1:a=\n\
                       \tdep\tgithub.com/docker/docker\tv28.5.2+incompatible\th1:b=\n\tbuild\t-compiler=gc\n";
        let expected = [
            "pkg:golang/github.com/docker/docker@v28.5.2%2Bincompatible",
            "pkg:golang/github.com/new/x@v1.0.1",
            "pkg:golang/stdlib@1.26.8",
        ];
        assert_eq!(all(&go_modules(listing)), expected);
    }

    #[test]
    fn package_urls_are_encoded() {
        let package = Component::debian("libstdc++6", "1:12.2.0-14+deb12u1~x", "amd64", "bookworm");
        assert_eq!((package.of("deb"), package.of("de")), (Some("libstdc++6"), None));
        assert_eq!(Component::cargo("wasi", "0.14.7+wasi-0.2.4").purl, "pkg:cargo/wasi@0.14.7%2Bwasi-0.2.4");
        assert_eq!(package.purl, "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1~x?arch=amd64&distro=bookworm");
        let image = Named { name: "registry.k8s.io/coredns/coredns:v1".into(), digest: "sha256:ab".into() };
        assert_eq!(
            Component::image(&image).purl,
            "pkg:oci/coredns@sha256:ab?repository_url=registry.k8s.io%2Fcoredns%2Fcoredns&tag=v1"
        );
    }

    #[test]
    fn sbom_names_its_image_by_digest() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let image = Named { name: "slipway.local/x:1".into(), digest };
        let sbom = render(&image, &BTreeSet::from([Component::cargo("serde", "1.0.0")]));
        assert_eq!(super::digest(&sbom).unwrap(), hash(&image.digest));
        assert_eq!(sbom["serialNumber"], "urn:uuid:01234567-89ab-8cde-8f01-23456789abcd");
        assert_eq!(sbom["components"][0]["purl"], "pkg:cargo/serde@1.0.0");
    }

    /// What CycloneDX' own schema says of an SBOM. `jv` finds the schemas that this one refers to by their names.
    fn validated(sbom: &Value) -> Result<()> {
        let place = |name: &str| {
            let found = std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run `cargo xtask test`"));
            std::path::PathBuf::from(found)
        };
        let dir = tempfile::tempdir()?;
        let schemas = place("SLIPWAY_CYCLONEDX").join("schema");
        // The module has one of its schemas under a slightly different name.
        for (from, to) in [
            ("bom-1.6.schema.json", "bom-1.6.schema.json"),
            ("spdx.schema.json", "spdx.schema.json"),
            ("jsf-0.82.schemax.json", "jsf-0.82.schema.json"),
        ] {
            std::fs::write(dir.path().join(to), std::fs::read(schemas.join(from)).context(from)?)?;
        }
        let file = dir.path().join("x.cdx.json");
        std::fs::write(&file, sbom.to_string())?;
        let jv = support::command::Cmd::new(place("SLIPWAY_JSONSCHEMA"));
        let known = format!("http://cyclonedx.org/schema={}", dir.path().display());
        jv.args(["--assert-format", "--map", &known]).arg(dir.path().join("bom-1.6.schema.json")).arg(&file).run()?;
        Ok(())
    }

    #[test]
    #[ignore = "needs CycloneDX' schemas, which `cargo xtask test` fetches"]
    fn sbom_is_valid_by_the_schema_of_cyclonedx() {
        let named =
            |name: &str| Named { name: name.into(), digest: format!("sha256:{}", "0123456789abcdef".repeat(4)) };
        let image = named("slipway.local/x:1");
        let components = BTreeSet::from([
            Component::cargo("wasi", "0.14.7+wasi-0.2.4"),
            Component::debian("libstdc++6", "1:12.2.0-14+deb12u1~x", "amd64", "bookworm"),
            Component::go("github.com/Docker/docker", "v28.5.2+incompatible"),
            Component::image(&named("registry.k8s.io/coredns/coredns:v1")),
        ]);
        let sbom = render(&image, &components);
        validated(&sbom).unwrap_or_else(|error| panic!("{error:#}"));
        let changes: [fn(&mut Value); 5] = [
            |sbom| sbom["components"][1] = sbom["components"][0].clone(),
            |sbom| sbom["components"][0]["type"] = "crate".into(),
            |sbom| sbom["serialNumber"] = "1".into(),
            |sbom| sbom["metadata"]["component"]["hashes"][0]["content"] = "x".into(),
            |sbom| sbom["colour"] = "red".into(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut other = sbom.clone();
            change(&mut other);
            assert!(validated(&other).is_err(), "change {number}: {other}");
        }
    }
}
