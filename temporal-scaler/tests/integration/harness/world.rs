//! What belongs to one test on the shared servers.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result};
use temporalio_client::{Client, UntypedWorkflow, WorkflowStartOptions, tonic::IntoRequest as _};
use temporalio_common::{
    data_converters::RawValue, protos::temporal::api::workflowservice::v1::SetWorkerDeploymentCurrentVersionRequest,
};

use super::{
    cluster::{Cluster, SELECTOR},
    scaler::{Builder, SOON},
    servers::Servers,
    wait::{Probe, eventually},
};

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A namespace and a folder.
#[derive(Debug)]
pub(crate) struct World {
    /// Name of the namespace.
    pub(crate) name: String,
    client: Connected,
    folder: PathBuf,
    outputs: Mutex<Vec<PathBuf>>,
    servers: Arc<Servers>,
}

/// The SDK's client, which has no `Debug`.
struct Connected(Client);

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl World {
    /// Creates a world.
    pub(crate) async fn new(servers: Arc<Servers>) -> Result<Self> {
        let name = format!("world{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = servers.reaper.folder().join(&name);
        fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let client = Connected(servers.temporal.create(&name).await?);
        Ok(Self { name, client, folder, outputs: Mutex::default(), servers })
    }

    /// A scaler of some queues, for the pods of a cluster.
    pub(crate) fn scaler(&self, cluster: &Cluster, queues: &str) -> Result<Builder<'_>> {
        let kubeconfig = cluster.kubeconfig(&self.folder)?.display().to_string();
        Ok(self
            .bare_scaler()
            .env("KUBECONFIG", &kubeconfig)
            .env("TEMPORAL_ADDRESS", &self.temporal_address())
            .env("TEMPORAL_NAMESPACE", &self.name)
            .env("SCALER_QUEUES", queues)
            .env("SCALER_POD_SELECTOR", SELECTOR))
    }

    /// A scaler without any setting.
    pub(crate) fn bare_scaler(&self) -> Builder<'_> {
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let output = self.folder.join(format!("scaler{}.log", outputs.len() + 1));
        outputs.push(output.clone());
        Builder { reaper: &self.servers.reaper, environment: BTreeMap::new(), output }
    }

    /// A folder of its own.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command whose process ends with the tests.
    pub(crate) fn command(&self, program: &Path) -> Command {
        self.servers.reaper.command(program)
    }

    /// The port of Temporal's frontend.
    pub(crate) fn temporal_port(&self) -> u16 {
        self.servers.temporal.port
    }

    /// The address of Temporal's frontend.
    pub(crate) fn temporal_address(&self) -> String {
        format!("127.0.0.1:{}", self.temporal_port())
    }

    /// Starts workflows, whose first tasks wait in a queue.
    pub(crate) async fn start_workflows(&self, queue: &str, workflow: &str, count: usize) -> Result<()> {
        for number in 0..count {
            let options = WorkflowStartOptions::new(queue, format!("{queue}-{number}")).build();
            let input = RawValue::new(Vec::new());
            let started = self.client.0.start_workflow(UntypedWorkflow::new(workflow), input, options).await;
            started.with_context(|| format!("starting a workflow in {queue}"))?;
        }
        Ok(())
    }

    /// Makes a version the current one, once Temporal knows it.
    pub(crate) async fn set_current_version(&self, deployment: &str, build_id: &str) -> Result<()> {
        let request = SetWorkerDeploymentCurrentVersionRequest {
            namespace: self.name.clone(),
            deployment_name: deployment.to_owned(),
            build_id: build_id.to_owned(),
            identity: "tests".to_owned(),
            ignore_missing_task_queues: true,
            ..SetWorkerDeploymentCurrentVersionRequest::default()
        };
        eventually("the version can be made the current one", SOON, async || {
            let mut service = self.client.0.connection().workflow_service();
            match service.set_worker_deployment_current_version(request.clone().into_request()).await {
                Ok(_) => Probe::Ready(()),
                Err(status) => Probe::NotYet(status.to_string()),
            }
        })
        .await
    }

    /// What the scalers wrote.
    pub(crate) fn outputs(&self) -> String {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let output = |path: &PathBuf| {
            let text = fs::read(path).unwrap_or_default();
            format!("--- {}\n{}", path.display(), String::from_utf8_lossy(&text))
        };
        outputs.iter().map(output).collect()
    }
}
