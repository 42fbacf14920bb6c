//! What every activity does around its own work: record the attempt, send heartbeats, react to cancellation, and
//! record the outcome.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::time::{MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, info_span, warn};

use super::{StepError, Tools, failure::into_activity_error};

/// Interval of heartbeats. Most activities end before the first.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Runs one attempt at a step.
pub(super) async fn run<T>(
    tools: &Tools,
    ctx: &ActivityContext,
    step: &'static str,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, ActivityError> {
    let info = ctx.info();
    let workflow = info.workflow_id.as_deref().unwrap_or_default();
    let span = info_span!("activity", step, workflow, attempt = info.attempt);
    let started = Instant::now();
    let _running = tools.activity_limit.count_one();
    if info.attempt > 1 {
        tools.metrics.count_retry(step);
    }
    let attempt = async {
        tools.database.note_attempt(workflow, step, info.attempt, &tools.identity).await?;
        work.await
    };
    async {
        let result = with_heartbeats(ctx, &tools.interrupt, attempt).await;
        finish(tools, step, started.elapsed(), result)
    }
    .instrument(span)
    .await
}

/// Sends heartbeats until the work is done, the activity is cancelled, or `interrupt` is cancelled.
async fn with_heartbeats<T>(
    ctx: &ActivityContext,
    interrupt: &CancellationToken,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    let mut beats = interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            () = ctx.cancelled() => return Err(StepError::Cancelled),
            () = interrupt.cancelled() => {
                return Err(StepError::Transient(anyhow::anyhow!("the worker shut down before the step was done")));
            }
            _ = beats.tick() => {
                if let Err(error) = ctx.record_heartbeat(()).await {
                    warn!(%error, "the heartbeat was not recorded");
                }
            }
        }
    }
}

fn finish<T>(
    tools: &Tools,
    step: &'static str,
    took: Duration,
    result: Result<T, StepError>,
) -> Result<T, ActivityError> {
    let outcome = result.as_ref().map_or_else(StepError::outcome, |_| "done");
    tools.metrics.observe_step(step, outcome, took);
    if let Err(StepError::Poison(poison)) = &result {
        tools.metrics.count_refused(poison.kind());
    }
    let seconds = took.as_secs_f64();
    match &result {
        Ok(_) => info!(outcome, seconds, "step done"),
        Err(error) => warn!(outcome, seconds, %error, "step not done"),
    }
    result.map_err(into_activity_error)
}
