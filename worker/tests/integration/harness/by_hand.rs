//! Polls a queue by hand, so that Temporal lists more pollers than there are workers.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use temporalio_client::tonic::IntoRequest as _;
use temporalio_common::protos::temporal::api::{
    enums::v1::TaskQueueType,
    taskqueue::v1::TaskQueue,
    workflowservice::v1::{DescribeTaskQueueRequest, PollWorkflowTaskQueueRequest},
};

use super::{
    wait::{Probe, eventually, when},
    world::{WORKFLOW_QUEUE, World},
};

/// Timeout for Temporal to list the pollers.
const LISTED: Duration = Duration::from_secs(30);

impl World {
    /// Polls the workflow queue under so many identities, until Temporal lists them. It does so for five minutes more.
    pub(crate) async fn poll_by_hand(&self, count: usize) -> Result<()> {
        let polls = try_join_all((0..count).map(|number| self.poll(format!("{number}@by-hand"))));
        let listed = eventually("Temporal lists the pollers", LISTED, async || match self.pollers().await {
            Ok(listed) => when(listed == count, || format!("it lists {listed}")),
            Err(error) => Probe::Failed(error),
        });
        tokio::select! {
            ended = polls => {
                ended?;
                bail!("the polls ended before Temporal listed them")
            }
            listed = listed => listed,
        }
    }

    async fn poll(&self, identity: String) -> Result<()> {
        let request = PollWorkflowTaskQueueRequest {
            namespace: self.name.clone(),
            task_queue: Some(workflow_queue()),
            identity,
            ..PollWorkflowTaskQueueRequest::default()
        };
        let mut service = self.client.connection().workflow_service();
        service.poll_workflow_task_queue(request.into_request()).await.map(drop).context("polling by hand")
    }

    /// The pollers of the workflow queue that Temporal lists.
    async fn pollers(&self) -> Result<usize> {
        let request = DescribeTaskQueueRequest {
            namespace: self.name.clone(),
            task_queue: Some(workflow_queue()),
            task_queue_type: TaskQueueType::Workflow.into(),
            ..DescribeTaskQueueRequest::default()
        };
        let mut service = self.client.connection().workflow_service();
        let answer = service.describe_task_queue(request.into_request()).await.context("describing the queue")?;
        Ok(answer.into_inner().pollers.len())
    }
}

fn workflow_queue() -> TaskQueue {
    TaskQueue { name: WORKFLOW_QUEUE.to_owned(), ..TaskQueue::default() }
}
