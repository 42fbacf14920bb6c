//! The switches that a scenario changes the cluster with: a fixed number of workers, and Deployments taken away.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{AUTOSCALER, DEPLOYMENT, Fixture, NAMESPACE, SCALED_OBJECT, WORKER_SELECTOR, scalers};
use support::command::Cmd;
use support::wait::{Probe, eventually, when};

/// KEDA's annotation: while it is set, the ScaledObject has this many replicas.
const PAUSED: &str = "autoscaling.keda.sh/paused-replicas";
/// A Deployment that was set to one replica is available within this time.
const AVAILABLE: Duration = Duration::from_secs(90);

/// A StatefulSet whose pod was deleted or scaled away is Ready within this time: Postgres replays its log.
const STATEFUL: Duration = Duration::from_secs(120);
/// A rollout ends within this time.
const ROLLED_OUT: Duration = Duration::from_secs(180);
/// The disruption budget lets a pod go within this time: each replacement has to be Ready before the next eviction.
const EVICTED: Duration = Duration::from_secs(120);

/// An image of the workers that does not exist.
pub const BAD_IMAGE: &str = "slipway.local/temporal-worker:no-such-version";

/// A Deployment by namespace and name.
pub type Target = (&'static str, &'static str);
/// The workers' Deployment.
const WORKERS: Target = (NAMESPACE, DEPLOYMENT);

/// Fixes the number of workers, or gives the workers back to the autoscaler.
///
/// # Errors
/// The ScaledObject cannot be changed.
pub async fn pause(fixture: &Fixture, workers: Option<i32>) -> Result<()> {
    let value = workers.map_or(Value::Null, |workers| workers.to_string().into());
    let patch = json!({"metadata": {"annotations": {PAUSED: value}}});
    scalers::scaled_objects(fixture)
        .patch(SCALED_OBJECT, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .with_context(|| format!("setting {PAUSED} of scaledobject {SCALED_OBJECT}"))?;
    Ok(())
}

/// Answers whether KEDA has deleted the HPA and the number of workers is the fixed one. A number that changed since is
/// set again: an HPA that is deleted in the middle of a sync writes its answer over a newer number, and KEDA does not look
/// again.
///
/// # Errors
/// The HPA or the Deployment cannot be read or changed.
pub async fn ensure_fixed(fixture: &Fixture, workers: i32) -> Result<bool> {
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(fixture.kube.clone(), NAMESPACE);
    if autoscalers.get_opt(AUTOSCALER).await.context("reading the HPA")?.is_some() {
        return Ok(false);
    }
    let deployments: Api<Deployment> = Api::namespaced(fixture.kube.clone(), NAMESPACE);
    let found = deployments.get(DEPLOYMENT).await.context("reading the workers' Deployment")?;
    let fixed = found.spec.replicas == Some(workers);
    if !fixed {
        set_replicas(fixture, &[WORKERS], workers).await?;
    }
    Ok(fixed)
}

/// Sets the replicas of Deployments.
///
/// # Errors
/// A Deployment cannot be changed.
pub async fn set_replicas(fixture: &Fixture, targets: &[Target], replicas: i32) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    for (namespace, name) in targets {
        let api: Api<Deployment> = Api::namespaced(fixture.kube.clone(), namespace);
        api.patch(name, &PatchParams::default(), &patch)
            .await
            .with_context(|| format!("setting {namespace}/{name} to {replicas}"))?;
    }
    Ok(())
}

/// Waits until each Deployment has an available replica.
///
/// # Errors
/// One has none in time.
pub async fn available(fixture: &Fixture, targets: &[Target]) -> Result<()> {
    for (namespace, name) in targets {
        let api: Api<Deployment> = Api::namespaced(fixture.kube.clone(), namespace);
        eventually(&format!("{name} is available"), AVAILABLE, async || match api.get(name).await {
            Ok(found) => match found.status.and_then(|status| status.available_replicas) {
                Some(available) if available > 0 => Probe::Ready(()),
                _ => Probe::NotYet("no replica is available".to_owned()),
            },
            Err(error) => Probe::NotYet(error.to_string()),
        })
        .await?;
    }
    Ok(())
}

/// Sets the replicas of a StatefulSet.
///
/// # Errors
/// It cannot be changed.
pub async fn set_stateful(fixture: &Fixture, (namespace, name): Target, replicas: i32) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let api: Api<StatefulSet> = Api::namespaced(fixture.kube.clone(), namespace);
    let patched = api.patch(name, &PatchParams::default(), &patch).await;
    patched.with_context(|| format!("setting {namespace}/{name} to {replicas}")).map(drop)
}

/// Waits until a StatefulSet has so many pods, each of them Ready.
///
/// # Errors
/// It has not in time.
pub async fn stateful(fixture: &Fixture, (namespace, name): Target, replicas: i32) -> Result<()> {
    let api: Api<StatefulSet> = Api::namespaced(fixture.kube.clone(), namespace);
    eventually(&format!("{name} has {replicas} Ready pods"), STATEFUL, async || match api.get(name).await {
        Ok(found) => match found.status {
            Some(status) if status.replicas == replicas && status.ready_replicas.unwrap_or(0) == replicas => {
                Probe::Ready(())
            }
            status => Probe::NotYet(format!("{status:?}")),
        },
        Err(error) => Probe::NotYet(error.to_string()),
    })
    .await?;
    Ok(())
}

/// Deletes a pod, as an operator would.
///
/// # Errors
/// The API server refuses it.
pub async fn delete_pod(fixture: &Fixture, namespace: &str, name: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(fixture.kube.clone(), namespace);
    pods.delete(name, &DeleteParams::default()).await.with_context(|| format!("deleting pod {name}")).map(drop)
}

/// Evicts a pod, as the drain of a node does: again and again until the disruption budget lets it go.
///
/// # Errors
/// It does not in time.
pub async fn evict(fixture: &Fixture, namespace: &str, name: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(fixture.kube.clone(), namespace);
    eventually(&format!("pod {name} is evicted"), EVICTED, async || {
        match pods.evict(name, &EvictParams::default()).await {
            Ok(_) => Probe::Ready(()),
            // Gone already: the autoscaler or a rollout took it.
            Err(kube::Error::Api(status)) if status.code == 404 => Probe::Ready(()),
            Err(error) => Probe::NotYet(error.to_string()),
        }
    })
    .await?;
    Ok(())
}

/// Rolls the workers out anew, and waits for the end.
///
/// # Errors
/// The Deployment cannot be changed, or does not roll out in time.
pub async fn roll_out_again(fixture: &Fixture) -> Result<()> {
    restart(fixture, WORKERS).await
}

/// Rolls a Deployment out anew, as `kubectl rollout restart` does, and waits for the end.
///
/// # Errors
/// The Deployment cannot be changed, or does not roll out in time.
pub async fn restart(fixture: &Fixture, target: Target) -> Result<()> {
    let (namespace, name) = target;
    let deployments: Api<Deployment> = Api::namespaced(fixture.kube.clone(), namespace);
    deployments.restart(name).await.with_context(|| format!("restarting {namespace}/{name}"))?;
    kubectl(fixture, target, &["rollout", "status"]).await.with_context(|| format!("rolling out {namespace}/{name}"))
}

/// Rolls the workers out with an image that does not exist, and waits until a pod lacks it.
///
/// # Errors
/// The Deployment cannot be changed, or no pod lacks the image in time.
pub async fn roll_out_bad_image(fixture: &Fixture) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(fixture.kube.clone(), NAMESPACE);
    let container = json!({"name": DEPLOYMENT, "image": BAD_IMAGE});
    let patch = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [container]}}}}));
    deployments.patch(DEPLOYMENT, &PatchParams::default(), &patch).await.context("changing the workers' image")?;
    let pods: Api<Pod> = Api::namespaced(fixture.kube.clone(), NAMESPACE);
    let workers = ListParams::default().labels(WORKER_SELECTOR);
    eventually("a worker lacks its image", AVAILABLE, async || match pods.list(&workers).await {
        Ok(list) => when(list.items.iter().any(lacks_image), || "none does".to_owned()),
        Err(error) => Probe::NotYet(error.to_string()),
    })
    .await?;
    Ok(())
}

fn lacks_image(pod: &Pod) -> bool {
    let statuses = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
    let mut reasons = statuses.filter_map(|one| one.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    reasons.any(|reason| reason.contains("ImagePull"))
}

/// Takes such a rollout back, as `kubectl rollout undo` does. Nothing changes if the workers have another image.
///
/// # Errors
/// The Deployment cannot be read or changed.
pub async fn roll_back(fixture: &Fixture) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(fixture.kube.clone(), NAMESPACE);
    let found = deployments.get(DEPLOYMENT).await.context("reading the workers' Deployment")?;
    let pods = found.spec.template.spec;
    let images = pods.into_iter().flat_map(|pod| pod.containers).filter_map(|container| container.image);
    if !images.into_iter().any(|image| image == BAD_IMAGE) {
        return Ok(());
    }
    kubectl(fixture, WORKERS, &["rollout", "undo"]).await.context("taking the rollout back")
}

/// Waits until the workers are rolled out.
///
/// # Errors
/// They are not in time.
pub async fn rolled_out(fixture: &Fixture) -> Result<()> {
    kubectl(fixture, WORKERS, &["rollout", "status"]).await.context("rolling out the workers")
}

/// kubectl about a Deployment.
async fn kubectl(fixture: &Fixture, (namespace, name): Target, command: &[&str]) -> Result<()> {
    let cluster = &fixture.cluster;
    let kubectl = Cmd::new(&cluster.kubectl).args(command).args(["deployment", name, "--namespace", namespace]);
    kubectl.env("KUBECONFIG", &cluster.kubeconfig).limit(ROLLED_OUT).quiet().read_async().await?;
    Ok(())
}
