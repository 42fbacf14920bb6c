//! Installs into a cluster that somebody else made, and takes it out again. The images come from a registry.
//!
//! Every object gets a label. An object of the same name without it is somebody else's: then nothing is installed. What
//! has the label is what an update changes and what is deleted in the end. An inventory in the cluster says what that is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use support::command::Cmd;
use support::progress::step;
use support::{interrupt, progress};

use super::actions::{apply_when_admitted, register_namespace, wait_for_metrics, wait_for_scaler, wait_for_workloads};
use super::{Endpoints, Record, S3, kind, kubectl};
use crate::cache::files_below;
use crate::checks;
use crate::release::Release;
use crate::workspace::Workspace;

/// The label of every object that was installed, as kubectl's selector.
pub(super) const OURS: &str = "slipway.local/installed=true";
/// The object with the inventory.
const INVENTORY: &str = "slipway-installation";
const NAMESPACE: &str = "default";
/// Who owns the fields that are applied.
const MANAGER: &str = "slipway";
/// The kustomizations that are installed, in order.
const SERVICES: &str = "overlays/kind/services";
const WORKER: &str = "base";
/// Kinds that hold data. They stay, unless the data shall be deleted.
const DATA: &str = "PersistentVolumeClaim";
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

/// An object by what identifies it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Id {
    api: String,
    kind: String,
    #[serde(default)]
    namespace: String,
    name: String,
}

impl Id {
    fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let meta = &object["metadata"];
        Self {
            api: text(&object["apiVersion"]),
            kind: text(&object["kind"]),
            namespace: text(&meta["namespace"]),
            name: text(&meta["name"]),
        }
    }

    /// The object with nothing but its identity, for kubectl.
    fn object(&self) -> Value {
        let mut object = json!({"apiVersion": self.api, "kind": self.kind, "metadata": {"name": self.name}});
        if !self.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(self.namespace);
        }
        object
    }

    fn shown(&self) -> String {
        let namespace = if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) };
        format!("{} {namespace}{}", self.kind, self.name)
    }
}

impl Foreign<'_> {
    /// Installs or updates, with the images of this repository, and waits until everything is ready. An update that fails
    /// is taken back: the version before is applied again.
    ///
    /// # Errors
    /// [`NotOurs`] before anything is changed, if the cluster has objects or ports of others that this would need.
    pub fn install(&self, repository: &str) -> Result<Record> {
        let record = self.record(repository)?;
        let manifests = self.stage(repository, &record.manifests)?;
        let now = Installed {
            registry: repository.to_owned(),
            services: self.objects(&record, &manifests.join(SERVICES), repository)?,
            worker: self.objects(&record, &manifests.join(WORKER), repository)?,
        };
        step("look for objects of others", || refuse_others(&record, &now.all().collect::<Vec<_>>()))?;
        let before = Inventory::read(&record)?;
        self.write(&record)?;
        // Before the first object: an installation that is interrupted can be taken out, too.
        let both = before.ids.union(&now.ids()).cloned().collect();
        Inventory { ids: both, installed: before.installed.clone() }.write(&record)?;
        let Err(error) = now.apply(&record, &before.ids) else { return Ok(record) };
        let Some(older) = before.installed.filter(|_| !interrupt::requested()) else { return Err(error) };
        progress::note(&format!("the update failed and is taken back: {error:#}"));
        let back = older.apply(&record, &now.ids());
        back.with_context(|| format!("take back the update, which failed because {error:#}"))?;
        self.write(&self.record(&older.registry)?)?;
        Err(error.context("the update was taken back, and the version before runs"))
    }

    /// Deletes what was installed. Volumes with data stay, unless `data` says otherwise. Answers what stays.
    ///
    /// # Errors
    /// When nothing is installed, or an object is not deleted.
    pub fn uninstall(&self, data: bool) -> Result<Vec<String>> {
        let record = self.record("")?;
        let mut ids = Inventory::read(&record)?.ids;
        ids.retain(|id| id.kind != DATA);
        let claims = claims(&record)?;
        let nothing = ids.is_empty() && (claims.is_empty() || !data);
        ensure!(!nothing, "nothing of Slipway is installed in the cluster of context {}", self.context);
        let some = |chosen: &dyn Fn(&Id) -> bool| ids.iter().filter(|id| chosen(id)).cloned().collect();
        // KEDA has to be there while its objects are deleted.
        step("delete the autoscaling", || delete(&record, &some(&|id| id.api.starts_with("keda.sh/"))))?;
        step("delete the worker and the services", || delete(&record, &some(&|id| !LAST.contains(&id.kind.as_str()))))?;
        if data {
            step("delete the data", || delete(&record, &claims))?;
        }
        step("delete the definitions", || delete(&record, &ids))?;
        let inventory = ["delete", "configmap", INVENTORY, "--namespace", NAMESPACE, "--ignore-not-found"];
        kubectl(&record).args(inventory).run()?;
        let folder = folder(self.workspace, self.context);
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        Ok(if data { Vec::new() } else { claims.iter().map(Id::shown).collect() })
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
        fs::write(&kubeconfig, view).with_context(|| format!("write {}", kubeconfig.display()))?;
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
            node_image: String::new(),
            cpus: None,
            hpa_sync: HPA_SYNC,
            kept: true,
        };
        let images = self.images()?;
        let toolbox = images.iter().find(|(name, _)| *name == self.release.toolbox);
        let (_, digest) = toolbox.context("find the toolbox image among the images")?;
        record.toolbox_image = format!("{repository}@{digest}");
        let nodes = kubectl(&record).args(["get", "nodes", "-o", "json"]).quiet().read();
        let nodes = nodes.with_context(|| format!("reach the cluster of context {}", self.context))?;
        let address = node_address(&serde_json::from_str(&nodes).context("parse the output of kubectl")?);
        record.endpoints = Endpoints::at(&address.context("find the address of a node")?, |port| port);
        Ok(record)
    }

    /// Name and digest of every image.
    fn images(&self) -> Result<Vec<(String, String)>> {
        let listed = self.release.facts["images"].as_array().context("find the images of the release")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let images = listed.iter().map(|image| text(&image["name"]).zip(text(&image["digest"])));
        images.collect::<Option<Vec<_>>>().context("read the images of the release")
    }

    /// A copy of the manifests whose images are those of the repository, for everybody who applies them later.
    fn stage(&self, repository: &str, to: &Path) -> Result<PathBuf> {
        let from = &self.release.manifests;
        let images = self.images()?;
        for file in files_below(from)? {
            let path = to.join(file.strip_prefix(from).unwrap_or(&file));
            fs::create_dir_all(path.parent().unwrap_or(to)).with_context(|| format!("make {}", path.display()))?;
            let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            let bytes = match String::from_utf8(bytes) {
                Ok(text) => in_registry(&text, &images, repository).into_bytes(),
                Err(other) => other.into_bytes(),
            };
            fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(to.to_owned())
    }

    /// The objects of a kustomization, with the images of the repository and the label.
    fn objects(&self, record: &Record, folder: &Path, repository: &str) -> Result<Vec<Value>> {
        let text = kubectl(record).arg("kustomize").arg(folder).quiet().run()?.stdout;
        let mut objects = checks::parse(&in_registry(&text, &self.images()?, repository))?;
        for image in objects.iter().flat_map(checks::images) {
            ensure!(image.starts_with(repository), "image {image} is not in {repository}");
        }
        objects.iter_mut().for_each(label);
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

/// What keeps an installation from beginning. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("the cluster has {what} of others, which Slipway would need: {}", .names.join(", "))]
pub struct NotOurs {
    what: &'static str,
    names: Vec<String>,
}

/// Refuses to change objects of others, and to take node ports of others.
fn refuse_others(record: &Record, objects: &[&Value]) -> Result<()> {
    let ids: BTreeSet<Id> = objects.iter().map(|object| Id::of(object)).collect();
    let found = existing(record, &ids)?;
    let names: Vec<String> = found.iter().filter(|object| !is_ours(object)).map(|it| Id::of(it).shown()).collect();
    if !names.is_empty() {
        return Err(NotOurs { what: "objects", names }.into());
    }
    let services = kubectl(record).args(["get", "services", "--all-namespaces", "-o", "json"]).quiet().read()?;
    let services: Value = serde_json::from_str(&services).context("parse the output of kubectl")?;
    let wanted: BTreeSet<u64> = objects.iter().flat_map(|object| node_ports(object)).collect();
    let others = services["items"].as_array().into_iter().flatten().filter(|service| !is_ours(service));
    let taken =
        others.flat_map(|service| node_ports(service).into_iter().map(move |port| (port, Id::of(service).shown())));
    let names: Vec<String> =
        taken.filter(|(port, _)| wanted.contains(port)).map(|(port, name)| format!("{port} ({name})")).collect();
    if names.is_empty() { Ok(()) } else { Err(NotOurs { what: "node ports", names }.into()) }
}

/// Those of the objects that the cluster has. A kind that it does not know has none.
fn existing(record: &Record, ids: &BTreeSet<Id>) -> Result<Vec<Value>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let known = kubectl(record).args(["api-resources", "--no-headers"]).quiet().run_any()?;
    // Answers in part if an aggregated API is away, and then with an error. Its objects are none of ours.
    let kinds: BTreeSet<(String, String)> = known.stdout.lines().filter_map(api_and_kind).collect();
    ensure!(!kinds.is_empty(), "ask the cluster for its kinds: {}", known.all.trim());
    let ids = ids.iter().filter(|id| kinds.contains(&(id.api.clone(), id.kind.clone())));
    let asked: Vec<Value> = ids.map(Id::object).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": asked}).to_string();
    let get = kubectl(record).args(["get", "--ignore-not-found", "-o", "json", "--filename", "-"]).stdin(list);
    let text = get.quiet().read()?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let found: Value = serde_json::from_str(&text).context("parse the output of kubectl")?;
    Ok(match found["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![found],
    })
}

/// The API version and the kind in a line of `kubectl api-resources`: the two before and after the word that says
/// whether its objects are in a namespace.
fn api_and_kind(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| ["true", "false"].contains(word))?;
    Some((words.get(at.checked_sub(1)?)?.to_string(), words.get(at + 1)?.to_string()))
}

/// Deletes those of the objects that are there and ours, and waits until they are gone.
fn delete(record: &Record, ids: &BTreeSet<Id>) -> Result<()> {
    let ours: Vec<Value> =
        existing(record, ids)?.iter().filter(|it| is_ours(it)).map(|it| Id::of(it).object()).collect();
    if ours.is_empty() {
        return Ok(());
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": ours}).to_string();
    kubectl(record).args(["delete", "--ignore-not-found", "--wait", "--filename", "-"]).stdin(list).run()?;
    Ok(())
}

/// The volumes with data. Kubernetes makes some of them, with the labels of a StatefulSet's templates.
fn claims(record: &Record) -> Result<BTreeSet<Id>> {
    let list = kubectl(record).args(["get", "persistentvolumeclaims", "--all-namespaces", "--selector", OURS]);
    let list: Value = serde_json::from_str(&list.args(["-o", "json"]).quiet().read()?).context("parse the claims")?;
    Ok(list["items"].as_array().into_iter().flatten().map(Id::of).collect())
}

fn apply(record: &Record, objects: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let apply = kubectl(record).args(["apply", "--server-side", "--force-conflicts", "--field-manager", MANAGER]);
    apply.args(["--filename", "-"]).stdin(list).run()?;
    Ok(())
}

/// One version in a cluster: its objects, with all their fields.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Installed {
    registry: String,
    services: Vec<Value>,
    worker: Vec<Value>,
}

impl Installed {
    fn all(&self) -> impl Iterator<Item = &Value> {
        self.services.iter().chain(&self.worker)
    }

    fn ids(&self) -> BTreeSet<Id> {
        self.all().map(Id::of).collect()
    }

    /// Applies this version, waits until it is ready, and deletes those of the `other` objects that it does not have,
    /// such as configurations with another hash.
    fn apply(&self, record: &Record, other: &BTreeSet<Id>) -> Result<()> {
        step("apply the services", || apply(record, &self.services))?;
        step("start the services", || wait_for_workloads(record, Some(OURS)))?;
        step("register Temporal's namespace", || register_namespace(record))?;
        step("apply the worker and its autoscaling", || {
            let objects = self.worker.iter().map(|object| (Id::of(object).shown(), object.to_string()));
            objects.into_iter().try_for_each(|(name, text)| apply_when_admitted(record, &name, &text, MANAGER))
        })?;
        step("scale the worker to its minimum", || wait_for_scaler(record))?;
        step("start the worker", || wait_for_workloads(record, Some(OURS)))?;
        step("answer `kubectl top`", || wait_for_metrics(record))?;
        let gone: BTreeSet<Id> = other.difference(&self.ids()).filter(|id| id.kind != DATA).cloned().collect();
        step("delete what another version had", || delete(record, &gone))?;
        Inventory { ids: self.ids(), installed: Some(self.clone()) }.write(record)
    }
}

/// What the cluster knows of an installation.
#[derive(Debug, Clone, Default)]
struct Inventory {
    /// Every object that may be there.
    ids: BTreeSet<Id>,
    /// The version that runs, if one ever did.
    installed: Option<Installed>,
}

impl Inventory {
    fn read(record: &Record) -> Result<Self> {
        let get = ["get", "configmap", INVENTORY, "--namespace", NAMESPACE, "--ignore-not-found", "-o", "json"];
        let text = kubectl(record).args(get).quiet().read()?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let object: Value = serde_json::from_str(&text).context("parse the inventory")?;
        if !is_ours(&object) {
            return Err(NotOurs { what: "objects", names: vec![Id::of(&object).shown()] }.into());
        }
        Self::of(&object).context("parse the inventory")
    }

    fn of(object: &Value) -> Result<Self> {
        let ids = serde_json::from_str(object["data"]["objects"].as_str().unwrap_or("[]"))?;
        let installed = match object["data"]["installed"].as_str() {
            Some(packed) => {
                let packed = hex::decode(packed)?;
                Some(serde_json::from_reader(ZlibDecoder::new(packed.as_slice()))?)
            }
            None => None,
        };
        Ok(Self { ids, installed })
    }

    /// The objects are compressed: an object of Kubernetes has at most 1 MiB, and the definitions of KEDA have more.
    fn object(&self) -> Result<Value> {
        let mut data = json!({"objects": serde_json::to_string(&self.ids)?, "version": env!("CARGO_PKG_VERSION")});
        if let Some(installed) = &self.installed {
            let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
            serde_json::to_writer(&mut packed, installed)?;
            data["installed"] = json!(hex::encode(packed.finish()?));
            data["registry"] = json!(installed.registry);
        }
        let metadata = json!({"name": INVENTORY, "namespace": NAMESPACE});
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
        label(&mut object);
        Ok(object)
    }

    fn write(&self, record: &Record) -> Result<()> {
        apply(record, &[self.object().context("write the inventory")?])
    }
}

/// Labels an object, its pods, and the claims that are made for them.
fn label(object: &mut Value) {
    let (name, value) = OURS.split_once('=').unwrap_or((OURS, ""));
    let set = |object: &mut Value| object["metadata"]["labels"][name] = json!(value);
    set(object);
    if let Some(pods) = object.pointer_mut("/spec/template").filter(|pods| pods["spec"]["containers"].is_array()) {
        set(pods);
    }
    if let Some(claims) = object.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut) {
        claims.iter_mut().for_each(set);
    }
}

fn is_ours(object: &Value) -> bool {
    let (name, value) = OURS.split_once('=').unwrap_or((OURS, ""));
    object["metadata"]["labels"][name] == value
}

/// The node ports of a Service.
fn node_ports(object: &Value) -> Vec<u64> {
    let ports = object["spec"]["ports"].as_array().filter(|_| object["kind"] == "Service");
    ports.into_iter().flatten().filter_map(|port| port["nodePort"].as_u64()).collect()
}

/// The text with each image as a digest of a repository, whether it is written in one piece or as kustomize has it.
fn in_registry(text: &str, images: &[(String, String)], repository: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for at in 0..lines.len() {
        let value = |line: &str, key: &str| {
            let (before, value) = line.split_once(key)?;
            before.trim_matches([' ', '-']).is_empty().then(|| (before.len(), value.trim().to_owned()))
        };
        if let Some((_, image)) = value(&lines[at], "image: ")
            && let Some((name, digest)) = images.iter().find(|(name, _)| *name == image)
        {
            lines[at] = lines[at].replace(name, &format!("{repository}@{digest}"));
        }
        if let Some((indent, name)) = value(&lines[at], "newName: ")
            && let Some((_, tag)) = lines.get(at + 1).and_then(|line| value(line, "newTag: "))
            && let Some((_, digest)) = images.iter().find(|(image, _)| *image == format!("{name}:{tag}"))
        {
            lines[at] = format!("{}newName: {repository}", " ".repeat(indent));
            lines[at + 1] = format!("{}digest: {digest}", " ".repeat(indent));
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
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
        let url = |name: &str| format!("http://{}", of(name));
        Self {
            temporal: of("temporal"),
            temporal_http: url("temporal_http"),
            postgres: format!("postgres://slipway:slipway@{}/documents", of("postgres")),
            prometheus: url("prometheus"),
            s3: url("s3"),
            toxiproxy: url("toxiproxy"),
        }
    }
}

impl S3 {
    /// The bucket of `manifests/services/s3`.
    pub(super) fn of_services() -> Self {
        Self {
            bucket: "documents".into(),
            region: "us-east-1".into(),
            access_key: "slipway".into(),
            secret_key: "slipway-secret".into(),
        }
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
        let images = [("slipway.local/a:1".to_owned(), "sha256:aa".to_owned())];
        let text =
            "  - image: slipway.local/a:1\n    newName: slipway.local/a\n    newTag: 1\nimage: slipway.local/b:1\n";
        let expected = "  - image: r.example/x@sha256:aa\n    newName: r.example/x\n    digest: sha256:aa\n\
                        image: slipway.local/b:1\n";
        assert_eq!(in_registry(text, &images, "r.example/x"), expected);
    }

    #[test]
    fn label_is_on_the_object_its_pods_and_its_claims_and_changes_nothing_else() {
        let workload = json!({
            "kind": "StatefulSet",
            "metadata": {"name": "p", "labels": {"app": "p"}},
            "spec": {"template": {"metadata": {"labels": {"app": "p"}}, "spec": {"containers": []}},
                     "volumeClaimTemplates": [{"metadata": {"name": "data"}}]},
        });
        let mut labelled = workload.clone();
        label(&mut labelled);
        for place in ["/metadata", "/spec/template/metadata", "/spec/volumeClaimTemplates/0/metadata"] {
            let labels = labelled.pointer_mut(place).unwrap()["labels"].as_object_mut().unwrap();
            assert_eq!(labels.remove("slipway.local/installed"), Some(json!("true")), "{place}");
            if labels.is_empty() {
                labelled.pointer_mut(place).unwrap().as_object_mut().unwrap().remove("labels");
            }
        }
        assert_eq!(labelled, workload);
        for plain in [json!({"kind": "Secret", "metadata": {"name": "s"}}), json!({"spec": {"x": 1}, "metadata": {}})] {
            let mut labelled = plain.clone();
            label(&mut labelled);
            assert!(is_ours(&labelled) && !is_ours(&plain));
            labelled["metadata"].as_object_mut().unwrap().remove("labels");
            assert_eq!(labelled, plain);
        }
    }

    #[test]
    fn inventory_keeps_the_objects_of_the_version_that_runs() {
        let worker =
            vec![json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": {}})];
        let installed = Installed { registry: "r/x".into(), services: Vec::new(), worker };
        let inventory = Inventory { ids: installed.ids(), installed: Some(installed) };
        let object = inventory.object().unwrap();
        assert!(is_ours(&object));
        let read = Inventory::of(&object).unwrap();
        assert_eq!(read.ids, inventory.ids);
        assert_eq!(read.installed.unwrap().worker, inventory.installed.unwrap().worker);
        assert!(Inventory::of(&Inventory::default().object().unwrap()).unwrap().installed.is_none());
    }

    #[test]
    fn kinds_are_read_from_the_clusters_list() {
        let lines = [
            "pods          po           v1       true   Pod           create,delete   all",
            "nodes         no           v1       false  Node          create",
            "scaledobjects so           keda.sh/v1alpha1 true ScaledObject delete",
            "bindings                   v1       true   Binding       create",
        ];
        let found: Vec<(String, String)> = lines.iter().filter_map(|line| api_and_kind(line)).collect();
        let expected = [("v1", "Pod"), ("v1", "Node"), ("keda.sh/v1alpha1", "ScaledObject"), ("v1", "Binding")];
        assert_eq!(found, expected.map(|(api, kind)| (api.to_owned(), kind.to_owned())));
    }

    #[test]
    fn folder_of_a_context_stays_below_its_own() {
        let workspace = Workspace::of_cache(Path::new("/c"));
        assert_eq!(folder(&workspace, "a/../b c"), Path::new("/c/slipway/installed/a_.._b_c"));
    }
}
