//! The cluster: created, found again, taken down. What runs in it comes from `manifests/`, as it is.
//!
//! Creation is a list of named actions ([`actions`]), each reported as it runs. The record in `cluster.json` is all
//! that others need to know of a running cluster.

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
/// Every node image of ours begins so; a cluster made from another image is not ours.
const NODE_IMAGES: &str = "slipway.local/node:";
/// How long a kept cluster may take to answer before it is made anew.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A running cluster, as `cluster.json` says it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// kind's name of the cluster.
    pub name: String,
    /// The node containers.
    pub nodes: Vec<String>,
    /// Path of the kubeconfig.
    pub kubeconfig: PathBuf,
    /// Path of the kubectl that belongs to the cluster's version.
    pub kubectl: PathBuf,
    /// DOCKER_HOST of the engine that runs the nodes; absent for the user's own.
    pub docker_host: Option<String>,
    /// An image in the cluster with bash, grep and curl.
    pub toolbox_image: String,
    /// The manifests that were applied.
    pub manifests: PathBuf,
    /// Addresses on this host.
    pub endpoints: Endpoints,
    /// How to reach the documents.
    pub s3: S3,
    /// Reference of the node image: the same image, node count and `hpa_sync` mean the same cluster.
    pub node_image: String,
    /// Seconds between two looks of the HPA.
    pub hpa_sync: u8,
    /// Whether the cluster outlives the command that made it.
    pub kept: bool,
}

/// Where the services answer on this host.
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
    /// URL of the object store itself, without the latency of the way there.
    pub s3: String,
    /// URL of the API that sets the latency on the way to the object store.
    pub toxiproxy: String,
}

/// The documents' bucket. The credentials are those of a throw-away cluster on this host.
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

/// What is wanted of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Nodes, the control plane included.
    pub nodes: usize,
    /// Seconds between two looks of the HPA; Kubernetes' default is 15.
    pub hpa_sync: u8,
    /// Whether it outlives the command.
    pub keep: bool,
}

/// All that is needed to make a cluster.
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
    /// Where the evidence of a failure goes.
    pub evidence: PathBuf,
}

impl Maker<'_> {
    /// The cluster: a kept one that answers and is what is wanted, else a new one.
    ///
    /// # Errors
    /// A cluster of the name that is not ours; the first action that fails, its evidence written.
    pub fn up(&self, wanted: Wanted) -> Result<Record> {
        refuse_foreign(self.engine)?;
        if let Some(record) = self.kept(wanted)? {
            return Ok(record);
        }
        remove(
            self.engine,
            &self.built.parts.program("kind", "kind")?,
            self.workspace,
        )?;
        self.create(wanted).inspect_err(|_| {
            if !support::interrupt::requested() {
                self.save_evidence();
            }
        })
    }

    /// The kept cluster, if it is what is wanted, the checkout's manifests applied to it.
    fn kept(&self, wanted: Wanted) -> Result<Option<Record>> {
        let Ok(record) = read_record(self.workspace) else {
            return Ok(None);
        };
        let same = record.kept
            && record.node_image == self.built.node.reference
            && record.nodes.len() == wanted.nodes
            && record.hpa_sync == wanted.hpa_sync;
        let answers = || {
            let ready = kubectl(&record).args(["get", "--raw", "/readyz"]).quiet().run();
            Ok(ready.map_or_else(|error| Probe::NotYet(error.to_string()), |_| Probe::Ready(())))
        };
        if !same {
            return Ok(None);
        }
        // After a crash of the engine it comes back by itself, its services a while after its API.
        let found = progress::step("find the kept cluster, of the same images", || {
            eventually("the kept cluster answers", ANSWER_DEADLINE, answers)
        });
        let current = found.and_then(|()| self.apply(&record));
        support::interrupt::check()?;
        if let Err(error) = &current {
            progress::note(&format!("the kept cluster is made anew: {error:#}"));
        }
        Ok(current.is_ok().then_some(record))
    }

    fn save_evidence(&self) {
        progress::note(&format!("evidence: {}", self.evidence.display()));
        if let Err(error) = observe::save(self.engine, &self.workspace.cluster_file(), &self.evidence) {
            progress::note(&format!("some evidence could not be had: {error:#}"));
        }
    }
}

/// The record of the cluster that this checkout made last.
///
/// # Errors
/// When there is none, with the way out.
pub fn read_record(workspace: &Workspace) -> Result<Record> {
    let path = workspace.cluster_file();
    let text = fs::read_to_string(&path).context("no cluster is up: run `cargo xtask up`")?;
    serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// kubectl, pointed at a cluster.
pub fn kubectl(record: &Record) -> Cmd {
    kubectl_at(&record.kubectl, &record.kubeconfig)
}

fn kubectl_at(program: &Path, kubeconfig: &Path) -> Cmd {
    Cmd::new(program).env("KUBECONFIG", kubeconfig)
}

/// The node containers of our cluster's name, whoever made them: (name, image, state).
///
/// # Errors
/// When the engine does not answer.
pub fn node_containers(engine: &Engine) -> Result<Vec<(String, String, String)>> {
    let listing = engine
        .docker()
        .args([
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            &format!("label=io.x-k8s.kind.cluster={NAME}"),
        ])
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

/// Stops when a cluster of our name was made by somebody else.
///
/// # Errors
/// When it was; the error says how to remove it.
pub fn refuse_foreign(engine: &Engine) -> Result<()> {
    for (container, image, _) in node_containers(engine)? {
        if !image.starts_with(NODE_IMAGES) {
            bail!(
                "a kind cluster named {NAME} is there and is not ours (container {container}, image {image}): \
                 remove it with `kind delete cluster --name {NAME}`, then run this again"
            );
        }
    }
    Ok(())
}

/// Takes the cluster down and stops a private engine. Leaves the caches, and nothing else.
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

/// Stops a private engine that runs no cluster: after a build that failed.
///
/// # Errors
/// When the engine does not answer or does not end.
pub fn release(engine: &Engine, cache: &Path) -> Result<()> {
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
        // The network is kind's; in an engine of our own nobody else can be using it.
        let _ = engine.docker().args(["network", "rm", "kind"]).quiet().run_any();
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}
