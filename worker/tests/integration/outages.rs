//! Outages of servers: work waits and is done once, and the worker neither crashes nor reports wrong metrics.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::StatusCode;

use crate::{
    harness::{
        Probe, Worker, World, eventually,
        history::{End, History},
        when,
        world::{Pending, Run},
    },
    runner::tests,
};

tests![
    an_outage_of_s3_is_retried_until_it_is_over,
    an_outage_of_the_database_is_retried_until_it_is_over,
    an_outage_of_temporal_leaves_no_depth_and_work_goes_on_after_it,
    a_worker_started_before_its_servers_waits_for_them,
    documents_come_back_when_the_circuit_may_close,
];

/// Timeout after an outage. Retries come at most 30 s apart, and these outages are too short to reach that
/// interval.
const RECOVERY: Duration = Duration::from_secs(30);

async fn an_outage_of_s3_is_retried_until_it_is_over(world: &World) -> Result<()> {
    let _worker = world.worker().start().await?;
    let source = world.upload("a.txt", "one two").await?;
    world.s3.cut().await?;
    let run = world.start_document("a", &source).await?;
    is_retried(&run, "object store").await?;
    world.s3.restore().await?;
    let history = run.ended().await?;
    done_once(world, &history).await?;
    let attempts = world.attempts("a", "fetch_document").await?;
    ensure!(attempts.len() > 1 && attempts == (1..=attempts.len() as i32).collect::<Vec<_>>(), "{attempts:?}");
    Ok(())
}

async fn an_outage_of_the_database_is_retried_until_it_is_over(world: &World) -> Result<()> {
    let mut worker = world.worker().env("DB_ACQUIRE_TIMEOUT_SECONDS", "1").start().await?;
    let source = world.upload("a.txt", "one two").await?;
    world.postgres.cut().await?;
    let run = world.start_document("a", &source).await?;
    is_retried(&run, "database").await?;
    let live = worker.get("/livez").await?;
    ensure!(live.0 == StatusCode::OK, "an outage of the database must not restart workers: {live:?}");
    world.postgres.restore().await?;
    let history = run.ended().await?;
    done_once(world, &history).await?;
    ensure!(worker.runs()?, "the worker ended");
    Ok(())
}

async fn an_outage_of_temporal_leaves_no_depth_and_work_goes_on_after_it(world: &World) -> Result<()> {
    let mut worker = world.worker().start().await?;
    let depth = async |worker: &Worker| {
        let labels = [("queue", "document-workflow-queue")];
        anyhow::Ok(worker.metrics().await?.value("temporal_workflow_task_queue_depth", &labels))
    };
    eventually("the depth is shown", RECOVERY, async || match depth(&worker).await {
        Ok(depth) => when(depth.is_some(), || "it is absent".into()),
        Err(error) => Probe::Failed(error),
    })
    .await?;
    world.temporal.cut().await?;
    eventually("the depth is absent", RECOVERY, async || match depth(&worker).await {
        Ok(depth) => when(depth.is_none(), || format!("it is {depth:?}")),
        Err(error) => Probe::Failed(error),
    })
    .await?;
    world.temporal.restore().await?;
    let source = world.upload("a.txt", "one two").await?;
    let history = world.run_document("a", &source).await?;
    done_once(world, &history).await?;
    ensure!(worker.runs()?, "the worker ended");
    Ok(())
}

async fn a_worker_started_before_its_servers_waits_for_them(world: &World) -> Result<()> {
    world.postgres.cut().await?;
    world.temporal.cut().await?;
    let mut worker = world.worker().spawn()?;
    worker.readiness("not ready: waiting for Postgres", RECOVERY).await?;
    let live = worker.get("/livez").await?;
    ensure!(live.0 == StatusCode::OK, "a worker that waits must not be restarted: {live:?}");
    let output = worker.output();
    let line = output.lines().find(|line| line.contains("not reached; retrying"));
    ensure!(
        line.is_some_and(|line| line.contains("Postgres")),
        "no log line names what the worker waits for:\n{output}"
    );
    world.postgres.restore().await?;
    worker.readiness("not ready: waiting for Temporal", RECOVERY).await?;
    world.temporal.restore().await?;
    worker.is_ready().await?;
    let source = world.upload("a.txt", "one two").await?;
    let history = world.run_document("a", &source).await?;
    done_once(world, &history).await
}

async fn documents_come_back_when_the_circuit_may_close(world: &World) -> Result<()> {
    let builder = world.worker().env("EXTERNAL_CIRCUIT_FAILURES", "1").env("EXTERNAL_CIRCUIT_OPEN_SECONDS", "10");
    let _worker = builder.start().await?;
    let source = world.upload("a.txt", "one two").await?;
    world.s3.cut().await?;
    // The first document opens the circuit. The others come while it is open.
    let first = world.start_document("a", &source).await?;
    is_retried(&first, "circuit open").await?;
    let mut others = Vec::new();
    for id in ["b", "c", "d"] {
        let run = world.start_document(id, &source).await?;
        let blocked = |activity: &Pending| activity.last_failure.contains("circuit open");
        let pending = run.pending_is("the document waits for the circuit", RECOVERY, blocked).await?;
        // Without the circuit, the first retry would come after half a second.
        let in_time = Duration::from_secs(1)..=Duration::from_millis(12_500);
        ensure!(in_time.contains(&pending.retry_in) && pending.attempt == 2, "{pending:?}");
        others.push(run);
    }
    world.s3.restore().await?;
    for run in others.into_iter().chain([first]) {
        let end = run.ended().await?.end()?;
        ensure!(matches!(end, End::Completed(_)), "{end:?}");
    }
    // An attempt that the circuit blocks writes no row.
    for id in ["b", "c", "d"] {
        let attempts = world.attempts(id, "fetch_document").await?;
        ensure!(!attempts.contains(&1), "{id}: attempts {attempts:?}");
    }
    Ok(())
}

/// Waits until the first activity has failed with this text in its error, and is retried.
async fn is_retried(run: &Run, fault: &str) -> Result<()> {
    eventually("fetch_document is retried", RECOVERY, async || match run.pending().await {
        Ok(pending) => {
            let retried = |activity: &Pending| {
                activity.activity == "fetch_document" && activity.attempt > 1 && activity.last_failure.contains(fault)
            };
            when(pending.iter().any(retried), || format!("{pending:?}"))
        }
        Err(error) => Probe::Failed(error),
    })
    .await
}

/// Checks that the workflow of document `a` has completed, with one effect.
async fn done_once(world: &World, history: &History) -> Result<()> {
    let end = history.end()?;
    ensure!(matches!(end, End::Completed(_)), "{end:?}");
    let (effects, row) = (world.effects("a").await?, world.document("a").await?);
    ensure!(effects == ["store_document"] && row.words == 2, "{effects:?}, {row:?}");
    Ok(())
}
