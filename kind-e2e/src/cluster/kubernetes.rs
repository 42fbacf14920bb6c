//! Reads Kubernetes objects: the workers' Deployment, HPA, pods and usage.
//!
//! Each read is one request. What is taken from an answer is pure and tested against literal objects.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AUTOSCALER, DEPLOYMENT, NAMESPACE, WORKER_SELECTOR};

/// The worker Deployment's replica counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// `spec.replicas`: what the autoscaler asked for.
    pub wanted: i32,
    /// `status.replicas`: pods that exist and are not being deleted.
    pub present: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
}

impl Fleet {
    /// Whether exactly `count` replicas are wanted, present and ready.
    pub fn is_settled_at(&self, count: i32) -> bool {
        self.wanted == count && self.present == count && self.ready == count
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} wanted, {} present, {} ready", self.wanted, self.present, self.ready)
    }
}

/// One worker pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// The pod's name.
    pub name: String,
    /// `status.phase`.
    pub phase: String,
    /// Whether its Ready condition is true.
    pub ready: bool,
    /// Whether it is being deleted.
    pub leaving: bool,
    /// The sum of its containers' restart counts.
    pub restarts: i32,
    /// The reason of the last termination, such as `OOMKilled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<String>,
    /// Why a container waits, such as `ErrImagePull`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// Reads the worker Deployment's counts.
pub async fn read_fleet(client: &kube::Client) -> Result<Fleet> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let deployment = deployments.get(DEPLOYMENT).await.with_context(|| format!("deployment {DEPLOYMENT}"))?;
    fleet_of(&deployment)
}

/// Calls `shown` with the worker Deployment's counts whenever the Deployment changes.
///
/// Returns when the API server ends the watch, which it does every few minutes.
///
/// # Errors
/// The API server cannot be reached, or refuses the watch.
pub async fn watch_fleet(client: &kube::Client, mut shown: impl FnMut(Fleet)) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let only = WatchParams::default().fields(&format!("metadata.name={DEPLOYMENT}"));
    // Version 0: first what there is, then what changes.
    let mut events = deployments.watch(&only, "0").await?.boxed();
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(one) | WatchEvent::Modified(one) => {
                if let Ok(fleet) = fleet_of(&one) {
                    shown(fleet);
                }
            }
            WatchEvent::Error(error) => return Err(kube::Error::Api(error).into()),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}

/// The HPA object itself, for its bounds and behaviour.
pub async fn hpa(client: &kube::Client) -> Result<HorizontalPodAutoscaler> {
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), NAMESPACE);
    autoscalers.get(AUTOSCALER).await.with_context(|| format!("horizontalpodautoscaler {AUTOSCALER}"))
}

/// Reads the worker pods.
pub async fn read_pods(client: &kube::Client) -> Result<Vec<PodState>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let list = pods
        .list(&ListParams::default().labels(WORKER_SELECTOR))
        .await
        .with_context(|| format!("pods with {WORKER_SELECTOR}"))?;
    Ok(list.items.iter().map(pod_of).collect())
}

/// Memory of each worker pod in bytes, as the metrics API has it.
///
/// # Errors
/// The metrics API does not answer, or not with a list.
pub async fn read_memory(client: &kube::Client) -> Result<BTreeMap<String, u64>> {
    let selector: String = url::form_urlencoded::byte_serialize(WORKER_SELECTOR.as_bytes()).collect();
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods?labelSelector={selector}");
    let request = http::Request::get(&path).body(Vec::new())?;
    let answer = client.request(request).await;
    memory_of(&answer.with_context(|| format!("asking for {path}"))?)
}

fn memory_of(answer: &Value) -> Result<BTreeMap<String, u64>> {
    let items = answer["items"].as_array().context("the metrics API gave no list")?;
    let known = items.iter().filter_map(|item| {
        let containers = item["containers"].as_array()?;
        let bytes = containers.iter().map(|container| bytes_of(container["usage"]["memory"].as_str()?));
        Some((item["metadata"]["name"].as_str()?.to_owned(), bytes.sum::<Option<u64>>()?))
    });
    Ok(known.collect())
}

/// A quantity of memory as metrics-server and the manifests write it: bytes, or with Ki, Mi or Gi.
pub(crate) fn bytes_of(quantity: &str) -> Option<u64> {
    let units = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("", 1)];
    let (number, unit) = units.iter().find_map(|(suffix, unit)| Some((quantity.strip_suffix(suffix)?, *unit)))?;
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// A Deployment without a status has not been looked at by its controller: that is a gap, not zero.
fn fleet_of(deployment: &Deployment) -> Result<Fleet> {
    let status = deployment.status.as_ref().context("the deployment has no status yet")?;
    status.observed_generation.context("the deployment's status is of no generation yet")?;
    Ok(Fleet {
        wanted: deployment.spec.replicas.unwrap_or(1),
        // The API leaves these out when they are 0.
        present: status.replicas.unwrap_or(0),
        ready: status.ready_replicas.unwrap_or(0),
    })
}

/// What a sample holds of a pod.
pub fn pod_of(pod: &Pod) -> PodState {
    let status = pod.status.as_ref();
    PodState {
        name: pod.metadata.name.clone().unwrap_or_default(),
        phase: status.and_then(|status| status.phase.clone()).unwrap_or_else(|| "Unknown".to_owned()),
        ready: status.is_some_and(is_ready),
        leaving: pod.metadata.deletion_timestamp.is_some(),
        restarts: containers(status).map(|container| container.restart_count).sum(),
        last_end: containers(status).find_map(last_end),
        waiting: containers(status).find_map(waiting),
    }
}

fn is_ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn containers(status: Option<&PodStatus>) -> impl Iterator<Item = &k8s_openapi::api::core::v1::ContainerStatus> {
    status.into_iter().flat_map(|status| status.container_statuses.iter().flatten())
}

/// Why a container ended, now or before its last restart.
fn last_end(container: &k8s_openapi::api::core::v1::ContainerStatus) -> Option<String> {
    [container.last_state.as_ref(), container.state.as_ref()]
        .into_iter()
        .flatten()
        .find_map(|state| state.terminated.as_ref())
        .map(|ended| ended.reason.clone().unwrap_or_else(|| format!("exit code {}", ended.exit_code)))
}

fn waiting(container: &k8s_openapi::api::core::v1::ContainerStatus) -> Option<String> {
    container.state.as_ref()?.waiting.as_ref()?.reason.clone()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_with_no_status_is_a_gap() {
        let deployment = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "temporal-worker"},
            "spec": {"replicas": 3, "selector": {}, "template": {}},
        }))
        .unwrap();
        assert!(fleet_of(&deployment).unwrap_err().to_string().contains("no status"));
    }

    #[test]
    fn memory_is_told_for_each_pod_with_its_unit() {
        let item = |name: &str, memory: &str| json!({"metadata": {"name": name}, "containers": [{"usage": {"memory": memory}}]});
        let answer = json!({"items": [item("a", "18432Ki"), item("b", "20Mi"), item("c", "many")]});
        let known: Vec<(String, u64)> = memory_of(&answer).unwrap().into_iter().collect();
        assert_eq!(known, [("a".to_owned(), 18_874_368), ("b".to_owned(), 20_971_520)]);
        assert!(memory_of(&Value::Null).is_err());
    }

    #[test]
    fn counts_that_the_api_leaves_out_are_zero() {
        let deployment = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "temporal-worker"},
            "spec": {"replicas": 6, "selector": {}, "template": {}},
            "status": {"observedGeneration": 4, "replicas": 5},
        }))
        .unwrap();
        assert_eq!(fleet_of(&deployment).unwrap(), Fleet { wanted: 6, present: 5, ready: 0 });
    }

    #[test]
    fn a_pod_that_was_killed_for_memory_says_so() {
        let pod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "w-1"},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{
                    "name": "worker", "image": "i", "imageID": "", "ready": true, "restartCount": 2,
                    "state": {"running": {}},
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                }],
            },
        }))
        .unwrap();
        let state = pod_of(&pod);
        assert_eq!((state.restarts, state.last_end.as_deref()), (2, Some("OOMKilled")));
        assert!(state.ready && !state.leaving);
    }

    #[test]
    fn a_pod_whose_image_is_missing_waits() {
        let pod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "w-2", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "status": {
                "phase": "Pending",
                "containerStatuses": [{
                    "name": "worker", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "ErrImagePull"}},
                }],
            },
        }))
        .unwrap();
        let state = pod_of(&pod);
        assert_eq!(state.waiting.as_deref(), Some("ErrImagePull"));
        assert!(state.leaving && !state.ready && state.last_end.is_none());
    }
}
