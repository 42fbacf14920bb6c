//! What the cluster says about itself: how it scales the workers, and the workers' settings.

use anyhow::{Context, Result};
use capacity::manifests::{Manifests, Text};
use capacity::settings::Settings;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use serde_json::Value;

use super::autoscaling::{Autoscaling, DEFAULT_SYNC};
use super::forward::Forward;
use super::hpa_sync::hpa_sync;
use super::{DEPLOYMENT, Fixture, NAMESPACE, scalers};

/// The trigger that asks `temporal-scaler`, and the Deployment with its settings.
pub const TEMPORAL_SCALER: (&str, &str) = ("temporal_scaler", "temporal-scaler");

/// The port of its answer.
pub const SCALE_PORT: u16 = 9465;
/// The port of its metrics.
pub const METRICS_PORT: u16 = 9464;

/// How the cluster scales the workers, and the workers' settings.
///
/// The first comes from the HPA in force, its ScaledObject, and the controller manager's flags where the cluster
/// shows them. The second is read from the Deployments and the ScaledObject as `cargo xtask plan` reads them in files.
///
/// # Errors
/// An object is missing, or has a value that cannot be understood.
pub async fn autoscaling(fixture: &Fixture) -> Result<(Autoscaling, Settings)> {
    let hpa = scalers::taken_over(fixture).await?;
    let deployments: Api<Deployment> = Api::namespaced(fixture.kube.clone(), NAMESPACE);
    let deployment = deployments.get(DEPLOYMENT).await.with_context(|| format!("deployment {DEPLOYMENT}"))?;
    let scaler =
        deployments.get_opt(TEMPORAL_SCALER.1).await.with_context(|| format!("deployment {}", TEMPORAL_SCALER.1))?;
    let scaled_object = scalers::scaled_object(fixture).await?;
    let mut objects = vec![serde_json::to_value(deployment)?, serde_json::to_value(scaled_object)?];
    if let Some(scaler) = scaler {
        objects.push(serde_json::to_value(scaler)?);
    }
    let settings = settings_of(&objects)?;
    let hpa_sync = hpa_sync(&fixture.kube).await?.unwrap_or(f64::from(DEFAULT_SYNC));
    Ok((Autoscaling::of(&hpa, settings.io.target, hpa_sync), settings))
}

/// A way to `temporal-scaler`'s answer.
///
/// # Errors
/// kubectl does not forward.
pub async fn way_to_scale(fixture: &Fixture) -> Result<Forward> {
    Forward::to(&fixture.cluster, NAMESPACE, TEMPORAL_SCALER.1, SCALE_PORT).await
}

/// What `temporal-scaler` answers at `/scale`, asked with a certificate.
///
/// # Errors
/// It does not answer, or has no number of workers.
pub async fn scale(fixture: &Fixture, way: &Forward) -> Result<Value> {
    let answer = fixture.http.get(format!("https://127.0.0.1:{}/scale", way.port)).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status).context("asking temporal-scaler for /scale")?;
    answer.json().await.context("reading temporal-scaler's answer")
}

fn settings_of(objects: &[Value]) -> Result<Settings> {
    let text = |object: &Value| Text { name: "the cluster".to_owned(), text: object.to_string() };
    let texts: Vec<Text> = objects.iter().map(text).collect();
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
        let scaled_object = object(include_str!("../../../manifests/base/keda-scaledobject.yaml"), "ScaledObject");
        let mut scaler = object(include_str!("../../../manifests/base/temporal-scaler.yaml"), "Deployment");
        change(&mut deployment, &mut scaler);
        settings_of(&[deployment, scaled_object, scaler])
    }

    #[test]
    fn slots_and_target_are_those_of_the_cluster() {
        let settings = shipped(|_, _| {}).unwrap();
        assert_eq!((settings.io.count.value, settings.io.target), (5, 3.5));
        let settings = shipped(|deployment, scaler| {
            let set = |object: &mut Value, name: &str, value: &str| {
                object["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": name, "value": value}]);
            };
            set(deployment, "TEMPORAL_IO_ACTIVITY_CONCURRENCY", "8");
            set(scaler, "SCALER_UTILIZATION", "0.75");
        })
        .unwrap();
        assert_eq!((settings.io.count.value, settings.io.target), (8, 6.0));
    }
}
