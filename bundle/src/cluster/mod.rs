//! Creates, reuses and deletes the cluster. What runs in it are the manifests in `manifests/`, unchanged.
//!
//! A cluster is created by a list of named [`actions`], each reported as it runs. The file `cluster.json` has
//! everything that others need to know about a running cluster.

mod actions;
pub mod kind;
pub mod observe;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use support::command::Cmd;
use support::progress;
use support::wait::{Probe, blocking::eventually};

use crate::assemble::Assembly;
use crate::docker::{Engine, Private};
use crate::host::Host;
use crate::workspace::Workspace;

/// The cluster's name.
pub const NAME: &str = "slipway";
/// The start of the name of every node image. A cluster of another image was not created by this crate.
const NODE_IMAGES: &str = "slipway.local/node:";
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
    /// Reference of the node image. A cluster is reused if image, nodes, CPUs and `hpa_sync` are the same.
    pub node_image: String,
    /// The CPUs that the nodes may use, as a list. Absent where they may use all of the host's.
    pub cpus: Option<String>,
    /// The HPA's sync period in seconds.
    pub hpa_sync: u8,
    /// Whether the cluster outlives the command that created it.
    pub kept: bool,
}

/// The addresses of the services on this host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoints {
    /// `host:port` of Temporal's gRPC frontend.
    pub temporal: String,
    /// URL of Temporal's HTTP frontend.
    pub temporal_http: String,
    /// Connection URL of the documents database.
    pub postgres: String,
    /// URL of Prometheus.
    pub prometheus: String,
    /// URL of the object store, without toxiproxy's latency.
    pub s3: String,
    /// URL of toxiproxy's API, which sets the latency between worker and object store.
    pub toxiproxy: String,
}

/// The bucket of the documents. The credentials are valid only in this test cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct S3 {
    /// Bucket name.
    pub bucket: String,
    /// Region name.
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
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
    /// The built programs and images.
    pub built: &'a Assembly,
    /// The folder for the evidence of a failure.
    pub evidence: PathBuf,
}

impl Maker<'_> {
    /// Reuses a kept cluster that answers and has the wanted options, or creates a new one.
    ///
    /// # Errors
    /// When a cluster of the same name was created by somebody else, or an action fails. The evidence is saved then.
    pub fn up(&self, wanted: Wanted) -> Result<Record> {
        refuse_foreign(self.engine)?;
        if let Some(record) = self.kept(wanted)? {
            return Ok(record);
        }
        remove(self.engine, &self.built.parts.program("kind", "kind")?, self.workspace)?;
        self.create(wanted).inspect_err(|_| {
            if !support::interrupt::requested() {
                self.save_evidence();
            }
        })
    }

    /// The kept cluster, if it has the wanted options. The manifests of the checkout are applied to it.
    fn kept(&self, wanted: Wanted) -> Result<Option<Record>> {
        let Ok(record) = read_record(self.workspace) else {
            return Ok(None);
        };
        let same = record.kept
            && record.node_image == self.built.node.reference
            && record.nodes.len() == wanted.nodes
            && record.cpus == self.host.confined_to
            && record.hpa_sync == wanted.hpa_sync;
        let answers = || {
            let ready = kubectl(&record).args(["get", "--raw", "/readyz"]).quiet().run();
            Ok(ready.map_or_else(|error| Probe::NotYet(error.to_string()), |_| Probe::Ready(())))
        };
        if !same {
            return Ok(None);
        }
        // After a crash of the engine the cluster restarts by itself, and its services later than its API server.
        let found = progress::step("reuse the kept cluster, which has the same images", || {
            eventually("the kept cluster answers", ANSWER_DEADLINE, answers)
        });
        let current = found.and_then(|()| self.apply(&record));
        support::interrupt::check()?;
        if let Err(error) = &current {
            progress::note(&format!("the kept cluster is replaced by a new one: {error:#}"));
        }
        Ok(current.is_ok().then_some(record))
    }

    fn save_evidence(&self) {
        progress::note(&format!("evidence: {}", self.evidence.display()));
        if let Err(error) = observe::save(self.engine, &self.workspace.cluster_file(), &self.evidence) {
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
    let text = fs::read_to_string(&path).context("no cluster is up: run `cargo xtask up`")?;
    serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// kubectl for a cluster.
pub fn kubectl(record: &Record) -> Cmd {
    kubectl_at(&record.kubectl, &record.kubeconfig)
}

fn kubectl_at(program: &Path, kubeconfig: &Path) -> Cmd {
    Cmd::new(program).env("KUBECONFIG", kubeconfig)
}

/// The node containers of clusters with our name, whoever created them: name, image and state.
///
/// # Errors
/// When the engine does not answer.
pub fn node_containers(engine: &Engine) -> Result<Vec<(String, String, String)>> {
    let listing = engine
        .docker()
        .args(["ps", "--all", "--no-trunc", "--filter", &format!("label=io.x-k8s.kind.cluster={NAME}")])
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
pub fn refuse_foreign(engine: &Engine) -> Result<()> {
    for (container, image, _) in node_containers(engine)? {
        if !image.starts_with(NODE_IMAGES) {
            bail!(
                "somebody else created a kind cluster named {NAME} (container {container}, image {image}): \
                 remove it with `kind delete cluster --name {NAME}`, then run this again"
            );
        }
    }
    Ok(())
}

/// Deletes the cluster and stops a private engine. Only the caches stay.
///
/// # Errors
/// When a container or the engine cannot be removed.
pub fn down(engine: Option<&Engine>, kind: &Path, workspace: &Workspace, cache: &Path) -> Result<()> {
    if let Some(engine) = engine {
        refuse_foreign(engine)?;
        remove(engine, kind, workspace)?;
    }
    Private::of(cache).stop()
}

/// Stops a private engine that runs no cluster, after a failed build.
///
/// # Errors
/// When the engine does not answer or does not end.
pub fn stop_idle_engine(engine: &Engine, cache: &Path) -> Result<()> {
    if engine.host.is_some() && node_containers(engine)?.is_empty() {
        Private::of(cache).stop()?;
    }
    Ok(())
}

fn remove(engine: &Engine, kind: &Path, workspace: &Workspace) -> Result<()> {
    let folder = workspace.cluster_file();
    let folder = folder.parent().unwrap_or(&folder);
    if !node_containers(engine)?.is_empty() {
        progress::step("delete the cluster", || {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            engine
                .point(Cmd::new(kind))
                .args(["delete", "cluster", "--name", NAME, "--kubeconfig"])
                .arg(folder.join("kubeconfig"))
                .run()?;
            Ok(())
        })?;
    }
    if engine.host.is_some() {
        // kind created this network. Nobody else uses a private engine.
        let _ = engine.docker().args(["network", "rm", "kind"]).quiet().run_any();
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}
