//! The ways to scale the workers that the manifests offer, and the switch from one to another.
//!
//! Each is a kustomization that a user can apply; it is applied here as a user would, with kubectl.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
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
            Self::Slipway => "temporal-scaler, depth rules (manifests/base)",
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

/// Waits until the HPA is what the ScaledObject asks for: as many metrics as triggers, and the same range of replicas.
///
/// # Errors
/// KEDA did not make or change the HPA in time.
pub async fn taken_over(fixture: &Fixture) -> Result<HorizontalPodAutoscaler> {
    let hpa = eventually("the HPA follows its scaledobject", TAKEN_OVER, async || {
        match (scaled_object(fixture).await, hpa(&fixture.kube).await) {
            (Ok(asked), Ok(hpa)) => match difference(&asked.data["spec"], &hpa) {
                None => Probe::Ready(hpa),
                Some(why) => Probe::NotYet(why),
            },
            (Err(error), _) | (_, Err(error)) => Probe::NotYet(format!("{error:#}")),
        }
    });
    Ok(hpa.await?)
}

/// How the HPA differs from what the specification of its ScaledObject asks for.
fn difference(asked: &Value, hpa: &HorizontalPodAutoscaler) -> Option<String> {
    let triggers = asked["triggers"].as_array().map_or(0, Vec::len);
    let metrics = hpa.spec.metrics.as_ref().map_or(0, Vec::len);
    // KEDA's defaults. It scales from 0 to 1 itself, so an HPA has at least 1.
    let minimum = asked["minReplicaCount"].as_i64().unwrap_or(0).max(1);
    let maximum = asked["maxReplicaCount"].as_i64().unwrap_or(100);
    let asked = (triggers, minimum, maximum);
    let found = (metrics, hpa.spec.min_replicas.unwrap_or(1).into(), hpa.spec.max_replicas.into());
    (asked != found).then(|| format!("triggers, minimum and maximum are {asked:?}, in the HPA {found:?}"))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_hpa_follows_when_its_range_and_its_metrics_do() {
        let difference = |asked: Value, metrics: usize| {
            let hpa = json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "x"}, "minReplicas": 3,
                "maxReplicas": 20, "metrics": vec![json!({"type": "External"}); metrics]}});
            super::difference(&asked, &serde_json::from_value(hpa).unwrap())
        };
        let asked = json!({"minReplicaCount": 3, "maxReplicaCount": 20, "triggers": [{}, {}]});
        assert_eq!(difference(asked.clone(), 2), None);
        assert!(difference(asked, 1).is_some());
        assert!(difference(json!({"minReplicaCount": 3, "maxReplicaCount": 5, "triggers": [{}, {}]}), 2).is_some());
        assert!(difference(json!({"triggers": [{}, {}]}), 2).unwrap().contains("(2, 1, 100)"));
    }
}
