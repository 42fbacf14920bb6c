//! An API server with pods: lists them in pages, streams their changes, takes patches of their status, and can be away.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::Body,
    extract::{Path as Segments, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, patch},
};
use futures::stream;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, timeout_at},
};

/// The namespace of the pods.
pub(crate) const NAMESPACE: &str = "fleet";
/// The selector that a scaler has to ask for.
pub(crate) const SELECTOR: &str = "app=worker";

/// A Ready pod that runs here, with its metrics on a port.
pub(crate) fn pod(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "worker"}},
        "spec": {"containers": [{"name": "worker", "ports": [{"name": "metrics", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

#[derive(Debug, Default)]
struct Content {
    pods: BTreeMap<String, Value>,
    /// All changes with their versions.
    events: Vec<(u64, Value)>,
    version: u64,
    away: bool,
    patches: Vec<(String, Value)>,
    /// The limits of all lists.
    limits: Vec<Option<usize>>,
}

/// The API server.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    content: Arc<Mutex<Content>>,
    changed: watch::Sender<u64>,
    port: u16,
}

impl Cluster {
    /// Starts an API server without pods.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let cluster = Self { content: Arc::default(), changed: watch::Sender::new(0), port };
        let router = Router::new()
            .route("/api/v1/namespaces/fleet/pods", get(list_or_watch))
            .route("/api/v1/namespaces/fleet/pods/{name}/status", patch(write))
            .with_state(cluster.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(cluster)
    }

    /// Writes the kubeconfig for this server.
    pub(crate) fn kubeconfig(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(format!("kubeconfig-{}", self.port));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{}", self.port)}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
            "users": [{"name": "u", "user": {}}],
        });
        fs::write(&path, config.to_string()).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Creates or changes a pod.
    pub(crate) fn put(&self, pod: Value) {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut content = self.content();
        let kind = if content.pods.contains_key(&name) { "MODIFIED" } else { "ADDED" };
        content.pods.insert(name, pod.clone());
        self.tell(&mut content, kind, pod);
    }

    /// Deletes a pod at once.
    pub(crate) fn delete(&self, name: &str) {
        let mut content = self.content();
        if let Some(pod) = content.pods.remove(name) {
            self.tell(&mut content, "DELETED", pod);
        }
    }

    fn tell(&self, content: &mut Content, kind: &str, mut pod: Value) {
        content.version += 1;
        let version = content.version;
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        content.events.push((version, json!({"type": kind, "object": pod})));
        self.changed.send_replace(version);
    }

    /// From now on the server refuses everything, or no longer does. Watches end when it goes away.
    pub(crate) fn set_away(&self, away: bool) {
        self.content().away = away;
        self.changed.send_modify(|_| {});
    }

    /// The patches so far: the pod, and its deletion cost.
    pub(crate) fn patches(&self) -> Vec<(String, Value)> {
        self.content().patches.clone()
    }

    /// The limits of the lists so far.
    pub(crate) fn limits(&self) -> Vec<Option<usize>> {
        self.content().limits.clone()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events after a version, until a time or until the server goes away.
    fn events(self, after: u64, until: Instant) -> impl futures::Stream<Item = Result<String, Infallible>> {
        let next = self.content().events.partition_point(|(version, _)| *version <= after);
        let changes = self.changed.subscribe();
        stream::unfold((self, next, changes), move |(cluster, next, mut changes)| async move {
            loop {
                changes.mark_unchanged();
                let event = {
                    let content = cluster.content();
                    if content.away {
                        return None;
                    }
                    content.events.get(next).map(|(_, event)| format!("{event}\n"))
                };
                if let Some(event) = event {
                    return Some((Ok(event), (cluster, next + 1, changes)));
                }
                timeout_at(until, changes.changed()).await.ok()?.ok()?;
            }
        })
    }
}

/// The parameters of a request.
fn parameters(uri: &Uri) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://api{uri}"));
    url.iter()
        .flat_map(reqwest::Url::query_pairs)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

async fn list_or_watch(State(cluster): State<Cluster>, uri: Uri) -> Response {
    let query = parameters(&uri);
    let text = |name: &str| query.get(name).map_or("", String::as_str);
    if cluster.content().away || text("labelSelector") != SELECTOR {
        return status(StatusCode::SERVICE_UNAVAILABLE, "away, or asked for other pods");
    }
    if text("watch") == "true" {
        let seconds = text("timeoutSeconds").parse().unwrap_or(60);
        let until = Instant::now() + Duration::from_secs(seconds);
        let after = text("resourceVersion").parse().unwrap_or_default();
        return Body::from_stream(cluster.events(after, until)).into_response();
    }
    let mut content = cluster.content();
    let limit = text("limit").parse().ok();
    content.limits.push(limit);
    let from = text("continue").parse().unwrap_or(0);
    let to = content.pods.len().min(from + limit.unwrap_or(usize::MAX - from));
    let items: Vec<_> = content.pods.values().skip(from).take(to - from).collect();
    let next = if to < content.pods.len() { to.to_string() } else { String::new() };
    let metadata = json!({"resourceVersion": content.version.to_string(), "continue": next});
    json!({"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": items}).to_string().into_response()
}

/// Merges the annotations of a patch into a pod. The pod with the name `refused` is not ours to write.
async fn write(State(cluster): State<Cluster>, Segments(name): Segments<String>, body: String) -> Response {
    let patch: Value = serde_json::from_str(&body).unwrap_or_default();
    let mut content = cluster.content();
    let Some(mut pod) = content.pods.get(&name).cloned() else {
        return status(StatusCode::NOT_FOUND, "no such pod");
    };
    if content.away || name == "refused" {
        return status(StatusCode::FORBIDDEN, "not allowed");
    }
    for (key, value) in patch["metadata"]["annotations"].as_object().into_iter().flatten() {
        content.patches.push((name.clone(), value.clone()));
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = json!({});
        }
        match (value, pod["metadata"]["annotations"].as_object_mut()) {
            (Value::Null, Some(annotations)) => drop(annotations.remove(key)),
            (value, Some(annotations)) => drop(annotations.insert(key.clone(), value.clone())),
            (_, None) => {}
        }
    }
    content.pods.insert(name, pod.clone());
    cluster.tell(&mut content, "MODIFIED", pod.clone());
    pod.to_string().into_response()
}

fn status(code: StatusCode, message: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code.as_u16(), "reason": "Test", "message": message,
    });
    (code, body.to_string()).into_response()
}
