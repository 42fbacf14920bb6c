//! The HPA's sync period: a flag of the controller manager.
//!
//! kubeadm, and so kind, keeps the flag in a file on the control plane's node. The kubelet restarts the controller
//! manager when the file changes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::Fixture;
use support::wait::{Probe, eventually};

/// Where the control plane is.
const SYSTEM: &str = "kube-system";
/// The controller manager's lease.
const LEASE: &str = "kube-controller-manager";
/// The flag.
const FLAG: &str = "--horizontal-pod-autoscaler-sync-period=";
/// The beginning of the name of the pod that changes the file.
const EDITOR: &str = "hpa-sync-period-";
/// The file is changed within this time.
const EDITED: Duration = Duration::from_secs(60);
/// A new controller manager leads within this time: it starts, and its predecessor's lease of 15 s ends.
const LEADS: Duration = Duration::from_secs(120);

/// The HPA's sync period in seconds; none where the cluster does not show it, as managed clusters do not.
///
/// # Errors
/// The API server does not answer.
pub async fn hpa_sync(client: &kube::Client) -> Result<Option<f64>> {
    Ok(managers(client).await?.iter().find_map(sync_of))
}

/// Sets the HPA's sync period and waits until a controller manager leads with it.
///
/// # Errors
/// The cluster does not keep the flag where kind does, or no controller manager leads in time.
pub async fn set_hpa_sync(fixture: &Fixture, seconds: u8) -> Result<()> {
    let client = &fixture.kube;
    if hpa_sync(client).await? == Some(f64::from(seconds)) {
        return Ok(());
    }
    let before = holder(client).await?;
    edit(fixture, seconds).await?;
    eventually("a controller manager that leads", LEADS, async || {
        match led_by(client, seconds, before.as_deref()).await {
            Ok(None) => Probe::Ready(()),
            Ok(Some(not_yet)) => Probe::NotYet(not_yet),
            // The API server may be busy with the change.
            Err(error) => Probe::NotYet(format!("{error:#}")),
        }
    })
    .await
    .with_context(|| format!("setting {FLAG}{seconds}s"))
}

/// None where a controller manager with the flag leads, else what is missing.
async fn led_by(client: &kube::Client, seconds: u8, before: Option<&str>) -> Result<Option<String>> {
    let found = hpa_sync(client).await?;
    if found != Some(f64::from(seconds)) {
        return Ok(Some(format!("{FLAG} is {found:?}")));
    }
    let holder = holder(client).await?;
    Ok((holder.is_none() || holder.as_deref() == before)
        .then(|| format!("the lease is {}'s", holder.as_deref().unwrap_or("nobody"))))
}

/// Changes the file, from a pod on its node: the API offers no other way, and needs no Docker.
async fn edit(fixture: &Fixture, seconds: u8) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(fixture.kube.clone(), SYSTEM);
    let managers = managers(&fixture.kube).await?;
    let node = managers.iter().find_map(|pod| pod.spec.as_ref()?.node_name.as_ref());
    let node =
        node.context("the cluster shows no controller manager, as managed clusters do: its sync period cannot be set")?;
    // Written beside the folder that the kubelet watches, for root alone, and moved into it whole.
    let script = format!(
        "set -euo pipefail; umask 077; file=/node/manifests/kube-controller-manager.yaml; grep -q -e '{FLAG}' $file\n\
         sed 's/{FLAG}.*/{FLAG}{seconds}s/' $file > /node/changed.yaml; mv /node/changed.yaml $file"
    );
    let pod = serde_json::from_value(json!({
        "metadata": {"generateName": EDITOR},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "containers": [{
                "name": "bash",
                "image": fixture.cluster.toolbox_image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["bash", "-c", script],
                "securityContext": {"runAsUser": 0},
                "volumeMounts": [{"name": "node", "mountPath": "/node"}],
            }],
            "volumes": [{"name": "node", "hostPath": {"path": "/etc/kubernetes"}}],
        },
    }))
    .context("the pod")?;
    let made = pods.create(&PostParams::default(), &pod).await;
    let made = made.context("making a pod on the control plane's node")?;
    let name = made.metadata.name.context("a pod without a name")?;
    let ended = eventually("the controller manager's file changed", EDITED, async || {
        let status = pods.get(&name).await.ok().and_then(|pod| pod.status);
        match status.and_then(|status| status.phase).as_deref() {
            Some("Succeeded") => Probe::Ready(()),
            Some("Failed") => Probe::Failed(anyhow::anyhow!(
                "/etc/kubernetes/manifests/kube-controller-manager.yaml on {node} has no {FLAG}"
            )),
            phase => Probe::NotYet(format!("pod {SYSTEM}/{name} is {}", phase.unwrap_or("not seen"))),
        }
    })
    .await;
    let now = DeleteParams::default().grace_period(0);
    pods.delete(&name, &now).await.context("deleting the pod")?;
    ended.map_err(Into::into)
}

async fn managers(client: &kube::Client) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
    let managers = ListParams::default().labels("component=kube-controller-manager");
    let found = pods.list(&managers).await;
    Ok(found.context("looking for the controller manager")?.items)
}

async fn holder(client: &kube::Client) -> Result<Option<String>> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM);
    let lease = leases.get_opt(LEASE).await.context("reading the controller manager's lease")?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity))
}

fn sync_of(manager: &Pod) -> Option<f64> {
    let containers = &manager.spec.as_ref()?.containers;
    let words = containers.iter().flat_map(|container| container.command.iter().chain(&container.args).flatten());
    let mut set = words.filter_map(|word| word.strip_prefix(FLAG));
    set.find_map(|period| period.strip_suffix('s')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hpas_period_is_the_controller_managers_flag() {
        let manager = |command: &[&str]| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "command": command}]}})).unwrap()
        };
        let set = ["kube-controller-manager", "--horizontal-pod-autoscaler-sync-period=1s"];
        assert_eq!(sync_of(&manager(&set)), Some(1.0));
        assert_eq!(sync_of(&manager(&set[..1])), None);
    }
}
