//! The switches that a scenario changes the cluster with: a fixed number of workers, and Deployments taken away.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Fixture, SCALED_OBJECT, scalers};
use support::wait::{Probe, eventually};

/// KEDA's annotation: while it is set, the ScaledObject has this many replicas.
const PAUSED: &str = "autoscaling.keda.sh/paused-replicas";
/// A Deployment that was set to one replica is available within this time.
const AVAILABLE: Duration = Duration::from_secs(90);

/// A Deployment by namespace and name.
pub type Target = (&'static str, &'static str);

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
