//! The connection to Temporal, and the three SDK workers on it.

use std::{sync::Arc, time::Duration};

use crate::{
    activities::{CpuActivities, HEARTBEAT, IoActivities, Tools},
    config::{Config, DeploymentConfig},
    metrics::SdkMeter,
    slots::Slots,
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
    protos::temporal::api::workflowservice::v1::{DescribeNamespaceRequest, ShutdownWorkerRequest},
    telemetry::{
        TaskQueueLabelStrategy, TelemetryOptions,
        metrics::{CoreMeter, NewAttributes, TemporalMeter},
    },
    worker::{VersioningBehavior, WorkerDeploymentOptions, WorkerDeploymentVersion},
};
use temporalio_sdk::{Worker, WorkerOptions, opentelemetry::OpenTelemetryPlugin, runtime::PollerBehavior};
use temporalio_sdk_core::{
    CoreRuntime, FixedSizeSlotSupplier, RuntimeOptions, TunerBuilder, Worker as CoreWorker, init_worker,
};
use tokio::time::{Instant, interval, timeout};
use tracing::info;

/// Prefix that the SDK puts before its metric names: none, because [`SdkMeter`] adds the prefix.
const NO_PREFIX: &str = "";

/// Timeout for the open polls to end before the SDK's shutdown. With `frontend.enableCancelWorkerPollsOnShutdown` they
/// end at once. Without it, they end with their next task.
const POLLS_END: Duration = Duration::from_secs(3);

/// The timeout in answers of Temporal, where that is longer: a server without CPU time ends the polls late.
const POLLS_END_ANSWERS: u32 = 10;

/// Interval of the requests to end them.
const POLLS_END_AGAIN: Duration = Duration::from_millis(500);

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
    meter.expect_sticky_queue(identity, &config.temporal.workflow_queue);
    let strategy = TaskQueueLabelStrategy::UseNormalAndSticky;
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
/// The SDK rejects the options.
///
/// # Panics
/// There is no current tokio runtime.
pub fn runtime(meter: Arc<SdkMeter>) -> anyhow::Result<CoreRuntime> {
    let telemetry = TelemetryOptions::builder()
        .metrics(meter as Arc<dyn CoreMeter>)
        .metric_prefix(NO_PREFIX.to_owned())
        .attach_service_name(false)
        .build();
    let options = RuntimeOptions::builder().telemetry_options(telemetry).build().map_err(anyhow::Error::msg)?;
    CoreRuntime::new_assume_tokio(options).context("starting the SDK")
}

/// Creates the SDK workers of the three queues. A worker polls only while it runs.
#[expect(missing_debug_implementations, reason = "the SDK's runtime has none")]
pub struct WorkerFactory<'a> {
    /// The SDK's runtime.
    pub runtime: &'a CoreRuntime,
    /// The meter of the runtime and the client.
    pub meter: Arc<SdkMeter>,
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
    pub fn workflow(&self) -> anyhow::Result<QueueWorker> {
        let (queues, slots) = (&self.config.temporal, &self.config.concurrency);
        let route = Route::new(queues);
        let mut options = self.options(&queues.workflow_queue);
        options.workflow_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(slots.workflow_polls));
        options.register_workflow_with_factory(move || DocumentWorkflow::new(route.clone()))?;
        self.worker(options, slots.workflow_slots)
    }

    /// Creates the worker of the IO queue.
    ///
    /// # Errors
    /// The SDK rejects the settings.
    pub fn io(&self, tools: &Tools) -> anyhow::Result<QueueWorker> {
        let (queues, slots) = (&self.config.temporal, &self.config.concurrency);
        let mut options = self.options(&queues.io_activity_queue);
        options.activity_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(slots.io_polls));
        options.register_activities(IoActivities::new(tools.clone()));
        self.worker(options, slots.io_slots)
    }

    /// Creates the worker of the CPU queue.
    ///
    /// # Errors
    /// The SDK rejects the settings.
    pub fn cpu(&self, tools: &Tools) -> anyhow::Result<QueueWorker> {
        let (queues, slots) = (&self.config.temporal, &self.config.concurrency);
        let mut options = self.options(&queues.cpu_activity_queue);
        options.activity_task_poller_behavior = Some(PollerBehavior::SimpleMaximum(slots.cpu_polls));
        options.register_activities(CpuActivities::new(tools.clone()));
        self.worker(options, slots.cpu_slots)
    }

    /// `slots` limits the one kind of task that the queue's worker handles.
    fn worker(&self, options: WorkerOptions, slots: usize) -> anyhow::Result<QueueWorker> {
        let (workflow_slots, activity_slots) = (Slots::new(slots), Slots::new(slots));
        let tuner = TunerBuilder::default()
            .workflow_slot_supplier(workflow_slots.supplier())
            .activity_slot_supplier(activity_slots.supplier())
            .local_activity_slot_supplier(Arc::new(FixedSizeSlotSupplier::new(slots)))
            .nexus_slot_supplier(Arc::new(FixedSizeSlotSupplier::new(slots)))
            .build();
        let created = || {
            let mut config = options.to_core_options(self.client.namespace(), self.client.identity())?;
            config.tuner = Some(Arc::new(tuner));
            init_worker(self.runtime, config, self.client.connection().clone()).map_err(|error| format!("{error:#}"))
        };
        let core = created().map_err(anyhow::Error::msg);
        let core = core.with_context(|| format!("creating the worker of {}", options.task_queue))?;
        Ok(QueueWorker {
            meter: self.meter.clone(),
            client: self.client.clone(),
            core: Arc::new(core),
            options,
            workflow_slots,
            activity_slots,
            polls_end: self.config.service.shutdown_grace() / 5,
        })
    }

    /// The options that all three workers share.
    fn options(&self, queue: &str) -> WorkerOptions {
        // No graceful shutdown period is set, so the SDK never cancels activities when its worker ends. At shutdown,
        // `lifecycle` interrupts them in time.
        WorkerOptions::new(queue)
            // The SDK would send one heartbeat in 0.8 of the heartbeat timeout, so that one that is late by a fifth of
            // it would start a second attempt.
            .max_heartbeat_throttle_interval(HEARTBEAT)
            .max_cached_workflows(self.config.concurrency.cached_workflows)
            .deployment_options(deployment(&self.config.deployment))
            .build()
    }
}

/// The SDK worker of one queue. The SDK makes it of two objects. The core polls, holds the slots and reports results.
/// The runner calls workflows and activities, and can be replaced.
#[expect(missing_debug_implementations, reason = "the SDK's core has none")]
pub struct QueueWorker {
    meter: Arc<SdkMeter>,
    client: Client,
    core: Arc<CoreWorker>,
    options: WorkerOptions,
    workflow_slots: Slots,
    /// The slots of its activities.
    pub activity_slots: Slots,
    /// The longest timeout for its polls to end.
    polls_end: Duration,
}

impl QueueWorker {
    /// The name of its queue.
    pub fn queue(&self) -> &str {
        &self.options.task_queue
    }

    /// Creates a runner. Only one may run at a time.
    ///
    /// # Errors
    /// The SDK rejects the options.
    pub fn runner(&self) -> anyhow::Result<Worker> {
        Worker::new_from_core_options(self.core.clone(), self.client.options().clone(), self.options.clone())
            .with_context(|| format!("creating the worker of {}", self.queue()))
    }

    /// Ends its polls, after which no task comes any more. Returns when the last poll has ended, or after the timeout. A
    /// task that a poll brings meanwhile is done as any other.
    pub async fn end_polls(&self) {
        self.workflow_slots.close();
        self.activity_slots.close();
        let no_poll = async {
            self.workflow_slots.without_polls().await;
            self.activity_slots.without_polls().await;
        };
        let mut no_poll = std::pin::pin!(no_poll);
        let mut requests = interval(POLLS_END_AGAIN);
        let (began, mut slowest) = (Instant::now(), Duration::ZERO);
        let ended = async {
            loop {
                tokio::select! {
                    biased;
                    () = &mut no_poll => return true,
                    _ = requests.tick() => {
                        if began.elapsed() >= patience(slowest) {
                            return false;
                        }
                        // A poll that reaches Temporal beside the request may miss it.
                        let asked = Instant::now();
                        self.ask_to_end_polls().await;
                        slowest = slowest.max(asked.elapsed());
                    }
                }
            }
        };
        if !timeout(self.polls_end, ended).await.unwrap_or(false) {
            info!(
                queue = self.queue(),
                seconds = began.elapsed().as_secs_f64(),
                "a poll is still open after the timeout, and is cancelled: a task in its answer would be retried after \
                 its timeout (set frontend.enableCancelWorkerPollsOnShutdown on the Temporal server)"
            );
        }
    }

    /// Asks Temporal to answer the open polls of this worker without a task, and to give its later polls none. From then
    /// on its workflows' tasks go to the workflow queue: one that waits in the sticky queue would be lost for a while.
    async fn ask_to_end_polls(&self) {
        let request = ShutdownWorkerRequest {
            namespace: self.client.namespace(),
            identity: self.client.identity(),
            sticky_task_queue: match self.core.get_config().task_types.enable_workflows {
                true => self.meter.sticky_queue(),
                false => String::new(),
            },
            reason: "graceful shutdown".to_owned(),
            worker_instance_key: self.core.worker_instance_key().to_string(),
            task_queue: self.queue().to_owned(),
            ..ShutdownWorkerRequest::default()
        };
        let mut service = self.client.connection().workflow_service();
        if let Err(status) = service.shutdown_worker(request.into_request()).await {
            info!(queue = self.queue(), %status, "Temporal did not end the polls");
        }
    }

    /// Begins the SDK's shutdown. The runner ends when no task is in progress.
    pub fn shut_down(&self) {
        self.core.initiate_shutdown();
    }
}

/// How long to wait for the polls to end, by Temporal's slowest answer so far.
fn patience(slowest: Duration) -> Duration {
    POLLS_END.max(POLLS_END_ANSWERS * slowest)
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
    fn a_server_that_answers_slowly_has_longer_to_end_the_polls() {
        assert_eq!(patience(Duration::from_millis(20)), POLLS_END);
        assert_eq!(patience(Duration::from_millis(800)), Duration::from_secs(8));
    }

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
