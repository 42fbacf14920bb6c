//! What the cluster says about itself before a load: how it scales, how many slots a worker has. And
//! the upload of the documents, the one thing that is put there beside the load.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde_json::Value;

use crate::bounds::Autoscaling;
use crate::corpus::Document;
use crate::fixture::{DEPLOYMENT, Fixture, IO_QUEUE, NAMESPACE, SCALED_OBJECT, WORKFLOW_QUEUE};
use crate::observe::kubernetes::hpa;
use crate::wait::{Probe, eventually};

/// For KEDA to make the HPA of a ScaledObject that was just applied.
const HPA_MADE: Duration = Duration::from_secs(60);
/// Uploads at the same time: enough to hide the trips, few enough for two cores.
const UPLOADS: usize = 8;
/// The variable of the guide that sets a worker's IO slots, and its default there.
const IO_SLOTS: (&str, u32) = ("TEMPORAL_IO_ACTIVITY_CONCURRENCY", 5);

/// How the cluster scales the workers: from the HPA that is in force, and the thresholds from the
/// ScaledObject that it was made from.
pub async fn autoscaling(client: &kube::Client) -> Result<Autoscaling> {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    let resource = ApiResource::from_gvk(&kind);
    let scaled_objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
    let scaled_object = scaled_objects
        .get(SCALED_OBJECT)
        .await
        .with_context(|| format!("scaledobject {SCALED_OBJECT}"))?;
    let hpa = eventually("the workers' HPA", HPA_MADE, async || match hpa(client).await {
        Ok(hpa) => Probe::Ready(hpa),
        Err(error) => Probe::NotYet(format!("{error:#}")),
    })
    .await?;
    let workflow = threshold(&scaled_object.data, WORKFLOW_QUEUE)?;
    let io = threshold(&scaled_object.data, IO_QUEUE)?;
    Ok(Autoscaling::of(&hpa, workflow, io))
}

/// The threshold of the trigger whose query names `queue`.
fn threshold(scaled_object: &Value, queue: &str) -> Result<f64> {
    let triggers = scaled_object["spec"]["triggers"]
        .as_array()
        .context("the scaledobject has no triggers")?;
    let names_queue = |trigger: &&Value| {
        trigger["metadata"]["query"]
            .as_str()
            .is_some_and(|query| query.contains(queue))
    };
    let trigger = triggers.iter().find(names_queue);
    let trigger = trigger.with_context(|| format!("no trigger of the scaledobject asks for {queue}"))?;
    let text = trigger["metadata"]["threshold"].as_str().unwrap_or_default();
    text.parse()
        .with_context(|| format!("threshold {text:?} of the trigger for {queue}"))
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
    fn thresholds_are_those_of_the_queue() {
        let scaled_object = json!({"spec": {"triggers": [
            {"type": "cpu", "metadata": {}},
            {"type": "prometheus", "metadata": {"threshold": "10", "query": "d{queue=\"document-workflow-queue\"}"}},
            {"type": "prometheus", "metadata": {"threshold": "x", "query": "d{queue=\"document-io-activity-queue\"}"}},
        ]}});
        assert_eq!(threshold(&scaled_object, WORKFLOW_QUEUE).unwrap(), 10.0);
        assert!(
            threshold(&scaled_object, IO_QUEUE)
                .unwrap_err()
                .to_string()
                .contains("\"x\"")
        );
        assert!(
            threshold(&scaled_object, "other")
                .unwrap_err()
                .to_string()
                .contains("asks for other")
        );
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
