//! One request to Temporal for a queue: its backlog, the age of the backlog, the rates of tasks and the number of
//! pollers.

use std::collections::BTreeSet;

use anyhow::Context as _;
use temporalio_client::{Client, NamespacedClient as _, tonic::IntoRequest as _};
use temporalio_common::protos::temporal::api::{
    enums::v1::TaskQueueType,
    taskqueue::v1::{TaskQueue, TaskQueueStats},
    workflowservice::v1::DescribeTaskQueueRequest,
};

use crate::metrics::{Queue, Reading};

/// The identities of the workers that polled a queue within the last minutes.
pub(super) type Pollers = BTreeSet<String>;

/// Reads a queue, and retries once. Servers close each connection at some age (Temporal's frontend after 5
/// minutes), which cancels a request in flight. The retry uses a new connection.
pub(super) async fn ask_with_retry(client: &Client, queue: &Queue) -> anyhow::Result<(Reading, Pollers)> {
    match ask(client, queue).await {
        Ok(answer) => Ok(answer),
        Err(_) => ask(client, queue).await,
    }
}

async fn ask(client: &Client, queue: &Queue) -> anyhow::Result<(Reading, Pollers)> {
    let kind = if queue.activities { TaskQueueType::Activity } else { TaskQueueType::Workflow };
    let request = DescribeTaskQueueRequest {
        namespace: client.namespace(),
        task_queue: Some(TaskQueue { name: queue.name.clone(), ..TaskQueue::default() }),
        task_queue_type: kind.into(),
        report_stats: true,
        ..DescribeTaskQueueRequest::default()
    };
    let mut service = client.connection().workflow_service();
    let answer =
        service.describe_task_queue(request.into_request()).await.context("describing the queue")?.into_inner();
    let stats = answer.stats.context("the server reports no statistics of the queue")?;
    let pollers: Pollers = answer.pollers.into_iter().map(|poller| poller.identity).collect();
    Ok((reading(&stats, pollers.len()), pollers))
}

fn reading(stats: &TaskQueueStats, pollers: usize) -> Reading {
    let age = stats.approximate_backlog_age.unwrap_or_default();
    Reading {
        depth: stats.approximate_backlog_count,
        backlog_age_seconds: age.seconds as f64 + f64::from(age.nanos) / 1e9,
        add_rate: f64::from(stats.tasks_add_rate),
        dispatch_rate: f64::from(stats.tasks_dispatch_rate),
        pollers: i64::try_from(pollers).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_an_age_has_the_age_0() {
        let stats = TaskQueueStats { approximate_backlog_count: 7, tasks_add_rate: 2.5, ..TaskQueueStats::default() };
        let reading = reading(&stats, 3);
        assert_eq!((reading.depth, reading.backlog_age_seconds, reading.add_rate, reading.pollers), (7, 0.0, 2.5, 3));
    }
}
