//! A process that takes work, and leaves without losing any.
//!
//! End: no new polls, work in flight finishes; what has not finished shortly before the grace period ends is given back to
//! Temporal, which retries it.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use temporalio_client::Client;
use temporalio_sdk::Worker;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::Member;
use crate::{
    activities::{Taken, Tools},
    config::Config,
    cpu::CpuPool,
    external::Guards,
    health::Phase,
    store::{ExtractCache, Holder, ObjectStore},
    summary::Summarizer,
    temporal,
};

/// The workers' name among the database's connections.
const APPLICATION: &str = "temporal-worker";

/// Runs the worker until a signal; the code is 0 where no work was lost.
///
/// # Errors
/// Something that waiting does not cure: a port taken, a setting that the SDK or the store refuses.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let holder = Holder {
        application: APPLICATION,
        slots: config.concurrency.io_slots,
    };
    let mut member = Member::new(config, holder)?;
    let cpu = CpuPool::start(member.config.pools.cpu_threads)?;
    // The port before the rest: who asks whether the worker is ready shall find it.
    member.open_port(Some(cpu.clone())).await?;
    let tools = tools(&member, cpu)?;
    let code = match member.reach().await {
        None => ExitCode::SUCCESS,
        Some(client) => work(&mut member, &tools, &client).await?,
    };
    member.leave_the_fleet().await;
    Ok(code)
}

fn tools(member: &Member, cpu: CpuPool) -> anyhow::Result<Tools> {
    let (config, metrics) = (&member.config, &member.metrics);
    let guards = Guards::new(&config.external, metrics.external());
    Ok(Tools {
        objects: ObjectStore::open(&config.documents, &guards)?,
        cache: ExtractCache::open(&config.cache, &guards, metrics)?,
        summarizer: Summarizer::open(&config.summary, &guards)?,
        database: member.database.clone(),
        cpu,
        metrics: metrics.clone(),
        documents: config.documents.clone(),
        identity: member.identity.clone(),
        // Workflow tasks are not counted: the SDK lets go of them.
        taken: Taken::up_to(u64::MAX),
        give_back: CancellationToken::new(),
    })
}

/// Takes work until asked to leave, then finishes what is in flight.
async fn work(member: &mut Member, tools: &Tools, client: &Client) -> anyhow::Result<ExitCode> {
    member.watch_depths(client);
    // Later a queue without polls only means that all its slots are in use.
    member.ready_once("starting to poll", |metrics, queue| {
        metrics.sdk().polls(&queue.name)
    });
    let (config, leave) = (&member.config, &member.leave);
    let grace = config.service.shutdown_grace();
    let runtime = temporal::runtime(member.metrics.sdk())?;
    let queues = temporal::Queues {
        runtime: &runtime,
        client,
        config,
    };
    let mut serving = std::pin::pin!(serve_all(&queues, tools, leave));
    let early = tokio::select! {
        result = &mut serving => Some(result),
        () = leave.cancelled() => None,
    };
    member.health.enter(Phase::Leaving);
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
    let workflow = serve(queues.client, || queues.workflow(), &tools.taken, leave);
    let io = serve(queues.client, || queues.io(&io), &io.taken, leave);
    let cpu = serve(queues.client, || queues.cpu(&cpu), &cpu.taken, leave);
    futures::future::try_join3(workflow, io, cpu).await.map(drop)
}

/// Serves one queue. Its worker is made anew, with nothing in flight, when it has taken enough (see [`Taken`]).
async fn serve(
    client: &Client,
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
        temporal::forget(client, &worker)?;
        taken.begin_again();
        debug!(queue, "the SDK's worker is made anew");
    }
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
