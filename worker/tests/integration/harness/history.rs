//! A workflow's history, with the queries of the tests.

use std::time::SystemTime;

use anyhow::{Context as _, Result};
use serde_json::Value;
use temporalio_common::protos::temporal::api::{
    common::v1::Payloads,
    enums::v1::TimeoutType,
    failure::v1::{Failure, failure::FailureInfo},
    history::v1::{HistoryEvent, history_event::Attributes},
};

/// How a workflow ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// It returned this value.
    Completed(Value),
    /// An activity failed with an application failure.
    Failed {
        /// Type of the failure.
        kind: String,
        /// Message of the failure.
        message: String,
        /// Whether the failure is not retryable.
        permanent: bool,
    },
    /// The workflow was cancelled.
    Cancelled,
    /// Anything else, as Temporal reports it.
    Other(String),
}

/// An attempt that was not the last, or a workflow task that timed out.
#[derive(Debug)]
pub(crate) struct Repeated {
    /// The activity, or `workflow task`.
    pub(crate) task: String,
    /// Whether a worker was given it. A workflow task may also time out in the queue of a worker that has left.
    pub(crate) started: bool,
    /// What ended the attempt.
    pub(crate) why: String,
    /// The worker to which Temporal gave it, or the queue in which it waited, where the history says so.
    pub(crate) worker: Option<String>,
    /// When Temporal scheduled it.
    pub(crate) scheduled: SystemTime,
    /// When Temporal repeated it.
    pub(crate) repeated: SystemTime,
}

/// All events of a finished workflow.
#[derive(Debug)]
pub(crate) struct History(pub(super) Vec<HistoryEvent>);

impl History {
    /// How the workflow ended.
    pub(crate) fn end(&self) -> Result<End> {
        let last = self.0.last().and_then(|event| event.attributes.as_ref()).context("the history is empty")?;
        Ok(match last {
            Attributes::WorkflowExecutionCompletedEventAttributes(end) => {
                End::Completed(json(end.result.as_ref()).context("reading the workflow's result")?)
            }
            Attributes::WorkflowExecutionFailedEventAttributes(end) => failed(end.failure.as_ref()),
            Attributes::WorkflowExecutionCanceledEventAttributes(_) => End::Cancelled,
            other => End::Other(format!("{other:?}")),
        })
    }

    /// The last attempt of each execution of an activity, in the order of their start.
    pub(crate) fn last_attempts(&self, activity: &str) -> Vec<i32> {
        let scheduled = |id: i64| self.0.iter().find(|event| event.event_id == id)?.attributes.as_ref();
        let attempts = self.0.iter().filter_map(|event| match event.attributes.as_ref()? {
            Attributes::ActivityTaskStartedEventAttributes(started) => {
                let name = match scheduled(started.scheduled_event_id)? {
                    Attributes::ActivityTaskScheduledEventAttributes(scheduled) => scheduled.activity_type.as_ref(),
                    _ => None,
                };
                (name?.name == activity).then_some(started.attempt)
            }
            _ => None,
        });
        attempts.collect()
    }

    /// The attempts that were not the last.
    pub(crate) fn repeated(&self) -> Vec<Repeated> {
        let by_id = |id: i64| self.0.iter().find(|event| event.event_id == id);
        let found = self.0.iter().filter_map(|event| match event.attributes.as_ref()? {
            Attributes::ActivityTaskStartedEventAttributes(started) if started.attempt > 1 => {
                let scheduled = by_id(started.scheduled_event_id)?;
                let Attributes::ActivityTaskScheduledEventAttributes(activity) = scheduled.attributes.as_ref()? else {
                    return None;
                };
                Some(Repeated {
                    task: activity.activity_type.as_ref()?.name.clone(),
                    started: true,
                    why: started.last_failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default(),
                    worker: None,
                    scheduled: time(scheduled),
                    repeated: time(event),
                })
            }
            Attributes::WorkflowTaskTimedOutEventAttributes(ended) => {
                let started = by_id(ended.started_event_id).and_then(|event| event.attributes.as_ref());
                Some(Repeated {
                    task: "workflow task".to_owned(),
                    started: started.is_some(),
                    why: TimeoutType::try_from(ended.timeout_type).ok()?.as_str_name().to_owned(),
                    // The name of a sticky queue begins with its worker's identity.
                    worker: match started.or_else(|| by_id(ended.scheduled_event_id)?.attributes.as_ref()) {
                        Some(Attributes::WorkflowTaskStartedEventAttributes(task)) => Some(task.identity.clone()),
                        Some(Attributes::WorkflowTaskScheduledEventAttributes(task)) => {
                            task.task_queue.as_ref().map(|queue| queue.name.clone())
                        }
                        _ => None,
                    },
                    scheduled: by_id(ended.scheduled_event_id).map_or(SystemTime::UNIX_EPOCH, time),
                    repeated: time(event),
                })
            }
            _ => None,
        });
        found.collect()
    }

    /// The activities that were scheduled, by name.
    pub(crate) fn scheduled(&self) -> Vec<String> {
        let names = self.0.iter().filter_map(|event| match event.attributes.as_ref()? {
            Attributes::ActivityTaskScheduledEventAttributes(scheduled) => scheduled.activity_type.as_ref(),
            _ => None,
        });
        names.map(|kind| kind.name.clone()).collect()
    }

    /// The size of each event as JSON in bytes: an upper bound of what Temporal stores.
    pub(crate) fn sizes(&self) -> Result<Vec<usize>> {
        let size = |event: &HistoryEvent| Ok(serde_json::to_vec(event).context("writing an event")?.len());
        self.0.iter().map(size).collect()
    }
}

/// When Temporal wrote an event.
fn time(event: &HistoryEvent) -> SystemTime {
    event.event_time.and_then(|time| time.try_into().ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The first payload.
fn json(payloads: Option<&Payloads>) -> Result<Value> {
    let payload = payloads.and_then(|payloads| payloads.payloads.first()).context("there is no payload")?;
    Ok(serde_json::from_slice(&payload.data)?)
}

/// The failure of the activity's own code, below the failures that Temporal wraps around it.
fn failed(failure: Option<&Failure>) -> End {
    let causes = std::iter::successors(failure, |failure| failure.cause.as_deref());
    let own = causes.filter_map(|failure| match failure.failure_info.as_ref()? {
        FailureInfo::ApplicationFailureInfo(info) => Some((failure, info)),
        _ => None,
    });
    own.last().map_or_else(
        || End::Other(format!("failed: {failure:?}")),
        |(failure, info)| End::Failed {
            kind: info.r#type.clone(),
            message: failure.message.clone(),
            permanent: info.non_retryable,
        },
    )
}
