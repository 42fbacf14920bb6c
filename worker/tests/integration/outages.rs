//! Outages of servers: work waits and is done once, and the worker neither crashes nor reports wrong metrics.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;

use crate::{
    computing::page_of_minutes,
    harness::{
        Probe, Worker, World, eventually,
        history::{End, History},
        wait::consistently,
        when,
        world::{Pending, Run},
    },
    metrics::DEPTHS,
    runner::tests,
};

tests![
    an_outage_of_s3_is_retried_until_it_is_over,
    an_outage_of_the_database_is_retried_until_it_is_over,
    an_outage_of_temporal_leaves_no_depth_and_work_goes_on_after_it,
    a_worker_started_before_its_servers_waits_for_them,
    documents_come_back_when_the_circuit_may_close,
    a_claim_that_waits_for_the_circuit_writes_no_row,
    documents_that_wait_for_an_s3_that_refuses_are_no_demand,
    documents_that_wait_for_an_s3_that_is_silent_are_no_demand,
    documents_that_wait_are_no_demand_of_a_worker_that_starts_in_the_outage,
    documents_that_wait_for_a_database_that_refuses_are_no_demand,
    documents_that_wait_for_a_database_that_is_silent_are_no_demand,
];

/// Timeout after an outage. Retries come at most 30 s apart, and these outages are too short to reach that
/// interval.
const RECOVERY: Duration = Duration::from_secs(30);

/// Documents that wait for a service. In a queue they would exceed all of the guide's thresholds.
const WAITING: usize = 40;

/// Timeout of a call to S3 in seconds, of which the default is three times as long, and of the wait for a connection.
const CALL: &str = "10";

/// Timeout for the slots and the queues to be empty: one call, the 5 s for which Temporal caches a depth, and as much
/// again for a busy machine.
const EMPTY: Duration = Duration::from_secs(45);

/// Longer than the first cooldown, so that the documents come back and are sent away within it.
const OUTAGE: Duration = Duration::from_secs(12);

/// The guide's thresholds: more waiting tasks add a worker. The CPU queue has none in the guide.
const MOST_WAITING: [f64; 3] = [10.0, 15.0, 6.0];

/// 70 % of a worker's five IO slots. A demand of more work in the system adds a worker.
const A_WORKERS_WORK: f64 = 3.5;

/// Calls that may hold a slot until their timeout: one in each of the five IO slots, and the first probe.
const HELD: f64 = 6.0;

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
        let in_time = Duration::from_secs(1)..=Duration::from_secs(15);
        ensure!(in_time.contains(&pending.retry_in) && pending.attempt == 2, "{pending:?}");
        others.push(run);
    }
    world.s3.restore().await?;
    others.push(first);
    all_completed(&others).await?;
    // An attempt that the circuit blocks writes no row.
    for id in ["b", "c", "d"] {
        let attempts = world.attempts(id, "fetch_document").await?;
        ensure!(!attempts.contains(&1), "{id}: attempts {attempts:?}");
    }
    Ok(())
}

async fn a_claim_that_waits_for_the_circuit_writes_no_row(world: &World) -> Result<()> {
    // One document at a time is read. The first is given up after this time.
    let worker = world
        .worker()
        .env("TEMPORAL_CPU_ACTIVITY_CONCURRENCY", "1")
        .env("DOCUMENT_MAX_CPU_SECONDS", "10")
        .env("DOCUMENT_INLINE_BYTES", "0")
        .env("EXTERNAL_CIRCUIT_FAILURES", "1")
        .env("EXTERNAL_CIRCUIT_PERCENT", "1")
        .env("EXTERNAL_CIRCUIT_OPEN_SECONDS", "60")
        // A cached result would need no claim.
        .env("REDIS_URL", "");
    let _worker = worker.start().await?;
    let (minutes, source) = (page_of_minutes(), world.upload("a.txt", "one two").await?);
    let reading = world.start_document("minutes", &world.upload("minutes.html", minutes).await?).await?;
    let extraction = |activity: &Pending, started| activity.activity == "extract_text" && activity.started == started;
    reading.pending_is("the page is read", RECOVERY, |activity| extraction(activity, true)).await?;
    let waiting = world.start_document("waiting", &source).await?;
    waiting.pending_is("the document waits for a slot", RECOVERY, |activity| extraction(activity, false)).await?;
    world.s3.cut().await?;
    is_retried(&world.start_document("opens", &source).await?, "circuit open").await?;
    let blocked = |activity: &Pending| activity.attempt == 2 && activity.last_failure.contains("circuit open");
    waiting.pending_is("its claim waits for the circuit", 2 * RECOVERY, blocked).await?;
    let attempts = world.attempts("waiting", "extract_text").await?;
    ensure!(attempts.is_empty(), "an attempt that could not do anything was recorded: {attempts:?}");
    world.s3.restore().await
}

async fn documents_that_wait_for_an_s3_that_refuses_are_no_demand(world: &World) -> Result<()> {
    let worker = worker_with_answers(world).await?;
    world.s3.cut().await?;
    wait_without_demand(world, &worker, "s3").await
}

async fn documents_that_wait_for_an_s3_that_is_silent_are_no_demand(world: &World) -> Result<()> {
    let worker = worker_with_answers(world).await?;
    world.s3.block().await?;
    wait_without_demand(world, &worker, "s3").await
}

async fn documents_that_wait_are_no_demand_of_a_worker_that_starts_in_the_outage(world: &World) -> Result<()> {
    world.s3.block().await?;
    let worker = world.worker().env("DOCUMENT_REQUEST_TIMEOUT_SECONDS", CALL).start().await?;
    wait_without_demand(world, &worker, "s3").await
}

async fn documents_that_wait_for_a_database_that_refuses_are_no_demand(world: &World) -> Result<()> {
    let worker = worker_with_answers(world).await?;
    world.postgres.cut().await?;
    wait_without_demand(world, &worker, "postgres").await
}

async fn documents_that_wait_for_a_database_that_is_silent_are_no_demand(world: &World) -> Result<()> {
    let worker = worker_with_answers(world).await?;
    world.postgres.block().await?;
    wait_without_demand(world, &worker, "postgres").await
}

/// A worker whose latest calls were answered: more than half of those that decide about a circuit.
async fn worker_with_answers(world: &World) -> Result<Worker> {
    let worker = world.worker().env("DOCUMENT_REQUEST_TIMEOUT_SECONDS", CALL).env("DB_ACQUIRE_TIMEOUT_SECONDS", CALL);
    // The database is needed at the end of a document only.
    let worker = worker.env("DB_RECORD_FIRST_ATTEMPTS", "").start().await?;
    let source = world.upload("before.txt", "one two").await?;
    let mut before = Vec::new();
    for number in 0..12 {
        before.push(world.start_document(&format!("before{number}"), &source).await?);
    }
    all_completed(&before).await?;
    Ok(worker)
}

async fn all_completed(runs: &[Run]) -> Result<()> {
    for run in runs {
        let end = run.ended().await?.end()?;
        ensure!(matches!(end, End::Completed(_)), "{end:?}");
    }
    Ok(())
}

/// Starts documents while a service is away. Checks that they soon fill neither slots nor queues, so that no rule of the
/// autoscaler adds a worker, and that all are stored after the outage.
async fn wait_without_demand(world: &World, worker: &Worker, service: &str) -> Result<()> {
    let source = world.upload("a.txt", "one two").await?;
    let mut runs = Vec::new();
    for number in 0..WAITING {
        runs.push(world.start_document(&format!("waits{number}"), &source).await?);
    }
    eventually("the circuit is open, and only a probe has a slot", EMPTY, async || match work(worker, service).await {
        Ok(work) => {
            let empty = work.circuit_is_open && work.io_slots <= 1.0 && work.waiting.iter().sum::<f64>() <= 1.0;
            when(empty, || format!("{work:?}"))
        }
        Err(error) => Probe::NotYet(format!("{error:#}")),
    })
    .await?;
    let mut seen = Vec::new();
    consistently("the queues stay below the thresholds", OUTAGE, async || match work(worker, service).await {
        Ok(work) => {
            seen.push(work.io_slots + work.waiting[1]);
            let below = work.waiting.iter().zip(MOST_WAITING).all(|(waiting, most)| *waiting <= most);
            when(below, || format!("{work:?}"))
        }
        Err(error) => Probe::Failed(error),
    })
    .await?;
    let mean = seen.iter().sum::<f64>() / seen.len() as f64;
    ensure!(mean <= A_WORKERS_WORK, "{mean:.1} tasks were in the system while {WAITING} documents waited: {seen:?}");
    // The pool of Postgres says why it could not connect in time, so its timeouts are failures.
    let (proxy, outcome) = if service == "s3" { (&world.s3, "timeout") } else { (&world.postgres, "failed") };
    let timeouts = [("service", service), ("outcome", outcome)];
    let held = worker.metrics().await?.value("document_external_calls_total", &timeouts);
    ensure!(held.is_some_and(|held| held <= HELD), "{held:?} calls held a slot until their timeout");
    proxy.restore().await?;
    all_completed(&runs).await
}

/// What the autoscaler sees of a worker, and its circuit.
#[derive(Debug)]
struct Work {
    circuit_is_open: bool,
    io_slots: f64,
    /// The depths in the order of [`DEPTHS`].
    waiting: Vec<f64>,
}

async fn work(worker: &Worker, service: &str) -> Result<Work> {
    let metrics = worker.metrics().await?;
    let of = |name: &str, labels: &[(&str, &str)]| {
        metrics.value(name, labels).with_context(|| format!("the worker shows no {name} with {labels:?}"))
    };
    let (_, io_queue) = DEPTHS[1];
    Ok(Work {
        circuit_is_open: of("document_external_circuit_open", &[("service", service)])? == 1.0,
        io_slots: of(
            "temporal_worker_task_slots_used",
            &[("task_queue", io_queue), ("worker_type", "ActivityWorker")],
        )?,
        waiting: DEPTHS.iter().map(|(name, queue)| of(name, &[("queue", queue)])).collect::<Result<_>>()?,
    })
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
