//! Installs into a cluster that somebody else made, and takes it out again. The images come from a registry.
//!
//! Every object gets a label. An object of the same name without it is somebody else's: then nothing is installed. What
//! has the label is what an update changes and what is deleted in the end. An inventory in the cluster says what that
//! is.

pub(super) mod inventory;
pub(super) mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use support::command::Cmd;
use support::progress::step;
use support::{interrupt, progress};

use self::inventory::{INVENTORY, INVENTORY_NAMESPACE, Installed, Inventory};
pub use self::objects::NotOurs;
use self::objects::{
    Id, apply, data_of, delete, delete_empty_namespaces, label, label_alone, refuse_others, wait_for_no_pods,
};
use super::actions::{MIGRATION, use_namespace};
use super::secrets::{Secrets, write_private};
use super::{Endpoints, NAMESPACE, Record, S3, SECRETS, kind, kubectl};
use crate::cache::files_below;
use crate::checks;
use crate::release::Release;
use crate::workspace::Workspace;

/// The kustomizations that are installed, in order.
pub(super) const SERVICES: &str = "overlays/kind/services";
pub(super) const WORKER: &str = "base";
/// Kinds that others depend on, which are deleted last.
const LAST: [&str; 3] = ["APIService", "CustomResourceDefinition", "Namespace"];
/// Kubernetes' default of the HPA's sync period in seconds.
const HPA_SYNC: u8 = 15;

/// A cluster that somebody else made, by its context in the user's kubeconfig.
#[derive(Debug)]
pub struct Foreign<'a> {
    /// The folders of this program.
    pub workspace: &'a Workspace,
    /// What is installed.
    pub release: &'a Release,
    /// The name of the context.
    pub context: &'a str,
}

impl Foreign<'_> {
    /// Installs or updates, with the images of this repository, and waits until everything is ready. An update that
    /// fails is taken back: the version before is applied again.
    ///
    /// # Errors
    /// [`NotOurs`] before anything is changed, if the cluster has objects or ports of others that this would need.
    pub fn install(&self, repository: &str) -> Result<Record> {
        let record = self.record(repository)?;
        let manifests = self.stage(repository, &record.manifests)?;
        let now = Installed {
            registry: repository.to_owned(),
            services: self.objects(&record, &manifests.join(SERVICES), repository)?,
            migration: self.objects(&record, &manifests.join(MIGRATION), repository)?,
            worker: in_namespace(self.objects(&record, &manifests.join(WORKER), repository)?),
        };
        step("look for objects of others", || refuse_others(&record, &now.all().collect::<Vec<_>>()))?;
        let before = Inventory::read(&record)?;
        self.write(&record)?;
        // Before the first object: an installation that is interrupted can be taken out, too.
        let both = before.ids.union(&now.ids()).cloned().collect();
        Inventory { ids: both, installed: before.installed.clone() }.write(&record)?;
        let is_namespace = |object: &&Value| object["kind"] == "Namespace";
        let namespaces: Vec<Value> = now.services.iter().filter(is_namespace).cloned().collect();
        step("make the secrets", || apply(&record, &namespaces).and_then(|()| Secrets::ensure(&record, label)))?;
        let applied = now.apply(&record, &before.ids).and_then(|()| now.write(&record));
        let Err(error) = applied else { return Ok(record) };
        let Some(older) = before.installed.filter(|_| !interrupt::requested()) else { return Err(error) };
        progress::note(&format!("the update failed and is taken back: {error:#}"));
        let back = older.apply_again(&record, &now.ids()).and_then(|()| older.write(&record));
        back.with_context(|| format!("take back the update, which failed because {error:#}"))?;
        let record = self.record(&older.registry)?;
        self.stage(&older.registry, &record.manifests)?;
        self.write(&record)?;
        Err(error.context("the update was taken back, and the version before runs"))
    }

    /// Deletes what was installed. Volumes with data stay, and the secrets that were made with them, unless `data` says
    /// otherwise. Answers what stays.
    ///
    /// # Errors
    /// When nothing is installed, or an object is not deleted.
    pub fn uninstall(&self, data: bool) -> Result<Vec<String>> {
        let record = self.record("")?;
        let mut ids = Inventory::read(&record)?.ids;
        ids.retain(|id| !id.holds_data());
        let kept = data_of(&record)?;
        let nothing = ids.is_empty() && (kept.is_empty() || !data);
        ensure!(!nothing, "nothing of Slipway is installed in the cluster of context {}", self.context);
        let some = |chosen: &dyn Fn(&Id) -> bool| ids.iter().filter(|id| chosen(id)).cloned().collect();
        // KEDA has to be there while its objects are deleted.
        step("delete the autoscaling", || delete(&record, &some(&|id| id.api.starts_with("keda.sh/"))))?;
        step("delete the worker and the services", || delete(&record, &some(&|id| !LAST.contains(&id.kind.as_str()))))?;
        step("end the pods", || wait_for_no_pods(&record))?;
        if data {
            step("delete the data", || delete(&record, &kept))?;
        }
        step("delete the definitions", || delete(&record, &ids))?;
        let inventory = ["delete", "configmap", INVENTORY, "--namespace", INVENTORY_NAMESPACE, "--ignore-not-found"];
        kubectl(&record).args(inventory).run()?;
        let used = step("delete the namespaces in which nothing is left", || delete_empty_namespaces(&record))?;
        let folder = folder(self.workspace, self.context);
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        let used = used.into_iter().map(|name| format!("Namespace {name}"));
        let kept = if data { Vec::new() } else { kept.iter().map(Id::shown).collect() };
        Ok(kept.into_iter().chain(used).collect())
    }

    fn write(&self, record: &Record) -> Result<()> {
        let path = cluster_file(self.workspace, self.context);
        fs::write(&path, serde_json::to_string_pretty(record)?).with_context(|| format!("write {}", path.display()))
    }

    /// The cluster as others need to know it. Its services are reached at a node's address.
    fn record(&self, repository: &str) -> Result<Record> {
        let folder = folder(self.workspace, self.context);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let kubeconfig = folder.join("kubeconfig");
        let view = Cmd::new(&self.release.kubectl).args(["config", "view", "--raw", "--minify", "--flatten"]);
        let view = view.args(["--context", self.context]).quiet().read();
        let view = view.with_context(|| format!("find the context {} of kubectl", self.context))?;
        write_private(&kubeconfig, &view).with_context(|| format!("write {}", kubeconfig.display()))?;
        let mut record = Record {
            name: self.context.to_owned(),
            nodes: Vec::new(),
            kubeconfig,
            kubectl: self.release.kubectl.clone(),
            docker_host: None,
            toolbox_image: self.release.toolbox.clone(),
            manifests: folder.join("manifests"),
            endpoints: Endpoints::at("127.0.0.1", |port| port),
            s3: S3::of_services(),
            secrets: folder.join(SECRETS),
            node_image: String::new(),
            cpus: None,
            hpa_sync: HPA_SYNC,
            policies: None,
            kept: true,
            images: BTreeMap::new(),
            by_digest: BTreeSet::new(),
        };
        use_namespace(&record)?;
        let images = self.release.images()?;
        let digest = images.get(&self.release.toolbox).context("find the toolbox image among the images")?;
        record.toolbox_image = format!("{repository}@{digest}");
        let nodes = kubectl(&record).args(["get", "nodes", "-o", "json"]).quiet().read();
        let nodes = nodes.with_context(|| format!("reach the cluster of context {}", self.context))?;
        let address = node_address(&serde_json::from_str(&nodes).context("parse the output of kubectl")?);
        record.endpoints = Endpoints::at(&address.context("find the address of a node")?, |port| port);
        Ok(record)
    }

    /// A copy of the manifests whose images are those of the repository, for everybody who applies them later.
    fn stage(&self, repository: &str, to: &Path) -> Result<PathBuf> {
        let from = &self.release.manifests;
        let images = self.release.images()?;
        for file in files_below(from)? {
            let path = to.join(file.strip_prefix(from).unwrap_or(&file));
            fs::create_dir_all(path.parent().unwrap_or(to)).with_context(|| format!("make {}", path.display()))?;
            let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            let bytes = match String::from_utf8(bytes) {
                Ok(text) => by_digest(&text, &images, Some(repository)).into_bytes(),
                Err(other) => other.into_bytes(),
            };
            fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(to.to_owned())
    }

    /// The objects of a kustomization, with the images of the repository and the label.
    fn objects(&self, record: &Record, folder: &Path, repository: &str) -> Result<Vec<Value>> {
        let objects = objects(record, folder, &self.release.images()?, Some(repository))?;
        for image in objects.iter().flat_map(checks::images) {
            ensure!(image.starts_with(repository), "image {image} is not in {repository}");
        }
        Ok(objects)
    }
}

/// The file that describes a cluster of others in which this program has installed.
pub fn cluster_file(workspace: &Workspace, context: &str) -> PathBuf {
    folder(workspace, context).join("cluster.json")
}

/// The record of such a cluster.
///
/// # Errors
/// When nothing was installed there from here. The error says how to.
pub fn installed(workspace: &Workspace, context: &str) -> Result<Record> {
    let path = cluster_file(workspace, context);
    let told =
        || format!("Slipway was not installed into context {context} from here: run `{} install`", workspace.command());
    let text = fs::read_to_string(&path).with_context(told)?;
    serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

fn folder(workspace: &Workspace, context: &str) -> PathBuf {
    let safe = context
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '_' });
    workspace.target().join("installed").join(safe.collect::<String>())
}

/// The objects of a kustomization, with these images by their digests and with the label.
pub(super) fn objects(
    record: &Record,
    folder: &Path,
    images: &BTreeMap<String, String>,
    repository: Option<&str>,
) -> Result<Vec<Value>> {
    let text = kubectl(record).arg("kustomize").arg(folder).quiet().run()?.stdout;
    let mut objects = checks::parse(&by_digest(&text, images, repository))?;
    // The templates of our own cluster's objects stay as they are: a change would start every pod anew.
    objects.iter_mut().for_each(if repository.is_some() { label } else { label_alone });
    Ok(objects)
}

/// The text with each image as a digest, under its own name or in a repository, whether it is written in one piece or as
/// kustomize has it.
fn by_digest(text: &str, images: &BTreeMap<String, String>, repository: Option<&str>) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for at in 0..lines.len() {
        let value = |line: &str, key: &str| {
            let (before, value) = line.split_once(key)?;
            before.trim_matches([' ', '-']).is_empty().then(|| (before.len(), value.trim().to_owned()))
        };
        if let Some((_, image)) = value(&lines[at], "image: ")
            && let Some(digest) = images.get(&image)
        {
            lines[at] = lines[at].replace(&image, &format!("{}@{digest}", repository.unwrap_or(&image)));
        }
        if let Some((indent, name)) = value(&lines[at], "newName: ")
            && let Some((_, tag)) = lines.get(at + 1).and_then(|line| value(line, "newTag: "))
            && let Some(digest) = images.get(&format!("{name}:{tag}"))
        {
            lines[at] = format!("{}newName: {}", " ".repeat(indent), repository.unwrap_or(&name));
            lines[at + 1] = format!("{}digest: {digest}", " ".repeat(indent));
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// The worker's objects in its namespace. Their manifests name none, and an inventory has to.
fn in_namespace(mut objects: Vec<Value>) -> Vec<Value> {
    objects.iter_mut().for_each(|object| object["metadata"]["namespace"] = NAMESPACE.into());
    objects
}

/// The address of the first node that has one.
fn node_address(nodes: &Value) -> Option<String> {
    let items = nodes["items"].as_array()?;
    items.iter().find_map(|node| {
        let addresses = node["status"]["addresses"].as_array()?;
        let internal = addresses.iter().find(|address| address["type"] == "InternalIP")?;
        internal["address"].as_str().map(str::to_owned)
    })
}

impl Endpoints {
    /// The addresses at this host. `port` says which port there belongs to a NodePort.
    pub(super) fn at(host: &str, port: impl Fn(u16) -> u16) -> Self {
        let of = |name: &str| {
            let found = kind::NODE_PORTS.iter().find(|(known, _)| *known == name);
            format!("{host}:{}", port(found.map_or(0, |(_, node_port)| *node_port)))
        };
        Self {
            temporal: of("temporal"),
            temporal_http: format!("https://{}", of("temporal_http")),
            postgres: format!("postgres://reader@{}/documents", of("postgres")),
            prometheus: format!("https://{}", of("prometheus")),
            s3: format!("https://{}", of("s3")),
            toxiproxy: format!("http://{}", of("toxiproxy")),
        }
    }

    /// The hosts of the addresses, which are the same for every service.
    pub(super) fn hosts(&self) -> Vec<String> {
        self.temporal.rsplit_once(':').map(|(host, _)| host.to_owned()).into_iter().collect()
    }
}

impl S3 {
    /// The bucket of `manifests/services/s3`.
    pub(super) fn of_services() -> Self {
        Self { bucket: "documents".into(), region: "us-east-1".into() }
    }
}

/// An error for a context that does not exist, before anything is done.
///
/// # Errors
/// When kubectl knows no context of this name.
pub fn check_context(kubectl: &Path, context: &str) -> Result<()> {
    let known = Cmd::new(kubectl).args(["config", "get-contexts", "-o", "name"]).quiet().read()?;
    if known.lines().any(|name| name == context) {
        return Ok(());
    }
    let known = known.lines().collect::<Vec<_>>().join(", ");
    Err(anyhow!("kubectl has no context {context} (it has {})", if known.is_empty() { "none" } else { &known }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_both_forms_get_the_repository_and_their_digest() {
        let images = BTreeMap::from([("slipway.local/a:1".to_owned(), "sha256:aa".to_owned())]);
        let text =
            "  - image: slipway.local/a:1\n    newName: slipway.local/a\n    newTag: 1\nimage: slipway.local/b:1\n";
        let expected = "  - image: r.example/x@sha256:aa\n    newName: r.example/x\n    digest: sha256:aa\n\
                        image: slipway.local/b:1\n";
        assert_eq!(by_digest(text, &images, Some("r.example/x")), expected);
        let expected = "  - image: slipway.local/a:1@sha256:aa\n    newName: slipway.local/a\n    digest: sha256:aa\n\
                        image: slipway.local/b:1\n";
        assert_eq!(by_digest(text, &images, None), expected);
    }

    #[test]
    fn folder_of_a_context_stays_below_its_own() {
        let workspace = Workspace::of_cache(Path::new("/c"));
        assert_eq!(folder(&workspace, "a/../b c"), Path::new("/c/slipway/installed/a_.._b_c"));
    }
}
