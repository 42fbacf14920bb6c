//! The minimal case of docs/decisions/0026-tokens-of-the-sdk.md: the memory of an SDK worker grows with each activity
//! that has ended. It has nothing of this worker. For developers.
//!
//! `TEMPORAL_ADDRESS=127.0.0.1:7233 cargo run --release -p worker --example kept_tokens`

#![expect(missing_docs, reason = "the macros make constants without documentation")]

use std::{fs, time::Duration};

use futures::future::try_join_all;
use temporalio_client::{
    Client, ClientOptions, Connection, WorkflowGetResultOptions, WorkflowStartOptions,
    envconfig::LoadClientConfigProfileOptions,
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, Runtime, Worker, WorkerOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

/// The queue.
const QUEUE: &str = "kept-tokens";

/// Workflows of a round, and activities of each.
const WORKFLOWS: usize = 20;
const ACTIVITIES: usize = 100;

/// The first round fills caches.
const ROUNDS: usize = 7;

/// Runs activities that do nothing.
#[workflow]
#[derive(Debug, Default)]
pub struct Idle;

#[workflow_methods]
impl Idle {
    /// Runs this many, one after the other. Returns the length of a task token in bytes.
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, count: usize) -> WorkflowResult<usize> {
        let mut length = 0;
        for number in 0..count {
            let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(60));
            length = ctx.execute_activity(Nothing::nothing, number, options).await?;
        }
        Ok(length)
    }
}

/// The activity.
#[derive(Debug)]
pub struct Nothing;

#[activities]
impl Nothing {
    /// Does nothing but return the length of its task token.
    #[activity]
    pub async fn nothing(ctx: ActivityContext, _number: usize) -> Result<usize, ActivityError> {
        Ok(ctx.info().task_token.len())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let runtime = Runtime::from_current_tokio(Default::default())?;
    let (connection, options) = ClientOptions::load_from_config(LoadClientConfigProfileOptions::default())
        .map_err(|error| anyhow::anyhow!("reading the SDK's settings: {error}"))?;
    let client = Client::new(Connection::connect(connection).await?, options)?;
    let options = WorkerOptions::new(QUEUE)
        .max_cached_workflows(WORKFLOWS)
        .register_workflow::<Idle>()?
        .register_activities(Nothing);
    let mut worker = Worker::new(&runtime, client.clone(), options.build())?;
    tokio::select! {
        ended = worker.run() => Ok(ended?),
        measured = measure(&client) => measured,
    }
}

/// Prints the memory after each round.
async fn measure(client: &Client) -> anyhow::Result<()> {
    for round in 1..=ROUNDS {
        let runs = (0..WORKFLOWS).map(async |number| {
            let options = WorkflowStartOptions::new(QUEUE, format!("kept-tokens-{round}-{number}")).build();
            let handle = client.start_workflow(Idle::run, ACTIVITIES, options).await?;
            anyhow::Ok(handle.get_result(WorkflowGetResultOptions::default()).await?)
        });
        let lengths = try_join_all(runs).await?;
        let status = fs::read_to_string("/proc/self/status")?;
        let memory = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default();
        println!("{} activities, tokens of {:?} bytes: {memory}", round * WORKFLOWS * ACTIVITIES, lengths.last());
    }
    Ok(())
}
