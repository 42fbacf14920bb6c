//! What the cluster says about itself before a load: how it scales, how many slots a worker has. And
//! the upload of the documents, the one thing that is put there beside the load.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use capacity::manifests::{Manifests, Text};
use capacity::settings::Settings;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde_json::Value;

use crate::bounds::{Autoscaling, HPA_SYNC};
use crate::controller::hpa_sync;
use crate::corpus::Document;
use crate::fixture::{DEPLOYMENT, Fixture, NAMESPACE};
use crate::observe::kubernetes::hpa;
use crate::scalers;
use crate::sizing::Sizing;
use crate::wait::{Probe, eventually};

/// For KEDA to make the HPA of a ScaledObject that was just applied.
const HPA_MADE: Duration = Duration::from_secs(60);
/// Uploads at the same time: enough to hide the trips, few enough for two cores.
const UPLOADS: usize = 8;
/// The trigger that asks for demand of the IO queue.
pub const IO_DEMAND: &str = "io_demand";

/// How the cluster scales the workers: from the HPA that is in force, the ScaledObject that it was made from, and the flags of
/// the controller manager where the cluster shows them. And the settings of the workers.
pub async fn autoscaling(fixture: &Fixture) -> Result<(Autoscaling, Settings)> {
    let hpa = eventually("the workers' HPA", HPA_MADE, async || {
        match hpa(&fixture.kube).await {
            Ok(hpa) => Probe::Ready(hpa),
            Err(error) => Probe::NotYet(format!("{error:#}")),
        }
    })
    .await?;
    let settings = as_planned(fixture).await?;
    let target = target(&settings)?;
    let hpa_sync = hpa_sync(&fixture.kube).await?.unwrap_or(f64::from(HPA_SYNC));
    Ok((Autoscaling::of(&hpa, target, hpa_sync), settings))
}

/// The settings of the Deployment and the ScaledObject that are in the cluster, read as `cargo xtask plan` reads them in files.
///
/// # Errors
/// One of them is not there, or has a value that is none.
async fn as_planned(fixture: &Fixture) -> Result<Settings> {
    let deployments: Api<Deployment> = Api::namespaced(fixture.kube.clone(), NAMESPACE);
    let deployment = deployments
        .get(DEPLOYMENT)
        .await
        .with_context(|| format!("deployment {DEPLOYMENT}"))?;
    let scaled_object = scalers::scaled_object(fixture).await?;
    planned_of([
        serde_json::to_value(deployment)?,
        serde_json::to_value(scaled_object)?,
    ])
}

fn planned_of(objects: [Value; 2]) -> Result<Settings> {
    let texts = objects.map(|object| Text {
        name: "the cluster".to_owned(),
        text: object.to_string(),
    });
    Settings::read(&Manifests::parse(&texts)?, &|_| None)
}

/// IO slots in use for each of which groups one more worker is asked for.
fn target(settings: &Settings) -> Result<f64> {
    ensure!(
        !settings.io.assumed,
        "no trigger of the scaledobject is called {IO_DEMAND}"
    );
    Ok(settings.io.target)
}

/// What the loads of a scenario are sized by.
pub async fn sizing(fixture: &Fixture, service: f64, cores: usize) -> Result<Sizing> {
    let (autoscaling, settings) = autoscaling(fixture).await?;
    Ok(Sizing {
        min: autoscaling.min,
        max: autoscaling.max,
        slots: settings.io.count.value,
        target: autoscaling.target,
        service,
        cores,
    })
}

/// Puts every document into the bucket. Keys are of the content, so that a second run changes nothing.
pub async fn upload(fixture: &Fixture, documents: &[Document]) -> Result<()> {
    stream::iter(documents)
        .map(Ok::<_, anyhow::Error>)
        .try_for_each_concurrent(UPLOADS, async |document| {
            let store: &Arc<dyn ObjectStore> = &fixture.documents;
            let payload = PutPayload::from(document.bytes.clone());
            let path = Path::from(document.key.as_str());
            store
                .put(&path, payload)
                .await
                .with_context(|| format!("uploading {}", document.key))?;
            Ok(())
        })
        .await
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
        let mut deployment = object(
            include_str!("../../manifests/base/temporal-worker-deployment.yaml"),
            "Deployment",
        );
        let mut scaled_object = object(
            include_str!("../../manifests/base/keda-scaledobject.yaml"),
            "ScaledObject",
        );
        change(&mut deployment, &mut scaled_object);
        planned_of([deployment, scaled_object])
    }

    #[test]
    fn slots_and_target_are_those_of_the_cluster() {
        let settings = shipped(|_, _| {}).unwrap();
        assert_eq!((settings.io.count.value, target(&settings).unwrap()), (5, 3.5));
        let settings = shipped(|deployment, scaled_object| {
            let env = &mut deployment["spec"]["template"]["spec"]["containers"][0]["env"];
            *env = json!([{"name": "TEMPORAL_IO_ACTIVITY_CONCURRENCY", "value": "8"}]);
            let triggers = scaled_object["spec"]["triggers"].as_array_mut().unwrap();
            let io = triggers
                .iter_mut()
                .find(|trigger| trigger["name"] == IO_DEMAND)
                .unwrap();
            io["metadata"]["threshold"] = json!("5.6");
        })
        .unwrap();
        assert_eq!((settings.io.count.value, target(&settings).unwrap()), (8, 5.6));
    }

    #[test]
    fn a_scaler_without_demand_has_no_target() {
        let settings = shipped(|_, scaled_object| {
            let triggers = scaled_object["spec"]["triggers"].as_array_mut().unwrap();
            triggers.retain(|trigger| trigger["name"] != IO_DEMAND);
        })
        .unwrap();
        let error = target(&settings).unwrap_err().to_string();
        assert!(error.contains("io_demand"), "{error}");
    }
}
