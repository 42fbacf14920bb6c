//! `DocumentWorkflow`: fetch a document (IO), extract its text (CPU), optionally summarise it (IO), store the
//! result (IO).
//!
//! A poison document fails the workflow at once; the cause is the typed failure of the activity. A transient
//! failure is retried with backoff for as long as the workflow may run, so an outage delays documents and fails
//! none.
//!
//! An argument that is not a request fails the workflow before the first step. A claim that expired or changed makes
//! the workflow run its steps again, from the source.
//!
//! A summary is optional: its step has a maximum number of attempts and a timeout, and on failure the document is
//! stored without a summary. Whether the step runs depends on the result of the fetch, which the history records.
//!
//! A cancelled workflow waits until its store step has ended. It is Cancelled if the attempt that ran stored nothing,
//! and Completed if it stored the document.

#![expect(missing_docs, reason = "the macros make constants without documentation")]

use std::time::{Duration, UNIX_EPOCH};

use temporalio_common::{
    ActivityCloseTimeouts, RetryPolicy,
    error::{IncomingError, OutgoingWorkflowError},
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityOptions, ApplicationFailure, WorkflowContext, WorkflowResult, WorkflowTermination,
};

use crate::{
    activities::{ATTEMPT_TIMEOUT, CLAIM_LOST, CpuActivities, HEARTBEAT, IoActivities, READING_TIMEOUT},
    config::TemporalConfig,
    text::PoisonError,
    wire::{
        DocumentRequest, DocumentResult, ExtractRequest, Extracted, GivenRequest, StoreRequest, Summary, SummaryRequest,
    },
};

/// Heartbeat timeout. Temporal may be away for two intervals before it starts a second attempt.
const HEARTBEAT_TIMEOUT: Duration = HEARTBEAT.saturating_mul(3);

/// Start-to-close timeout of an extraction, which waits for services like every step, and then computes. A document ends
/// for good by its CPU time (`activities/cpu.rs`), so this only ends an attempt with too little of a CPU.
const EXTRACT_TIMEOUT: Duration = ATTEMPT_TIMEOUT.saturating_add(READING_TIMEOUT);

/// How often the steps run at most, if their claims are lost: a claim that is lost each time is not there by chance.
const ROUNDS: u32 = 3;

/// Id of the change since which the content of a request is checked. Only workflows with an invalid request ask for
/// it, so that others have no marker in their history, and old ones with such a request still replay.
const REQUEST_IS_CHECKED: &str = "request-is-checked";

/// Retry policy of the summary. The pauses of 2 + 4 + 8 + 16 s outlast a restart of the endpoint, and limit the
/// delay of a document in a longer outage.
const SUMMARY_ATTEMPTS: u32 = 5;
const SUMMARY_INITIAL_INTERVAL: Duration = Duration::from_secs(2);

/// Schedule-to-close timeout of the summary, which includes the wait for a slot. If the backlog is ten minutes
/// long, summaries are skipped.
const SUMMARY_TIMEOUT: Duration = Duration::from_secs(600);

/// Unlimited attempts, for the steps that every document needs.
const UNLIMITED: u32 = 0;

/// Shortest and longest pause before a retry.
const INITIAL_INTERVAL: Duration = Duration::from_millis(500);
const MAXIMUM_INTERVAL: Duration = Duration::from_secs(30);

/// The queues of a document's activities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    io_queue: String,
    cpu_queue: String,
}

impl Route {
    /// The queues of this configuration.
    pub fn new(config: &TemporalConfig) -> Self {
        Self { io_queue: config.io_activity_queue.clone(), cpu_queue: config.cpu_activity_queue.clone() }
    }
}

/// Processes one document.
#[workflow]
#[derive(Debug, Clone)]
pub struct DocumentWorkflow {
    route: Route,
}

impl DocumentWorkflow {
    /// A workflow whose activities go to these queues.
    pub fn new(route: Route) -> Self {
        Self { route }
    }
}

#[workflow_methods(factory_only)]
impl DocumentWorkflow {
    /// Runs the steps.
    #[run(name = "DocumentWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, given: GivenRequest) -> WorkflowResult<DocumentResult> {
        let document = given.0.map_err(invalid)?;
        if let Err(fault) = document.validate()
            && ctx.patched(REQUEST_IS_CHECKED)
        {
            return Err(invalid(fault));
        }
        let route = ctx.state(|state| state.route.clone());
        for _ in 1..ROUNDS {
            match process(ctx, &route, document.clone()).await {
                Err(end) if lost_a_claim(&end) => {}
                end => return end,
            }
        }
        process(ctx, &route, document).await
    }
}

/// The end of a workflow whose argument is invalid.
fn invalid(fault: PoisonError) -> WorkflowTermination {
    let kind = fault.kind().to_owned();
    ApplicationFailure::builder(fault).type_name(kind).non_retryable(true).build().into()
}

/// Whether a step could not read what an earlier one wrote.
fn lost_a_claim(end: &WorkflowTermination) -> bool {
    match end {
        WorkflowTermination::Failed(OutgoingWorkflowError::ActivityExecution(error)) => {
            matches!(error.reason(), Some(IncomingError::Application(cause)) if cause.type_name() == Some(CLAIM_LOST))
        }
        _ => false,
    }
}

/// Runs the steps once.
async fn process(
    ctx: &WorkflowContext<DocumentWorkflow>,
    route: &Route,
    document: DocumentRequest,
) -> WorkflowResult<DocumentResult> {
    let fetched =
        ctx.execute_activity(IoActivities::fetch_document, document.clone(), options(&route.io_queue)).await?;
    let request = ExtractRequest { media_type: fetched.media_type, body: fetched.body, memory: fetched.memory };
    let timeouts = ActivityCloseTimeouts::StartToClose(EXTRACT_TIMEOUT);
    let of_extraction = options_with(&route.cpu_queue, timeouts, retries(INITIAL_INTERVAL, UNLIMITED));
    let extracted = ctx.execute_activity(CpuActivities::extract_text, request, of_extraction).await?;
    let summary = if fetched.summarize { Some(summarize(ctx, route, &extracted).await?) } else { None };
    let request = StoreRequest {
        document,
        sha256: fetched.sha256,
        bytes: fetched.bytes,
        media_type: fetched.media_type,
        extracted,
        summary,
        requested_at_micros: requested_at_micros(ctx),
    };
    let mut options = options(&route.io_queue);
    options.cancellation_type = ActivityCancellationType::WaitCancellationCompleted;
    let stored = ctx.execute_activity(IoActivities::store_document, request, options).await?;
    Ok(stored)
}

/// Start of the run. It is in the history, so a replay finds the same.
fn requested_at_micros(ctx: &WorkflowContext<DocumentWorkflow>) -> Option<u64> {
    let since = ctx.info().start_time()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_micros()).ok()
}

/// Runs the summary step. It fails only if the workflow is cancelled.
async fn summarize(
    ctx: &WorkflowContext<DocumentWorkflow>,
    route: &Route,
    extracted: &Extracted,
) -> WorkflowResult<Summary> {
    let request = SummaryRequest { title: extracted.title.clone(), passages: extracted.passages.clone() };
    let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: SUMMARY_TIMEOUT,
        start_to_close: ATTEMPT_TIMEOUT,
    };
    let retries = retries(SUMMARY_INITIAL_INTERVAL, SUMMARY_ATTEMPTS);
    let options = options_with(&route.io_queue, timeouts, retries);
    let summary = ctx.execute_activity(IoActivities::summarize_document, request, options);
    match summary.await {
        Ok(summary) => Ok(summary),
        Err(error) if error.as_cancelled().is_some() => Err(error.into()),
        Err(_) => Ok(Summary::Unavailable),
    }
}

fn options(queue: &str) -> ActivityOptions {
    let timeouts = ActivityCloseTimeouts::StartToClose(ATTEMPT_TIMEOUT);
    options_with(queue, timeouts, retries(INITIAL_INTERVAL, UNLIMITED))
}

fn retries(initial_interval: Duration, attempts: u32) -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(initial_interval)
        .backoff_coefficient(2.0)
        .maximum_interval(MAXIMUM_INTERVAL)
        .maximum_attempts(attempts)
        .build()
}

fn options_with(queue: &str, timeouts: ActivityCloseTimeouts, retries: RetryPolicy) -> ActivityOptions {
    ActivityOptions::with_close_timeouts(timeouts)
        .heartbeat_timeout(HEARTBEAT_TIMEOUT)
        .task_queue(queue)
        .retry_policy(retries)
        .build()
}
