//! The evidence of a run that did not pass: logs (also those before a restart), the audit log, events and objects.
//!
//! A part that cannot be collected is replaced by the reason. Collecting never fails a run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use super::kubernetes::pod_of;
use super::{Cluster, Fixture, control_plane};
use support::command::Cmd;

/// Lines of each container's log: the whole of a run of ten minutes for nearly all of them.
const LINES: &str = "--tail=20000";
/// One call of kubectl ends within this time.
const ONE_CALL: Duration = Duration::from_secs(60);
/// The folder within the run's.
const FOLDER: &str = "cluster";

/// Collects into `folder`/cluster and says how many files that made.
///
/// # Errors
/// The folder cannot be written. What the cluster refuses is written down instead.
pub async fn collect(fixture: &Fixture, folder: &Path) -> Result<usize> {
    let folder = folder.join(FOLDER);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut calls = objects();
    match Api::<Pod>::all(fixture.kube.clone()).list(&ListParams::default()).await {
        Ok(pods) => calls.extend(pods.items.iter().flat_map(logs_of)),
        Err(error) => keep(&folder, "pods-not-listed.txt", &error.to_string())?,
    }
    for (file, arguments) in &calls {
        let text = match kubectl(&fixture.cluster, arguments).read_async().await {
            Ok(text) => text,
            Err(error) => format!("not collected: {error:#}\n"),
        };
        keep(&folder, file, &text)?;
    }
    let audit = match control_plane::audit_logs(&fixture.cluster).await {
        Ok(logs) => logs.into_iter().map(|(node, log)| (format!("audit-{node}.jsonl"), log)).collect(),
        Err(error) => vec![("audit-not-collected.txt".to_owned(), format!("{error:#}\n"))],
    };
    audit.iter().try_for_each(|(file, text)| keep(&folder, file, text))?;
    Ok(calls.len() + audit.len())
}

type Call = (String, Vec<String>);

/// Events and objects of the whole cluster; no secrets.
fn objects() -> Vec<Call> {
    let call = |file: &str, arguments: &[&str]| {
        (file.to_owned(), arguments.iter().map(|argument| (*argument).to_owned()).collect())
    };
    let kinds = "nodes,pods,deployments,replicasets,statefulsets,daemonsets,jobs,services,endpoints,configmaps,\
                 persistentvolumeclaims,horizontalpodautoscalers,apiservices";
    vec![
        call("events.txt", &["get", "events", "-A", "--sort-by=.lastTimestamp"]),
        call("events.json", &["get", "events", "-A", "-o", "json"]),
        call("pods.txt", &["get", "pods", "-A", "-o", "wide"]),
        call("objects.yaml", &["get", kinds, "-A", "-o", "yaml"]),
        call("scaledobjects.yaml", &["get", "scaledobjects", "-A", "-o", "yaml"]),
        call("hpa.txt", &["describe", "horizontalpodautoscalers", "-A"]),
        call("pods-described.txt", &["describe", "pods", "-A"]),
        call("nodes-described.txt", &["describe", "nodes"]),
    ]
}

/// The logs of a pod, and those from before its last restart if there was one.
fn logs_of(pod: &Pod) -> Vec<Call> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let state = pod_of(pod);
    let arguments = |more: Option<&str>| {
        let fixed = ["logs", "--namespace", &namespace, &state.name, "--all-containers", "--timestamps", LINES];
        fixed.into_iter().chain(more).map(str::to_owned).collect()
    };
    let mut calls = vec![(format!("log-{namespace}-{}.txt", state.name), arguments(None))];
    if state.restarts > 0 {
        calls.push((format!("log-{namespace}-{}-previous.txt", state.name), arguments(Some("--previous"))));
    }
    calls
}

fn kubectl(cluster: &Cluster, arguments: &[String]) -> Cmd {
    Cmd::new(&cluster.kubectl).args(arguments).env("KUBECONFIG", &cluster.kubeconfig).limit(ONE_CALL).quiet()
}

fn keep(folder: &Path, file: &str, text: &str) -> Result<()> {
    let path = folder.join(file);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_was_restarted_has_two_logs() {
        let pod = |restarts: i32| -> Pod {
            serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "w-1", "namespace": "documents"},
                "status": {"containerStatuses": [{
                    "name": "w", "image": "i", "imageID": "", "ready": true, "restartCount": restarts,
                }]},
            }))
            .unwrap()
        };
        let files = |restarts| logs_of(&pod(restarts)).into_iter().map(|(file, _)| file).collect::<Vec<_>>();
        assert_eq!(files(0), ["log-documents-w-1.txt"]);
        assert_eq!(files(1), ["log-documents-w-1.txt", "log-documents-w-1-previous.txt"]);
        let previous = &logs_of(&pod(1))[1].1;
        assert!(previous.contains(&"--previous".to_owned()), "{previous:?}");
    }
}
