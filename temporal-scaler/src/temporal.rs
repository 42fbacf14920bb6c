//! Asks Temporal for the backlogs.
//!
//! Address, namespace, TLS, API key and headers are the SDK's own settings: `TEMPORAL_*` and temporal.toml.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures::future::join_all;
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, GrpcCompression, NamespacedClient as _,
    envconfig::LoadClientConfigProfileOptions,
    tonic::{Code, IntoRequest as _},
};
use temporalio_common::protos::temporal::api::{
    deployment::v1::WorkerDeploymentVersion,
    enums::v1::TaskQueueType,
    taskqueue::v1::{TaskQueue, TaskQueueStats},
    workflowservice::v1::{DescribeTaskQueueRequest, DescribeWorkerDeploymentVersionRequest},
};
use tokio::time::timeout;

use crate::config::Version;
use crate::queue::{Kind, Queue};

/// Timeout of a connection, and of its first answer.
const CONNECT: Duration = Duration::from_secs(3);

/// Timeout of a round of questions.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Rounds without any answer after which the connection is made anew. So a renewed client certificate is read, and a
/// moved server is found.
const PATIENCE: u32 = 10;

/// What Temporal says of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Backlog {
    pub(crate) tasks: f64,
    /// Tasks added a second.
    pub(crate) added: f64,
    /// Tasks dispatched to workers a second.
    pub(crate) dispatched: f64,
    /// Whether a worker polls it, or has in the last minutes.
    pub(crate) polled: bool,
}

/// The SDK's settings.
///
/// # Errors
/// A value cannot be used, or a file cannot be read.
pub(crate) fn settings() -> anyhow::Result<(ConnectionOptions, ClientOptions)> {
    let load = LoadClientConfigProfileOptions::default();
    // The SDK's error cannot be sent between threads.
    let (mut connection, client) = ClientOptions::load_from_config(load)
        .map_err(|error| anyhow!("{error}"))
        .context("reading the settings of Temporal (TEMPORAL_*, temporal.toml)")?;
    connection.identity = format!("temporal-scaler@{}", std::env::var("HOSTNAME").unwrap_or_default());
    connection.connect_timeout = Some(CONNECT);
    // Inside a cluster, compression only costs CPU.
    connection.grpc_compression = GrpcCompression::None;
    Ok((connection, client))
}

/// The connection to Temporal, which is made when it is needed.
pub(crate) struct Temporal {
    client: Option<Client>,
    /// Rounds in a row without any answer.
    silent: u32,
    version: Option<Version>,
}

impl std::fmt::Debug for Temporal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Temporal(connected: {})", self.client.is_some())
    }
}

/// The answer for each queue, or why there is none.
pub(crate) type Backlogs = Vec<Result<Backlog, String>>;

impl Temporal {
    /// Not connected yet. With a version, only its backlog is asked for.
    pub(crate) fn new(version: Option<Version>) -> Self {
        Self { client: None, silent: 0, version }
    }

    /// Asks for all queues.
    pub(crate) async fn ask(&mut self, queues: &[Queue]) -> Backlogs {
        let backlogs = match self.connected().await {
            Ok(client) => {
                let client = client.clone();
                match &self.version {
                    None => join_all(queues.iter().map(|queue| in_time(ask_with_retry(&client, queue)))).await,
                    Some(version) => spread(in_time(ask_version(&client, version, queues)).await, queues),
                }
            }
            Err(error) => spread(Err(error), queues),
        };
        self.silent = if backlogs.iter().any(Result::is_ok) { 0 } else { self.silent + 1 };
        if self.silent >= PATIENCE {
            (self.client, self.silent) = (None, 0);
        }
        backlogs.into_iter().map(|backlog| backlog.map_err(|error| format!("{error:#}"))).collect()
    }

    async fn connected(&mut self) -> anyhow::Result<&Client> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let (connection, client) = settings()?;
                let target = connection.target.to_string();
                let connecting = timeout(CONNECT, Connection::connect(connection)).await;
                let connection = connecting.map_err(anyhow::Error::from).and_then(|made| Ok(made?));
                Client::new(connection.with_context(|| format!("connecting to Temporal at {target}"))?, client)?
            }
        };
        Ok(self.client.insert(client))
    }
}

/// One answer for all queues.
fn spread(answer: anyhow::Result<Vec<Backlog>>, queues: &[Queue]) -> Vec<anyhow::Result<Backlog>> {
    match answer {
        Ok(backlogs) => backlogs.into_iter().map(Ok).collect(),
        Err(error) => queues.iter().map(|_| Err(anyhow!("{error:#}"))).collect(),
    }
}

async fn in_time<T>(asking: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(TIMEOUT, asking).await.unwrap_or_else(|_| Err(anyhow!("Temporal does not answer within {TIMEOUT:?}")))
}

/// Asks twice. Servers close each connection at some age (Temporal's frontend after 5 minutes), which cancels a request
/// in flight. The second request uses a new connection.
async fn ask_with_retry(client: &Client, queue: &Queue) -> anyhow::Result<Backlog> {
    match ask(client, queue).await {
        Ok(backlog) => Ok(backlog),
        Err(_) => ask(client, queue).await,
    }
}

async fn ask(client: &Client, queue: &Queue) -> anyhow::Result<Backlog> {
    let request = DescribeTaskQueueRequest {
        namespace: client.namespace(),
        task_queue: Some(TaskQueue { name: queue.name.clone(), ..TaskQueue::default() }),
        task_queue_type: type_of(queue.kind).into(),
        report_stats: true,
        ..DescribeTaskQueueRequest::default()
    };
    let answer = client.connection().workflow_service().describe_task_queue(request.into_request()).await;
    let answer = answer.map_err(|status| refusal(&status, &client.namespace()))?.into_inner();
    let stats = answer.stats.context("the server reports no statistics of the queue")?;
    Ok(backlog(&stats, !answer.pollers.is_empty()))
}

/// Asks for a version, whose answer has all of its queues.
async fn ask_version(client: &Client, version: &Version, queues: &[Queue]) -> anyhow::Result<Vec<Backlog>> {
    let Version { deployment, build_id } = version;
    let request = DescribeWorkerDeploymentVersionRequest {
        namespace: client.namespace(),
        deployment_version: Some(WorkerDeploymentVersion {
            deployment_name: deployment.clone(),
            build_id: build_id.clone(),
        }),
        report_task_queue_stats: true,
        ..DescribeWorkerDeploymentVersionRequest::default()
    };
    let answer =
        client.connection().workflow_service().describe_worker_deployment_version(request.into_request()).await;
    let answer = answer.map_err(|status| match status.code() {
        Code::NotFound => anyhow!(
            "Temporal knows no version {build_id:?} of the Worker Deployment {deployment:?}: it learns of it from the \
             first worker; if workers run, correct SCALER_DEPLOYMENT and SCALER_BUILD_ID"
        ),
        _ => refusal(&status, &client.namespace()),
    });
    let found = answer?.into_inner().version_task_queues;
    let of = |queue: &Queue| {
        let found = found.iter().find(|found| found.name == queue.name && found.r#type() == type_of(queue.kind));
        // A queue that the version has not polled yet has no tasks for it.
        found.map_or_else(Backlog::default, |found| backlog(&found.stats.unwrap_or_default(), true))
    };
    Ok(queues.iter().map(of).collect())
}

fn refusal(status: &temporalio_client::tonic::Status, namespace: &str) -> anyhow::Error {
    let (code, message) = (status.code(), status.message());
    match code {
        Code::NotFound => anyhow!("Temporal has no namespace {namespace:?}: register it, or set TEMPORAL_NAMESPACE"),
        _ => anyhow!("Temporal answers {code:?}: {message}"),
    }
}

fn type_of(kind: Kind) -> TaskQueueType {
    match kind {
        Kind::Workflow => TaskQueueType::Workflow,
        Kind::Activity => TaskQueueType::Activity,
    }
}

fn backlog(stats: &TaskQueueStats, polled: bool) -> Backlog {
    Backlog {
        tasks: stats.approximate_backlog_count.max(0) as f64,
        added: f64::from(stats.tasks_add_rate),
        dispatched: f64::from(stats.tasks_dispatch_rate),
        polled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_is_off_is_no_negative_backlog() {
        let stats = TaskQueueStats { approximate_backlog_count: -3, tasks_add_rate: 2.5, ..TaskQueueStats::default() };
        let expected = Backlog { tasks: 0.0, added: 2.5, dispatched: 0.0, polled: true };
        assert_eq!(backlog(&stats, true), expected);
    }

    #[test]
    fn a_failure_to_ask_is_one_of_every_queue() {
        let queues = [Kind::Workflow, Kind::Activity].map(|kind| Queue { kind, name: "q".into(), slots: 1.0 });
        let answers = spread(Err(anyhow!("away")), &queues);
        let texts: Vec<_> = answers.into_iter().map(|answer| answer.unwrap_err().to_string()).collect();
        assert_eq!(texts, ["away", "away"]);
    }
}
