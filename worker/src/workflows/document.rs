//! `DocumentWorkflow`: fetch a document (IO), extract its text (CPU), store the result (IO).
//!
//! A poison document fails the workflow at once, with the typed failure of its activity as the cause. A transient fault is
//! retried with back-off for as long as the workflow may run: an outage of an hour costs an hour, not a document.

#![expect(missing_docs, reason = "the macros make constants without documentation")]

use std::time::Duration;

use temporalio_common::RetryPolicy;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

use crate::{
    activities::{CpuActivities, IoActivities},
    config::TemporalConfig,
    wire::{DocumentRequest, DocumentResult, ExtractRequest, StoreRequest},
};

/// One attempt at an activity, at most. Three requests to a store that takes its whole time-out of 30 s each fit.
const ATTEMPT: Duration = Duration::from_secs(120);

/// Silence after which a worker counts as dead. Activities heartbeat every 5 s, and the SDK passes on one in 0.8 of this.
const SILENCE: Duration = Duration::from_secs(15);

/// First pause before a retry, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where the activities of a document go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    io_queue: String,
    cpu_queue: String,
}

impl Route {
    /// The configured queues.
    pub fn new(config: &TemporalConfig) -> Self {
        Self {
            io_queue: config.io_activity_queue.clone(),
            cpu_queue: config.cpu_activity_queue.clone(),
        }
    }
}

/// Processes one document.
#[workflow]
#[derive(Debug, Clone)]
pub struct DocumentWorkflow {
    route: Route,
}

impl DocumentWorkflow {
    /// A workflow whose activities take this route.
    pub fn new(route: Route) -> Self {
        Self { route }
    }
}

#[workflow_methods(factory_only)]
impl DocumentWorkflow {
    /// Fetches, extracts and stores.
    #[run(name = "DocumentWorkflow")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        document: DocumentRequest,
    ) -> WorkflowResult<DocumentResult> {
        let route = ctx.state(|state| state.route.clone());
        let fetched = ctx
            .execute_activity(
                IoActivities::fetch_document,
                document.clone(),
                options(&route.io_queue),
            )
            .await?;
        let request = ExtractRequest {
            media_type: fetched.media_type,
            body: fetched.body,
        };
        let extracted = ctx
            .execute_activity(CpuActivities::extract_text, request, options(&route.cpu_queue))
            .await?;
        let request = StoreRequest {
            document,
            sha256: fetched.sha256,
            bytes: fetched.bytes,
            media_type: fetched.media_type,
            extracted,
        };
        let stored = ctx
            .execute_activity(IoActivities::store_document, request, options(&route.io_queue))
            .await?;
        Ok(stored)
    }
}

fn options(queue: &str) -> ActivityOptions {
    let retries = RetryPolicy::builder()
        .initial_interval(FIRST_PAUSE)
        .backoff_coefficient(2.0)
        .maximum_interval(LONGEST_PAUSE)
        .build();
    ActivityOptions::with_start_to_close_timeout(ATTEMPT)
        .heartbeat_timeout(SILENCE)
        .task_queue(queue)
        .retry_policy(retries)
        .build()
}
