//! Marks the workers that have work, so that Kubernetes removes idle ones first when it scales in.
//!
//! A ReplicaSet first deletes the Ready pods with the lowest `controller.kubernetes.io/pod-deletion-cost`; without
//! the annotation the cost is 0. A worker with a task in a slot gets the cost 1, an idle one none. There are only
//! two values because each change is a write to the API server: under a steady load all workers are busy, and
//! nothing is written.
//!
//! A worker that is deleted still finishes its tasks. The marks shorten its shutdown, and save work that takes
//! longer than the grace period.
//!
//! The annotation is written through the pods' status, because that permission covers no image and no command of a
//! pod.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, ensure};
use futures::future::join_all;
use kube::{
    Api, Client,
    api::{ApiResource, GroupVersionKind, ListParams, Object, Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::faults::Faults;

/// Annotation by which the ReplicaSet controller orders Ready pods.
const ANNOTATION: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Cost of a worker with work. An idle worker has no annotation, which means 0.
const BUSY: &str = "1";
/// Interval of the checks. A worker is idle if two checks in a row find it idle, so a gap between two documents
/// does not count.
const INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of a worker's /metrics. A worker that does not answer keeps its cost.
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);
/// Name of the container port of /metrics.
const METRICS_PORT: &str = "metrics";
/// Metric of the slots in use, by queue.
const SLOTS_USED: &str = "temporal_worker_task_slots_used";

/// The fields of a pod that are needed here. The complete type would add a megabyte to the program.
type Pod = Object<Spec, Status>;

#[derive(Debug, Clone, Default, Deserialize)]
struct Spec {
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
    #[serde(rename = "podIP")]
    pod_ip: Option<std::net::IpAddr>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// Sets the deletion costs of a fleet's pods.
#[derive(Debug)]
pub struct DeletionCosts {
    pods: Api<Pod>,
    selector: ListParams,
    http: reqwest::Client,
    /// Names of the workers that were idle at the last check.
    idle: BTreeSet<String>,
}

impl DeletionCosts {
    /// For the pods with these labels in the namespace of this process's own pod.
    ///
    /// # Errors
    /// This process is not in a pod, or has no service account token.
    pub fn in_cluster(selector: &str) -> anyhow::Result<Self> {
        let config = kube::Config::incluster().context("reading the service account's token")?;
        Self::new(Client::try_from(config)?, selector)
    }

    /// For the pods with these labels in the client's namespace.
    fn new(client: Client, selector: &str) -> anyhow::Result<Self> {
        // Pods are reached by their addresses, which a proxy cannot resolve.
        let http = reqwest::Client::builder().no_proxy().timeout(METRICS_TIMEOUT).build()?;
        let pods = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        Ok(Self {
            pods: Api::default_namespaced_with(client, &pods),
            // Served from the API server's cache, which may lag. A mark that it does not show yet is written again.
            selector: ListParams::default().labels(selector).match_any(),
            http,
            idle: BTreeSet::new(),
        })
    }

    /// Checks and writes until the process exits.
    pub async fn run(mut self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut faults = Faults::default();
        loop {
            ticks.tick().await;
            let updated = timeout(INTERVAL * 2, self.update()).await;
            let updated = updated.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {:?}", INTERVAL * 2)));
            faults.report("setting the pods' deletion costs", updated.err());
        }
    }

    /// Checks every worker once and writes the costs that have changed.
    async fn update(&mut self) -> anyhow::Result<()> {
        let pods = self.pods.list(&self.selector).await.context("listing the pods")?;
        let workers = pods.items.iter().filter_map(Worker::of);
        let answers = join_all(workers.map(async |worker| (self.in_use(&worker).await, worker))).await;
        ensure!(
            answers.is_empty() || answers.iter().any(|(in_use, _)| in_use.is_some()),
            "none of {} workers reports its slots in use ({SLOTS_USED} at {})",
            answers.len(),
            answers[0].1.metrics_url
        );
        let idle =
            answers.iter().filter(|(in_use, _)| *in_use == Some(0.0)).map(|(_, worker)| worker.name.clone()).collect();
        let idle_before = std::mem::replace(&mut self.idle, idle);
        let writes = answers.iter().filter_map(|(in_use, worker)| {
            let busy = worker.new_state((*in_use)?, idle_before.contains(&worker.name))?;
            Some(self.write_cost(&worker.name, busy))
        });
        // A failed write does not stop the others.
        join_all(writes).await.into_iter().collect()
    }

    /// Number of slots in use; `None` if the worker does not answer.
    async fn in_use(&self, worker: &Worker) -> Option<f64> {
        let answer = self.http.get(&worker.metrics_url).send().await.ok()?;
        let page = answer.error_for_status().ok()?.text().await.ok()?;
        slots_in_use(&page)
    }

    async fn write_cost(&self, name: &str, busy: bool) -> anyhow::Result<()> {
        let cost = busy.then_some(BUSY);
        let patch = Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION: cost}}}));
        let written = self.pods.patch_status(name, &PatchParams::default(), &patch).await;
        match written {
            // The pod was deleted after it was listed.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            written => written.map(|_| ()).with_context(|| format!("writing the deletion cost of pod {name}")),
        }
    }
}

/// A worker that Kubernetes could delete.
#[derive(Debug, PartialEq, Eq)]
struct Worker {
    name: String,
    /// URL of its metrics.
    metrics_url: String,
    /// Whether it has a deletion cost now.
    busy: bool,
}

impl Worker {
    /// The worker of a Ready pod that is not being deleted. Kubernetes deletes other pods first, whatever their
    /// cost.
    fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        let is_ready = |condition: &Condition| condition.kind == "Ready" && condition.status == "True";
        let stays = status.conditions.iter().any(is_ready) && pod.metadata.deletion_timestamp.is_none();
        let address = status.pod_ip.filter(|_| stays)?;
        let mut ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
        let port = ports.find(|port| port.name.as_deref() == Some(METRICS_PORT))?;
        let annotations = pod.metadata.annotations.as_ref();
        Some(Self {
            name: pod.metadata.name.clone()?,
            metrics_url: format!("http://{}/metrics", std::net::SocketAddr::new(address, port.container_port)),
            busy: annotations.is_some_and(|all| all.contains_key(ANNOTATION)),
        })
    }

    /// Whether the worker becomes busy (`true`) or idle (`false`); `None` if its cost stays.
    fn new_state(&self, in_use: f64, idle_before: bool) -> Option<bool> {
        match in_use > 0.0 {
            true => (!self.busy).then_some(true),
            false => (self.busy && idle_before).then_some(false),
        }
    }
}

/// Number of slots in use over all queues; `None` if the page lacks the metric.
fn slots_in_use(page: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let labels = series.strip_prefix(SLOTS_USED)?;
        labels.starts_with('{').then(|| value.parse::<f64>().ok())?
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::Value;

    use super::*;

    const PAGE: &str = "# TYPE temporal_worker_task_slots_used gauge\n\
        temporal_worker_task_slots_used{task_queue=\"io\",worker_type=\"ActivityWorker\"} 2\n\
        temporal_worker_task_slots_used{task_queue=\"cpu\",worker_type=\"ActivityWorker\"} 1\n\
        temporal_worker_task_slots_used_total{task_queue=\"io\"} 99\n\
        temporal_worker_task_slots_available{task_queue=\"io\"} 3\n";

    #[test]
    fn slots_in_use_are_those_of_all_queues_and_of_no_other_metric() {
        assert_eq!(slots_in_use(PAGE), Some(3.0));
        assert_eq!(slots_in_use("temporal_worker_task_slots_used{a=\"b\"} 0\n"), Some(0.0));
        assert_eq!(slots_in_use(""), None);
        assert_eq!(slots_in_use("temporal_worker_task_slots_used{a=\"b\"} many\n"), None);
    }

    fn pod(name: &str, port: u16, cost: Option<&str>) -> Value {
        let annotations = cost.map(|cost| json!({ANNOTATION: cost}));
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"containers": [{"name": "w", "ports": [
                {"name": "other", "containerPort": 1}, {"name": "metrics", "containerPort": port}]}]},
            "status": {"podIP": "127.0.0.1", "conditions": [
                {"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}]},
        })
    }

    fn worker(pod: Value) -> Option<Worker> {
        Worker::of(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_worker_is_a_pod_that_is_ready_with_an_address_and_a_port_for_metrics() {
        let expected =
            Worker { name: "a".to_owned(), metrics_url: "http://127.0.0.1:9464/metrics".to_owned(), busy: false };
        assert_eq!(worker(pod("a", 9464, None)), Some(expected));
        assert!(worker(pod("a", 9464, Some("1"))).unwrap().busy);
        type Change = fn(&mut Value);
        let table: [(&str, Change); 5] = [
            ("not ready", |pod| {
                pod["status"]["conditions"][1]["status"] = json!("False");
            }),
            ("never ready", |pod| pod["status"]["conditions"] = json!([])),
            ("no address yet", |pod| pod["status"]["podIP"] = Value::Null),
            ("no such port", |pod| {
                pod["spec"]["containers"][0]["ports"] = json!([]);
            }),
            ("being deleted", |pod| {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }),
        ];
        for (why, change) in table {
            let mut pod = pod("a", 9464, None);
            change(&mut pod);
            assert_eq!(worker(pod), None, "{why}");
        }
        let mut six = pod("a", 9464, None);
        six["status"]["podIP"] = json!("fd00::7");
        assert_eq!(worker(six).unwrap().metrics_url, "http://[fd00::7]:9464/metrics");
    }

    #[test]
    fn busy_is_marked_at_once_and_idle_at_the_second_check() {
        let table = [
            (false, 1.0, false, Some(true)),
            (false, 1.0, true, Some(true)),
            (true, 1.0, false, None),
            (true, 0.0, false, None),
            (true, 0.0, true, Some(false)),
            (false, 0.0, true, None),
        ];
        for (busy, in_use, idle_before, expected) in table {
            let worker = Worker { busy, ..worker(pod("a", 1, None)).unwrap() };
            assert_eq!(worker.new_state(in_use, idle_before), expected, "{busy} {in_use} {idle_before}");
        }
    }

    /// An API server with these pods, which records the patches it receives and forbids those of the pod `refused`.
    fn api(pods: Vec<Value>, refused: &'static str) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (notes, list) = (notes.clone(), json!({"items": pods, "metadata": {}}));
            async move {
                let (head, body) = request.into_parts();
                let answer = |code: StatusCode, body: &Value| {
                    let response = Response::builder().status(code);
                    Ok::<_, std::convert::Infallible>(response.body(Body::from(body.to_string().into_bytes())).unwrap())
                };
                if head.method == Method::GET {
                    return answer(StatusCode::OK, &list);
                }
                let body = String::from_utf8(body.collect_bytes().await.unwrap().to_vec()).unwrap();
                let path = head.uri.path().to_owned();
                let forbidden = path.contains(&format!("/{refused}/"));
                notes.lock().unwrap().push(format!("{} {path} {body}", head.method));
                match forbidden {
                    false => answer(StatusCode::OK, &list["items"][0]),
                    true => answer(
                        StatusCode::FORBIDDEN,
                        &json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no"}),
                    ),
                }
            }
        });
        (Client::new(service, "ns"), asked)
    }

    /// The port of a worker with this number of slots in use.
    async fn metrics_of(in_use: u32) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let page = format!("{SLOTS_USED}{{task_queue=\"io\"}} {in_use}\n");
        let app = axum::Router::new().route("/metrics", axum::routing::get(async move || page));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        port
    }

    #[tokio::test]
    async fn changes_are_written_through_the_status_and_a_refusal_stops_no_other_write() {
        crate::tls::install_provider();
        let (busy, idle) = (metrics_of(2).await, metrics_of(0).await);
        // Nothing listens on port 1.
        let pods = vec![
            pod("new", busy, None),
            pod("refused", busy, None),
            pod("known", busy, Some(BUSY)),
            pod("done", idle, Some(BUSY)),
            pod("silent", 1, Some(BUSY)),
        ];
        let (client, asked) = api(pods, "refused");
        let mut costs = DeletionCosts::new(client, "app=temporal-worker").unwrap();
        let error = format!("{:#}", costs.update().await.unwrap_err());
        assert!(error.contains("deletion cost of pod refused"), "{error}");
        let first = std::mem::take(&mut *asked.lock().unwrap());
        let patch = |name: &str, cost: Option<&str>| {
            let body = json!({"metadata": {"annotations": {ANNOTATION: cost}}});
            format!("PATCH /api/v1/namespaces/ns/pods/{name}/status {body}")
        };
        assert_eq!(first, [patch("new", Some(BUSY)), patch("refused", Some(BUSY))]);
        costs.update().await.unwrap_err();
        let second = asked.lock().unwrap().clone();
        assert!(second.contains(&patch("done", None)), "{second:?}");
        assert!(!second.iter().any(|line| line.contains("silent") || line.contains("known")), "{second:?}");
    }

    #[tokio::test]
    async fn it_is_an_error_if_no_worker_answers_but_not_if_there_is_none() {
        crate::tls::install_provider();
        let update = async |pods| {
            let (client, asked) = api(pods, "nobody");
            let mut costs = DeletionCosts::new(client, "app=temporal-worker").unwrap();
            let found = costs.update().await.map_err(|error| error.to_string());
            assert!(asked.lock().unwrap().is_empty());
            found
        };
        let silent = update(vec![pod("a", 1, Some(BUSY)), pod("b", 1, None)]).await.unwrap_err();
        assert!(silent.contains("none of 2 workers") && silent.contains("127.0.0.1:1"), "{silent}");
        assert_eq!(update(vec![]).await, Ok(()));
    }
}
