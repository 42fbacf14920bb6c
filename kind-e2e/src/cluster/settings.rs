//! What the cluster says about itself: how it scales the workers, and the workers' settings.

use anyhow::{Context, Result};
use capacity::manifests::{Manifests, Text};
use capacity::settings::Settings;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use serde_json::Value;

use super::autoscaling::{Autoscaling, DEFAULT_SYNC};
use super::hpa_sync::hpa_sync;
use super::{DEPLOYMENT, Fixture, NAMESPACE, scalers};

/// The trigger of the IO queue's demand.
pub const IO_DEMAND: &str = "io_demand";

/// How the cluster scales the workers, and the workers' settings.
///
/// The first comes from the HPA in force, its ScaledObject, and the controller manager's flags where the cluster
/// shows them. The second is read from the Deployment and the ScaledObject as `cargo xtask plan` reads them in files.
///
/// # Errors
/// An object is missing, or has a value that cannot be understood.
pub async fn autoscaling(fixture: &Fixture) -> Result<(Autoscaling, Settings)> {
    let hpa = scalers::taken_over(fixture).await?;
    let deployments: Api<Deployment> = Api::namespaced(fixture.kube.clone(), NAMESPACE);
    let deployment = deployments.get(DEPLOYMENT).await.with_context(|| format!("deployment {DEPLOYMENT}"))?;
    let scaled_object = scalers::scaled_object(fixture).await?;
    let settings = settings_of([serde_json::to_value(deployment)?, serde_json::to_value(scaled_object)?])?;
    let hpa_sync = hpa_sync(&fixture.kube).await?.unwrap_or(f64::from(DEFAULT_SYNC));
    // Without a trigger for it the target is assumed: the fleet then fails to grow, and the checks say so.
    Ok((Autoscaling::of(&hpa, settings.io.target, hpa_sync), settings))
}

fn settings_of(objects: [Value; 2]) -> Result<Settings> {
    let texts = objects.map(|object| Text { name: "the cluster".to_owned(), text: object.to_string() });
    Settings::read(&Manifests::parse(&texts)?, &|_| None)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use serde_json::json;

    use super::*;

    /// What ships, with one value changed.
    fn shipped(change: impl FnOnce(&mut Value, &mut Value)) -> Result<Settings> {
        let object = |text: &str, kind: &str| -> Value {
            let objects = serde_norway::Deserializer::from_str(text);
            let mut objects = objects.map(|object| Value::deserialize(object).unwrap());
            objects.find(|object| object["kind"] == kind).unwrap()
        };
        let mut deployment =
            object(include_str!("../../../manifests/base/temporal-worker-deployment.yaml"), "Deployment");
        let mut scaled_object = object(include_str!("../../../manifests/base/keda-scaledobject.yaml"), "ScaledObject");
        change(&mut deployment, &mut scaled_object);
        settings_of([deployment, scaled_object])
    }

    #[test]
    fn slots_and_target_are_those_of_the_cluster() {
        let settings = shipped(|_, _| {}).unwrap();
        assert_eq!((settings.io.count.value, settings.io.target), (5, 3.5));
        let settings = shipped(|deployment, scaled_object| {
            let env = &mut deployment["spec"]["template"]["spec"]["containers"][0]["env"];
            *env = json!([{"name": "TEMPORAL_IO_ACTIVITY_CONCURRENCY", "value": "8"}]);
            let triggers = scaled_object["spec"]["triggers"].as_array_mut().unwrap();
            let io = triggers.iter_mut().find(|trigger| trigger["name"] == IO_DEMAND).unwrap();
            io["metadata"]["threshold"] = json!("5.6");
        })
        .unwrap();
        assert_eq!((settings.io.count.value, settings.io.target), (8, 5.6));
    }
}
