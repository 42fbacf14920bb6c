//! The connection to Temporal, and the three SDK workers on it.

use std::sync::Arc;

use crate::{
    activities::{CpuActivities, HEARTBEAT, IoActivities, Tools},
    config::{Config, DeploymentConfig},
    metrics::SdkMeter,
    tls::ClientCertificate,
    workflows::{DocumentWorkflow, Route},
};
use anyhow::Context as _;
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, NamespacedClient as _,
    tonic::{Code, IntoRequest as _},
};
use temporalio_common::{
    envconfig::{ConfigError, DataSource, LoadClientConfigProfileOptions, load_client_config_profile},
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

/// Prefix that the SDK puts before its metric names: none, because [`SdkMeter`] adds the prefix.
const NO_PREFIX: &str = "";

/// Connects, and checks that the namespace exists.
///
/// TLS, API key and headers come from the SDK's own settings: `TEMPORAL_TLS_*`, `TEMPORAL_API_KEY`, temporal.toml.
///
/// # Errors
/// Temporal does not answer, or has no such namespace.
pub async fn connect(config: &Config, identity: &str, meter: Arc<SdkMeter>) -> anyhow::Result<Client> {
    let mut options = sdk_options().context("reading the SDK's settings (TEMPORAL_*, temporal.toml)")?;
    options.target = config.temporal.url(options.tls_options.is_some())?;
    if options.tls_options.as_ref().is_some_and(|tls| tls.client_cert_resolver.is_some()) {
        // The connector with the certificate speaks TLS in any case. With https, the transport would refuse it.
        options.target.set_scheme("http").map_err(|()| anyhow::anyhow!("setting the scheme of temporal.address"))?;
    }
    options.identity = identity.to_owned();
    options.connect_timeout = Some(config.temporal.connect_timeout());
    // Inside a cluster, compression only costs CPU.
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

/// The options that the SDK's own settings give. A client certificate in files is read at each handshake. The SDK
/// cannot combine this with a connection to each address of a name; each new connection resolves the name.
fn sdk_options() -> anyhow::Result<ConnectionOptions> {
    // The SDK's error cannot be sent between threads.
    let text = |error: ConfigError| anyhow::anyhow!("{error}");
    let mut profile = load_client_config_profile(LoadClientConfigProfileOptions::default(), None).map_err(text)?;
    let mut files = None;
    if let Some(tls) = &mut profile.tls
        && let (Some(DataSource::Path(certificate)), Some(DataSource::Path(key))) = (&tls.client_cert, &tls.client_key)
    {
        files = Some((certificate.into(), key.into()));
        (tls.client_cert, tls.client_key) = (None, None);
    }
    let mut options = ConnectionOptions::try_from(profile).map_err(text)?;
    if let (Some((certificate, key)), Some(tls)) = (files, &mut options.tls_options) {
        tls.client_cert_resolver = Some(Arc::new(ClientCertificate::read(certificate, key)?));
        options.dns_load_balancing = None;
    }
    Ok(options)
}

async fn require_namespace(client: &Client) -> anyhow::Result<()> {
    let namespace = client.namespace();
    let request = DescribeNamespaceRequest { namespace: namespace.clone(), ..DescribeNamespaceRequest::default() };
    let answer = client.connection().workflow_service().describe_namespace(request.into_request()).await;
    match answer {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::NotFound => {
            Err(anyhow::anyhow!("Temporal has no namespace {namespace:?}: register it, or set TEMPORAL_NAMESPACE"))
        }
        Err(status) => Err(status).with_context(|| format!("asking Temporal for the namespace {namespace:?}")),
    }
}

/// The SDK's runtime. It uses the threads of the current tokio runtime and writes its metrics to `meter`.
///
/// # Errors
/// There is no current tokio runtime.
pub fn runtime(meter: Arc<SdkMeter>) -> anyhow::Result<Runtime> {
    let telemetry = TelemetryOptions::builder()
        .metrics(meter as Arc<dyn CoreMeter>)
        .metric_prefix(NO_PREFIX.to_owned())
        .attach_service_name(false)
        .build();
    let options = RuntimeOptions::builder().telemetry_options(telemetry).build().map_err(anyhow::Error::msg)?;
    Runtime::from_current_tokio(options).context("starting the SDK")
}

/// Creates the SDK workers of the three queues. A worker polls only while it runs. A queue's worker may be created
/// again after the previous one has ended.
#[expect(missing_debug_implementations, reason = "the SDK's runtime has none")]
pub struct WorkerFactory<'a> {
    /// The SDK's runtime.
    pub runtime: &'a Runtime,
    /// The client that all three workers share.
    pub client: &'a Client,
    /// The configuration.
    pub config: &'a Config,
}

impl WorkerFactory<'_> {
    /// Creates the worker of the workflow queue.
    ///
    /// # Errors
    /// The SDK rejects the settings.
    pub fn workflow(&self) -> anyhow::Result<Worker> {
        let (queues, slots) = (&self.config.temporal, &self.config.concurrency);
        let route = Route::new(queues);
        let mut options = self.options(&queues.workflow_queue, slots.workflow_slots);
        options.workflow_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(slots.workflow_polls));
        options.register_workflow_with_factory(move || DocumentWorkflow::new(route.clone()))?;
        self.worker(options)
    }

    /// Creates the worker of the IO queue.
    ///
    /// # Errors
    /// The SDK rejects the settings.
    pub fn io(&self, tools: &Tools) -> anyhow::Result<Worker> {
        let (queues, slots) = (&self.config.temporal, &self.config.concurrency);
        let mut options = self.options(&queues.io_activity_queue, slots.io_slots);
        options.activity_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(slots.io_polls));
        options.register_activities(IoActivities::new(tools.clone()));
        self.worker(options)
    }

    /// Creates the worker of the CPU queue.
    ///
    /// # Errors
    /// The SDK rejects the settings.
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
            .with_context(|| format!("creating the worker of {queue}"))
    }

    /// The options that all three workers share. `slots` limits the one kind of task that the queue's worker
    /// handles.
    fn options(&self, queue: &str, slots: usize) -> WorkerOptions {
        let fixed = || FixedSizeSlotSupplier::new(slots);
        let tuner = TunerHolder::builder()
            .workflow_task_slot_supplier(fixed())
            .activity_task_slot_supplier(fixed())
            .local_activity_task_slot_supplier(fixed())
            .nexus_task_slot_supplier(fixed())
            .build();
        // No graceful shutdown period is set, so the SDK never cancels activities when its worker ends. A worker
        // that is recreated waits for all of them. At shutdown, `lifecycle` interrupts them in time.
        WorkerOptions::new(queue)
            .tuner(tuner)
            // The SDK would send one heartbeat in 0.8 of the heartbeat timeout, so that one that is late by a fifth of
            // it would start a second attempt.
            .max_heartbeat_throttle_interval(HEARTBEAT)
            .max_cached_workflows(self.config.concurrency.cached_workflows)
            .deployment_options(deployment(&self.config.deployment))
            .build()
    }
}

/// Removes an SDK worker that has ended from the list of its connection, which SDK 1.1 does not do. Without this
/// call, each recreated worker would leave behind a thread, its metrics and its heartbeats to Temporal.
///
/// # Errors
/// The worker is still running.
pub fn unregister(client: &Client, ended: &Worker) -> anyhow::Result<()> {
    let workers = client.connection().workers();
    workers
        .finalize_unregister(ended.worker_instance_key())
        .map(drop)
        .with_context(|| format!("unregistering the worker of {}", ended.task_queue()))
}

/// The version that this worker reports to Temporal: a Worker Deployment version if a deployment name is set, else
/// only a build id. Setting the build id also avoids the SDK's default, which hashes the whole program at every
/// start.
///
/// Workflows are pinned to the version that started them, so a history never meets another version's code, nor an
/// activity another version's argument. Documents take seconds, so an old version has no work left soon after a new
/// one becomes current. Auto-upgrade suits workflows that outlive releases, but would change the code under running
/// workflows.
///
/// The price of pinning: workers of the old version must run until Temporal reports the version as drained. A fleet
/// that is replaced in place leaves the name unset.
fn deployment(config: &DeploymentConfig) -> WorkerDeploymentOptions {
    let Some(name) = &config.name else {
        return WorkerDeploymentOptions::from_build_id(config.build_id.clone());
    };
    let version = WorkerDeploymentVersion::builder().deployment_name(name).build_id(&config.build_id).build();
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
        let options = deployment(&DeploymentConfig { name: Some("documents".into()), build_id: "1.2.3".into() });
        assert!(options.use_worker_versioning);
        assert_eq!(options.default_versioning_behavior, Some(VersioningBehavior::Pinned));
        assert_eq!(options.version.deployment_name, "documents");
        assert_eq!(options.version.build_id, "1.2.3");
    }
}
