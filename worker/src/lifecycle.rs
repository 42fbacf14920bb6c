//! From start to end: wait for what is needed, take work, and leave without losing any.
//!
//! Start: the port first (live, not ready), then Postgres, then Temporal; each is tried again for as long as it takes, with a
//! line at each try, so that an outage is a wait and not a crash loop. End: not ready at once, no new polls, work in flight
//! finishes; what has not finished shortly before the grace period ends is given back to Temporal, which retries it.

use std::{future::Future, process::ExitCode, time::Duration};

use anyhow::Context as _;
use temporalio_client::Client;
use temporalio_sdk::Worker;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    activities::{Taken, Tools},
    config::Config,
    cpu::CpuPool,
    depth,
    external::Guards,
    health::{self, Health, Phase, Shown},
    metrics::{Metrics, Queue},
    signals,
    store::{Database, ExtractCache, ObjectStore},
    summary::Summarizer,
    temporal, tls,
};

/// The longest that a migration may take, the wait for another worker's included. Connecting has a limit of its own.
const MIGRATION: Duration = Duration::from_secs(600);

/// Time for Temporal's answer on a connection that is made.
const ANSWER: Duration = Duration::from_secs(5);

/// Time for giving up the leases on readings: work is done by then, and they run out anyway.
const LEASES: Duration = Duration::from_secs(1);

/// How often the SDK's count of pollers is looked at until all queues are polled.
const POLLERS_SEEN: Duration = Duration::from_millis(50);

/// Runs the worker until a signal; the code is 0 where no work was lost.
///
/// # Errors
/// Something that waiting does not cure: a port taken, a setting that the SDK or the store refuses.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    tls::install_provider();
    let leave = signals::listen()?;
    let health = Health::default();
    let tools = tools(&config)?;
    let listener = health::bind(&config.service.metrics_address).await?;
    let mut background = JoinSet::new();
    let shown = Shown {
        health: health.clone(),
        metrics: tools.metrics.clone(),
        cpu: tools.cpu.clone(),
        database: tools.database.clone(),
    };
    background.spawn(async move {
        if let Err(error) = health::serve(listener, shown).await {
            error!(
                error = format!("{error:#}"),
                "metrics and health are no longer served"
            );
        }
    });
    info!(
        version = env!("CARGO_PKG_VERSION"),
        identity = tools.identity,
        "started"
    );
    let code = match leave.run_until_cancelled(reach(&config, &tools, &health)).await {
        None => ExitCode::SUCCESS,
        Some(client) => work(&config, &tools, &client, &health, &leave, &mut background).await?,
    };
    background.shutdown().await;
    leave_the_fleet(&tools).await;
    info!("left");
    Ok(code)
}

/// Gives up what others may be waiting for: the leases on readings, the connections.
async fn leave_the_fleet(tools: &Tools) {
    let leases = timeout(LEASES, tools.database.release_leases(&tools.identity)).await;
    if !matches!(leases, Ok(Ok(()))) {
        info!("the leases on the queues' readings were not given up; they run out by themselves");
    }
    tools.database.close().await;
}

fn tools(config: &Config) -> anyhow::Result<Tools> {
    let lifetime = config.service.depth_interval() * depth::LIFETIME_INTERVALS;
    let metrics = Metrics::new(lifetime)?;
    let guards = Guards::new(&config.external, metrics.external());
    Ok(Tools {
        objects: ObjectStore::open(&config.documents, &guards)?,
        cache: ExtractCache::open(&config.cache, &guards, &metrics)?,
        summarizer: Summarizer::open(&config.summary, &guards)?,
        database: Database::open(&config.database, &config.concurrency, metrics.clone())?,
        cpu: CpuPool::start(config.pools.cpu_threads)?,
        metrics,
        documents: config.documents.clone(),
        identity: identity(),
        // Workflow tasks are not counted: the SDK lets go of them.
        taken: Taken::up_to(u64::MAX),
        give_back: CancellationToken::new(),
    })
}

/// Who this worker is to Temporal and in `attempts`: process and host, which in a cluster is the pod.
fn identity() -> String {
    let named = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let host = named.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    format!(
        "{}@{}",
        std::process::id(),
        host.as_deref().map_or("unknown", str::trim)
    )
}

/// Waits for Postgres and Temporal.
async fn reach(config: &Config, tools: &Tools, health: &Health) -> Client {
    let pause = config.service.start_retry();
    insist("Postgres", pause, health, || {
        within(MIGRATION, tools.database.migrate())
    })
    .await;
    insist("Temporal", pause, health, || {
        let limit = config.temporal.connect_timeout() + ANSWER;
        let connected = temporal::connect(config, &tools.identity, tools.metrics.sdk());
        within(limit, connected)
    })
    .await
}

async fn within<T>(limit: Duration, attempt: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(limit, attempt)
        .await
        .with_context(|| format!("no answer within {} s", limit.as_secs()))?
}

/// Tries until it works.
async fn insist<T, F>(what: &str, pause: Duration, health: &Health, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = anyhow::Result<T>>,
{
    let mut tries = interval(pause);
    tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0_u64;
    loop {
        tries.tick().await;
        count += 1;
        let error = match attempt().await {
            Ok(reached) => {
                info!(what, tries = count, "reached");
                return reached;
            }
            Err(error) => format!("{error:#}"),
        };
        warn!(
            what,
            tries = count,
            error,
            "not reached; trying again in {} s",
            pause.as_secs()
        );
        health.enter(Phase::Waiting(format!("waiting for {what}: {error}")));
    }
}

/// Takes work until asked to leave, then finishes what is in flight.
async fn work(
    config: &Config,
    tools: &Tools,
    client: &Client,
    health: &Health,
    leave: &CancellationToken,
    background: &mut JoinSet<()>,
) -> anyhow::Result<ExitCode> {
    let grace = config.service.shutdown_grace();
    let runtime = temporal::runtime(tools.metrics.sdk())?;
    let queues = temporal::Queues {
        runtime: &runtime,
        client,
        config,
    };
    watch_depths(config, tools, client, background);
    background.spawn(become_ready(
        config.temporal.queues().map(str::to_owned),
        tools.metrics.clone(),
        health.clone(),
    ));
    let mut serving = std::pin::pin!(serve_all(&queues, tools, leave));
    let early = tokio::select! {
        result = &mut serving => Some(result),
        () = leave.cancelled() => None,
    };
    health.enter(Phase::Leaving);
    if let Some(result) = early {
        return result.map(|()| ExitCode::SUCCESS);
    }
    let finished = match timeout(drain(grace), &mut serving).await {
        Ok(finished) => Ok(finished),
        Err(_) => {
            tools.give_back.cancel();
            timeout(grace - drain(grace), serving).await
        }
    };
    let late = |_| {
        let seconds = grace.as_secs();
        anyhow::anyhow!(
            "work in flight did not end within {seconds} s; Temporal retries it when its time is over"
        )
    };
    finished.map_err(late)?.map(|()| ExitCode::SUCCESS)
}

/// Time for work in flight before it is given back: what is left of the grace period serves to tell Temporal.
fn drain(grace: Duration) -> Duration {
    grace - (grace / 5).min(Duration::from_secs(5))
}

/// Serves the three queues on this thread, until asked to leave and nothing is in flight; activities run on the runtime's
/// threads. One that fails ends all.
async fn serve_all(
    queues: &temporal::Queues<'_>,
    tools: &Tools,
    leave: &CancellationToken,
) -> anyhow::Result<()> {
    let tools_of_one = || Tools {
        taken: Taken::up_to(queues.config.concurrency.renew_after_activities),
        ..tools.clone()
    };
    let (io, cpu) = (tools_of_one(), tools_of_one());
    let workflow = serve(|| queues.workflow(), &tools.taken, leave);
    let io = serve(|| queues.io(&io), &io.taken, leave);
    let cpu = serve(|| queues.cpu(&cpu), &cpu.taken, leave);
    futures::future::try_join3(workflow, io, cpu).await.map(drop)
}

/// Serves one queue. Its worker is made anew, with nothing in flight, when it has taken enough (see [`Taken`]).
async fn serve(
    make: impl Fn() -> anyhow::Result<Worker>,
    taken: &Taken,
    leave: &CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let mut worker = make()?;
        let (queue, stop) = (worker.task_queue().to_owned(), worker.shutdown_handle());
        let stopping = async {
            tokio::select! {
                () = leave.cancelled() => {}
                () = taken.full() => {}
            }
            stop();
            // The worker ends; this does not.
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = worker.run() => ended,
            () = stopping => Ok(()),
        };
        ended.with_context(|| format!("the worker of {queue} failed"))?;
        if leave.is_cancelled() {
            info!(queue, "no longer polled, nothing in flight");
            return Ok(());
        }
        anyhow::ensure!(taken.is_full(), "the worker of {queue} ended by itself");
        taken.begin_again();
        debug!(queue, "the SDK's worker is made anew");
    }
}

fn watch_depths(config: &Config, tools: &Tools, client: &Client, background: &mut JoinSet<()>) {
    let [workflow, io, cpu] = config.temporal.queues();
    let watch = depth::Watch {
        client: client.clone(),
        database: tools.database.clone(),
        shown: tools.metrics.depths().clone(),
        queues: vec![
            Queue::workflow(workflow),
            Queue::activity(io),
            Queue::activity(cpu),
        ],
        reader: tools.identity.clone(),
        every: config.service.depth_interval(),
    };
    background.spawn(watch.run());
}

/// Ready once every queue has been polled. Later a queue without polls only means that all its slots are in use.
async fn become_ready(queues: [String; 3], metrics: Metrics, health: Health) {
    health.enter(Phase::Waiting("starting to poll".into()));
    let sdk = metrics.sdk();
    let mut looks = interval(POLLERS_SEEN);
    let mut polled = [false; 3];
    while polled.contains(&false) {
        looks.tick().await;
        for (seen, queue) in polled.iter_mut().zip(&queues) {
            *seen |= sdk.polls(queue);
        }
    }
    health.enter(Phase::Ready);
    info!(queues = queues.join(","), "ready: all queues are polled");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_cancelled_early_enough_to_report_it_within_the_grace() {
        assert_eq!(drain(Duration::from_secs(60)), Duration::from_secs(55));
        assert_eq!(drain(Duration::from_secs(10)), Duration::from_secs(8));
    }
}
