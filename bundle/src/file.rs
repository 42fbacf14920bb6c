//! The bundle file: one tar with every image, the manifests, the programs of the host, and what is known of them.
//!
//! The tar is an OCI image layout with further members. Its bytes depend on its contents alone. [`verify`] reads it
//! without a network and without an engine. `docs/bundle.md` describes the members.

mod chart;
mod collect;
mod folder;
mod licences;
mod members;
mod provenance;
pub(crate) mod registry;
mod render;
mod save;
mod sbom;
mod signature;
mod unpack;
mod verify;

use serde::{Deserialize, Serialize};

pub use collect::collect;
pub use folder::{check_folder, folder_for_registry};
pub use members::Bundle;
pub use provenance::Commit;
pub use registry::{pull, push};
pub use render::for_registry;
pub use save::{Saved, check_target, save};
pub use signature::{check_signature, signature_file};
pub use unpack::open;
pub use verify::{Verified, verify, verify_bytes};

/// The format that this program writes, and the newest that it reads.
pub const FORMAT: u64 = 3;

/// The member that says what the file is. It comes first.
const ABOUT: &str = "bundle.json";
/// The member with the SHA-256 of each other member. It comes second.
const SUMS: &str = "SHA256SUMS";
/// The member with the provenance.
const PROVENANCE: &str = "provenance.json";
/// The folder of the programs for the host, and the programs in it.
const PROGRAMS: &str = "bin/";
const SLIPWAY: &str = "bin/slipway";
const DRIVER: &str = "bin/kind-e2e";
const KIND: &str = "bin/kind";
const KUBECTL: &str = "bin/kubectl";
const CRANE: &str = "bin/crane";
/// The folder of the rendered manifests.
const MANIFESTS: &str = "manifests/";
/// The folder of what the programs read, and what is in it.
const SHARE: &str = "share/";
const SHARED_MANIFESTS: &str = "share/manifests";
const CORPUS: &str = "share/corpus";
const SUITES: &str = "share/suites";
const FACTS: &str = "share/facts.json";
/// The folder of the blobs of an OCI image layout, its other members, and the one that Docker reads.
const BLOBS: &str = "blobs/";
const OCI_LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
const DOCKER_MANIFEST: &str = "manifest.json";
/// The annotation with an image's full reference, which containerd reads.
const NAME: &str = "io.containerd.image.name";
/// The annotation with an image's full reference in an OCI image layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotations of the index with the version and the commit.
const VERSION: &str = "org.opencontainers.image.version";
const REVISION: &str = "org.opencontainers.image.revision";

/// What [`ABOUT`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The format of the file.
    pub format: u64,
    /// The version of this workspace.
    pub version: String,
    /// The commit of the checkout.
    pub commit: String,
    /// Whether the checkout had changes that the commit does not have.
    pub modified: bool,
    /// The processor architecture of images and programs, in Go's naming.
    pub architecture: String,
    /// Reference of the node image.
    pub node: String,
    /// The images, in order of name.
    pub images: Vec<Named>,
}

/// An image's name and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Full reference with a tag.
    pub name: String,
    /// The manifest's digest.
    pub digest: String,
}

/// The member with an image's SBOM.
fn sbom_member(image: &str) -> String {
    format!("sbom/{}.cdx.json", image.replace(['/', ':'], "_"))
}

/// This program's architecture, in Go's naming.
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
