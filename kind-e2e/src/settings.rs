//! What the cluster says about itself before a load: how it scales, how many slots a worker has. And
//! the upload of the documents, the one thing that is put there beside the load.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
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
/// The variable of the guide that sets a worker's IO slots, and its default there.
const IO_SLOTS: (&str, u32) = ("TEMPORAL_IO_ACTIVITY_CONCURRENCY", 5);

/// How the cluster scales the workers: from the HPA that is in force, the ScaledObject that it was made from, and the flags of
/// the controller manager where the cluster shows them.
pub async fn autoscaling(fixture: &Fixture) -> Result<Autoscaling> {
    let scaled_object = scalers::scaled_object(fixture).await?;
    let hpa = eventually("the workers' HPA", HPA_MADE, async || {
        match hpa(&fixture.kube).await {
            Ok(hpa) => Probe::Ready(hpa),
            Err(error) => Probe::NotYet(format!("{error:#}")),
        }
    })
    .await?;
    let target = target(&scaled_object.data)?;
    let hpa_sync = hpa_sync(&fixture.kube).await?.unwrap_or(f64::from(HPA_SYNC));
    Ok(Autoscaling::of(&hpa, target, hpa_sync))
}

/// The threshold of the trigger that asks for demand of the IO queue.
fn target(scaled_object: &Value) -> Result<f64> {
    let triggers = scaled_object["spec"]["triggers"].as_array();
    let trigger = triggers
        .into_iter()
        .flatten()
        .find(|trigger| trigger["name"] == IO_DEMAND);
    let trigger = trigger.with_context(|| format!("no trigger of the scaledobject is called {IO_DEMAND}"))?;
    let text = trigger["metadata"]["threshold"].as_str().unwrap_or_default();
    text.parse()
        .with_context(|| format!("threshold {text:?} of the trigger {IO_DEMAND}"))
}

/// What the loads of a scenario are sized by.
pub async fn sizing(fixture: &Fixture, service: f64, cores: usize) -> Result<Sizing> {
    let autoscaling = autoscaling(fixture).await?;
    Ok(Sizing {
        min: autoscaling.min,
        max: autoscaling.max,
        slots: io_slots(&fixture.kube).await?,
        target: autoscaling.target,
        service,
        cores,
    })
}

/// A worker's IO slots, as its Deployment sets them or the guide's default.
pub async fn io_slots(client: &kube::Client) -> Result<u32> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let deployment = deployments
        .get(DEPLOYMENT)
        .await
        .with_context(|| format!("deployment {DEPLOYMENT}"))?;
    slots_of(&serde_json::to_value(&deployment)?)
}

fn slots_of(deployment: &Value) -> Result<u32> {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array();
    let set = containers
        .into_iter()
        .flatten()
        .flat_map(|container| container["env"].as_array().into_iter().flatten())
        .find(|variable| variable["name"] == IO_SLOTS.0)
        .and_then(|variable| variable["value"].as_str());
    match set {
        None => Ok(IO_SLOTS.1),
        Some(text) => text
            .parse()
            .with_context(|| format!("{} is {text:?}", IO_SLOTS.0)),
    }
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
    use serde_json::json;

    use super::*;

    #[test]
    fn the_target_is_that_of_the_io_queues_demand() {
        let scaled_object = |threshold: &str| {
            json!({"spec": {"triggers": [
                {"type": "cpu", "metadata": {}},
                {"name": "io_demand", "metadata": {"threshold": threshold}},
            ]}})
        };
        assert_eq!(target(&scaled_object("3.5")).unwrap(), 3.5);
        let error = target(&scaled_object("x")).unwrap_err().to_string();
        assert!(error.contains("\"x\""), "{error}");
        let error = target(&json!({"spec": {"triggers": []}}))
            .unwrap_err()
            .to_string();
        assert!(error.contains("io_demand"), "{error}");
    }

    #[test]
    fn slots_are_what_the_deployment_sets_or_the_guides() {
        let with = |env: Value| json!({"spec": {"template": {"spec": {"containers": [{"env": env}]}}}});
        assert_eq!(
            slots_of(&with(json!([{"name": IO_SLOTS.0, "value": "8"}]))).unwrap(),
            8
        );
        assert_eq!(
            slots_of(&with(json!([{"name": "OTHER", "value": "8"}]))).unwrap(),
            5
        );
        assert_eq!(slots_of(&json!({})).unwrap(), 5);
        assert!(slots_of(&with(json!([{"name": IO_SLOTS.0, "value": "many"}]))).is_err());
    }
}
