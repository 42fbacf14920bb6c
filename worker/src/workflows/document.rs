//! `DocumentWorkflow`: fetch a document (IO), extract its text (CPU), summarise it where that is wanted (IO), store the
//! result (IO).
//!
//! A poison document fails the workflow at once, with the typed failure of its activity as the cause. A transient fault is
//! retried with back-off for as long as the workflow may run: an outage of an hour costs an hour, not a document.
//!
//! A summary is worth less than its document: the step that makes it has few attempts and an end in time, and a document whose
//! summary could not be had is stored without. Whether the step runs is in the result of the fetch and so in the history.

#![expect(missing_docs, reason = "the macros make constants without documentation")]

use std::time::Duration;

use temporalio_common::{ActivityCloseTimeouts, RetryPolicy};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

use crate::{
    activities::{CpuActivities, IoActivities},
    config::TemporalConfig,
    wire::{
        DocumentRequest, DocumentResult, ExtractRequest, Extracted, StoreRequest, Summary, SummaryRequest,
    },
};

/// One attempt at an activity, at most. What it may wait for fits: Postgres (10 s) and S3 twice, or S3 and the LLM (30 s each).
const ATTEMPT: Duration = Duration::from_secs(120);

/// Silence after which a worker counts as dead. Activities heartbeat every 5 s, and the SDK passes on one in 0.8 of this.
const SILENCE: Duration = Duration::from_secs(15);

/// Attempts at a summary, and the first pause between them: 2 + 4 + 8 + 16 s bridge a restart of the endpoint, and an outage
/// delays a document by no more than that.
const SUMMARY_ATTEMPTS: u32 = 5;
const SUMMARY_PAUSE: Duration = Duration::from_secs(2);

/// All the time of a summary, waiting for slots included: where the fleet is ten minutes behind, it has better things to do.
const SUMMARY_TIME: Duration = Duration::from_secs(600);

/// No limit to the attempts at what a document cannot do without.
const UNLIMITED: u32 = 0;

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
    /// Fetches, extracts, summarises where that is wanted, and stores.
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
        let summary = if fetched.summarize {
            Some(summarize(ctx, &route, &extracted).await?)
        } else {
            None
        };
        let request = StoreRequest {
            document,
            sha256: fetched.sha256,
            bytes: fetched.bytes,
            media_type: fetched.media_type,
            extracted,
            summary,
        };
        let stored = ctx
            .execute_activity(IoActivities::store_document, request, options(&route.io_queue))
            .await?;
        Ok(stored)
    }
}

/// A summary, or that there is none. Only a cancelled workflow makes this fail.
async fn summarize(
    ctx: &WorkflowContext<DocumentWorkflow>,
    route: &Route,
    extracted: &Extracted,
) -> WorkflowResult<Summary> {
    let request = SummaryRequest {
        title: extracted.title.clone(),
        passages: extracted.passages.clone(),
    };
    let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: SUMMARY_TIME,
        start_to_close: ATTEMPT,
    };
    let retries = retries(SUMMARY_PAUSE, SUMMARY_ATTEMPTS);
    let options = bounded(&route.io_queue, timeouts, retries);
    let summary = ctx.execute_activity(IoActivities::summarize_document, request, options);
    match summary.await {
        Ok(summary) => Ok(summary),
        Err(error) if error.as_cancelled().is_some() => Err(error.into()),
        Err(_) => Ok(Summary::Unavailable),
    }
}

fn options(queue: &str) -> ActivityOptions {
    let timeouts = ActivityCloseTimeouts::StartToClose(ATTEMPT);
    bounded(queue, timeouts, retries(FIRST_PAUSE, UNLIMITED))
}

fn retries(first_pause: Duration, attempts: u32) -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(first_pause)
        .backoff_coefficient(2.0)
        .maximum_interval(LONGEST_PAUSE)
        .maximum_attempts(attempts)
        .build()
}

fn bounded(queue: &str, timeouts: ActivityCloseTimeouts, retries: RetryPolicy) -> ActivityOptions {
    ActivityOptions::with_close_timeouts(timeouts)
        .heartbeat_timeout(SILENCE)
        .task_queue(queue)
        .retry_policy(retries)
        .build()
}
