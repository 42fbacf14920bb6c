//! Creates, reuses and deletes the cluster. What runs in it are the manifests in `manifests/`, unchanged.
//!
//! A cluster is created by a list of named [`actions`], each reported as it runs. The file `cluster.json` has
//! everything that others need to know about a running cluster.

mod actions;
mod authority;
pub mod install;
pub mod kind;
pub mod observe;
mod policies;
mod secrets;
mod tokens;
mod upgrade;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use support::command::Cmd;
use support::wait::{Probe, blocking::eventually};
use support::{interrupt, progress};

use crate::docker::{Engine, Private};
use crate::host::Host;
use crate::release::Release;
use crate::workspace::Workspace;
pub use upgrade::OtherNode;

/// The namespace of the worker and of its autoscaling.
const NAMESPACE: &str = "documents";
/// The start of the name of every node image. A cluster of another image was not created by this crate.
const NODE_IMAGES: &str = "slipway.local/node:";
/// The name of the file with the values of every Secret, beside `cluster.json`.
const SECRETS: &str = "secrets.json";
/// The label that kind gives the node containers of a cluster, with its name as the value.
const KIND_LABEL: &str = "io.x-k8s.kind.cluster";
/// How long a kept cluster may take to answer before it is replaced by a new one.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A running cluster, as `cluster.json` describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The name of the cluster in kind.
    pub name: String,
    /// The node containers.
    pub nodes: Vec<String>,
    /// Path of the kubeconfig.
    pub kubeconfig: PathBuf,
    /// Path of the kubectl that belongs to the cluster's version.
    pub kubectl: PathBuf,
    /// DOCKER_HOST of the engine that runs the nodes. Absent for the user's engine.
    pub docker_host: Option<String>,
    /// An image in the cluster with bash, grep and curl.
    pub toolbox_image: String,
    /// The manifests that were applied.
    pub manifests: PathBuf,
    /// Addresses on this host.
    pub endpoints: Endpoints,
    /// The bucket of the documents.
    pub s3: S3,
    /// Path of the file with the values of every Secret of the cluster, which only its owner can read. Empty for a
    /// cluster of a version that had none: it has to be known as kept all the same.
    #[serde(default)]
    pub secrets: PathBuf,
    /// Reference of the node image of the version that runs. A cluster is reused if nodes, CPUs and `hpa_sync` are the
    /// same, and upgraded if it is of another version.
    pub node_image: String,
    /// The CPUs that the nodes may use, as a list. Absent where they may use all of the host's.
    pub cpus: Option<String>,
    /// The HPA's sync period in seconds.
    pub hpa_sync: u8,
    /// What queues new connections for the network policies: nftables or iptables. Absent in a cluster of others, which
    /// gets no policies.
    pub policies: Option<String>,
    /// Whether the cluster outlives the command that created it.
    pub kept: bool,
    /// The digest of every image of the version that runs, by its name.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// The images of which another version ran here before. Pods name them by their digests.
    #[serde(default)]
    pub by_digest: BTreeSet<String>,
}

impl Record {
    /// How this cluster differs from the wanted one; none if it can be used in its place.
    fn difference(&self, cpus: Option<&str>, wanted: Wanted) -> Option<String> {
        let all = |cpus: Option<&str>| cpus.map_or_else(|| "every CPU".to_owned(), |cpus| format!("CPU {cpus}"));
        let pairs = [
            ("its nodes are", self.nodes.len().to_string(), wanted.nodes.to_string()),
            ("its HPA's period in seconds is", self.hpa_sync.to_string(), wanted.hpa_sync.to_string()),
            ("it may use", all(self.cpus.as_deref()), all(cpus)),
        ];
        let mut differing = pairs.into_iter().filter(|(_, has, wants)| has != wants);
        differing.next().map(|(what, has, wants)| format!("{what} {has}, where this command wants {wants}"))
    }
}

/// The addresses of the services on this host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoints {
    /// `host:port` of Temporal's gRPC frontend.
    pub temporal: String,
    /// URL of Temporal's HTTP frontend.
    pub temporal_http: String,
    /// Connection URL of the documents database, without the password.
    pub postgres: String,
    /// URL of Prometheus.
    pub prometheus: String,
    /// URL of the object store, without toxiproxy's latency.
    pub s3: String,
    /// URL of toxiproxy's API, which sets the latency between worker and object store.
    pub toxiproxy: String,
}

/// The bucket of the documents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct S3 {
    /// Bucket name.
    pub bucket: String,
    /// Region name.
    pub region: String,
}

/// The options of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Nodes, the control plane included.
    pub nodes: usize,
    /// The HPA's sync period in seconds. Kubernetes' default is 15.
    pub hpa_sync: u8,
    /// Whether the cluster outlives the command.
    pub keep: bool,
}

/// Creates clusters.
#[derive(Debug)]
pub struct Maker<'a> {
    /// The checkout.
    pub workspace: &'a Workspace,
    /// The host's facts.
    pub host: &'a Host,
    /// The engine.
    pub engine: &'a Engine,
    /// What the cluster is made from.
    pub release: &'a Release,
    /// The folder for the evidence of a failure.
    pub evidence: PathBuf,
}

impl Maker<'_> {
    /// Reuses a kept cluster that answers and has the wanted options, or creates a new one. A kept cluster of another
    /// version is upgraded.
    ///
    /// # Errors
    /// When a cluster of the same name was created by somebody else, a kept cluster would be changed by a command that
    /// keeps none, its node cannot be upgraded ([`OtherNode`]), or an action fails. The evidence is saved then.
    pub fn up(&self, wanted: Wanted) -> Result<Record> {
        refuse_foreign(self.engine, self.workspace)?;
        if let Some(record) = self.kept(wanted)? {
            return Ok(record);
        }
        interrupt::check()?;
        remove(self.engine, self.workspace)?;
        self.create(wanted).inspect_err(|_| {
            if !interrupt::requested() {
                self.save_evidence();
            }
        })
    }

    /// The kept cluster, if it has the wanted options. The release is applied to it.
    fn kept(&self, wanted: Wanted) -> Result<Option<Record>> {
        if !is_kept(self.engine, self.workspace)? {
            return Ok(None);
        }
        let mut record = read_record(self.workspace)?;
        let command = self.workspace.command();
        let other_version = record.node_image != self.release.node.reference;
        ensure!(
            wanted.keep || !other_version,
            "a kept cluster of another version is up: `{command} down` deletes it, `{command} up` or --keep upgrades it"
        );
        if let Some(differs) = record.difference(self.host.confined_to.as_deref(), wanted) {
            ensure!(
                wanted.keep,
                "a kept cluster is up, and {differs}: `{command} down` deletes it, `{command} up` or --keep replaces it"
            );
            progress::note(&format!("the kept cluster is replaced by a new one: {differs}"));
            return Ok(None);
        }
        let answers = || {
            let ready = kubectl(&record).args(["get", "--raw", "/readyz"]).quiet().run();
            Ok(ready.map_or_else(|error| Probe::NotYet(error.to_string()), |_| Probe::Ready(())))
        };
        let nodes = node_containers(self.engine, &record.name)?;
        let stopped: Vec<&String> = nodes.iter().filter(|node| !runs(node)).map(|(name, ..)| name).collect();
        if !stopped.is_empty() {
            progress::step("start the nodes of the kept cluster", || {
                self.engine.docker().arg("start").args(stopped).run().map(drop).context("start the nodes")
            })?;
        }
        // Its services start later than its API server.
        let found = progress::step("find the kept cluster", || {
            eventually("the kept cluster answers", ANSWER_DEADLINE, answers)
        });
        if found.is_ok() && other_version {
            return self.upgrade(&record).map(Some);
        }
        let current = found
            .and_then(|()| match record.by_digest.is_empty() {
                true => self.apply(&record),
                false => self.apply_by_digest(&record),
            })
            .and_then(|()| self.remember(&mut record));
        interrupt::check()?;
        if let Err(error) = &current {
            progress::note(&format!("the kept cluster is replaced by a new one: {error:#}"));
        }
        Ok(current.is_ok().then_some(record))
    }

    fn save_evidence(&self) {
        progress::note(&format!("evidence: {}", self.evidence.display()));
        if let Err(error) = observe::save(self.engine, self.workspace, &self.evidence) {
            progress::note(&format!("some evidence could not be saved: {error:#}"));
        }
    }
}

/// The record of the cluster that this checkout created last.
///
/// # Errors
/// When there is none. The error says how to create one.
pub fn read_record(workspace: &Workspace) -> Result<Record> {
    let path = workspace.cluster_file();
    let command = workspace.command();
    let text = fs::read_to_string(&path).with_context(|| format!("no cluster is up: run `{command} up`"))?;
    serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// Whether this checkout has a cluster that was promised to stay.
///
/// # Errors
/// When the engine does not answer: the cluster may be there.
pub fn is_kept(engine: &Engine, workspace: &Workspace) -> Result<bool> {
    let kept = read_record(workspace).is_ok_and(|record| record.kept);
    Ok(kept && !node_containers(engine, &workspace.cluster_name())?.is_empty())
}

/// kubectl for a cluster.
pub fn kubectl(record: &Record) -> Cmd {
    kubectl_at(&record.kubectl, &record.kubeconfig)
}

fn kubectl_at(program: &Path, kubeconfig: &Path) -> Cmd {
    Cmd::new(program).env("KUBECONFIG", kubeconfig)
}

/// The node containers of clusters with this name, whoever created them: name, image and state.
///
/// # Errors
/// When the engine does not answer.
pub fn node_containers(engine: &Engine, name: &str) -> Result<Vec<(String, String, String)>> {
    containers(engine, &format!("{KIND_LABEL}={name}"))
}

/// Whether a node's container is not stopped.
fn runs((.., state): &(String, String, String)) -> bool {
    !matches!(state.as_str(), "exited" | "created" | "dead")
}

fn containers(engine: &Engine, label: &str) -> Result<Vec<(String, String, String)>> {
    let listing = engine
        .docker()
        .args(["ps", "--all", "--no-trunc", "--filter", &format!("label={label}")])
        .args(["--format", "{{.Names}} {{.Image}} {{.State}}"])
        .quiet()
        .read()
        .context("list the node containers")?;
    Ok(listing
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            Some((words.next()?, words.next()?, words.next()?))
        })
        .collect())
}

/// Refuses a cluster of our name that somebody else created.
///
/// # Errors
/// When there is one. The error says how to remove it.
pub fn refuse_foreign(engine: &Engine, workspace: &Workspace) -> Result<()> {
    let name = workspace.cluster_name();
    for (container, image, _) in node_containers(engine, &name)? {
        if !image.starts_with(NODE_IMAGES) {
            bail!(
                "somebody else created a kind cluster named {name} (container {container}, image {image}): \
                 remove it with `kind delete cluster --name {name}`, then run this again"
            );
        }
    }
    Ok(())
}

/// Deletes the cluster of this checkout, and stops a private engine that has no other. Only the caches stay.
///
/// # Errors
/// When a container or the engine cannot be removed.
pub fn down(engine: Option<&Engine>, workspace: &Workspace, cache: &Path) -> Result<()> {
    let Some(engine) = engine else {
        return Private::of(cache).stop();
    };
    refuse_foreign(engine, workspace)?;
    remove(engine, workspace)?;
    stop_idle_engine(engine, cache)
}

/// Stops a private engine that runs no cluster of any checkout.
///
/// # Errors
/// When the engine does not answer or does not end.
pub fn stop_idle_engine(engine: &Engine, cache: &Path) -> Result<()> {
    if engine.host.is_none() {
        return Ok(());
    }
    let nodes = containers(engine, KIND_LABEL)?;
    if let Some((name, ..)) = nodes.iter().find(|node| runs(node)) {
        progress::note(&format!("the private Docker engine goes on: {name} runs on it"));
        return Ok(());
    }
    // kind created this network. Nobody else uses a private engine, but for the clusters that are stopped.
    if nodes.is_empty() {
        let _ = engine.docker().args(["network", "rm", "kind"]).quiet().run_any();
    }
    Private::of(cache).stop()
}

/// Deletes the node containers, which is all that kind does, and the folder of the cluster.
fn remove(engine: &Engine, workspace: &Workspace) -> Result<()> {
    let folder = workspace.cluster_file();
    let folder = folder.parent().unwrap_or(&folder);
    let nodes = node_containers(engine, &workspace.cluster_name())?;
    if !nodes.is_empty() {
        progress::step("delete the cluster", || {
            let names = nodes.iter().map(|(name, ..)| name);
            engine.docker().args(["rm", "--force", "--volumes"]).args(names).run()?;
            Ok(())
        })?;
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_cluster_is_another_one_if_any_option_differs() {
        // As an older version wrote it: without secrets and images.
        let record: Record = serde_json::from_value(serde_json::json!({
            "name": "n", "nodes": ["a"], "kubeconfig": "/k", "kubectl": "/b", "toolbox_image": "t", "manifests": "/m",
            "endpoints": {"temporal": "", "temporal_http": "", "postgres": "", "prometheus": "", "s3": "",
                "toxiproxy": ""},
            "s3": {"bucket": "", "region": ""},
            "node_image": "node:1", "cpus": null, "hpa_sync": 1, "kept": true,
        }))
        .unwrap();
        let wanted = Wanted { nodes: 1, hpa_sync: 1, keep: false };
        assert_eq!(record.difference(None, wanted), None);
        for (cpus, wanted, shown) in [
            (Some("0"), wanted, "it may use every CPU, where this command wants CPU 0"),
            (None, Wanted { nodes: 3, ..wanted }, "its nodes are 1, where this command wants 3"),
            (None, Wanted { hpa_sync: 15, ..wanted }, "its HPA's period in seconds is 1, where this command wants 15"),
        ] {
            assert_eq!(record.difference(cpus, wanted).as_deref(), Some(shown));
        }
    }

    #[test]
    fn two_folders_have_clusters_of_their_own() {
        let name = |cache: &str| Workspace::of_cache(Path::new(cache)).cluster_name();
        assert_eq!(name("/a"), name("/a"));
        assert_ne!(name("/a"), name("/b"));
        assert!(name("/a").starts_with("slipway-"));
    }
}
