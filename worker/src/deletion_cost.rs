//! Tells Kubernetes which workers have work, so that a fleet that scales in lets go of idle ones first.
//!
//! Of the Ready pods of a ReplicaSet those with the lowest `controller.kubernetes.io/pod-deletion-cost` go first; a pod without one
//! costs 0. Here a worker with a task in a slot costs 1 and an idle one 0. No more than that, because each change is a write to
//! the API server: under a steady load every worker has work, and nothing is written. Whoever is chosen finishes what it does; so
//! this saves the time of leaving, and where work takes longer than the grace period, the work.
//!
//! It is written through the pods' status, whose right does not include the rest of a pod: no image, no command.

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

/// What the ReplicaSet controller orders Ready pods by.
const ANNOTATION: &str = "controller.kubernetes.io/pod-deletion-cost";
/// That of a worker with work. One that has none has no annotation, which is 0.
const BUSY: &str = "1";
/// How often the workers are looked at. Idle is who was idle at two looks, and not who is between two documents.
const EVERY: Duration = Duration::from_secs(5);
/// For a worker's answer. One that does not answer keeps its cost.
const ANSWER: Duration = Duration::from_secs(2);
/// The name of the port of /metrics.
const PORT: &str = "metrics";
/// Slots with a task in them, of every queue.
const SLOTS_USED: &str = "temporal_worker_task_slots_used";

/// A pod, as far as it matters here: the whole type would be a megabyte of this program.
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

/// The pods of a fleet, and what is known of them.
#[derive(Debug)]
pub struct DeletionCosts {
    pods: Api<Pod>,
    of_fleet: ListParams,
    http: reqwest::Client,
    /// Who was idle at the last look.
    idle: BTreeSet<String>,
}

impl DeletionCosts {
    /// Of the pods with these labels in the namespace that this process runs in, as a pod.
    ///
    /// # Errors
    /// This process is no pod, or has no service account's token.
    pub fn in_cluster(selector: &str) -> anyhow::Result<Self> {
        let config = kube::Config::incluster().context("reading the service account's token")?;
        Self::new(Client::try_from(config)?, selector)
    }

    /// Of the pods with these labels in the client's namespace.
    fn new(client: Client, selector: &str) -> anyhow::Result<Self> {
        // Pods are asked by their addresses, which no proxy knows.
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER).build()?;
        let pods = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        Ok(Self {
            pods: Api::default_namespaced_with(client, &pods),
            // From the API server's cache, which is a moment old: a mark that is not in it yet is written again.
            of_fleet: ListParams::default().labels(selector).match_any(),
            http,
            idle: BTreeSet::new(),
        })
    }

    /// Looks and writes, for ever.
    pub async fn run(mut self) {
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut faults = Faults::default();
        loop {
            looks.tick().await;
            let look = timeout(EVERY * 2, self.look()).await;
            let look = look.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {:?}", EVERY * 2)));
            faults.note("setting the pods' deletion costs", look.err());
        }
    }

    /// Looks at every worker once and writes what has changed.
    async fn look(&mut self) -> anyhow::Result<()> {
        let pods = self.pods.list(&self.of_fleet).await.context("listing the pods")?;
        let workers = pods.items.iter().filter_map(Worker::of);
        let seen = join_all(workers.map(async |worker| (self.in_use(&worker).await, worker))).await;
        ensure!(
            seen.is_empty() || seen.iter().any(|(in_use, _)| in_use.is_some()),
            "none of {} workers tells its slots in use ({SLOTS_USED} at {})",
            seen.len(),
            seen[0].1.page
        );
        let idle = seen
            .iter()
            .filter(|(in_use, _)| *in_use == Some(0.0))
            .map(|(_, worker)| worker.name.clone())
            .collect();
        let idle_before = std::mem::replace(&mut self.idle, idle);
        let writes = seen.iter().filter_map(|(in_use, worker)| {
            let busy = worker.becomes((*in_use)?, idle_before.contains(&worker.name))?;
            Some(self.write(&worker.name, busy))
        });
        // The others are written whatever becomes of one.
        join_all(writes).await.into_iter().collect()
    }

    /// Slots with a task in them; none where the worker does not tell.
    async fn in_use(&self, worker: &Worker) -> Option<f64> {
        let answer = self.http.get(&worker.page).send().await.ok()?;
        let page = answer.error_for_status().ok()?.text().await.ok()?;
        slots_in_use(&page)
    }

    async fn write(&self, name: &str, busy: bool) -> anyhow::Result<()> {
        let cost = busy.then_some(BUSY);
        let patch = Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION: cost}}}));
        let written = self
            .pods
            .patch_status(name, &PatchParams::default(), &patch)
            .await;
        match written {
            // It left since it was listed.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            written => written
                .map(|_| ())
                .with_context(|| format!("writing the deletion cost of pod {name}")),
        }
    }
}

/// A worker that can be chosen to leave.
#[derive(Debug, PartialEq, Eq)]
struct Worker {
    name: String,
    /// Where its metrics are.
    page: String,
    /// Whether it costs something now.
    busy: bool,
}

impl Worker {
    /// Of a pod that is Ready, and does not leave already: others go before these, whatever they cost.
    fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        let is_ready = |condition: &Condition| condition.kind == "Ready" && condition.status == "True";
        let stays = status.conditions.iter().any(is_ready) && pod.metadata.deletion_timestamp.is_none();
        let address = status.pod_ip.filter(|_| stays)?;
        let mut ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
        let port = ports.find(|port| port.name.as_deref() == Some(PORT))?;
        let annotations = pod.metadata.annotations.as_ref();
        Some(Self {
            name: pod.metadata.name.clone()?,
            page: format!(
                "http://{}/metrics",
                std::net::SocketAddr::new(address, port.container_port)
            ),
            busy: annotations.is_some_and(|all| all.contains_key(ANNOTATION)),
        })
    }

    /// Whether it is busy or idle from now on; nothing where that is no change, or not certain yet.
    fn becomes(&self, in_use: f64, idle_before: bool) -> Option<bool> {
        match in_use > 0.0 {
            true => (!self.busy).then_some(true),
            false => (self.busy && idle_before).then_some(false),
        }
    }
}

/// The sum over a worker's queues; none where its page has no such metric.
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
        assert_eq!(
            slots_in_use("temporal_worker_task_slots_used{a=\"b\"} 0\n"),
            Some(0.0)
        );
        assert_eq!(slots_in_use(""), None);
        assert_eq!(
            slots_in_use("temporal_worker_task_slots_used{a=\"b\"} many\n"),
            None
        );
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
        let expected = Worker {
            name: "a".to_owned(),
            page: "http://127.0.0.1:9464/metrics".to_owned(),
            busy: false,
        };
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
            ("it leaves", |pod| {
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
        assert_eq!(worker(six).unwrap().page, "http://[fd00::7]:9464/metrics");
    }

    #[test]
    fn busy_is_told_at_once_and_idle_at_the_second_look() {
        let table = [
            (false, 1.0, false, Some(true)),
            (false, 1.0, true, Some(true)),
            (true, 1.0, false, None),
            (true, 0.0, false, None),
            (true, 0.0, true, Some(false)),
            (false, 0.0, true, None),
        ];
        for (busy, in_use, idle_before, expected) in table {
            let worker = Worker {
                busy,
                ..worker(pod("a", 1, None)).unwrap()
            };
            assert_eq!(
                worker.becomes(in_use, idle_before),
                expected,
                "{busy} {in_use} {idle_before}"
            );
        }
    }

    /// An API server with these pods, which writes down what is asked of it; patches of `refused` it forbids.
    fn api(pods: Vec<Value>, refused: &'static str) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (notes, list) = (notes.clone(), json!({"items": pods, "metadata": {}}));
            async move {
                let (head, body) = request.into_parts();
                let answer = |code: StatusCode, body: &Value| {
                    let response = Response::builder().status(code);
                    Ok::<_, std::convert::Infallible>(
                        response.body(Body::from(body.to_string().into_bytes())).unwrap(),
                    )
                };
                if head.method == Method::GET {
                    return answer(StatusCode::OK, &list);
                }
                let body = String::from_utf8(body.collect_bytes().await.unwrap().to_vec()).unwrap();
                let path = head.uri.path().to_owned();
                let forbidden = path.contains(&format!("/{refused}/"));
                notes
                    .lock()
                    .unwrap()
                    .push(format!("{} {path} {body}", head.method));
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

    /// The port of a worker with so many slots in use.
    async fn metrics_of(in_use: u32) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let page = format!("{SLOTS_USED}{{task_queue=\"io\"}} {in_use}\n");
        let app = axum::Router::new().route("/metrics", axum::routing::get(async move || page));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        port
    }

    #[tokio::test]
    async fn what_changed_is_written_through_the_status_and_one_refusal_keeps_no_other() {
        crate::tls::install_provider();
        let (busy, idle) = (metrics_of(2).await, metrics_of(0).await);
        // Nobody listens on port 1.
        let pods = vec![
            pod("new", busy, None),
            pod("refused", busy, None),
            pod("known", busy, Some(BUSY)),
            pod("done", idle, Some(BUSY)),
            pod("silent", 1, Some(BUSY)),
        ];
        let (client, asked) = api(pods, "refused");
        let mut costs = DeletionCosts::new(client, "app=temporal-worker").unwrap();
        let error = format!("{:#}", costs.look().await.unwrap_err());
        assert!(error.contains("deletion cost of pod refused"), "{error}");
        let first = std::mem::take(&mut *asked.lock().unwrap());
        let patch = |name: &str, cost: Option<&str>| {
            let body = json!({"metadata": {"annotations": {ANNOTATION: cost}}});
            format!("PATCH /api/v1/namespaces/ns/pods/{name}/status {body}")
        };
        assert_eq!(first, [patch("new", Some(BUSY)), patch("refused", Some(BUSY))]);
        costs.look().await.unwrap_err();
        let second = asked.lock().unwrap().clone();
        assert!(second.contains(&patch("done", None)), "{second:?}");
        assert!(
            !second
                .iter()
                .any(|line| line.contains("silent") || line.contains("known")),
            "{second:?}"
        );
    }

    #[tokio::test]
    async fn workers_that_all_keep_silent_are_a_fault_and_no_workers_are_none() {
        crate::tls::install_provider();
        let look = async |pods| {
            let (client, asked) = api(pods, "nobody");
            let mut costs = DeletionCosts::new(client, "app=temporal-worker").unwrap();
            let found = costs.look().await.map_err(|error| error.to_string());
            assert!(asked.lock().unwrap().is_empty());
            found
        };
        let silent = look(vec![pod("a", 1, Some(BUSY)), pod("b", 1, None)])
            .await
            .unwrap_err();
        assert!(
            silent.contains("none of 2 workers") && silent.contains("127.0.0.1:1"),
            "{silent}"
        );
        assert_eq!(look(vec![]).await, Ok(()));
    }
}
