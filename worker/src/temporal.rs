//! The connection to Temporal and the three workers on it.

use std::sync::Arc;

use crate::{
    activities::{CpuActivities, IoActivities, Tools},
    config::{Config, DeploymentConfig},
    metrics::SdkMeter,
    workflows::{DocumentWorkflow, Route},
};
use anyhow::Context as _;
use temporalio_client::{
    Client, ClientOptions, Connection, NamespacedClient as _,
    envconfig::LoadClientConfigProfileOptions,
    tonic::{Code, IntoRequest as _},
};
use temporalio_common::{
    protos::temporal::api::workflowservice::v1::DescribeNamespaceRequest,
    telemetry::{
        TaskQueueLabelStrategy, TelemetryOptions,
        metrics::{CoreMeter, NewAttributes, TemporalMeter},
    },
    worker::{VersioningBehavior, WorkerDeploymentOptions, WorkerDeploymentVersion},
};
use temporalio_sdk::{
    Runtime, Worker, WorkerOptions,
    opentelemetry::OpenTelemetryPlugin,
    runtime::{
        PollerBehavior, RuntimeOptions,
        worker_tuner::{FixedSizeSlotSupplier, TunerHolder},
    },
};

/// Prefix of the SDK's metrics: [`SdkMeter`] puts it before every name, so the SDK is told to put none.
const NO_PREFIX: &str = "";

/// Connects, and makes sure that the namespace exists.
///
/// TLS, API key and headers come from the SDK's own settings: `TEMPORAL_TLS_*`, `TEMPORAL_API_KEY`, temporal.toml.
///
/// # Errors
/// No answer, or no such namespace.
pub async fn connect(config: &Config, identity: &str, meter: Arc<SdkMeter>) -> anyhow::Result<Client> {
    let (mut options, _) = ClientOptions::load_from_config(LoadClientConfigProfileOptions::default())
        .map_err(|error| {
            anyhow::anyhow!("reading the SDK's settings (TEMPORAL_*, temporal.toml): {error}")
        })?;
    options.target = config.temporal.url(options.tls_options.is_some())?;
    options.identity = identity.to_owned();
    options.connect_timeout = Some(config.temporal.connect_timeout());
    // Inside a cluster compression only costs CPU.
    options.grpc_compression = temporalio_client::GrpcCompression::None;
    let strategy = TaskQueueLabelStrategy::UseNormal;
    options.metrics_meter = Some(TemporalMeter::new(meter, NewAttributes::default(), strategy));
    let connection = Connection::connect(options)
        .await
        .with_context(|| format!("connecting to Temporal at {}", config.temporal.address))?;
    let options = ClientOptions::new(&config.temporal.namespace);
    let options = match config.traces.endpoint {
        Some(_) => options.plugin(OpenTelemetryPlugin::builder().build()),
        None => options,
    };
    let client = Client::new(connection, options.build())?;
    require_namespace(&client).await?;
    Ok(client)
}

async fn require_namespace(client: &Client) -> anyhow::Result<()> {
    let namespace = client.namespace();
    let request = DescribeNamespaceRequest {
        namespace: namespace.clone(),
        ..DescribeNamespaceRequest::default()
    };
    let answer = client
        .connection()
        .workflow_service()
        .describe_namespace(request.into_request())
        .await;
    match answer {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::NotFound => Err(anyhow::anyhow!(
            "Temporal has no namespace {namespace:?}: register it, or set TEMPORAL_NAMESPACE"
        )),
        Err(status) => {
            Err(status).with_context(|| format!("asking Temporal for the namespace {namespace:?}"))
        }
    }
}

/// The SDK's part of the process: its threads are those of the current runtime, its metrics ours.
///
/// # Errors
/// There is no current runtime.
pub fn runtime(meter: Arc<SdkMeter>) -> anyhow::Result<Runtime> {
    let telemetry = TelemetryOptions::builder()
        .metrics(meter as Arc<dyn CoreMeter>)
        .metric_prefix(NO_PREFIX.to_owned())
        .attach_service_name(false)
        .build();
    let options = RuntimeOptions::builder()
        .telemetry_options(telemetry)
        .build()
        .map_err(anyhow::Error::msg)?;
    Runtime::from_current_tokio(options).context("starting the SDK")
}

/// Makes the SDK's workers of the three queues. Nothing is polled before one runs, and it may be made anew when it has ended.
#[expect(missing_debug_implementations, reason = "the SDK's runtime has none")]
pub struct Queues<'a> {
    /// The SDK's part of the process.
    pub runtime: &'a Runtime,
    /// The connection.
    pub client: &'a Client,
    /// The settings.
    pub config: &'a Config,
}

impl Queues<'_> {
    /// Of the workflow queue.
    ///
    /// # Errors
    /// The SDK refuses the settings.
    pub fn workflow(&self) -> anyhow::Result<Worker> {
        let (queues, slots) = (&self.config.temporal, &self.config.concurrency);
        let route = Route::new(queues);
        let mut options = self.options(&queues.workflow_queue, slots.workflow_slots);
        options.workflow_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(slots.workflow_polls));
        options.register_workflow_with_factory(move || DocumentWorkflow::new(route.clone()))?;
        self.worker(options)
    }

    /// Of the IO queue.
    ///
    /// # Errors
    /// The SDK refuses the settings.
    pub fn io(&self, tools: &Tools) -> anyhow::Result<Worker> {
        let (queues, slots) = (&self.config.temporal, &self.config.concurrency);
        let mut options = self.options(&queues.io_activity_queue, slots.io_slots);
        options.activity_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(slots.io_polls));
        options.register_activities(IoActivities::new(tools.clone()));
        self.worker(options)
    }

    /// Of the CPU queue.
    ///
    /// # Errors
    /// The SDK refuses the settings.
    pub fn cpu(&self, tools: &Tools) -> anyhow::Result<Worker> {
        let (queues, slots) = (&self.config.temporal, &self.config.concurrency);
        let mut options = self.options(&queues.cpu_activity_queue, slots.cpu_slots);
        options.activity_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(slots.cpu_polls));
        options.register_activities(CpuActivities::new(tools.clone()));
        self.worker(options)
    }

    fn worker(&self, options: WorkerOptions) -> anyhow::Result<Worker> {
        let queue = options.task_queue.clone();
        Worker::new(self.runtime, self.client.clone(), options)
            .with_context(|| format!("making the worker of {queue}"))
    }

    /// What the three have in common. `slots` go to the one kind of task that the queue's worker takes.
    fn options(&self, queue: &str, slots: usize) -> WorkerOptions {
        let fixed = || FixedSizeSlotSupplier::new(slots);
        let tuner = TunerHolder::builder()
            .workflow_task_slot_supplier(fixed())
            .activity_task_slot_supplier(fixed())
            .local_activity_task_slot_supplier(fixed())
            .nexus_task_slot_supplier(fixed())
            .build();
        // Without a period of its own the SDK never cancels what is in flight when its worker ends: a worker that is made
        // anew waits for all of it, and one that leaves gives it back in time (see `lifecycle`).
        WorkerOptions::new(queue)
            .tuner(tuner)
            .max_cached_workflows(self.config.concurrency.cached_workflows)
            .deployment_options(deployment(&self.config.deployment))
            .build()
    }
}

/// Takes a worker of the SDK that has ended off its connection's list. The SDK (1.1) does not: it would go on telling Temporal that
/// this worker is there, and keep a thread and what the worker measured, for each worker that was made anew.
///
/// # Errors
/// The worker has not ended.
pub fn forget(client: &Client, ended: &Worker) -> anyhow::Result<()> {
    let workers = client.connection().workers();
    workers
        .finalize_unregister(ended.worker_instance_key())
        .map(drop)
        .with_context(|| format!("forgetting the worker of {}", ended.task_queue()))
}

/// What this worker is to Temporal: a version of a Worker Deployment where one is named, else only a build id (the SDK's
/// default would be a hash of the whole program, read at every start).
///
/// Workflows are pinned to the version that began them. A document takes seconds, so an old version has nothing left to do
/// soon after the next becomes current, and until then its own workers finish what they began: no history meets other code
/// than its own, and no activity an argument of another version. Auto-upgrade is for workflows that outlive releases; it would
/// make each change of the workflow's commands a change under running workflows. The price of pinning is that workers of the
/// old version must run until Temporal calls it drained, so whoever replaces a fleet in place leaves the name unset.
fn deployment(config: &DeploymentConfig) -> WorkerDeploymentOptions {
    let Some(name) = &config.name else {
        return WorkerDeploymentOptions::from_build_id(config.build_id.clone());
    };
    let version = WorkerDeploymentVersion::builder()
        .deployment_name(name)
        .build_id(&config.build_id)
        .build();
    WorkerDeploymentOptions::new(version)
        .use_worker_versioning(true)
        .default_versioning_behavior(VersioningBehavior::Pinned)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_without_a_deployments_name_is_not_versioned() {
        let options = deployment(&DeploymentConfig::default());
        assert!(!options.use_worker_versioning);
        assert_eq!(options.default_versioning_behavior, None);
        assert_eq!(options.version.build_id, env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn a_version_of_a_deployment_pins_its_workflows() {
        let options = deployment(&DeploymentConfig {
            name: Some("documents".into()),
            build_id: "1.2.3".into(),
        });
        assert!(options.use_worker_versioning);
        assert_eq!(
            options.default_versioning_behavior,
            Some(VersioningBehavior::Pinned)
        );
        assert_eq!(options.version.deployment_name, "documents");
        assert_eq!(options.version.build_id, "1.2.3");
    }
}
