//! A process that takes work and shuts down without losing any.
//!
//! Shutdown: polling stops, and tasks in flight finish. Activities that still run shortly before the grace period
//! ends fail with a retryable error, so that Temporal retries them on another worker. The failure of one queue's SDK
//! worker begins a shutdown as a signal does, and the process then exits with the error.

use std::{future::Future, process::ExitCode, time::Duration};

use anyhow::Context as _;
use temporalio_client::Client;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::Process;
use crate::{
    activities::{KeptTokens, Tools},
    config::Config,
    cpu::CpuPool,
    external::Guards,
    health::Phase,
    memory::{self, Memory},
    slots::Slots,
    store::{ExtractCache, ObjectStore, PoolSettings},
    summary::Summarizer,
    temporal::{self, QueueWorker},
};

/// Application name of the workers' connections to Postgres.
const APPLICATION: &str = "temporal-worker";

/// Runs the worker until a signal. Returns exit code 0 if all tasks ended within the grace period.
///
/// # Errors
/// An error that waiting does not fix: a port in use, settings that the SDK or the store rejects, or a queue that
/// Temporal does not let the worker poll.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let pool = PoolSettings { application: APPLICATION, slots: config.concurrency.io_slots };
    let mut process = Process::new(config, pool)?;
    let cpu = CpuPool::start(process.config.pools.cpu_threads)?;
    // The port is opened first, so that readiness probes find it.
    process.open_port(cpu.clone()).await?;
    let tools = tools(&process, cpu)?;
    if let Some(cache) = tools.cache.clone() {
        process.background.spawn(cache.check());
    }
    let worked = match process.connect().await {
        None => Ok(()),
        Some(client) => work(&mut process, &tools, &client).await,
    };
    process.shut_down().await;
    worked.map(|()| ExitCode::SUCCESS)
}

fn tools(process: &Process, cpu: CpuPool) -> anyhow::Result<Tools> {
    let (config, metrics) = (&process.config, &process.metrics);
    let guards = Guards::new(&config.external, metrics.external());
    Ok(Tools {
        objects: ObjectStore::open(&config.documents, &guards)?,
        cache: ExtractCache::open(&config.cache, &guards, metrics)?,
        summarizer: Summarizer::open(&config.summary, &guards)?,
        database: process.database.clone(),
        memory: Memory::of(memory::budget(config.service.memory_limit_bytes, config.activity_slots())),
        cpu,
        metrics: metrics.clone(),
        documents: config.documents.clone(),
        identity: process.identity.clone(),
        record_first_attempts: config.database.record_first_attempts,
        kept_tokens: KeptTokens::default(),
        interrupt: CancellationToken::new(),
    })
}

/// Polls the queues until shutdown begins, then drains them.
async fn work(process: &mut Process, tools: &Tools, client: &Client) -> anyhow::Result<()> {
    process.background.spawn(process.database.clone().delete_old_rows(process.config.database.retention_days));
    process.follow_queues(client);
    let (config, shutdown) = (&process.config, &process.shutdown);
    let grace = config.service.shutdown_grace();
    let meter = process.metrics.sdk();
    let runtime = temporal::runtime(meter.clone())?;
    let queues = temporal::WorkerFactory { runtime: &runtime, meter, client, config };
    let mut serving = std::pin::pin!(serve_all(&queues, tools, shutdown));
    // A worker that fails begins the shutdown, too. It may have nothing to drain.
    let served = tokio::select! {
        served = &mut serving => Some(served),
        () = shutdown.cancelled() => None,
    };
    process.health.enter(Phase::ShuttingDown);
    if let Some(served) = served {
        return served;
    }
    let finished = match timeout(drain_time(grace), &mut serving).await {
        Ok(finished) => Ok(finished),
        Err(_) => {
            tools.interrupt.cancel();
            timeout(grace - drain_time(grace), serving).await
        }
    };
    let late = |_| {
        let seconds = grace.as_secs();
        anyhow::anyhow!("tasks in flight did not end within {seconds} s; Temporal retries them after their timeout")
    };
    finished.map_err(late)?
}

/// How long tasks in flight may run before they are interrupted. The rest of the grace period serves to report them
/// to Temporal.
fn drain_time(grace: Duration) -> Duration {
    grace - (grace / 5).min(Duration::from_secs(5))
}

/// Serves the three queues on this thread until shutdown begins and no task is in flight. Activities run on the
/// runtime's threads. If a queue fails, the shutdown begins, and the others drain.
async fn serve_all(
    queues: &temporal::WorkerFactory<'_>,
    tools: &Tools,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let limit = 1024 * queues.config.concurrency.kept_tokens_kib;
    let tools_of_one = || Tools { kept_tokens: KeptTokens::default(), ..tools.clone() };
    let (io, cpu) = (tools_of_one(), tools_of_one());
    // The SDK keeps no token of a workflow task, so none is counted.
    let workflow = serve(queues.workflow(), &tools.kept_tokens, limit, shutdown);
    let io = serve(queues.io(&io), &io.kept_tokens, limit, shutdown);
    let cpu = serve(queues.cpu(&cpu), &cpu.kept_tokens, limit, shutdown);
    let (workflow, io, cpu) =
        futures::join!(or_leave(workflow, shutdown), or_leave(io, shutdown), or_leave(cpu, shutdown));
    workflow.and(io).and(cpu)
}

/// Begins the shutdown if a queue fails.
async fn or_leave(
    serving: impl Future<Output = anyhow::Result<()>>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    serving.await.inspect_err(|_| shutdown.cancel())
}

/// Serves one queue. When the SDK keeps many tokens, its runner is replaced at a moment without an activity. The polls
/// are not disturbed by this.
async fn serve(
    worker: anyhow::Result<QueueWorker>,
    tokens: &KeptTokens,
    limit: u64,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let worker = worker?;
    let queue = worker.queue();
    loop {
        let mut runner = worker.runner()?;
        let stopping = async {
            shutdown.cancelled().await;
            worker.end_polls().await;
            worker.shut_down();
            // Only the runner ends the `select!` below.
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = runner.run() => ended,
            () = stopping => Ok(()),
            () = may_drop(tokens, limit, &worker.activity_slots, shutdown) => {
                drop(runner);
                let bytes = tokens.drop_all();
                worker.activity_slots.open();
                debug!(queue, bytes, "the tokens of ended activities are dropped");
                continue;
            }
        };
        if let Err(error) = ended {
            error!(queue, %error, "the SDK worker failed: this process drains all queues and exits");
            shutdown.cancel();
            // The activities run on without the runner, and report their results.
            worker.activity_slots.without_tasks().await;
            return Err(error).with_context(|| format!("the worker of {queue} failed"));
        }
        anyhow::ensure!(shutdown.is_cancelled(), "the worker of {queue} ended without a shutdown");
        info!(queue, "drained: no longer polled, no task in flight");
        return Ok(());
    }
}

/// Waits for a moment at which the tokens of a queue may be dropped: no activity is in progress, and there are enough
/// of them. At the limit, no poll begins until then. A shutdown is no such moment.
async fn may_drop(tokens: &KeptTokens, limit: u64, slots: &Slots, shutdown: &CancellationToken) {
    let pause = async {
        tokens.reach(limit).await;
        slots.close();
        slots.without_tasks().await;
    };
    let moment = async {
        tokens.reach(limit / 4).await;
        tokio::select! {
            () = slots.without_tasks() => {}
            () = pause => {}
        }
    };
    if shutdown.run_until_cancelled(moment).await.is_none() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_interrupted_early_enough_to_report_them_within_the_grace_period() {
        assert_eq!(drain_time(Duration::from_secs(60)), Duration::from_secs(55));
        assert_eq!(drain_time(Duration::from_secs(10)), Duration::from_secs(8));
    }
}
