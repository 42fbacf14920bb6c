//! The depths of the queues in a fleet: each worker asks Temporal for itself, and the less often the more workers there
//! are.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;

use crate::{
    harness::{Probe, Worker, World, eventually, grpc::GrpcProxy, when},
    metrics::{DEPTHS, shown},
    runner::tests,
};

tests![the_more_workers_poll_the_less_often_each_of_them_asks, a_worker_reads_the_depths_while_the_database_is_away,];

/// Timeout for a depth to be shown, on a busy machine.
const SHOWN: Duration = Duration::from_secs(20);

/// Workers, and pollers beside them.
const WORKERS: usize = 3;
const OTHERS: usize = 50;

/// The least interval of a worker that knows of the others: a fifth of a second for each (`src/depth/schedule.rs`).
const INTERVAL: f64 = 0.2 * OTHERS as f64;

/// Timeout for each worker to ask a second time: twice its interval, on a busy machine.
const ASKED_AGAIN: Duration = Duration::from_secs(60);

async fn the_more_workers_poll_the_less_often_each_of_them_asks(world: &World) -> Result<()> {
    world.poll_by_hand(OTHERS).await?;
    let proxy = GrpcProxy::start(world.temporal.port).await?;
    let address = format!("127.0.0.1:{}", proxy.port);
    let fleet = try_join_all((0..WORKERS).map(|_| world.worker().env("TEMPORAL_ADDRESS", &address).start())).await?;
    all_show(&fleet).await?;
    for worker in &fleet {
        let labels = [("queue", "document-workflow-queue")];
        shown(worker, "temporal_task_queue_pollers", &labels, |pollers| pollers >= OTHERS as f64).await?;
    }
    for (_, queue) in DEPTHS {
        let asked = eventually(&format!("the workers ask for {queue} again"), ASKED_AGAIN, async || {
            let asked = proxy.questions(queue);
            match asked.len() >= 2 * WORKERS {
                true => Probe::Ready(asked),
                false => Probe::NotYet(format!("{} questions", asked.len())),
            }
        })
        .await?;
        // A worker asks when it starts, and then at most once in an interval. So the fleet cannot be faster than this.
        let took = asked[asked.len() - 1].duration_since(asked[0]).as_secs_f64();
        let most = WORKERS as f64 * ((took / INTERVAL).floor() + 1.0);
        ensure!(asked.len() as f64 <= most, "{} questions about {queue} within {took} s", asked.len());
    }
    // The next answer comes before the last one is too old.
    all_show(&fleet).await
}

async fn a_worker_reads_the_depths_while_the_database_is_away(world: &World) -> Result<()> {
    let proxy = GrpcProxy::start(world.temporal.port).await?;
    let worker = world.worker().env("TEMPORAL_ADDRESS", &format!("127.0.0.1:{}", proxy.port)).start().await?;
    world.postgres.cut().await?;
    let before = DEPTHS.map(|(_, queue)| proxy.questions(queue).len());
    eventually("it asks on", SHOWN, async || {
        let now = DEPTHS.map(|(_, queue)| proxy.questions(queue).len());
        let is_asked = now.iter().zip(&before).all(|(now, before)| *now >= before + 3);
        when(is_asked, || format!("{before:?} questions, and now {now:?}"))
    })
    .await?;
    all_show(&[worker]).await
}

/// Waits until all workers show the depth of each queue.
async fn all_show(fleet: &[Worker]) -> Result<()> {
    for worker in fleet {
        for (name, queue) in DEPTHS {
            shown(worker, name, &[("queue", queue)], |_| true).await?;
        }
    }
    Ok(())
}
