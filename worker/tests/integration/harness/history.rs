//! A workflow's history, and what a test asks of it.

use anyhow::{Context as _, Result};
use serde_json::Value;
use temporalio_common::protos::temporal::api::{
    common::v1::Payloads,
    failure::v1::{Failure, failure::FailureInfo},
    history::v1::{HistoryEvent, history_event::Attributes},
};

/// How a workflow ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// It returned this.
    Completed(Value),
    /// An activity failed, as its code said.
    Failed {
        /// Type of the failure.
        kind: String,
        /// Its message.
        message: String,
        /// Whether trying again was ruled out.
        for_good: bool,
    },
    /// It was cancelled.
    Cancelled,
    /// Anything else, in Temporal's words.
    Other(String),
}

/// All events of a workflow that has ended.
#[derive(Debug)]
pub(crate) struct History(pub(super) Vec<HistoryEvent>);

impl History {
    /// How the workflow ended.
    pub(crate) fn end(&self) -> Result<End> {
        let last = self
            .0
            .last()
            .and_then(|event| event.attributes.as_ref())
            .context("the history is empty")?;
        Ok(match last {
            Attributes::WorkflowExecutionCompletedEventAttributes(end) => {
                End::Completed(json(end.result.as_ref()).context("reading the workflow's result")?)
            }
            Attributes::WorkflowExecutionFailedEventAttributes(end) => failed(end.failure.as_ref()),
            Attributes::WorkflowExecutionCanceledEventAttributes(_) => End::Cancelled,
            other => End::Other(format!("{other:?}")),
        })
    }

    /// The attempt that ended each execution of an activity, in the order in which they began.
    pub(crate) fn last_attempts(&self, activity: &str) -> Vec<i32> {
        let scheduled = |id: i64| {
            self.0
                .iter()
                .find(|event| event.event_id == id)?
                .attributes
                .as_ref()
        };
        let attempts = self
            .0
            .iter()
            .filter_map(|event| match event.attributes.as_ref()? {
                Attributes::ActivityTaskStartedEventAttributes(started) => {
                    let name = match scheduled(started.scheduled_event_id)? {
                        Attributes::ActivityTaskScheduledEventAttributes(scheduled) => {
                            scheduled.activity_type.as_ref()
                        }
                        _ => None,
                    };
                    (name?.name == activity).then_some(started.attempt)
                }
                _ => None,
            });
        attempts.collect()
    }

    /// The size of each event as JSON, in bytes: no less than what Temporal keeps of it.
    pub(crate) fn sizes(&self) -> Result<Vec<usize>> {
        let size = |event: &HistoryEvent| Ok(serde_json::to_vec(event).context("writing an event")?.len());
        self.0.iter().map(size).collect()
    }
}

/// The first payload.
fn json(payloads: Option<&Payloads>) -> Result<Value> {
    let payload = payloads
        .and_then(|payloads| payloads.payloads.first())
        .context("there is none")?;
    Ok(serde_json::from_slice(&payload.data)?)
}

/// The failure of the activity's own code, below those that Temporal wraps around it.
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
            for_good: info.non_retryable,
        },
    )
}
