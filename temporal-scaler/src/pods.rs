//! The pods of the selector: listed once in pages, then watched. So a fleet of any size costs the API server little.
//!
//! Only what the scaler needs of a pod is kept. After a failure the pods are listed again; until then the last known
//! ones count, and [`Known::age`] says how old they are.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, pin_mut};
use kube::{
    Api, Client,
    api::{ApiResource, GroupVersionKind, ListParams, Object, Patch, PatchParams, WatchEvent, WatchParams},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::MetricsPort;

/// Annotation by which the ReplicaSet controller orders Ready pods.
pub(crate) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Pods in one page of the list. A page is some megabytes while it is read.
const PAGE: u32 = 500;
/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds after which the API server ends a watch. A watch that stays silent for longer has lost its connection.
const WATCH_SECONDS: u32 = 20;
/// The watch's silence that ends it from this side.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 5);
/// Interval between two tries.
const RETRY: Duration = Duration::from_secs(1);

/// The fields of a pod that are read.
type ApiPod = Object<Spec, Status>;

#[derive(Debug, Clone, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Container {
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    container_port: u16,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<IpAddr>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It exists and is not Ready.
    NotReady,
    Ready,
    /// It is being deleted, and may still work.
    Leaves,
}

/// A worker's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) state: State,
    /// The address of its metrics. `None` before it has an address, or if it declares no such port.
    pub(crate) metrics: Option<SocketAddr>,
    /// Whether it has a deletion cost.
    pub(crate) has_cost: bool,
}

impl Pod {
    /// A pod that runs or will run; `None` if it has ended.
    fn of(pod: &ApiPod, port: &MetricsPort) -> Option<Self> {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let is_ready = |condition: &Condition| condition.kind == "Ready" && condition.status == "True";
        let ready = status.is_some_and(|status| status.conditions.iter().any(is_ready));
        let state = match pod.metadata.deletion_timestamp {
            Some(_) => State::Leaves,
            None if ready => State::Ready,
            None => State::NotReady,
        };
        let address = status.and_then(|status| status.pod_ip);
        let annotations = pod.metadata.annotations.as_ref();
        Some(Self {
            name: pod.metadata.name.clone()?,
            state,
            metrics: address.zip(pod.spec.port(port)).map(SocketAddr::from),
            has_cost: annotations.is_some_and(|all| all.contains_key(DELETION_COST)),
        })
    }
}

impl Spec {
    fn port(&self, wanted: &MetricsPort) -> Option<u16> {
        let mut ports = self.containers.iter().flat_map(|container| &container.ports);
        match wanted {
            MetricsPort::Number(number) => Some(*number),
            MetricsPort::Name(name) => {
                ports.find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port)
            }
        }
    }
}

/// What is known of the pods.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By name.
    pods: BTreeMap<String, Arc<Pod>>,
    /// When the API server last confirmed them. `None` before the first list.
    confirmed: Option<Instant>,
    /// Why it does not answer, if it does not.
    pub(crate) error: Option<String>,
}

impl Known {
    /// How long ago the API server last confirmed the pods; `None` before the first list. A watch on which nothing
    /// happens confirms them every [`WATCH_SECONDS`].
    pub(crate) fn age(&self) -> Option<Duration> {
        self.confirmed.map(|confirmed| confirmed.elapsed())
    }

    /// The pods, by name.
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods.values().cloned().collect()
    }
}

/// The pods of a selector.
#[derive(Debug, Clone)]
pub(crate) struct Pods {
    api: Api<ApiPod>,
    selector: String,
    port: MetricsPort,
    known: Arc<Mutex<Known>>,
}

impl Pods {
    /// The pods with these labels in a namespace. Nothing is asked yet.
    pub(crate) fn new(client: Client, namespace: &str, selector: &str, port: MetricsPort) -> Self {
        let pods = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        let api = Api::namespaced_with(client, namespace, &pods);
        Self { api, selector: selector.to_owned(), port, known: Arc::default() }
    }

    /// What is known now.
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a pod's deletion cost, or removes it, through the pod's status.
    ///
    /// # Errors
    /// The API server refuses it.
    pub(crate) async fn set_deletion_cost(&self, name: &str, cost: Option<&str>) -> kube::Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {DELETION_COST: cost}}}));
        self.api.patch_status(name, &PatchParams::default(), &patch).await.map(drop)
    }

    /// Keeps the pods up to date until the process exits.
    pub(crate) async fn run(self) {
        let mut ticks = interval(RETRY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Err(error) = self.follow().await;
            self.known().error = Some(format!("{error:#}"));
        }
    }

    /// Lists the pods, then watches them until a failure.
    async fn follow(&self) -> anyhow::Result<Infallible> {
        let mut version = self.list().await?;
        let mut ticks = interval(RETRY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.watch(&mut version).await?;
        }
    }

    /// Lists all pods in pages. Returns the version of the list.
    async fn list(&self) -> anyhow::Result<String> {
        let mut params = ListParams::default().labels(&self.selector).limit(PAGE);
        let mut pods = BTreeMap::new();
        loop {
            let page = timeout(TIMEOUT, self.api.list(&params)).await.context("listing the pods: no answer in time")?;
            let page = page.context("listing the pods")?;
            let found = page.items.iter().filter_map(|pod| Pod::of(pod, &self.port));
            pods.extend(found.map(|pod| (pod.name.clone(), Arc::new(pod))));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => {
                    let mut known = self.known();
                    known.pods = pods;
                    known.confirmed = Some(Instant::now());
                    known.error = None;
                    return page.metadata.resource_version.context("listing the pods: the list has no version");
                }
            }
        }
    }

    /// Watches from a version on, until the API server ends the watch.
    async fn watch(&self, version: &mut String) -> anyhow::Result<()> {
        let params = WatchParams::default().labels(&self.selector).timeout(WATCH_SECONDS);
        let events = timeout(TIMEOUT, self.api.watch(&params, version)).await;
        let events = events.context("watching the pods: no answer in time")?.context("watching the pods")?;
        pin_mut!(events);
        self.known().confirmed = Some(Instant::now());
        while let Some(event) =
            timeout(SILENCE, events.next()).await.context("watching the pods: the watch is silent")?
        {
            let seen = match event.context("watching the pods")? {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    self.update(&pod);
                    pod.metadata.resource_version
                }
                WatchEvent::Deleted(pod) => {
                    self.known().pods.remove(pod.metadata.name.as_deref().unwrap_or_default());
                    pod.metadata.resource_version
                }
                WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
                // The version is too old, for example. The pods are listed again.
                WatchEvent::Error(status) => anyhow::bail!("watching the pods: {} ({})", status.message, status.code),
            };
            seen.into_iter().for_each(|seen| *version = seen);
            self.known().confirmed = Some(Instant::now());
        }
        Ok(())
    }

    fn update(&self, pod: &ApiPod) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let mut known = self.known();
        match Pod::of(pod, &self.port) {
            Some(pod) => drop(known.pods.insert(name, Arc::new(pod))),
            None => drop(known.pods.remove(&name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn pod() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "sidecar"}, {"name": "w", "ports": [
                {"name": "other", "containerPort": 1}, {"name": "metrics", "containerPort": 9464}]}]},
            "status": {"phase": "Running", "podIP": "10.0.0.7", "conditions": [
                {"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}]},
        })
    }

    fn parsed(pod: Value, port: &MetricsPort) -> Option<Pod> {
        Pod::of(&serde_json::from_value(pod).unwrap(), port)
    }

    #[test]
    fn a_pod_is_ready_or_not_or_leaves_and_one_that_has_ended_is_none() {
        let port = MetricsPort::Name("metrics".into());
        let address = "10.0.0.7:9464".parse().ok();
        let expected = Pod { name: "a".into(), state: State::Ready, metrics: address, has_cost: false };
        assert_eq!(parsed(pod(), &port), Some(expected.clone()));
        type Change = fn(&mut Value);
        let table: [(Change, Option<Pod>); 6] = [
            (|pod| pod["status"]["conditions"][1]["status"] = json!("False"), not_ready(&expected)),
            (|pod| pod["status"]["conditions"] = json!([]), not_ready(&expected)),
            (
                |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
                Some(Pod { state: State::Leaves, ..expected.clone() }),
            ),
            (|pod| pod["status"]["phase"] = json!("Failed"), None),
            (|pod| pod["status"]["phase"] = json!("Succeeded"), None),
            (
                |pod| pod["metadata"]["annotations"] = json!({DELETION_COST: "1"}),
                Some(Pod { has_cost: true, ..expected.clone() }),
            ),
        ];
        for (change, expected) in table {
            let mut pod = pod();
            change(&mut pod);
            assert_eq!(parsed(pod.clone(), &port), expected, "{pod}");
        }
    }

    fn not_ready(pod: &Pod) -> Option<Pod> {
        Some(Pod { state: State::NotReady, ..pod.clone() })
    }

    #[test]
    fn the_port_is_found_by_its_name_or_is_a_number() {
        let metrics = |change: fn(&mut Value), port: MetricsPort| {
            let mut pod = pod();
            change(&mut pod);
            parsed(pod, &port).unwrap().metrics.map(|address| address.to_string())
        };
        let name = |name: &str| MetricsPort::Name(name.into());
        assert_eq!(metrics(|_| {}, name("other")).as_deref(), Some("10.0.0.7:1"));
        assert_eq!(metrics(|_| {}, name("none")), None);
        assert_eq!(metrics(|_| {}, MetricsPort::Number(7)).as_deref(), Some("10.0.0.7:7"));
        let six = |pod: &mut Value| pod["status"]["podIP"] = json!("fd00::7");
        assert_eq!(metrics(six, name("metrics")).as_deref(), Some("[fd00::7]:9464"));
        let pending = |pod: &mut Value| pod["status"] = json!({"phase": "Pending"});
        assert_eq!(metrics(pending, MetricsPort::Number(7)), None);
    }
}
