//! Documents that end the process that reads them, for example because the kernel kills it. Temporal would retry them
//! for ever, and each attempt would take the work of a whole worker with it.
//!
//! An attempt whose worker died ends by its heartbeat timeout, and no other failure looks like that: a worker that shuts
//! down reports its attempts. The next attempts at such a step hold the whole memory budget while they read. So of the
//! documents that were in progress when a worker died, one is read at a time, and only that one counts the next death.
//! The count travels in the details of the heartbeats.

use std::sync::{Mutex, PoisonError as PoisonedLock};

use serde::{Deserialize, Serialize};
use temporalio_client::tonic::{Code, IntoRequest as _, Response, Status};
use temporalio_common::protos::temporal::api::{
    common::v1::{Payload, Payloads, WorkflowExecution},
    enums::v1::TimeoutType,
    failure::v1::{Failure, failure::FailureInfo},
    workflowservice::v1::{
        DescribeWorkflowExecutionRequest, RecordActivityTaskHeartbeatRequest, RecordActivityTaskHeartbeatResponse,
    },
};
use temporalio_sdk::activities::ActivityContext;
use tracing::warn;

use super::StepError;
use crate::{
    memory::Memory,
    text::{PoisonError, shortened},
};

/// Deaths of workers after which a step is not tried again.
const MAX_DEATHS: u32 = 3;

/// What the heartbeats of a suspected document carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Workers that died while they read the document.
    deaths: u32,
    /// Whether this attempt reads it, and no longer waits.
    reading: bool,
}

impl Record {
    /// The deaths at the start of an attempt, by the record of the one before and by how that ended. The first attempts
    /// have no record.
    fn deaths(before: Option<Self>, died: bool) -> u32 {
        match before {
            None => u32::from(died),
            Some(before) => before.deaths + u32::from(died && before.reading),
        }
    }
}

/// What is known about one attempt. `None` if nothing is suspected.
#[derive(Debug, Default)]
pub(super) struct Deaths(Mutex<Option<Record>>);

impl Deaths {
    /// The memory that the attempt may use: all of it if the document is suspected, which may have to be waited for.
    pub(super) async fn memory(
        &self,
        ctx: &ActivityContext,
        step: &'static str,
        memory: &Memory,
    ) -> Result<Memory, StepError> {
        if ctx.info().attempt == 1 {
            return Ok(memory.clone());
        }
        // Heartbeats of a document that is not suspected carry a null.
        let before = ctx.heartbeat_details().deserialize::<Option<Record>>().ok().flatten().flatten();
        let deaths = Record::deaths(before, last_worker_died(ctx).await);
        if deaths == 0 {
            return Ok(memory.clone());
        }
        if deaths >= MAX_DEATHS {
            let workflow = shortened(ctx.info().workflow_id.as_deref().unwrap_or_default());
            return Err(PoisonError::ReaderKilled { workflow, step, deaths }.into());
        }
        warn!(deaths, "a worker died in this step: the document is read while no other large one is");
        self.record(ctx, Record { deaths, reading: false }).await?;
        let alone = memory.alone().await?;
        self.record(ctx, Record { deaths, reading: true }).await?;
        Ok(alone)
    }

    /// The details of a heartbeat.
    pub(super) fn details(&self) -> Option<Record> {
        *self.0.lock().unwrap_or_else(PoisonedLock::into_inner)
    }

    /// Sends a heartbeat, and waits for the answer.
    pub(super) async fn beat(&self, ctx: &ActivityContext) -> Result<RecordActivityTaskHeartbeatResponse, Status> {
        let request = RecordActivityTaskHeartbeatRequest {
            namespace: ctx.info().namespace.clone(),
            task_token: ctx.info().task_token.clone(),
            details: self.details().map(payloads),
            ..RecordActivityTaskHeartbeatRequest::default()
        };
        let mut service = ctx.client().connection().workflow_service();
        service.record_activity_task_heartbeat(request.into_request()).await.map(Response::into_inner)
    }

    /// Returns when the server has the record, so that no later death is lost.
    async fn record(&self, ctx: &ActivityContext, record: Record) -> Result<(), StepError> {
        *self.0.lock().unwrap_or_else(PoisonedLock::into_inner) = Some(record);
        match self.beat(ctx).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::NotFound => Err(StepError::Cancelled),
            Err(status) => Err(StepError::Transient(anyhow::Error::new(status).context("recording a worker's death"))),
        }
    }
}

fn payloads(record: Record) -> Payloads {
    let metadata = [("encoding".to_owned(), b"json/plain".to_vec())].into();
    let data = serde_json::to_vec(&record).unwrap_or_default();
    Payloads { payloads: vec![Payload { metadata, data, ..Payload::default() }] }
}

/// Whether the attempt before this one ended with its worker. If the server does not say, an ordinary failure is
/// assumed.
async fn last_worker_died(ctx: &ActivityContext) -> bool {
    let info = ctx.info();
    let request = DescribeWorkflowExecutionRequest {
        namespace: info.namespace.clone(),
        execution: Some(WorkflowExecution {
            workflow_id: info.workflow_id.clone().unwrap_or_default(),
            run_id: info.workflow_run_id.clone().unwrap_or_default(),
        }),
    };
    let mut service = ctx.client().connection().workflow_service();
    match service.describe_workflow_execution(request.into_request()).await {
        Ok(answer) => {
            let mut pending = answer.into_inner().pending_activities.into_iter();
            let activity = pending.find(|activity| activity.activity_id == info.activity_id);
            activity.and_then(|activity| activity.last_failure).is_some_and(|failure| is_heartbeat_timeout(&failure))
        }
        Err(status) => {
            warn!(%status, "Temporal did not say how the last attempt ended");
            false
        }
    }
}

fn is_heartbeat_timeout(failure: &Failure) -> bool {
    matches!(
        &failure.failure_info,
        Some(FailureInfo::TimeoutFailureInfo(info)) if info.timeout_type() == TimeoutType::Heartbeat
    )
}

#[cfg(test)]
mod tests {
    use temporalio_common::protos::temporal::api::failure::v1::TimeoutFailureInfo;

    use super::*;

    #[test]
    fn only_a_death_during_the_reading_counts() {
        let record = |deaths, reading| Some(Record { deaths, reading });
        for (before, died, deaths) in [
            (None, false, 0),
            (None, true, 1),
            (record(1, false), false, 1),
            (record(1, false), true, 1),
            (record(1, true), false, 1),
            (record(1, true), true, 2),
        ] {
            assert_eq!(Record::deaths(before, died), deaths, "{before:?}, {died}");
        }
    }

    #[test]
    fn only_a_heartbeat_timeout_is_a_death() {
        let failure = |timeout: TimeoutType| Failure {
            failure_info: Some(FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
                timeout_type: timeout.into(),
                ..TimeoutFailureInfo::default()
            })),
            ..Failure::default()
        };
        assert!(is_heartbeat_timeout(&failure(TimeoutType::Heartbeat)));
        assert!(!is_heartbeat_timeout(&failure(TimeoutType::StartToClose)));
        assert!(!is_heartbeat_timeout(&Failure::default()));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record { deaths: 2, reading: true };
        let written = payloads(record).payloads.remove(0).data;
        assert_eq!(serde_json::from_slice::<Option<Record>>(&written).unwrap(), Some(record));
    }
}
