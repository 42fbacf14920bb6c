//! Does a worker's part by hand, so that tasks wait in queues that no worker has polled.

use anyhow::{Context as _, Result, ensure};
use temporalio_client::tonic::IntoRequest as _;
use temporalio_common::protos::temporal::api::{
    command::v1::{Command, ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::v1::ActivityType,
    enums::v1::CommandType,
    taskqueue::v1::TaskQueue,
    workflowservice::v1::{PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest},
};

use super::world::{WORKFLOW_QUEUE, World};

/// Identity of the poller.
const IDENTITY: &str = "by hand";

impl World {
    /// Polls the first task of a started workflow, and answers it with this number of activities in each of these
    /// queues.
    pub(crate) async fn schedule_activities(&self, queues: &[(&str, usize)]) -> Result<()> {
        let mut service = self.client.connection().workflow_service();
        let poll = PollWorkflowTaskQueueRequest {
            namespace: self.name.clone(),
            task_queue: Some(queue(WORKFLOW_QUEUE)),
            identity: IDENTITY.to_owned(),
            ..PollWorkflowTaskQueueRequest::default()
        };
        let task = service.poll_workflow_task_queue(poll.into_request()).await;
        let task = task.context("polling for a workflow task")?.into_inner();
        ensure!(!task.task_token.is_empty(), "no workflow task waits in {WORKFLOW_QUEUE}");
        let wanted = queues.iter().flat_map(|(queue, count)| std::iter::repeat_n(*queue, *count));
        let commands = wanted.enumerate().map(|(number, queue)| activity(number, queue));
        let answer = RespondWorkflowTaskCompletedRequest {
            namespace: self.name.clone(),
            task_token: task.task_token,
            identity: IDENTITY.to_owned(),
            commands: commands.collect(),
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        let answered = service.respond_workflow_task_completed(answer.into_request());
        answered.await.map(drop).context("answering a workflow task with activities")
    }
}

fn queue(name: &str) -> TaskQueue {
    TaskQueue { name: name.to_owned(), ..TaskQueue::default() }
}

/// The command that schedules one activity, with a timeout longer than the test.
fn activity(number: usize, name: &str) -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: number.to_string(),
        activity_type: Some(ActivityType { name: "fetch_document".to_owned() }),
        task_queue: Some(queue(name)),
        start_to_close_timeout: Some(std::time::Duration::from_secs(60).try_into().unwrap_or_default()),
        ..ScheduleActivityTaskCommandAttributes::default()
    };
    Command {
        command_type: CommandType::ScheduleActivityTask.into(),
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(attributes)),
        ..Command::default()
    }
}
