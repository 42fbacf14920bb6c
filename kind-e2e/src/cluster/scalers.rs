//! The ways to scale the workers that the manifests offer, and the switch from one to another.
//!
//! Each is a kustomization that a user can apply; it is applied here as a user would, with kubectl.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kubernetes::hpa;
use super::{Fixture, NAMESPACE, SCALED_OBJECT};
use support::command::Cmd;
use support::wait::{Probe, eventually};

/// KEDA gives the HPA the triggers of a new ScaledObject within this time.
const TAKEN_OVER: Duration = Duration::from_secs(60);
/// kubectl ends within this time.
const APPLIED: Duration = Duration::from_secs(60);

/// A way to scale the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaler {
    /// What ships.
    Slipway,
    /// The guide's ScaledObject, word for word.
    Guide,
    /// KEDA's Temporal trigger with the guide's numbers.
    Temporal,
}

impl Scaler {
    /// Its name in samples and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slipway => "slipway",
            Self::Guide => "guide",
            Self::Temporal => "temporal",
        }
    }

    /// What it is, for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Slipway => "demand, depth rules (manifests/base)",
            Self::Guide => "the guide's ScaledObject, word for word (overlays/scalers/guide)",
            Self::Temporal => "KEDA's Temporal trigger (overlays/scalers/temporal)",
        }
    }

    fn kustomization(self) -> &'static str {
        match self {
            Self::Slipway => "base",
            Self::Guide => "overlays/scalers/guide",
            Self::Temporal => "overlays/scalers/temporal",
        }
    }
}

/// Applies a way to scale, as a user would.
///
/// # Errors
/// kubectl refuses it.
pub async fn apply(fixture: &Fixture, scaler: Scaler) -> Result<()> {
    let cluster = &fixture.cluster;
    Cmd::new(&cluster.kubectl)
        .args(["apply", "--kustomize"])
        .args([cluster.manifests.join(scaler.kustomization())])
        .env("KUBECONFIG", &cluster.kubeconfig)
        .limit(APPLIED)
        .quiet()
        .read_async()
        .await
        .with_context(|| format!("applying {}", scaler.kustomization()))
        .map(drop)
}

/// Waits until the HPA has as many metrics as the ScaledObject has triggers.
///
/// # Errors
/// KEDA did not make or change the HPA in time.
pub async fn taken_over(fixture: &Fixture) -> Result<()> {
    eventually("the HPA of the scaledobject", TAKEN_OVER, async || {
        match (triggers(fixture).await, hpa(&fixture.kube).await) {
            (Ok(triggers), Ok(hpa)) => {
                let metrics = hpa.spec.metrics.map_or(0, |metrics| metrics.len());
                match metrics == triggers.len() {
                    true => Probe::Ready(()),
                    false => Probe::NotYet(format!("{metrics} metrics for {} triggers", triggers.len())),
                }
            }
            (Err(error), _) | (_, Err(error)) => Probe::NotYet(format!("{error:#}")),
        }
    })
    .await?;
    Ok(())
}

/// The triggers of the ScaledObject in force.
///
/// # Errors
/// There is none.
pub async fn triggers(fixture: &Fixture) -> Result<Vec<Value>> {
    let found = scaled_object(fixture).await?;
    let triggers = found.data["spec"]["triggers"].as_array().cloned();
    triggers.context("the scaledobject has no triggers")
}

/// The ScaledObject in force.
///
/// # Errors
/// There is none.
pub async fn scaled_object(fixture: &Fixture) -> Result<DynamicObject> {
    scaled_objects(fixture).get(SCALED_OBJECT).await.with_context(|| format!("scaledobject {SCALED_OBJECT}"))
}

/// The ScaledObjects of the workers' namespace.
pub fn scaled_objects(fixture: &Fixture) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    Api::namespaced_with(fixture.kube.clone(), NAMESPACE, &ApiResource::from_gvk(&kind))
}
