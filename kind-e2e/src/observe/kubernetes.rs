//! Reads Kubernetes objects and takes from them what a sample holds.
//!
//! The extraction is pure and tested against literal objects; the reads are one request each.

use anyhow::{Context, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};

use super::sample::{Autoscaler, Fleet, PodState};
use crate::fixture::{AUTOSCALER, DEPLOYMENT, NAMESPACE, WORKER_SELECTOR};

/// Reads the worker Deployment's counts.
pub async fn read_fleet(client: &kube::Client) -> Result<Fleet> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let deployment = deployments
        .get(DEPLOYMENT)
        .await
        .with_context(|| format!("deployment {DEPLOYMENT}"))?;
    fleet_of(&deployment)
}

/// Tells `told` the worker Deployment's counts whenever the Deployment changes, until the watch ends, as the API server ends each
/// after some minutes.
///
/// # Errors
/// The API server is not there, or refuses.
pub async fn watch_fleet(client: &kube::Client, mut told: impl FnMut(Fleet)) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let only = WatchParams::default().fields(&format!("metadata.name={DEPLOYMENT}"));
    // Version 0: first what there is, then what changes.
    let mut events = deployments.watch(&only, "0").await?.boxed();
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(one) | WatchEvent::Modified(one) => {
                if let Ok(fleet) = fleet_of(&one) {
                    told(fleet);
                }
            }
            WatchEvent::Error(error) => return Err(kube::Error::Api(error).into()),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}

/// Reads the HPA that KEDA made for the workers.
pub async fn read_autoscaler(client: &kube::Client) -> Result<Autoscaler> {
    Ok(autoscaler_of(&hpa(client).await?))
}

/// The HPA object itself, for its bounds and behaviour.
pub async fn hpa(client: &kube::Client) -> Result<HorizontalPodAutoscaler> {
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), NAMESPACE);
    autoscalers
        .get(AUTOSCALER)
        .await
        .with_context(|| format!("horizontalpodautoscaler {AUTOSCALER}"))
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

/// A Deployment without a status has not been looked at by its controller: that is a gap, not zero.
fn fleet_of(deployment: &Deployment) -> Result<Fleet> {
    let status = deployment
        .status
        .as_ref()
        .context("the deployment has no status yet")?;
    status
        .observed_generation
        .context("the deployment's status is of no generation yet")?;
    Ok(Fleet {
        wanted: deployment.spec.replicas.unwrap_or(1),
        // The API leaves these out when they are 0.
        present: status.replicas.unwrap_or(0),
        ready: status.ready_replicas.unwrap_or(0),
    })
}

fn autoscaler_of(hpa: &HorizontalPodAutoscaler) -> Autoscaler {
    let status = hpa.status.as_ref();
    Autoscaler {
        current: status.and_then(|status| status.current_replicas).unwrap_or(0),
        desired: status.map_or(0, |status| status.desired_replicas),
    }
}

/// What a sample holds of a pod.
pub fn pod_of(pod: &Pod) -> PodState {
    let status = pod.status.as_ref();
    PodState {
        name: pod.metadata.name.clone().unwrap_or_default(),
        phase: status
            .and_then(|status| status.phase.clone())
            .unwrap_or_else(|| "Unknown".to_owned()),
        ready: status.is_some_and(is_ready),
        leaving: pod.metadata.deletion_timestamp.is_some(),
        restarts: containers(status).map(|container| container.restart_count).sum(),
        last_end: containers(status).find_map(last_end),
        waiting: containers(status).find_map(waiting),
    }
}

fn is_ready(status: &PodStatus) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn containers(
    status: Option<&PodStatus>,
) -> impl Iterator<Item = &k8s_openapi::api::core::v1::ContainerStatus> {
    status
        .into_iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
}

/// Why a container ended, now or before its last restart.
fn last_end(container: &k8s_openapi::api::core::v1::ContainerStatus) -> Option<String> {
    [container.last_state.as_ref(), container.state.as_ref()]
        .into_iter()
        .flatten()
        .find_map(|state| state.terminated.as_ref())
        .map(|ended| {
            ended
                .reason
                .clone()
                .unwrap_or_else(|| format!("exit code {}", ended.exit_code))
        })
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
        assert!(
            fleet_of(&deployment)
                .unwrap_err()
                .to_string()
                .contains("no status")
        );
    }

    #[test]
    fn counts_that_the_api_leaves_out_are_zero() {
        let deployment = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "temporal-worker"},
            "spec": {"replicas": 6, "selector": {}, "template": {}},
            "status": {"observedGeneration": 4, "replicas": 5},
        }))
        .unwrap();
        assert_eq!(
            fleet_of(&deployment).unwrap(),
            Fleet {
                wanted: 6,
                present: 5,
                ready: 0
            }
        );
    }

    #[test]
    fn an_hpa_says_what_it_wants() {
        let hpa = serde_json::from_value(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "spec": {"maxReplicas": 20, "minReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "w"}},
            "status": {"currentReplicas": 3, "desiredReplicas": 6, "conditions": []},
        }))
        .unwrap();
        assert_eq!(
            autoscaler_of(&hpa),
            Autoscaler {
                current: 3,
                desired: 6
            }
        );
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
        assert_eq!(
            (state.restarts, state.last_end.as_deref()),
            (2, Some("OOMKilled"))
        );
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
