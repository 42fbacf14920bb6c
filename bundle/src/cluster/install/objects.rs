//! Objects in a cluster of others: which are ours, and what is done with those.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use support::wait::{Probe, blocking::eventually};

use super::super::observe::missing_images;
use super::super::{Record, kubectl};

/// The label of every object that was installed, as kubectl's selector.
pub(in crate::cluster) const OURS: &str = "slipway.local/installed=true";
/// The timeout for pods to end. The worker's grace period is the longest.
const PODS_DEADLINE: Duration = Duration::from_secs(300);
/// Kinds that hold data. The passwords in Secrets are part of the data of Postgres.
const DATA: [&str; 2] = ["PersistentVolumeClaim", "Secret"];
/// Who owns the fields that are applied.
pub(in crate::cluster) const MANAGER: &str = "slipway";

/// An object by what identifies it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::cluster) struct Id {
    pub(in crate::cluster) api: String,
    pub(in crate::cluster) kind: String,
    #[serde(default)]
    namespace: String,
    name: String,
}

impl Id {
    pub(in crate::cluster) fn of(object: &Value) -> Self {
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

    /// Whether data is lost with the object.
    pub(in crate::cluster) fn holds_data(&self) -> bool {
        self.kind == "Namespace" || DATA.contains(&self.kind.as_str())
    }

    pub(in crate::cluster) fn shown(&self) -> String {
        let namespace = if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) };
        format!("{} {namespace}{}", self.kind, self.name)
    }
}

/// What keeps an installation from beginning. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("the cluster has {what} of others, which Slipway would need: {}", .names.join(", "))]
pub struct NotOurs {
    pub(in crate::cluster) what: &'static str,
    pub(in crate::cluster) names: Vec<String>,
}

/// Refuses to change objects of others, and to take node ports of others.
pub(in crate::cluster) fn refuse_others(record: &Record, objects: &[&Value]) -> Result<()> {
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

/// Labels those of the objects that are there, in a cluster that is ours as a whole.
pub(in crate::cluster) fn claim(record: &Record, ids: &BTreeSet<Id>) -> Result<()> {
    let there: Vec<Value> = existing(record, ids)?.iter().map(|it| Id::of(it).object()).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": there}).to_string();
    kubectl(record).args(["label", "--overwrite", "--filename", "-", OURS]).stdin(list).quiet().run()?;
    Ok(())
}

/// Deletes those of the objects that are there and ours, and waits until they are gone.
pub(in crate::cluster) fn delete(record: &Record, ids: &BTreeSet<Id>) -> Result<()> {
    let ours: BTreeSet<Id> = existing(record, ids)?.iter().filter(|it| is_ours(it)).map(Id::of).collect();
    remove(record, ours.iter())
}

fn remove<'a>(record: &Record, ids: impl Iterator<Item = &'a Id>) -> Result<()> {
    let items: Vec<Value> = ids.map(Id::object).collect();
    if items.is_empty() {
        return Ok(());
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    kubectl(record).args(["delete", "--ignore-not-found", "--wait", "--filename", "-"]).stdin(list).run()?;
    Ok(())
}

/// Deletes pods of ours whose images cannot be had, until there is none.
pub(in crate::cluster) fn delete_broken_pods(record: &Record, selector: Option<&str>) -> Result<()> {
    eventually("no pod of ours lacks its image", PODS_DEADLINE, || {
        let pods = pods(record, selector)?;
        let items = pods["items"].as_array().into_iter().flatten();
        let broken: BTreeSet<Id> =
            items.filter(|pod| !missing_images(&json!({"items": [pod]})).is_empty()).map(Id::of).collect();
        if broken.is_empty() {
            return Ok(Probe::Ready(()));
        }
        remove(record, broken.iter())?;
        Ok(Probe::NotYet(broken.iter().map(Id::shown).collect::<Vec<_>>().join(", ")))
    })?;
    Ok(())
}

/// Waits until the pods of deleted workloads have ended.
pub(in crate::cluster) fn wait_for_no_pods(record: &Record) -> Result<()> {
    eventually("every pod has ended", PODS_DEADLINE, || {
        let pods = pods(record, Some(OURS))?;
        let left: Vec<String> = pods["items"].as_array().into_iter().flatten().map(|it| Id::of(it).shown()).collect();
        Ok(if left.is_empty() { Probe::Ready(()) } else { Probe::NotYet(left.join(", ")) })
    })?;
    Ok(())
}

/// The pods with this label, or all of them.
fn pods(record: &Record, selector: Option<&str>) -> Result<Value> {
    let selected = selector.into_iter().flat_map(|selector| ["--selector", selector]);
    let get = kubectl(record).args(["get", "pods", "--all-namespaces", "-o", "json"]).args(selected);
    serde_json::from_str(&get.quiet().read()?).context("parse the pods")
}

/// What holds data, and what was made with it. Kubernetes makes some volumes, with the labels of a StatefulSet's
/// templates.
pub(in crate::cluster) fn data_of(record: &Record) -> Result<BTreeSet<Id>> {
    let list = kubectl(record).args(["get", "persistentvolumeclaims,secrets", "--all-namespaces", "--selector", OURS]);
    let list: Value = serde_json::from_str(&list.args(["-o", "json"]).quiet().read()?).context("parse the data")?;
    Ok(list["items"].as_array().into_iter().flatten().map(Id::of).collect())
}

/// Deletes the namespaces of ours in which nothing is left, and answers the others.
pub(in crate::cluster) fn delete_empty_namespaces(record: &Record) -> Result<Vec<String>> {
    const KINDS: [&str; 6] = ["api-resources", "--namespaced", "--verbs", "list", "--output", "name"];
    let kinds = kubectl(record).args(KINDS).quiet().run_any()?.stdout;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    ensure!(!kinds.is_empty(), "ask the cluster for its kinds");
    let namespaces =
        kubectl(record).args(["get", "namespaces", "--selector", OURS, "--output", "name"]).quiet().read()?;
    let mut used = Vec::new();
    for namespace in namespaces.lines().filter_map(|line| line.strip_prefix("namespace/")) {
        let get = kubectl(record).arg("get").arg(kinds.join(",")).args(["--namespace", namespace, "--output", "name"]);
        let got = get.quiet().run_any()?;
        // An API that does not answer may have something there.
        match !got.status.success() || left_in(&got.stdout) {
            true => used.push(namespace.to_owned()),
            false => drop(kubectl(record).args(["delete", "namespace", namespace, "--wait"]).run()?),
        }
    }
    Ok(used)
}

/// Whether a namespace with these objects has more than each namespace has.
fn left_in(names: &str) -> bool {
    const OF_EACH: [&str; 2] = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
    names.lines().any(|name| !name.is_empty() && !OF_EACH.contains(&name))
}

pub(in crate::cluster) fn apply(record: &Record, objects: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let apply = kubectl(record).args(["apply", "--server-side", "--force-conflicts", "--field-manager", MANAGER]);
    apply.args(["--filename", "-"]).stdin(list).run()?;
    Ok(())
}

/// Labels an object, and nothing that is made from it.
pub(in crate::cluster) fn label_alone(object: &mut Value) {
    let (name, value) = OURS.split_once('=').unwrap_or((OURS, ""));
    object["metadata"]["labels"][name] = json!(value);
}

/// Labels an object, its pods, and the claims that are made for them.
pub(in crate::cluster) fn label(object: &mut Value) {
    let set = label_alone;
    set(object);
    if let Some(pods) = object.pointer_mut("/spec/template").filter(|pods| pods["spec"]["containers"].is_array()) {
        set(pods);
    }
    if let Some(claims) = object.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut) {
        claims.iter_mut().for_each(set);
    }
}

pub(in crate::cluster) fn is_ours(object: &Value) -> bool {
    let (name, value) = OURS.split_once('=').unwrap_or((OURS, ""));
    object["metadata"]["labels"][name] == value
}

/// The node ports of a Service.
fn node_ports(object: &Value) -> Vec<u64> {
    let ports = object["spec"]["ports"].as_array().filter(|_| object["kind"] == "Service");
    ports.into_iter().flatten().filter_map(|port| port["nodePort"].as_u64()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_namespace_is_empty_if_it_has_what_each_has() {
        let each = "configmap/kube-root-ca.crt\nserviceaccount/default\n";
        assert!(!super::left_in(each) && !super::left_in(""));
        assert!(super::left_in(&format!("{each}secret/others\n")));
    }

    use super::*;

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
}
