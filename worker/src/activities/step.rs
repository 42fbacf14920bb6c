//! What every activity does around its own work: record the attempt if it is a retry, let a document be read alone that
//! ended its reader, send heartbeats, react to cancellation, and record the outcome.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use temporalio_client::tonic::Code;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::time::{MissedTickBehavior, interval_at};
use tracing::{Instrument as _, info, info_span, warn};

use super::{StepError, Stop, Tools, deaths::Deaths, failure::into_activity_error};
use crate::memory::{self, Memory};

/// Interval of heartbeats. Most activities end before the first. The heartbeat timeout of the workflow is three times
/// as long, so a heartbeat may be late by twice the interval before a second attempt begins.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);

/// Start-to-close timeout of an activity that does not read a document.
///
/// The configuration is refused if the timeouts of its calls do not fit into it,
/// beside the longest wait for memory.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(150).saturating_add(memory::WAIT);

/// Time that an extraction has for reading, beside [`ATTEMPT_TIMEOUT`]. It is ten times the CPU time that a document may
/// take by default, so that a tenth of a CPU suffices.
pub(crate) const READING_TIMEOUT: Duration = Duration::from_secs(600);

/// Whether an attempt has begun its transaction. From then on a cancellation waits for the result: an attempt that
/// reports its cancellation has stored nothing.
#[derive(Debug, Default)]
pub(super) struct Commit(AtomicBool);

impl Commit {
    /// Says that the transaction begins.
    pub(super) fn begins(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs one attempt at a step. `needs_objects` says whether it cannot be done without the object store. The work
/// reserves its memory from what it is given.
pub(super) async fn run<T, F: Future<Output = Result<T, StepError>>>(
    tools: &Tools,
    ctx: &ActivityContext,
    step: &'static str,
    needs_objects: bool,
    work: impl FnOnce(Memory) -> F,
) -> Result<T, ActivityError> {
    run_to_commit(tools, ctx, step, needs_objects, &Commit::default(), work).await
}

/// Runs one attempt at a step that says when its [`Commit`] begins.
pub(super) async fn run_to_commit<T, F: Future<Output = Result<T, StepError>>>(
    tools: &Tools,
    ctx: &ActivityContext,
    step: &'static str,
    needs_objects: bool,
    commit: &Commit,
    work: impl FnOnce(Memory) -> F,
) -> Result<T, ActivityError> {
    let info = ctx.info();
    let workflow = info.workflow_id.as_deref().unwrap_or_default();
    let span = info_span!("activity", step, workflow, attempt = info.attempt);
    let started = Instant::now();
    tools.kept_tokens.add(&info.task_token);
    if info.attempt > 1 {
        tools.metrics.count_retry(step);
    }
    let deaths = Deaths::default();
    let attempt = async {
        // An attempt that cannot do anything writes nothing.
        if needs_objects {
            tools.objects.check()?;
        }
        if info.attempt > 1 || tools.record_first_attempts {
            tools.database.note_attempt(workflow, step, info.attempt, &tools.identity).await?;
        }
        let memory = deaths.memory(ctx, step, &tools.memory).await?;
        work(memory).await
    };
    async {
        let result = with_heartbeats(tools, ctx, commit, &deaths, attempt).await;
        finish(tools, step, started.elapsed(), result)
    }
    .instrument(span)
    .await
}

/// Sends heartbeats until the work is done, the activity is cancelled before its commit, or the worker interrupts it.
async fn with_heartbeats<T>(
    tools: &Tools,
    ctx: &ActivityContext,
    commit: &Commit,
    deaths: &Deaths,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    let mut beats = interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = std::pin::pin!(work);
    let mut cancelled_too_late = false;
    loop {
        tokio::select! {
            result = &mut work => return result,
            () = ctx.cancelled(), if !cancelled_too_late => {
                if !commit.has_begun() {
                    return Err(stopped(ctx, deaths).await);
                }
                info!("cancelled during its transaction; its result is waited for");
                cancelled_too_late = true;
            }
            () = tools.interrupt.cancelled() => {
                let worker = &tools.identity;
                return Err(StepError::Transient(anyhow::anyhow!("{worker} shut down before the step was done")));
            }
            _ = beats.tick() => {
                if let Err(error) = ctx.record_heartbeat(deaths.details()).await {
                    warn!(%error, "the heartbeat was not recorded");
                }
            }
        }
    }
}

/// Why the server wants this attempt to end. The SDK only says that it does, so the server is asked: it accepts the
/// answer "cancelled" only if a cancellation was requested, and would otherwise wait for the timeout.
async fn stopped(ctx: &ActivityContext, deaths: &Deaths) -> StepError {
    match deaths.beat(ctx).await {
        Ok(answer) if answer.cancel_requested => StepError::Cancelled,
        Ok(answer) if answer.activity_reset => StepError::Stopped(Stop::Reset),
        Ok(answer) if answer.activity_paused => StepError::Stopped(Stop::Pause),
        Ok(_) => {
            StepError::Transient(anyhow::anyhow!("Temporal asked for the end of this attempt, and no longer does"))
        }
        // The activity has ended, with its workflow or by a timeout: no answer counts.
        Err(status) if status.code() == Code::NotFound => StepError::Cancelled,
        Err(status) => {
            warn!(%status, "Temporal did not say why the activity has to end");
            StepError::Cancelled
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
