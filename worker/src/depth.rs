//! Asks Temporal how many tasks wait in each queue, at an interval. A reading that fails leaves no reading: absent, not 0.

use std::time::Duration;

use anyhow::Context as _;
use temporalio_client::{Client, NamespacedClient as _, tonic::IntoRequest as _};
use temporalio_common::protos::temporal::api::{
    enums::v1::TaskQueueType, taskqueue::v1::TaskQueue, workflowservice::v1::DescribeTaskQueueRequest,
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::metrics::{DepthReadings, Queue};

/// A reading is shown for so many intervals, then it is too old.
pub const LIFETIME_INTERVALS: u32 = 3;

/// Reads a queue's depth for ever.
pub async fn watch(client: Client, queue: Queue, every: Duration, readings: DepthReadings) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut readable = true;
    loop {
        ticks.tick().await;
        let reading = timeout(every, read_again(&client, &queue))
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", every.as_secs())));
        match reading {
            Ok(depth) => {
                readings.record(&queue, depth);
                if !std::mem::replace(&mut readable, true) {
                    info!(
                        queue = queue.name,
                        depth, "the depth of the queue can be read again"
                    );
                }
            }
            Err(error) => {
                readings.forget(&queue);
                if std::mem::replace(&mut readable, false) {
                    warn!(
                        queue = queue.name,
                        error = format!("{error:#}"),
                        "the depth of the queue cannot be read"
                    );
                }
            }
        }
    }
}

/// Reads, and once more where that failed: a server ends each connection when it is some minutes old (Temporal's frontend
/// after five), and a request that is on its way then is cancelled. The next one finds a new connection.
async fn read_again(client: &Client, queue: &Queue) -> anyhow::Result<i64> {
    match read(client, queue).await {
        Ok(depth) => Ok(depth),
        Err(_) => read(client, queue).await,
    }
}

async fn read(client: &Client, queue: &Queue) -> anyhow::Result<i64> {
    let kind = if queue.activities {
        TaskQueueType::Activity
    } else {
        TaskQueueType::Workflow
    };
    let request = DescribeTaskQueueRequest {
        namespace: client.namespace(),
        task_queue: Some(TaskQueue {
            name: queue.name.clone(),
            ..TaskQueue::default()
        }),
        task_queue_type: kind.into(),
        report_stats: true,
        ..DescribeTaskQueueRequest::default()
    };
    let mut service = client.connection().workflow_service();
    let answer = service
        .describe_task_queue(request.into_request())
        .await
        .context("describing the queue")?;
    let stats = answer
        .into_inner()
        .stats
        .context("the server reports no statistics of the queue")?;
    Ok(stats.approximate_backlog_count)
}
