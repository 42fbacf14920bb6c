//! A client of Temporal: starts workflows, counts them by status, reads backlogs and histories.
//!
//! A workflow's input is one JSON payload, as the wire contract has it; no type is shared with the worker.
//! No workflow is waited for by a long poll: that costs the server a quarter of its capacity.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use temporalio_client::errors::WorkflowStartError;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, GrpcCompression, TlsOptions, UntypedWorkflow, Url,
    WorkflowCountOptions, WorkflowStartOptions,
};
use temporalio_common::data_converters::{PayloadConverter, RawValue};
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::enums::v1::{TaskQueueType, WorkflowTaskFailedCause};
use temporalio_common::protos::temporal::api::failure::v1::Failure;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeTaskQueueRequest, GetWorkflowExecutionHistoryRequest, PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskFailedRequest,
};

use super::{CPU_QUEUE, IO_QUEUE, WORKFLOW_QUEUE};

/// Temporal's namespace.
const NAMESPACE: &str = "default";
/// The workflow's type.
const WORKFLOW: &str = "DocumentWorkflow";
/// Temporal times a workflow out after this, so that a run that went wrong leaves none to the next run.
const WORKFLOW_LIMIT: Duration = Duration::from_secs(900);

/// The workers' queues.
const QUEUES: [(&str, TaskQueueType); 3] = [
    (WORKFLOW_QUEUE, TaskQueueType::Workflow),
    (IO_QUEUE, TaskQueueType::Activity),
    (CPU_QUEUE, TaskQueueType::Activity),
];

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
    /// Connects to `host:port`, with TLS if `tls` says how.
    pub async fn connect(address: &str, tls: Option<TlsOptions>, token: &str) -> Result<Self> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url =
            Url::parse(&format!("{scheme}://{address}")).with_context(|| format!("temporal address {address}"))?;
        let options = ConnectionOptions::new(url)
            .identity("kind-e2e")
            .maybe_tls_options(tls)
            .headers([("authorization".to_owned(), format!("Bearer {token}"))].into())
            // On the loopback address compression only costs CPU, and the cluster's is on the same cores.
            .grpc_compression(GrpcCompression::None)
            .connect_timeout(Duration::from_secs(5))
            .dns_load_balancing(None)
            .build();
        let connection = Connection::connect(options).await.context("connecting to temporal")?;
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
        let input = serde_json::to_value(Input { document_id, source }).context("writing the workflow's input")?;
        let input = RawValue::from_value(&input, &PayloadConverter::serde_json());
        let options = WorkflowStartOptions::new(WORKFLOW_QUEUE, document_id).execution_timeout(WORKFLOW_LIMIT).build();
        match self.client.start_workflow(UntypedWorkflow::new(WORKFLOW), input, options).await {
            Ok(_) | Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("starting the workflow of {document_id}")),
        }
    }

    /// Counts the workflows whose id begins with `prefix` by status, e.g. `Completed`.
    pub async fn count_by_status(&self, prefix: &str) -> Result<BTreeMap<String, u64>> {
        let query = format!("WorkflowId STARTS_WITH '{prefix}' GROUP BY ExecutionStatus");
        let counted =
            self.client.count_workflows(query, WorkflowCountOptions::default()).await.context("counting workflows")?;
        let mut counts = BTreeMap::new();
        for group in counted.groups() {
            let status: String =
                group.try_get(0).context("reading a group")?.context("a group of workflows has no status")?;
            counts.insert(status, group.count() as u64);
        }
        Ok(counts)
    }

    /// Why each activity of a workflow needed more than one attempt, by step: the failure of its last attempt but one.
    ///
    /// Reads the history's first page, which has every event of a document's workflow.
    ///
    /// # Errors
    /// Temporal does not answer, or does not know the workflow.
    pub async fn retries(&self, workflow_id: &str) -> Result<BTreeMap<String, String>> {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: NAMESPACE.to_owned(),
            execution: Some(WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: String::new() }),
            ..Default::default()
        };
        let mut service = self.client.connection().workflow_service();
        let answer = service
            .get_workflow_execution_history(request.into_request())
            .await
            .with_context(|| format!("reading the history of {workflow_id}"))?
            .into_inner();
        Ok(retries_in(&answer.history.unwrap_or_default().events))
    }

    /// The backlog of each of the three queues as Temporal itself reports it.
    pub async fn backlogs(&self) -> Result<BTreeMap<String, f64>> {
        let mut backlogs = BTreeMap::new();
        for (queue, kind) in QUEUES {
            backlogs.insert(queue.to_owned(), self.backlog(queue, kind).await?);
        }
        Ok(backlogs)
    }

    /// The pollers of the queue that has fewest of them.
    ///
    /// # Errors
    /// Temporal does not answer.
    pub async fn pollers(&self) -> Result<usize> {
        let mut fewest = usize::MAX;
        for (queue, kind) in QUEUES {
            let request = DescribeTaskQueueRequest {
                namespace: NAMESPACE.to_owned(),
                task_queue: Some(TaskQueue { name: queue.to_owned(), ..Default::default() }),
                task_queue_type: kind.into(),
                ..Default::default()
            };
            let mut service = self.client.connection().workflow_service();
            let answer = service.describe_task_queue(request.into_request()).await;
            let answer = answer.with_context(|| format!("describing {queue}"))?.into_inner();
            fewest = fewest.min(answer.pollers.len());
        }
        Ok(fewest)
    }

    /// Takes one task of the workflow queue as a worker does whose code does not match the histories: it fails the task
    /// with the cause that an SDK gives then. Says whether there was a task.
    ///
    /// # Errors
    /// Temporal does not answer.
    pub async fn fail_a_workflow_task(&self) -> Result<bool> {
        const IDENTITY: &str = "a version that does not match the histories";
        let request = PollWorkflowTaskQueueRequest {
            namespace: NAMESPACE.to_owned(),
            task_queue: Some(TaskQueue { name: WORKFLOW_QUEUE.to_owned(), ..Default::default() }),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        let mut service = self.client.connection().workflow_service();
        let answer = service.poll_workflow_task_queue(request.into_request()).await;
        let task = answer.context("polling the workflow queue")?.into_inner();
        if task.task_token.is_empty() {
            return Ok(false);
        }
        let request = RespondWorkflowTaskFailedRequest {
            namespace: NAMESPACE.to_owned(),
            task_token: task.task_token,
            cause: WorkflowTaskFailedCause::NonDeterministicError.into(),
            failure: Some(Failure { message: IDENTITY.to_owned(), ..Default::default() }),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        let answer = service.respond_workflow_task_failed(request.into_request()).await;
        answer.context("failing a workflow task")?;
        Ok(true)
    }

    async fn backlog(&self, queue: &str, kind: TaskQueueType) -> Result<f64> {
        let request = DescribeTaskQueueRequest {
            namespace: NAMESPACE.to_owned(),
            task_queue: Some(TaskQueue { name: queue.to_owned(), ..Default::default() }),
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
        let stats = answer.stats.with_context(|| format!("temporal gave no statistics of {queue}"))?;
        Ok(stats.approximate_backlog_count as f64)
    }
}

/// The failures of attempts that were retried, by step.
fn retries_in(events: &[HistoryEvent]) -> BTreeMap<String, String> {
    let mut steps = BTreeMap::new();
    let mut retries = BTreeMap::new();
    for event in events {
        match &event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => {
                let step = scheduled.activity_type.as_ref().map(|kind| kind.name.clone());
                steps.insert(event.event_id, step.unwrap_or_default());
            }
            Some(Attributes::ActivityTaskStartedEventAttributes(started)) => {
                if let (Some(step), Some(failure)) = (steps.get(&started.scheduled_event_id), &started.last_failure) {
                    retries.insert(step.clone(), reason(failure));
                }
            }
            _ => {}
        }
    }
    retries
}

/// A failure and its causes in one line.
fn reason(failure: &Failure) -> String {
    let cause = failure.cause.as_deref().map(|cause| format!(": {}", reason(cause)));
    format!("{}{}", failure.message, cause.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use temporalio_common::protos::temporal::api::common::v1::ActivityType;
    use temporalio_common::protos::temporal::api::history::v1::{
        ActivityTaskScheduledEventAttributes, ActivityTaskStartedEventAttributes,
    };

    use super::*;

    #[test]
    fn a_retry_is_told_with_its_step_and_the_whole_failure() {
        let failure = |message: &str, cause: Option<Failure>| Failure {
            message: message.to_owned(),
            cause: cause.map(Box::new),
            ..Failure::default()
        };
        let scheduled = |event_id, step: &str| HistoryEvent {
            event_id,
            attributes: Some(Attributes::ActivityTaskScheduledEventAttributes(ActivityTaskScheduledEventAttributes {
                activity_type: Some(ActivityType { name: step.to_owned() }),
                ..Default::default()
            })),
            ..HistoryEvent::default()
        };
        let started = |scheduled_event_id, last_failure| HistoryEvent {
            attributes: Some(Attributes::ActivityTaskStartedEventAttributes(ActivityTaskStartedEventAttributes {
                scheduled_event_id,
                last_failure,
                ..Default::default()
            })),
            ..HistoryEvent::default()
        };
        let timeout = failure("activity timeout", Some(failure("heartbeat", None)));
        let events = [scheduled(5, "fetch"), started(5, None), scheduled(9, "store"), started(9, Some(timeout))];
        let expected = [("store".to_owned(), "activity timeout: heartbeat".to_owned())];
        assert_eq!(retries_in(&events), expected.into());
    }
}
