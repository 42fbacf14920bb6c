//! The actions that create a cluster, in order. Each has a name and is reported as it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use support::command::Cmd;
use support::interrupt::side_by_side;
use support::progress::step;
use support::wait::{Probe, blocking::eventually};

use super::install::SERVICES;
use super::observe::{crashing, missing_images, pulls, unavailable_apis, unready_workloads};
use super::policies::POLICIES;
use super::secrets::Secrets;
use super::{Endpoints, Maker, NAMESPACE, Record, S3, SECRETS, Wanted, kind, kubectl, node_containers};

/// The timeout for a node to boot, import its images and join. 20 to 30 s were measured on 2 cores.
const NODES_DEADLINE: Duration = Duration::from_secs(240);
/// The timeout for the services to start after their manifests are applied. 40 s were measured on 2 cores.
const SERVICES_DEADLINE: Duration = Duration::from_secs(300);
/// The timeout for an object of a new CRD to be admitted. The API server must know the kind, and webhooks must answer.
const ADMISSION_DEADLINE: Duration = Duration::from_secs(120);
/// The number of crashes after which a container counts as failed. KEDA's operator restarts once by design, to create
/// certificates. Other containers may start before a service that they need.
const CRASH_LIMIT: i64 = 5;
/// The namespaces whose workloads the worker needs.
const STORAGE: &str = "storage";
const TEMPORAL: &str = "temporal";
/// The Job that migrates the database.
const JOB: [&str; 4] = ["job", "temporal-worker-migration", "--namespace", NAMESPACE];
/// Part of the comment of every rule that kube-proxy writes for the API server's address.
const API_SERVER_RULE: &str = "default/kubernetes:https";
/// The folder of the Job that migrates the database, below `manifests/`.
pub(super) const MIGRATION: &str = "services/migration";
/// How long Temporal keeps the history of a closed workflow: longer than a test cluster exists.
const RETENTION: &str = "86400s";

impl Maker<'_> {
    pub(super) fn create(&self, wanted: Wanted) -> Result<Record> {
        step("load the node image into Docker", || self.load_node_image())?;
        let ports = free_ports()?;
        let mut record = self.record(&ports, wanted.hpa_sync)?;
        step("create the cluster with kind", || self.create_nodes(&record, wanted, &ports))?;
        record.nodes = node_containers(self.engine, &record.name)?.into_iter().map(|(name, ..)| name).collect();
        // kind lets Docker start a node again with the engine: the cluster of a checkout that is gone would take CPU
        // time from that of another. `up` starts the nodes of a kept cluster.
        self.engine.docker().args(["update", "--restart", "no"]).args(&record.nodes).run()?;
        step("make the worker's namespace the default of kubectl", || use_namespace(&record))?;
        self.write(&record)?;
        step("revoke the tokens by which nodes joined", || revoke_join_tokens(&record))?;
        if let Some(cpus) = &record.cpus {
            step(&format!("confine the nodes to CPU {cpus}"), || self.confine(&record, cpus))?;
        }
        record.policies = Some(self.find_queue(&record)?.to_owned());
        // What is applied waits for the nodes to be Ready.
        side_by_side(|| self.prepare_nodes(&record), || self.apply_services(&record))?;
        self.start(&record)?;
        step("check that nothing was pulled", || refuse_pulls(&record))?;
        record.kept = wanted.keep;
        self.remember(&mut record)?;
        Ok(record)
    }

    fn prepare_nodes(&self, record: &Record) -> Result<()> {
        step("connect the pod network", || self.connect_pods(record))?;
        step("import the images in the nodes", || self.wait_for_images(record))
    }

    /// Applies the manifests and waits until everything is ready. An object that was removed from the manifests stays
    /// in the cluster.
    pub(super) fn apply(&self, record: &Record) -> Result<()> {
        self.apply_services(record)?;
        self.start(record)
    }

    fn start(&self, record: &Record) -> Result<()> {
        start(record, None, || self.apply_folder(record, MIGRATION), || self.apply_worker(record))
    }

    fn apply_services(&self, record: &Record) -> Result<()> {
        step("make the secrets", || self.make_secrets(record))?;
        step("apply the services", || self.apply_folder(record, SERVICES))?;
        step(&format!("enforce the network policies, by {}", record.policies.as_deref().unwrap_or("nobody")), || {
            self.queue_connections(record)?;
            self.apply_folder(record, POLICIES)
        })
    }

    pub(super) fn folder(&self) -> PathBuf {
        let file = self.workspace.cluster_file();
        file.parent().unwrap_or(&file).to_owned()
    }

    pub(super) fn write(&self, record: &Record) -> Result<()> {
        let path = self.workspace.cluster_file();
        fs::write(&path, serde_json::to_string_pretty(record)?).with_context(|| format!("write {}", path.display()))
    }

    fn record(&self, ports: &[u16], hpa_sync: u8) -> Result<Record> {
        Ok(Record {
            name: self.workspace.cluster_name(),
            nodes: Vec::new(),
            kubeconfig: self.folder().join("kubeconfig"),
            kubectl: self.release.kubectl.clone(),
            docker_host: self.engine.host.clone(),
            toolbox_image: self.release.toolbox.clone(),
            manifests: self.release.manifests.clone(),
            endpoints: Endpoints::at("127.0.0.1", |node_port| {
                let mapped = kind::NODE_PORTS.iter().zip(ports).find(|((_, port), _)| *port == node_port);
                mapped.map_or(node_port, |(_, port)| *port)
            }),
            s3: S3::of_services(),
            secrets: self.folder().join(SECRETS),
            node_image: self.release.node.reference.clone(),
            cpus: self.host.confined_to.clone(),
            hpa_sync,
            policies: None,
            kept: false,
            images: BTreeMap::new(),
            by_digest: BTreeSet::new(),
        })
    }

    pub(super) fn load_node_image(&self) -> Result<()> {
        let node = &self.release.node;
        if self.layers(&node.reference).is_some() {
            return Ok(());
        }
        let older = self.older_images(&node.reference)?;
        let shared = |layers: &Vec<String>| node.layers().iter().zip(layers).take_while(|(a, b)| *a == b).count();
        let present = match self.reuses_layers()? {
            true => older.iter().filter_map(|image| self.layers(image)).max_by_key(shared).unwrap_or_default(),
            false => Vec::new(),
        };
        self.engine.docker().args(["load", "--quiet"]).run_fed(|stdin| node.write_over(&present, stdin))?;
        ensure!(self.layers(&node.reference).is_some(), "the engine lacks {} after docker load", node.reference);
        // A node image has gigabytes, so the engine keeps only the one in use.
        for image in older {
            let _ = self.engine.docker().args(["image", "rm", &image]).quiet().run_any();
        }
        Ok(())
    }

    /// The digests of an image's layers, if the engine has it.
    pub(super) fn layers(&self, image: &str) -> Option<Vec<String>> {
        let command = self.engine.docker().args(["image", "inspect", "--format", "{{json .RootFS.Layers}}", image]);
        serde_json::from_str(&command.quiet().read().ok()?).ok()
    }

    /// The engine's other node images of the same name.
    fn older_images(&self, reference: &str) -> Result<Vec<String>> {
        let name = reference.rsplit_once(':').map_or(reference, |(name, _)| name);
        let format = "{{.Repository}}:{{.Tag}}";
        let listing = self.engine.docker().args(["image", "ls", "--format", format, name]).quiet().read()?;
        Ok(listing.lines().filter(|image| *image != reference).map(str::to_owned).collect())
    }

    /// Whether `docker load` can omit layers that the engine has. Docker's own image store can, containerd's cannot.
    fn reuses_layers(&self) -> Result<bool> {
        let status = self.engine.docker().args(["info", "--format", "{{json .DriverStatus}}"]).quiet().read()?;
        Ok(!status.contains("io.containerd.snapshotter"))
    }

    fn create_nodes(&self, record: &Record, wanted: Wanted, ports: &[u16]) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let config = folder.join("kind.json");
        let text = kind::config(self.host, &self.release.tags, wanted.nodes, ports, wanted.hpa_sync);
        fs::write(&config, serde_json::to_string_pretty(&text)?)
            .with_context(|| format!("write {}", config.display()))?;
        self.engine
            .point(Cmd::new(&self.release.kind))
            .args(["create", "cluster", "--name", &record.name, "--retain", "--image", &self.release.node.reference])
            .arg("--config")
            .arg(&config)
            .arg("--kubeconfig")
            .arg(&record.kubeconfig)
            .log(folder.join("kind.log"))
            .run()?;
        Ok(())
    }

    /// Lets the nodes run on these CPUs only, as this process. cgroup v1 refuses to take a CPU from a group whose
    /// children have it, so there the children come first. A group made meanwhile may have been missed: then it is done
    /// again.
    fn confine(&self, record: &Record, cpus: &str) -> Result<()> {
        const CHILDREN_FIRST: &str = "find /sys/fs/cgroup/cpuset -mindepth 2 -depth -name cpuset.cpus | \
            while read -r file; do echo \"$0\" > \"$file\"; done";
        for node in &record.nodes {
            eventually(&format!("{node} is confined to CPU {cpus}"), NODES_DEADLINE, || {
                if self.host.cgroup == Some("v1") {
                    self.in_node(node, &["sh", "-c", CHILDREN_FIRST, cpus]).run_any()?;
                }
                let update = ["update", "--cpuset-cpus", cpus, node];
                let updated = self.engine.docker().args(update).quiet().run_any()?;
                Ok(if updated.status.success() {
                    Probe::Ready(())
                } else {
                    Probe::NotYet(updated.all.trim().to_owned())
                })
            })?;
        }
        Ok(())
    }

    /// Configures the pod network of each node and, with several nodes, the routes to the pods of the other nodes.
    fn connect_pods(&self, record: &Record) -> Result<()> {
        let nodes = eventually("every node has a pod CIDR", NODES_DEADLINE, || {
            let list = get(record, &["nodes"])?;
            let nodes = pod_networks(&list);
            Ok(if nodes.len() == record.nodes.len() {
                Probe::Ready(nodes)
            } else {
                Probe::NotYet(format!("{} of {} have them", nodes.len(), record.nodes.len()))
            })
        })?;
        self.wait_for_kube_proxy(record)?;
        for (node, _, cidr) in &nodes {
            self.in_node(node, &["mkdir", "-p", "/etc/cni/net.d"]).run()?;
            self.in_node(node, &["install", "--mode=600", "/dev/stdin", "/etc/cni/net.d/10-slipway.conflist"])
                .stdin(serde_json::to_vec_pretty(&kind::cni(cidr))?)
                .run()?;
            // Each pod has a route of its own. Without this one, a packet to a pod that is gone would leave the node, and
            // whoever answers there would keep a client's connection to the pod alive.
            self.in_node(node, &["ip", "route", "replace", "unreachable", cidr]).run()?;
            for (_, address, other) in nodes.iter().filter(|(name, ..)| name != node) {
                self.in_node(node, &["ip", "route", "replace", other, "via", address]).run()?;
            }
        }
        eventually("every node is Ready", NODES_DEADLINE, || {
            let unready = unready_nodes(&get(record, &["nodes"])?);
            Ok(if unready.is_empty() { Probe::Ready(()) } else { Probe::NotYet(unready.join(", ")) })
        })
    }

    /// Waits for kube-proxy's rule for the API server, before the pod network lets pods start. Without the rule a pod's
    /// first request to the API server gets no answer, and its timeout is 30 s.
    fn wait_for_kube_proxy(&self, record: &Record) -> Result<()> {
        eventually("kube-proxy knows the API server's address", NODES_DEADLINE, || {
            for node in &record.nodes {
                let rules = self.in_node(node, &["iptables-save", "--table", "nat"]).run_any()?;
                if !rules.all.contains(API_SERVER_RULE) {
                    return Ok(Probe::NotYet(format!("no rule on {node}")));
                }
            }
            Ok(Probe::Ready(()))
        })
    }

    fn wait_for_images(&self, record: &Record) -> Result<()> {
        for node in &record.nodes {
            self.in_node(node, &crate::node::WAIT_FOR_IMAGES).run()?;
        }
        Ok(())
    }

    pub(super) fn in_node(&self, node: &str, command: &[&str]) -> Cmd {
        self.engine.docker().args(["exec", "-i", node]).args(command).quiet()
    }

    /// Makes the secrets in the namespaces of the services, which are therefore made first.
    pub(super) fn make_secrets(&self, record: &Record) -> Result<()> {
        self.apply_folder(record, "services/namespaces")?;
        Secrets::ensure(record, |_| ())
    }

    fn apply_folder(&self, record: &Record, folder: &str) -> Result<()> {
        kubectl(record)
            .args(["apply", "--server-side", "--force-conflicts", "--kustomize"])
            .arg(self.release.manifests.join(folder))
            .log(self.folder().join("apply.log"))
            .run()?;
        Ok(())
    }

    fn apply_worker(&self, record: &Record) -> Result<()> {
        for file in ["temporal-worker-deployment.yaml", "temporal-scaler.yaml", "keda-scaledobject.yaml"] {
            let path = self.release.manifests.join("base").join(file);
            when_admitted(file, || kubectl(record).args(["apply", "--filename"]).arg(&path))?;
        }
        Ok(())
    }
}

/// Starts what was applied. The migration and the worker are applied as soon as what they need is ready: other services
/// start meanwhile. With a selector, only what has this label matters.
pub(super) fn start(
    record: &Record,
    selector: Option<&str>,
    migration: impl FnOnce() -> Result<()>,
    worker: impl FnOnce() -> Result<()>,
) -> Result<()> {
    step("start the database", || wait_for_workloads(record, Some(STORAGE), selector))?;
    step("begin to migrate the database", || delete_migration(record).and_then(|()| migration()))?;
    step("start Temporal", || wait_for_workloads(record, Some(TEMPORAL), selector))?;
    step("migrate the database", || wait_for_migration(record))?;
    step("register Temporal's namespace", || register_namespace(record))?;
    step("apply the worker and its autoscaling", worker)?;
    step("scale the worker to its minimum", || wait_for_scaler(record))?;
    step("start everything", || wait_for_workloads(record, None, selector))?;
    step("hear from every trigger of the autoscaler", || wait_for_triggers(record))
}

/// Makes the worker's namespace the one that kubectl uses if a command names none, as the guide's commands do.
pub(super) fn use_namespace(record: &Record) -> Result<()> {
    kubectl(record).args(["config", "set-context", "--current", "--namespace", NAMESPACE]).quiet().run()?;
    Ok(())
}

/// Deletes the tokens by which the nodes joined. Every cluster of kind has the same one, and who knows it could join a
/// node, to which the API server would give Secrets.
fn revoke_join_tokens(record: &Record) -> Result<()> {
    const TOKENS: [&str; 5] =
        ["secrets", "--namespace", "kube-system", "--field-selector", "type=bootstrap.kubernetes.io/token"];
    kubectl(record).arg("delete").args(TOKENS).run()?;
    Ok(())
}

/// Applies an object in a cluster of others as soon as the API server knows its kind and its webhooks answer.
pub(super) fn apply_when_admitted(record: &Record, name: &str, text: &str, manager: &str) -> Result<()> {
    when_admitted(name, || {
        let apply = kubectl(record).args(["apply", "--server-side", "--force-conflicts", "--field-manager", manager]);
        apply.args(["--filename", "-"]).stdin(text)
    })
}

fn when_admitted(name: &str, apply: impl Fn() -> Cmd) -> Result<()> {
    eventually(&format!("{name} is admitted"), ADMISSION_DEADLINE, || {
        let applied = apply().run_any()?;
        if applied.status.success() {
            return Ok(Probe::Ready(()));
        }
        not_yet_admitted(&applied.all).map(Probe::NotYet)
    })?;
    Ok(())
}

/// The reason to try again, if the API server does not know a new kind yet. An invalid manifest is an error.
fn not_yet_admitted(output: &str) -> Result<String> {
    const TRANSIENT: [&str; 3] = ["no matches for kind", "failed calling webhook", "connection refused"];
    let why = output.lines().last().unwrap_or_default().to_owned();
    if TRANSIENT.iter().any(|transient| output.contains(transient)) { Ok(why) } else { bail!("apply: {output}") }
}

fn get(record: &Record, what: &[&str]) -> Result<Value> {
    let text = kubectl(record).arg("get").args(what).args(["-o", "json"]).quiet().read()?;
    serde_json::from_str(&text).context("parse the output of kubectl")
}

/// Name, internal address and pod CIDR of every node that has all three.
fn pod_networks(nodes: &Value) -> Vec<(String, String, String)> {
    let items = nodes["items"].as_array().into_iter().flatten();
    items
        .filter_map(|node| {
            let addresses = node["status"]["addresses"].as_array()?;
            let internal = addresses.iter().find(|address| address["type"] == "InternalIP")?;
            let text = |value: &Value| value.as_str().map(str::to_owned);
            Some((text(&node["metadata"]["name"])?, text(&internal["address"])?, text(&node["spec"]["podCIDR"])?))
        })
        .collect()
}

fn unready_nodes(nodes: &Value) -> Vec<String> {
    let items = nodes["items"].as_array().into_iter().flatten();
    items
        .filter_map(|node| {
            let conditions = node["status"]["conditions"].as_array()?;
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
            let message = ready["message"].as_str().unwrap_or_default();
            (ready["status"] != "True")
                .then(|| format!("{}: {message}", node["metadata"]["name"].as_str().unwrap_or_default()))
        })
        .collect()
}

/// Waits until every workload has its replicas and every API is available, or those of one namespace only. A missing
/// image ends the wait at once.
fn wait_for_workloads(record: &Record, namespace: Option<&str>, selector: Option<&str>) -> Result<()> {
    let place = namespace.map_or(vec!["--all-namespaces"], |name| vec!["--namespace", name]);
    let selected: Vec<&str> = selector.into_iter().flat_map(|selector| ["--selector", selector]).collect();
    let get = |what: &str, place: &[&str]| get(record, &[&[what], place, &selected[..]].concat());
    eventually("every workload is ready", SERVICES_DEADLINE, || {
        let pods = get("pods", &place)?;
        let missing = missing_images(&pods);
        ensure!(missing.is_empty(), "images that cannot be started: {}", missing.join(", "));
        let mut unready = unready_workloads(&get("deployments,statefulsets,daemonsets", &place)?);
        if namespace.is_none() {
            unready.extend(unavailable_apis(&get("apiservices", &[])?));
        }
        if unready.is_empty() {
            return Ok(Probe::Ready(()));
        }
        let failed = crashing(&pods, CRASH_LIMIT);
        ensure!(failed.is_empty(), "{}; the logs are in the evidence", failed.join(", "));
        unready.extend(crashing(&pods, 1));
        Ok(Probe::NotYet(unready.join(", ")))
    })
}

/// Waits until KEDA scales the worker's Deployment: the ScaledObject is Ready and its minimum is set.
fn wait_for_scaler(record: &Record) -> Result<()> {
    eventually("KEDA scales the worker", SERVICES_DEADLINE, || {
        let scaler = get(record, &["scaledobject", "temporal-worker-scaler"])?;
        let worker = get(record, &["deployment", "temporal-worker"])?;
        Ok(scaler_state(&scaler, &worker).map_or_else(Probe::NotYet, Probe::Ready))
    })
}

fn scaler_state(scaler: &Value, worker: &Value) -> Result<(), String> {
    let ready = condition(scaler, "Ready");
    if ready["status"] != "True" {
        return Err(format!(
            "its ScaledObject is not Ready: {}",
            ready["message"].as_str().unwrap_or("no condition yet")
        ));
    }
    let (minimum, replicas) = (scaler["spec"]["minReplicaCount"].as_i64(), worker["spec"]["replicas"].as_i64());
    if replicas < minimum {
        return Err(format!("{} replicas, minimum {}", replicas.unwrap_or(0), minimum.unwrap_or(0)));
    }
    Ok(())
}

/// The condition of this kind, or null.
fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// Waits until every trigger has an answer. Until then KEDA answers with its fallback, which may be more workers than
/// the load needs.
fn wait_for_triggers(record: &Record) -> Result<()> {
    eventually("every trigger has an answer", SERVICES_DEADLINE, || {
        let silent = silent_triggers(&get(record, &["scaledobject", "temporal-worker-scaler"])?);
        Ok(if silent.is_empty() { Probe::Ready(()) } else { Probe::NotYet(silent.join(", ")) })
    })?;
    Ok(())
}

/// The triggers of a ScaledObject whose last question failed, or who were not asked yet. While it is paused nobody
/// asks, and without a fallback KEDA does not note the answers.
fn silent_triggers(scaler: &Value) -> Vec<String> {
    let status = &scaler["status"];
    if condition(scaler, "Paused")["status"] == "True" || scaler["spec"]["fallback"].is_null() {
        return Vec::new();
    }
    let Some(names) = status["externalMetricNames"].as_array() else {
        return vec!["KEDA has not made its HPA".to_owned()];
    };
    let silent = names.iter().filter_map(Value::as_str).filter(|name| status["health"][name]["status"] != "Happy");
    silent.map(|name| format!("{name} has no answer")).collect()
}

/// Deletes the Job that migrated the database before: a Job cannot be changed.
fn delete_migration(record: &Record) -> Result<()> {
    kubectl(record).arg("delete").args(JOB).args(["--ignore-not-found", "--wait"]).run()?;
    Ok(())
}

/// Waits until the Job has migrated the database.
fn wait_for_migration(record: &Record) -> Result<()> {
    eventually("the database is migrated", SERVICES_DEADLINE, || {
        let job = get(record, &JOB)?;
        let ended = |kind: &str| condition(&job, kind)["status"] == "True";
        ensure!(!ended("Failed"), "the migration failed: `kubectl logs job/{}` says why", JOB[1]);
        Ok(if ended("Complete") { Probe::Ready(()) } else { Probe::NotYet(job["status"].to_string()) })
    })
}

/// Registers the namespace of the workflows, from within the server's pod, which has a certificate for its door.
fn register_namespace(record: &Record) -> Result<()> {
    const IN_THE_POD: [&str; 7] =
        ["exec", "--stdin", "--namespace", "temporal", "deployment/temporal", "--container=temporal", "--"];
    const CURL: [&str; 12] = [
        "curl",
        "--silent",
        "--show-error",
        "--fail-with-body",
        "--cacert",
        "/etc/temporal-tls/ca.crt",
        "--cert",
        "/etc/temporal-tls/tls.crt",
        "--key",
        "/etc/temporal-tls/tls.key",
        "--header",
        "@-",
    ];
    const URL: &str = "https://localhost:7243/api/v1/namespaces";
    let body = json!({"namespace": "default", "workflowExecutionRetentionPeriod": RETENTION}).to_string();
    eventually("Temporal registers the namespace", SERVICES_DEADLINE, || {
        let curl = kubectl(record).args(IN_THE_POD).args(CURL).args(["--data", &body, URL]);
        let answer = curl.stdin(Secrets::administrator(record)?).run_any()?;
        let known = answer.all.to_lowercase().contains("already");
        Ok(if answer.status.success() || known {
            Probe::Ready(())
        } else {
            Probe::NotYet(answer.all.trim().to_owned())
        })
    })
}

/// Fails if an image was pulled, which means that the node image lacks it.
fn refuse_pulls(record: &Record) -> Result<()> {
    let pulled = pulls(&get(record, &["events", "--all-namespaces"])?);
    ensure!(pulled.is_empty(), "the kubelet pulled images that the node image should contain: {}", pulled.join("; "));
    Ok(())
}

/// Free ports of this host, one for each service. All are reserved together, so that they differ.
fn free_ports() -> Result<Vec<u16>> {
    let listeners = kind::NODE_PORTS
        .iter()
        .map(|_| TcpListener::bind(("127.0.0.1", 0)).context("find a free port"))
        .collect::<Result<Vec<_>>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr().context("read a free port")?.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_manifest_is_not_retried() {
        assert!(not_yet_admitted("error: no matches for kind \"ScaledObject\"").is_ok());
        assert!(not_yet_admitted("strict decoding error: unknown field \"spec.colour\"").is_err());
    }

    #[test]
    fn worker_is_scaled_when_keda_is_ready_and_has_set_the_minimum() {
        let scaler = |status: &str| {
            json!({"spec": {"minReplicaCount": 3},
            "status": {"conditions": [{"type": "Ready", "status": status, "message": "why"}]}})
        };
        let worker = |replicas: i64| json!({"spec": {"replicas": replicas}});
        assert!(scaler_state(&scaler("False"), &worker(3)).unwrap_err().contains("why"));
        assert!(scaler_state(&scaler("True"), &worker(1)).unwrap_err().contains("minimum 3"));
        assert!(scaler_state(&json!({}), &worker(3)).is_err());
        scaler_state(&scaler("True"), &worker(4)).unwrap();
    }

    #[test]
    fn a_trigger_is_silent_until_its_last_question_had_an_answer() {
        let scaler = |health: Value, paused: &str| {
            json!({"spec": {"fallback": {}}, "status": {"externalMetricNames": ["s0-a", "s1-b"], "health": health,
                "conditions": [{"type": "Paused", "status": paused}]}})
        };
        let (happy, failing) = (json!({"status": "Happy"}), json!({"status": "Failing", "numberOfFailures": 1}));
        assert!(silent_triggers(&scaler(json!({"s0-a": happy, "s1-b": happy}), "False")).is_empty());
        let one = scaler(json!({"s0-a": happy, "s1-b": failing}), "False");
        assert_eq!(silent_triggers(&one), ["s1-b has no answer"]);
        assert_eq!(silent_triggers(&scaler(json!({"s0-a": happy}), "False")), ["s1-b has no answer"]);
        assert!(silent_triggers(&scaler(json!({}), "True")).is_empty());
        assert_eq!(silent_triggers(&json!({"spec": {"fallback": {}}})).len(), 1);
        assert!(silent_triggers(&json!({"spec": {}})).is_empty());
    }

    #[test]
    fn node_without_a_pod_cidr_is_not_counted() {
        let nodes = json!({"items": [
            {"metadata": {"name": "a"}, "spec": {"podCIDR": "10.244.0.0/24"},
             "status": {"addresses": [{"type": "Hostname", "address": "a"},
                                      {"type": "InternalIP", "address": "1.2.3.4"}]}},
            {"metadata": {"name": "b"}, "spec": {}, "status": {"addresses": []}},
        ]});
        assert_eq!(pod_networks(&nodes), [("a".into(), "1.2.3.4".into(), "10.244.0.0/24".into())]);
    }
}
