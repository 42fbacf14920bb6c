//! The state of a cluster: what is not ready and why, which images were pulled, and the evidence of a failure. Except
//! for [`save`], these are pure functions of kubectl's output.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use support::command::{CommandError, Output};

use super::kind::AUDIT_LOG;
use super::{Record, kubectl, node_containers, read_record};
use crate::docker::Engine;
use crate::workspace::Workspace;

/// Prints the logs of the control plane's containers, also of those that ended.
const STATIC_PODS: &str = "tail --lines=200 /var/log/pods/kube-system_{kube-,etcd-}*/*/*.log";

/// The workloads in a `kubectl get … -o json` that lack ready replicas of their current version, or still have others, as
/// `name 1/3`.
pub fn unready_workloads(list: &Value) -> Vec<String> {
    items(list)
        .filter_map(|item| {
            let status = &item["status"];
            let number = |value: &Value| value.as_i64().unwrap_or(0);
            let [wanted, ready, updated, present] = if item["kind"] == "DaemonSet" {
                ["desiredNumberScheduled", "numberReady", "updatedNumberScheduled", "currentNumberScheduled"]
                    .map(|name| number(&status[name]))
            } else {
                let wanted = item["spec"]["replicas"].as_i64().unwrap_or(1);
                let [ready, updated, present] =
                    ["readyReplicas", "updatedReplicas", "replicas"].map(|name| number(&status[name]));
                [wanted, ready, updated, present]
            };
            let seen = number(&status["observedGeneration"]) >= number(&item["metadata"]["generation"]);
            let ready = ready.min(updated);
            let done = seen && ready >= wanted && present <= updated;
            (!done).then(|| format!("{} {ready}/{wanted}", text(&item["metadata"]["name"])))
        })
        .collect()
}

/// The aggregated APIs in a `kubectl get apiservices -o json` that are not available, such as pod metrics and KEDA's
/// external metrics.
pub fn unavailable_apis(list: &Value) -> Vec<String> {
    items(list)
        .filter_map(|item| {
            let conditions = item["status"]["conditions"].as_array();
            let available = conditions.into_iter().flatten().find(|condition| condition["type"] == "Available");
            let ready = available.is_some_and(|condition| condition["status"] == "True");
            (!ready).then(|| format!("API {} not available", text(&item["metadata"]["name"])))
        })
        .collect()
}

/// The images in a `kubectl get pods -o json` that cannot be started, each with its pod.
pub fn missing_images(pods: &Value) -> Vec<String> {
    const REASONS: [&str; 4] = ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"];
    waiting(pods)
        .filter(|(_, status)| REASONS.contains(&text(&status["state"]["waiting"]["reason"])))
        .map(|(pod, status)| format!("{} (pod {pod})", text(&status["image"])))
        .collect()
}

/// The containers that crashed at least `times` times and do not run, as `pod/container crashed 4 times`.
pub fn crashing(pods: &Value, times: i64) -> Vec<String> {
    waiting(pods)
        .filter(|(_, status)| text(&status["state"]["waiting"]["reason"]) == "CrashLoopBackOff")
        .filter_map(|(pod, status)| {
            let restarts = status["restartCount"].as_i64().unwrap_or(0);
            (restarts >= times).then(|| format!("{pod}/{} crashed {restarts} times", text(&status["name"])))
        })
        .collect()
}

/// The pulls in a `kubectl get events -o json`, including those that failed. There must be none.
pub fn pulls(events: &Value) -> Vec<String> {
    items(events)
        .filter(|event| text(&event["reason"]) == "Pulling")
        .map(|event| text(&event["message"]).to_owned())
        .collect()
}

fn waiting(pods: &Value) -> impl Iterator<Item = (&str, &Value)> {
    items(pods).flat_map(|pod| {
        let name = text(&pod["metadata"]["name"]);
        ["initContainerStatuses", "containerStatuses"]
            .into_iter()
            .filter_map(|kind| pod["status"][kind].as_array())
            .flatten()
            .map(move |status| (name, status))
    })
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Saves objects, events and logs of a cluster into `dir`. The error of a command is saved in place of its output.
///
/// # Errors
/// When the folder cannot be created, or the engine does not answer.
pub fn save(engine: &Engine, workspace: &Workspace, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    if let Ok(record) = read_record(workspace) {
        save_objects(&record, dir);
    }
    for (node, _, _) in node_containers(engine, &workspace.cluster_name())? {
        let in_node = |command: &[&str]| engine.docker().args(["exec", &node]).args(command).quiet().run_any();
        write(dir, &format!("{node}-journal.log"), in_node(&["journalctl", "--no-pager", "--lines=3000"]));
        // Without an API server, nothing else says why there is none.
        write(dir, &format!("{node}-static-pods.log"), in_node(&["bash", "-c", STATIC_PODS]));
        write(dir, &format!("{node}-audit.log"), in_node(&["tail", "--bytes=16M", AUDIT_LOG]));
        let console = engine.docker().args(["logs", &node]).quiet().run_any();
        write(dir, &format!("{node}-console.log"), console);
    }
    Ok(())
}

fn save_objects(record: &Record, dir: &Path) {
    let get = |what: &[&str]| kubectl(record).arg("get").args(what).arg("--all-namespaces").quiet().run_any();
    write(dir, "pods.txt", get(&["pods", "-o", "wide"]));
    write(dir, "events.txt", get(&["events", "--sort-by=.lastTimestamp"]));
    write(dir, "objects.yaml", get(&["all,configmaps,scaledobjects,hpa,pv,pvc", "-o", "yaml"]));
    let describe = kubectl(record).args(["describe", "pods", "--all-namespaces"]).quiet().run_any();
    write(dir, "pods-described.txt", describe);
    let names = kubectl(record)
        .args(["get", "pods", "--all-namespaces", "-o"])
        .arg("jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}")
        .quiet()
        .read()
        .unwrap_or_default();
    for (namespace, pod) in names.lines().filter_map(|line| line.split_once(' ')) {
        for (suffix, extra) in [("", None), ("-previous", Some("--previous"))] {
            let logs = kubectl(record)
                .args(["logs", "--namespace", namespace, pod, "--all-containers", "--tail=2000"])
                .args(extra)
                .quiet()
                .run_any();
            if logs.as_ref().is_ok_and(|output| output.status.success()) {
                write(dir, &format!("logs/{namespace}_{pod}{suffix}.log"), logs);
            }
        }
    }
}

fn write(dir: &Path, name: &str, output: Result<Output, CommandError>) {
    let path = dir.join(name);
    if let Some(parent) = path.parent() {
        let _ = fs::create_dir_all(parent);
    }
    let _ = fs::write(path, output.map_or_else(|error| error.to_string(), |output| output.all));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_workload_without_its_replicas_is_named() {
        let workload = |kind: &str, name: &str, generation: u8, replicas: u8, [ready, updated, present]: [u8; 3]| {
            json!({"kind": kind, "metadata": {"name": name, "generation": generation}, "spec": {"replicas": replicas},
                   "status": {"readyReplicas": ready, "updatedReplicas": updated, "replicas": present,
                              "observedGeneration": 1}})
        };
        let list = json!({"items": [
            workload("Deployment", "a", 1, 3, [1, 3, 3]),
            workload("StatefulSet", "b", 1, 1, [1, 1, 1]),
            workload("Deployment", "unseen", 2, 1, [1, 1, 1]),
            workload("Deployment", "begun", 1, 3, [3, 1, 4]),
            workload("Deployment", "leaving", 1, 3, [4, 3, 4]),
            {"kind": "DaemonSet", "metadata": {"name": "c"}, "spec": {},
             "status": {"desiredNumberScheduled": 2, "numberReady": 1, "updatedNumberScheduled": 2}},
            {"kind": "DaemonSet", "metadata": {"name": "d"}, "spec": {},
             "status": {"desiredNumberScheduled": 2, "numberReady": 2, "updatedNumberScheduled": 2,
                        "currentNumberScheduled": 2}},
        ]});
        assert_eq!(unready_workloads(&list), ["a 1/3", "unseen 1/1", "begun 1/3", "leaving 3/3", "c 1/2"]);
    }

    #[test]
    fn unavailable_api_is_named() {
        let list = json!({"items": [
            {"metadata": {"name": "v1."}, "status": {"conditions": [{"type": "Available", "status": "True"}]}},
            {"metadata": {"name": "v1beta1.x"}, "status": {"conditions": [{"type": "Available", "status": "False"}]}},
            {"metadata": {"name": "v1beta1.y"}},
        ]});
        assert_eq!(unavailable_apis(&list), ["API v1beta1.x not available", "API v1beta1.y not available"]);
    }

    #[test]
    fn a_missing_image_is_named_with_its_pod() {
        let pods = json!({"items": [{"metadata": {"name": "p"}, "status": {"initContainerStatuses": [
            {"name": "i", "image": "slipway.local/x:1", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}}]});
        assert_eq!(missing_images(&pods), ["slipway.local/x:1 (pod p)"]);
        assert_eq!(crashing(&pods, 0), Vec::<String>::new());
    }

    #[test]
    fn container_that_crashed_often_enough_is_named() {
        let pods = json!({"items": [{"metadata": {"name": "p"}, "status": {"containerStatuses": [
            {"name": "c", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}}]});
        assert_eq!(crashing(&pods, 4), ["p/c crashed 4 times"]);
        assert_eq!(crashing(&pods, 5), Vec::<String>::new());
    }

    #[test]
    fn a_pull_is_seen() {
        let events = json!({"items": [
            {"reason": "Pulled", "message": "Container image \"a\" already present on machine"},
            {"reason": "Pulling", "message": "Pulling image \"b\""},
        ]});
        assert_eq!(pulls(&events), ["Pulling image \"b\""]);
    }
}
