//! Replays the histories of all past versions of the workflow: the current version must be able to continue them.
//!
//! `tests/histories/README.md` describes the files and how to add one.

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock, time::Duration};

use prost_reflect::{DescriptorPool, DynamicMessage};
use temporalio_client::WorkflowHistory;
use temporalio_common::protos::temporal::api::{
    enums::v1::EventType,
    history::v1::{History, HistoryEvent, history_event::Attributes},
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, WorkflowContext, WorkflowResult,
    workflow_replayer::{WorkflowReplayFailure, WorkflowReplayer, WorkflowReplayerOptions},
};
use worker::{
    activities::{CpuActivities, IoActivities},
    config::TemporalConfig,
    text::MediaType,
    wire::{Bytes, Carried, DocumentRequest, DocumentResult, ExtractRequest},
    workflows::{DocumentWorkflow, Route},
};

/// The files of `tests/histories`, by name.
fn histories() -> BTreeMap<String, History> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let history = read(&fs::read(&path).unwrap());
            (name.clone(), history.unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect()
}

/// Parses a history in Temporal's JSON. The SDK reads only a JSON format of its own, which no other tool writes.
fn read(json: &[u8]) -> anyhow::Result<History> {
    static DESCRIPTORS: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(include_bytes!(env!("TEMPORAL_DESCRIPTORS")).as_slice()).unwrap());
    let history = DESCRIPTORS.get_message_by_name("temporal.api.history.v1.History").unwrap();
    let mut json = serde_json::Deserializer::from_slice(json);
    Ok(DynamicMessage::deserialize(history, &mut json)?.transcode_to()?)
}

/// The failure of each history's replay, if any, under a workflow of the type `DocumentWorkflow`.
async fn replay(options: WorkflowReplayerOptions) -> BTreeMap<String, Option<WorkflowReplayFailure>> {
    let (names, histories): (Vec<_>, Vec<_>) = histories().into_iter().unzip();
    let replayer = WorkflowReplayer::new(options).unwrap();
    let histories = histories.into_iter().map(WorkflowHistory::from);
    let results = replayer.replay_workflows(histories).await.unwrap();
    let failures = results.into_iter().map(|result| result.replay_failure);
    names.into_iter().zip(failures).collect()
}

#[tokio::test]
async fn every_committed_history_replays() {
    for (name, failure) in replay(current()).await {
        assert_eq!(failure, None, "{name}");
    }
}

/// The current version of the workflow.
fn current() -> WorkflowReplayerOptions {
    let route = Route::new(&TemporalConfig::default());
    WorkflowReplayerOptions::new()
        .register_workflow_with_factory(move || DocumentWorkflow::new(route.clone()))
        .unwrap()
        .build()
}

#[tokio::test]
async fn a_history_from_before_requests_were_checked_replays_even_if_its_request_is_invalid() {
    let mut history = histories().remove("processed").unwrap();
    let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = &mut history.events[0].attributes else {
        panic!("a history begins with its start");
    };
    let argument = &mut started.input.as_mut().unwrap().payloads[0];
    let mut request: DocumentRequest = serde_json::from_slice(&argument.data).unwrap();
    request.document_id = "a\nb".into();
    argument.data = serde_json::to_vec(&request).unwrap();
    assert!(request.validate().is_err());
    assert_eq!(replay_one(history).await, None);
}

/// The failure of the replay of one history.
async fn replay_one(history: History) -> Option<WorkflowReplayFailure> {
    let replayer = WorkflowReplayer::new(current()).unwrap();
    let results = replayer.replay_workflows(std::iter::once(WorkflowHistory::from(history))).await.unwrap();
    results.into_iter().next().unwrap().replay_failure
}

/// `DocumentWorkflow` with its first two activities swapped.
#[workflow]
#[derive(Debug, Default)]
struct Swapped;

#[workflow_methods]
impl Swapped {
    #[run(name = "DocumentWorkflow")]
    async fn run(ctx: &mut WorkflowContext<Self>, document: DocumentRequest) -> WorkflowResult<DocumentResult> {
        let options = || ActivityOptions::with_start_to_close_timeout(Duration::from_secs(1)).build();
        let body = Carried::Inline(Bytes(Vec::new()));
        let request = ExtractRequest { media_type: MediaType::Html, body, memory: None };
        ctx.execute_activity(CpuActivities::extract_text, request, options()).await?;
        ctx.execute_activity(IoActivities::fetch_document, document, options()).await?;
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_workflow_with_other_commands_does_not_replay() {
    let options = WorkflowReplayerOptions::new().register_workflow::<Swapped>().unwrap().build();
    for (name, failure) in replay(options).await {
        assert!(matches!(failure, Some(WorkflowReplayFailure::Nondeterminism { .. })), "{name}: {failure:?}");
    }
}

#[test]
fn each_history_matches_its_name() {
    let histories = histories();
    let names: Vec<_> = histories.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "cancelled-before-storing",
            "cancelled-while-storing",
            "claimed-bodies",
            "poison",
            "processed",
            "retried",
            "superseded"
        ]
    );
    let last = |name: &str| histories[name].events.last().unwrap().event_type();
    assert_eq!(last("processed"), EventType::WorkflowExecutionCompleted);
    assert_eq!(last("claimed-bodies"), EventType::WorkflowExecutionCompleted);
    assert_eq!(last("retried"), EventType::WorkflowExecutionCompleted);
    assert_eq!(last("poison"), EventType::WorkflowExecutionFailed);
    assert_eq!(attempts(&histories["processed"]), [1, 1, 1]);
    assert!(attempts(&histories["retried"]).iter().all(|attempt| *attempt > 1));
    assert_eq!(last("cancelled-before-storing"), EventType::WorkflowExecutionCanceled);
    assert_eq!(last("cancelled-while-storing"), EventType::WorkflowExecutionCompleted);
    for name in ["cancelled-before-storing", "cancelled-while-storing"] {
        let requested = |event: &HistoryEvent| event.event_type() == EventType::ActivityTaskCancelRequested;
        assert!(histories[name].events.iter().any(requested), "{name}");
    }
    assert!(results(&histories["superseded"]).iter().any(|result| result.contains(r#""outcome":"superseded""#)));
    let claims = |name: &str| serde_json::to_string(&results(&histories[name])).unwrap().contains("claim");
    assert!(claims("claimed-bodies") && !claims("processed"));
}

/// The attempts that completed each activity of a history.
fn attempts(history: &History) -> Vec<i32> {
    let started = history.events.iter().filter_map(|event| match &event.attributes {
        Some(Attributes::ActivityTaskStartedEventAttributes(started)) => Some(started.attempt),
        _ => None,
    });
    started.collect()
}

/// The results of a history's activities, as JSON.
fn results(history: &History) -> Vec<String> {
    let completed = history.events.iter().filter_map(|event| match &event.attributes {
        Some(Attributes::ActivityTaskCompletedEventAttributes(completed)) => completed.result.as_ref(),
        _ => None,
    });
    completed
        .flat_map(|result| &result.payloads)
        .map(|payload| String::from_utf8_lossy(&payload.data).into_owned())
        .collect()
}
