//! Brings a kept cluster of another version to the one of the release. Its node, its volumes and its data stay.
//!
//! The node gets the images that it lacks. An image that changed is named by its digest then: two versions can have the
//! same tag, and pods of the older one go on with theirs. A version that does not start is taken back.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use support::progress::step;
use support::{interrupt, progress};

use super::actions::MIGRATION;
use super::install::inventory::Installed;
use super::install::objects::claim;
use super::install::{SERVICES, WORKER, objects};
use super::policies::POLICIES;
use super::{Maker, Record};
use crate::manifests::copy_tree;
use crate::node::WAIT_FOR_IMAGES;

/// What keeps a cluster from being upgraded. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("the kept cluster cannot become {wanted}: {why}. `{command} down` deletes the cluster with its data")]
pub struct OtherNode {
    wanted: String,
    why: &'static str,
    command: &'static str,
}

/// The node itself differs.
const NODE: &str = "its Kubernetes or its system is another one, and a node of kind cannot be upgraded";
/// Without it, nothing could be taken back.
const UNKNOWN: &str = "the version that made it did not write down which images it has";

impl Maker<'_> {
    /// Upgrades a kept cluster, and takes the upgrade back if it fails.
    ///
    /// # Errors
    /// [`OtherNode`] before anything is changed, if the node itself differs.
    pub(super) fn upgrade(&self, older: &Record) -> Result<Record> {
        let node = &self.release.node;
        let sets = self.layers(&older.node_image).and_then(|present| node.differing_sets(&present));
        let other = |why| OtherNode { wanted: node.reference.clone(), why, command: self.workspace.command() };
        let sets = sets.ok_or_else(|| other(NODE))?;
        ensure!(!older.images.is_empty(), other(UNKNOWN));
        step("load the node image into Docker", || self.load_node_image())?;
        let images = self.release.images()?;
        let changed = images.iter().filter(|(name, digest)| older.images.get(*name) != Some(digest));
        let by_digest = older.by_digest.iter().chain(changed.map(|(name, _)| name)).cloned().collect();
        let older = Record { by_digest, ..older.clone() };
        let before = version(&older)?;
        step("keep the images of the version before", || self.name_by_digest(&older, &before))?;
        self.write(&older)?;
        step("import the images in the nodes", || self.import(&older, &sets))?;
        let mut record = older.clone();
        self.stage(&mut record)?;
        record.policies = Some(self.find_queue(&record)?.to_owned());
        self.queue_connections(&record)?;
        let now = version(&record)?;
        step("name the images by their digests", || self.name_by_digest(&older, &now))?;
        claim(&older, &before.ids())?;
        step("make the secrets", || self.make_secrets(&record))?;
        let Err(error) = now.apply(&record, &before.ids()) else {
            self.keep(&mut record)?;
            return Ok(record);
        };
        if interrupt::requested() {
            return Err(error);
        }
        self.save_evidence();
        progress::note(&format!("the upgrade failed and is taken back: {error:#}"));
        let back = self.name_by_tag(&older, &before).and_then(|()| before.apply_again(&older, &now.ids()));
        back.with_context(|| format!("take back the upgrade, which failed because {error:#}"))?;
        Err(error.context("the upgrade was taken back, and the version before runs"))
    }

    /// Applies the manifests again to a cluster that was upgraded to this version.
    pub(super) fn apply_by_digest(&self, older: &Record) -> Result<()> {
        let mut record = older.clone();
        self.stage(&mut record)?;
        self.make_secrets(&record)?;
        self.queue_connections(&record)?;
        version(&record)?.apply(&record, &version(older)?.ids())
    }

    /// Copies the manifests of the release to the folder of the cluster, in which the next upgrade finds them.
    pub(super) fn remember(&self, record: &mut Record) -> Result<()> {
        self.stage(record)?;
        self.keep(record)
    }

    /// Puts the copy of the manifests in the place of the older one.
    fn keep(&self, record: &mut Record) -> Result<()> {
        let kept = self.folder().join("manifests");
        if kept.exists() {
            fs::remove_dir_all(&kept).with_context(|| format!("clear {}", kept.display()))?;
        }
        fs::rename(&record.manifests, &kept).with_context(|| format!("make {}", kept.display()))?;
        record.manifests = kept;
        self.write(record)
    }

    /// Makes a record that of the release, with a copy of its manifests beside those of the version that runs.
    fn stage(&self, record: &mut Record) -> Result<()> {
        let staged = self.folder().join("manifests-of-the-release");
        if staged.exists() {
            fs::remove_dir_all(&staged).with_context(|| format!("clear {}", staged.display()))?;
        }
        copy_tree(&self.release.manifests, &staged)?;
        record.manifests = staged;
        record.images = self.release.images()?;
        record.node_image.clone_from(&self.release.node.reference);
        record.kubectl.clone_from(&self.release.kubectl);
        record.toolbox_image.clone_from(&self.release.toolbox);
        Ok(())
    }

    /// Gives the nodes these sets of images out of the node image.
    fn import(&self, record: &Record, sets: &[&str]) -> Result<()> {
        let source = format!("{}-images", record.name);
        let docker = |args: &[&str]| self.engine.docker().args(args).quiet();
        docker(&["rm", "--force", &source]).run_any()?;
        docker(&["create", "--name", &source, &self.release.node.reference]).run()?;
        let copied = sets.iter().try_for_each(|set| self.copy_set(record, &source, set));
        docker(&["rm", "--force", &source]).run_any()?;
        copied?;
        for node in &record.nodes {
            let import: Vec<&str> = WAIT_FOR_IMAGES[..1].iter().chain(sets).copied().collect();
            self.in_node(node, &import).run()?;
        }
        Ok(())
    }

    fn copy_set(&self, record: &Record, source: &str, set: &str) -> Result<()> {
        let archive = format!("/kind/images/{set}.tar");
        let copy = self.folder().join("images.tar");
        let here = copy.to_string_lossy();
        self.engine.docker().args(["cp", &format!("{source}:{archive}"), &here]).quiet().run()?;
        for node in &record.nodes {
            self.engine.docker().args(["cp", &here, &format!("{node}:{archive}")]).quiet().run()?;
            self.in_node(node, &["rm", "--force", &format!("/var/lib/containerd/slipway-{set}")]).run()?;
        }
        fs::remove_file(&copy).with_context(|| format!("remove {}", copy.display()))
    }

    /// Names the images of a version by their digests, in the nodes. Whatever gets their tags, they stay.
    fn name_by_digest(&self, record: &Record, version: &Installed) -> Result<()> {
        self.name_images(record, version, |tagged, by_digest| [tagged.to_owned(), by_digest.to_owned()])
    }

    /// Gives the images of a version their tags back.
    fn name_by_tag(&self, record: &Record, version: &Installed) -> Result<()> {
        self.name_images(record, version, |tagged, by_digest| [by_digest.to_owned(), tagged.to_owned()])
    }

    fn name_images(
        &self,
        record: &Record,
        version: &Installed,
        pair: impl Fn(&str, &str) -> [String; 2],
    ) -> Result<()> {
        let names = digested(version.all().flat_map(crate::checks::images));
        for node in &record.nodes {
            for (tagged, by_digest) in &names {
                let [from, to] = pair(tagged, by_digest);
                let tag = ["ctr", "--namespace", "k8s.io", "images", "tag", "--force", &from, &to];
                self.in_node(node, &tag).run()?;
            }
        }
        Ok(())
    }
}

/// The version that a record describes.
fn version(record: &Record) -> Result<Installed> {
    let by_digest = record.images.iter().filter(|(name, _)| record.by_digest.contains(*name));
    let by_digest = by_digest.map(|(name, digest)| (name.clone(), digest.clone())).collect();
    let objects = |folder: &str| objects(record, &record.manifests.join(folder), &by_digest, None);
    let mut services = objects(SERVICES)?;
    services.extend(objects(POLICIES)?);
    Ok(Installed { registry: String::new(), services, migration: objects(MIGRATION)?, worker: objects(WORKER)? })
}

/// The images that are named as `name:tag@digest`, each by the two names that containerd knows: `name:tag` and
/// `name@digest`.
fn digested<'a>(images: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let names = |image: &'a str| {
        let (tagged, digest) = image.split_once('@')?;
        let (name, _) = tagged.rsplit_once(':')?;
        Some((tagged.to_owned(), format!("{name}@{digest}")))
    };
    images.filter_map(names).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_name_by_tag_and_one_by_digest() {
        let names = digested(["r.local/a:1@sha256:aa", "r.local/b:1"].into_iter());
        assert_eq!(names, BTreeMap::from([("r.local/a:1".to_owned(), "r.local/a@sha256:aa".to_owned())]));
    }
}
