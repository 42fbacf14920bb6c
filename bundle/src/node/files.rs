//! The small files of the node: those of kind's base image, read from its module, and those of this crate.

use std::path::Path;

use anyhow::{Context, Result};
use support::command::Cmd;

use super::{Ingredients, oci_spec};
use crate::oci::{Content, ROOT, Tree};

/// Files of kind's base image that the node does not need: the package installer of its Dockerfile, and the unit of a
/// snapshotter for rootless engines, which is not built here.
const OMITTED: &[&str] = &["/usr/local/bin/clean-install", "/etc/systemd/system/containerd-fuse-overlayfs.service"];
/// Units that are started when the node boots.
const ENABLED: &[&str] =
    &["containerd.service", "kubelet.service", "slipway-images.service", "undo-mount-hacks.service"];

/// A network manifest without effect. kind requires one even if its own network is disabled.
const CNI_MANIFEST: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: slipway-network
  namespace: kube-system
data:
  about: The pod network is set up on each node by slipway; kind's is disabled.
";

/// Sends every pull to a port on which nothing listens, so that the pull fails at once. The error has this address and
/// the image's name.
const NO_PULLS: &str = "server = \"http://127.0.0.1:1/images-are-not-pulled-here-add-it-to-bundle-images.toml\"\n";

/// The folder of what the API server reads. `slipway-protect.sh` adds its key.
pub(crate) const API_SERVER_FOLDER: &str = "/etc/kubernetes/api-server";
/// What it audits, and what it answers to whom it does not know.
const API_SERVER_FILES: [(&str, &str); 2] = [
    ("audit-policy.yaml", include_str!("audit-policy.yaml")),
    ("authentication.yaml", include_str!("authentication.yaml")),
];

pub(super) fn tree(from: &Ingredients<'_>) -> Result<Tree> {
    let kind = from.pins.component("kind")?;
    let base = from.parts.module_dir("kind", &kind.module)?.join("images/base/files");
    let mut tree = kind_files(&base)?;
    for unit in ENABLED {
        let link = format!("/etc/systemd/system/multi-user.target.wants/{unit}");
        tree.link(&link, &format!("/etc/systemd/system/{unit}"))?;
    }
    tree.file("/etc/systemd/system/slipway-images.service", 0o644, include_str!("slipway-images.service").into())?;
    tree.file("/etc/systemd/system/kubelet.service.d/20-slipway.conf", 0o644, include_str!("kubelet.conf").into())?;
    tree.file("/kind/bin/slipway-import", 0o755, include_str!("slipway-import.sh").into())?;
    tree.file("/kind/bin/slipway-protect", 0o755, include_str!("slipway-protect.sh").into())?;
    for (file, text) in API_SERVER_FILES {
        tree.file(&format!("{API_SERVER_FOLDER}/{file}"), 0o600, text.into())?;
    }
    tree.file("/etc/containerd/certs.d/_default/hosts.toml", 0o644, NO_PULLS.into())?;
    tree.file("/etc/containerd/cri-base.json", 0o644, cri_base(from)?.into())?;
    tree.file("/kind/version", 0o644, from.pins.component("kubernetes")?.version.as_str().into())?;
    tree.file("/kind/manifests/default-cni.yaml", 0o644, CNI_MANIFEST.into())?;
    tree.file("/kind/manifests/default-storage.yaml", 0o644, Content::whole(from.storage_manifest)?)?;
    tree.dir("/etc/kubernetes/manifests", 0o755, ROOT)?;
    Ok(tree)
}

/// The files of kind's base image. Programs and scripts are executable, other files are not.
fn kind_files(base: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    for path in crate::cache::files_below(base).context("read the files of kind's base image")? {
        let target = format!("/{}", path.strip_prefix(base).unwrap_or(&path).display());
        if OMITTED.contains(&target.as_str()) {
            continue;
        }
        let runs = target.starts_with("/usr/local/bin/") || target.starts_with("/kind/bin/");
        tree.file(&target, if runs { 0o755 } else { 0o644 }, Content::whole(path)?)?;
    }
    Ok(tree)
}

/// The base OCI spec of the node's containers: containerd's defaults, adapted.
fn cri_base(from: &Ingredients<'_>) -> Result<String> {
    let ctr = from.parts.program("containerd", "ctr")?;
    let defaults = Cmd::new(ctr).args(["oci", "spec"]).quiet().read().context("get the default OCI spec from ctr")?;
    oci_spec::adapt(&defaults)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Entry;

    #[test]
    fn only_programs_and_scripts_are_executable() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["kind/bin/x.sh", "usr/local/bin/entrypoint", "usr/local/bin/clean-install", "etc/crictl.yaml"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let tree = kind_files(dir.path()).unwrap();
        let modes: Vec<(&str, u32)> = tree
            .iter()
            .filter_map(|(path, entry)| match entry {
                Entry::File { mode, .. } => Some((path, *mode)),
                _ => None,
            })
            .collect();
        assert_eq!(modes, [("etc/crictl.yaml", 0o644), ("kind/bin/x.sh", 0o755), ("usr/local/bin/entrypoint", 0o755)]);
    }

    #[test]
    fn units_name_every_set_of_images() {
        let unit = include_str!("slipway-images.service");
        let [program, sets @ ..] = super::super::WAIT_FOR_IMAGES;
        assert!(unit.contains(&format!("ExecStart={program} {}", sets.join(" "))), "{unit}");
        assert!(include_str!("kubelet.conf").contains(&format!("ExecStartPre={program} {}", sets[0])));
    }

    #[test]
    fn audit_log_has_no_body_and_the_key_is_made_where_the_api_server_looks() {
        let policy = include_str!("audit-policy.yaml");
        let levels: Vec<&str> = policy.lines().filter_map(|line| line.strip_prefix("- level: ")).collect();
        assert!(levels.iter().all(|level| ["None", "Metadata"].contains(level)), "{levels:?}");
        assert_eq!(levels.last(), Some(&"Metadata"));
        let config = format!("\nconfig={API_SERVER_FOLDER}/encryption.yaml\n");
        assert!(include_str!("slipway-protect.sh").contains(&config));
        assert!(include_str!("kubelet.conf").contains("ExecStartPre=/kind/bin/slipway-protect\n"));
    }
}
