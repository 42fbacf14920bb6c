//! Renders the manifests with every image by its digest. A registry can change a tag, and cannot change a digest.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use support::command::Cmd;

use super::{Named, verify};
use crate::checks;

/// The rendered files: the member's name, and the kustomization below `manifests/`.
pub(super) const FILES: [(&str, &str); 2] = [("manifests/services.yaml", "overlays/kind/services"), (WORKER, "base")];
/// The worker, the scaler and their autoscaling.
pub(super) const WORKER: &str = "manifests/worker.yaml";

/// Renders a kustomization.
pub(super) fn render(kubectl: &Path, folder: &Path, images: &[Named]) -> Result<String> {
    let rendered = Cmd::new(kubectl).arg("kustomize").arg(folder).run();
    let text = pin(&rendered.with_context(|| format!("render {}", folder.display()))?.stdout, images);
    check(&text, images).with_context(|| format!("render {}", folder.display()))?;
    Ok(text)
}

/// The worker's manifests of a bundle for a cluster that pulls from this repository: each image by its digest there.
///
/// # Errors
/// When the bundle has faults.
pub fn for_registry(file: &Path, repository: &str) -> Result<String> {
    let verified = verify::verify(file)?;
    Ok(in_registry(&verified.worker, &verified.about.images, repository))
}

/// The text with the images of a repository in place of those with the same digests.
pub(super) fn in_registry(text: &str, images: &[Named], repository: &str) -> String {
    images.iter().fold(text.to_owned(), |text, Named { name, digest }| {
        text.replace(&format!("{name}@{digest}"), &format!("{repository}@{digest}"))
    })
}

/// The text with the digest after each image's tag.
fn pin(text: &str, images: &[Named]) -> String {
    let lines = text.lines().map(|line| {
        let value = line.trim_start().trim_start_matches("- ").strip_prefix("image: ");
        match value.and_then(|value| images.iter().find(|image| image.name == value)) {
            Some(image) => format!("{line}@{}\n", image.digest),
            None => format!("{line}\n"),
        }
    });
    lines.collect()
}

/// Checks that every image of the text is one of `images`, by its digest.
pub(super) fn check(text: &str, images: &[Named]) -> Result<()> {
    let objects = checks::parse(text).context("it is not valid YAML")?;
    for image in objects.iter().flat_map(checks::images) {
        let known = images.iter().any(|known| {
            image.strip_prefix(known.name.as_str()).is_some_and(|rest| rest.strip_prefix('@') == Some(&known.digest))
        });
        ensure!(known, "image {image} is not in the bundle by this digest");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> [Named; 2] {
        [("slipway.local/a:1", "sha256:aa"), ("slipway.local/a:12", "sha256:bb")]
            .map(|(name, digest)| Named { name: name.into(), digest: digest.into() })
    }

    #[test]
    fn images_get_their_digests_and_nothing_else_changes() {
        let text = "kind: Pod\nspec:\n  containers:\n  - image: slipway.local/a:1\n    name: x\n  - name: y\n    \
                    image: slipway.local/a:12\n    args: ['image: slipway.local/a:1']\n";
        let pinned = pin(text, &images());
        let expected = text
            .replace("- image: slipway.local/a:1\n", "- image: slipway.local/a:1@sha256:aa\n")
            .replace("image: slipway.local/a:12\n", "image: slipway.local/a:12@sha256:bb\n");
        assert_eq!(pinned, expected);
        check(&pinned, &images()).unwrap();
    }

    #[test]
    fn images_get_the_name_of_a_repository_and_keep_their_digests() {
        let text = pin("kind: Pod\nspec:\n- image: slipway.local/a:12\n  name: a\n", &images());
        let expected = "kind: Pod\nspec:\n- image: r.example:5000/x@sha256:bb\n  name: a\n";
        assert_eq!(in_registry(&text, &images(), "r.example:5000/x"), expected);
    }

    #[test]
    fn image_that_is_not_in_the_bundle_is_named() {
        for image in ["slipway.local/b:1", "slipway.local/a:1", "slipway.local/a:1@sha256:bb"] {
            let error = check(&format!("kind: Pod\nspec:\n- image: {image}\n"), &images()).unwrap_err().to_string();
            assert!(error.contains(image), "{error}");
        }
    }
}
