//! What this crate asks of Temporal: start a workflow, count workflows by status, read a backlog.
//!
//! The input is one JSON payload, as the wire contract has it; no type is shared with the worker.
//! No workflow is waited for by a long poll: that costs the server a quarter of its capacity, and the
//! load would measure itself.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use temporalio_client::errors::WorkflowStartError;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, GrpcCompression, UntypedWorkflow, Url,
    WorkflowCountOptions, WorkflowStartOptions,
};
use temporalio_common::data_converters::{PayloadConverter, RawValue};
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeTaskQueueRequest;

use crate::fixture::{CPU_QUEUE, IO_QUEUE, WORKFLOW_QUEUE};

/// Temporal's namespace.
const NAMESPACE: &str = "default";
/// The workflow's type.
const WORKFLOW: &str = "DocumentWorkflow";
/// A workflow that is not done after this is a failure that ends by itself, so that a run that went
/// wrong does not leave workflows behind for the next one on a kept cluster.
const WORKFLOW_LIMIT: Duration = Duration::from_secs(900);

/// A connection to Temporal.
#[derive(Clone)]
pub struct Temporal {
    client: Client,
}

/// The workflow's one argument.
#[derive(Serialize)]
struct Input<'a> {
    document_id: &'a str,
    source: &'a str,
}

impl Temporal {
    /// Connects to `host:port`.
    pub async fn connect(address: &str) -> Result<Self> {
        let url = Url::parse(&format!("http://{address}"))
            .with_context(|| format!("temporal address {address}"))?;
        let options = ConnectionOptions::new(url)
            .identity("kind-e2e")
            // On the loopback address compression only costs CPU, and the cluster's is on the same cores.
            .grpc_compression(GrpcCompression::None)
            .connect_timeout(Duration::from_secs(5))
            .dns_load_balancing(None)
            .build();
        let connection = Connection::connect(options)
            .await
            .context("connecting to temporal")?;
        let client = Client::new(connection, ClientOptions::new(NAMESPACE).build())?;
        Ok(Self { client })
    }

    /// Starts the workflow of one document and returns when Temporal has acknowledged it.
    ///
    /// The client repeats a request that got no answer. Ids are of one run and used once, so that
    /// "already started" is the answer to such a repetition: the first request was accepted.
    ///
    /// # Errors
    /// The start was refused, or no answer came: then it may have been accepted all the same.
    pub async fn start(&self, document_id: &str, source: &str) -> Result<()> {
        let input =
            serde_json::to_value(Input { document_id, source }).context("writing the workflow's input")?;
        let input = RawValue::from_value(&input, &PayloadConverter::serde_json());
        let options = WorkflowStartOptions::new(WORKFLOW_QUEUE, document_id)
            .execution_timeout(WORKFLOW_LIMIT)
            .build();
        match self
            .client
            .start_workflow(UntypedWorkflow::new(WORKFLOW), input, options)
            .await
        {
            Ok(_) | Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("starting the workflow of {document_id}")),
        }
    }

    /// Counts the workflows whose id begins with `prefix` by status, e.g. `Completed`.
    pub async fn count_by_status(&self, prefix: &str) -> Result<BTreeMap<String, u64>> {
        let query = format!("WorkflowId STARTS_WITH '{prefix}' GROUP BY ExecutionStatus");
        let counted = self
            .client
            .count_workflows(query, WorkflowCountOptions::default())
            .await
            .context("counting workflows")?;
        let mut counts = BTreeMap::new();
        for group in counted.groups() {
            let status: String = group
                .try_get(0)
                .context("reading a group")?
                .context("a group of workflows has no status")?;
            counts.insert(status, group.count() as u64);
        }
        Ok(counts)
    }

    /// The backlog of each of the three queues as Temporal itself reports it.
    pub async fn backlogs(&self) -> Result<BTreeMap<String, f64>> {
        let queues = [
            (WORKFLOW_QUEUE, TaskQueueType::Workflow),
            (IO_QUEUE, TaskQueueType::Activity),
            (CPU_QUEUE, TaskQueueType::Activity),
        ];
        let mut backlogs = BTreeMap::new();
        for (queue, kind) in queues {
            backlogs.insert(queue.to_owned(), self.backlog(queue, kind).await?);
        }
        Ok(backlogs)
    }

    async fn backlog(&self, queue: &str, kind: TaskQueueType) -> Result<f64> {
        let request = DescribeTaskQueueRequest {
            namespace: NAMESPACE.to_owned(),
            task_queue: Some(TaskQueue {
                name: queue.to_owned(),
                ..Default::default()
            }),
            task_queue_type: kind.into(),
            report_stats: true,
            ..Default::default()
        };
        let mut service = self.client.connection().workflow_service();
        let answer = service
            .describe_task_queue(request.into_request())
            .await
            .with_context(|| format!("describing {queue}"))?
            .into_inner();
        let stats = answer
            .stats
            .with_context(|| format!("temporal told no statistics of {queue}"))?;
        Ok(stats.approximate_backlog_count as f64)
    }
}
