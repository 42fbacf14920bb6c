//! Workers are stopped and replaced under a steady load. No task is lost, and every attempt is the first.
//!
//! `STOPS` is another number of stops than in `cargo xtask test`. docs/decisions/0025-polls-end-before-the-shutdown.md
//! has the command for 200, and its results.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use rustix::process::Signal;
use support::wait::ticks;
use tokio::sync::watch;

use crate::{
    harness::{
        Worker, World,
        history::{End, Repeated},
    },
    runner::tests,
};

tests![no_first_attempt_is_lost_at_a_stop];

/// Stops in `cargo xtask test`.
const STOPS: usize = 20;

/// Workers are stopped in so many places at once. Each place has two workers, of which the older is stopped.
const PLACES: usize = 2;

/// Interval of new documents. Each has three activities and four workflow tasks. Two slow cores carry them with a debug
/// build.
const ARRIVAL: Duration = Duration::from_millis(100);

/// Documents that arrive between two stops in one place.
const BETWEEN: usize = 5;

/// Timeout of a graceful shutdown. An activity takes milliseconds.
const STOPPED: Duration = Duration::from_secs(30);

/// Number of histories that are read at a time.
const READERS: usize = 8;

/// One stop.
struct Stop {
    worker: String,
    signal: SystemTime,
    exit: SystemTime,
}

async fn no_first_attempt_is_lost_at_a_stop(world: &World) -> Result<()> {
    let wanted = std::env::var("STOPS").ok().map_or(Ok(STOPS), |stops| stops.parse()).context("reading STOPS")?;
    let source = world.upload("a.txt", "one two").await?;
    // It creates the tables.
    drop(world.worker().start().await?);
    let (arrived, arrivals) = watch::channel(0);
    // It ends when nobody waits for arrivals any more.
    let load = async {
        let (mut interval, mut runs) = (ticks(ARRIVAL), Vec::new());
        while arrived.send(runs.len()).is_ok() {
            interval.tick().await;
            runs.push(world.start_document(&format!("d{}", runs.len()), &source).await?);
        }
        anyhow::Ok(runs)
    };
    let stops = async {
        let places = (0..PLACES).map(|_| stop_in_turn(world, arrivals.clone(), wanted / PLACES));
        let stops = try_join_all(places).await;
        drop(arrivals);
        stops
    };
    let (runs, stops) = futures::try_join!(load, stops)?;
    let (stops, _running): (Vec<_>, Vec<Worker>) = stops.into_iter().unzip();
    let stops: Vec<Stop> = stops.into_iter().flatten().collect();
    let mut report = format!("{} stops, {} documents\n", stops.len(), runs.len());
    let histories = stream::iter(runs).map(async |run| run.ended().await).buffer_unordered(READERS);
    let histories: Vec<_> = histories.try_collect().await?;
    let (mut lost, mut waited) = (0, 0);
    for history in &histories {
        ensure!(matches!(history.end()?, End::Completed(_)), "{:?}", history.end()?);
        for task in history.repeated() {
            match task.started {
                true => lost += 1,
                false => waited += 1,
            }
            writeln!(report, "{}", shown(&task, &stops))?;
        }
    }
    let sums = format!("{lost} attempts were lost, {waited} tasks waited for a worker that had left");
    println!("{report}{sums}");
    // A busy host makes tasks wait, too.
    ensure!(lost == 0, "{sums}:\n{report}");
    Ok(())
}

/// Starts a worker, and then as often as wanted: starts another, and stops the older one. Returns the last one, too.
async fn stop_in_turn(
    world: &World,
    mut arrivals: watch::Receiver<usize>,
    count: usize,
) -> Result<(Vec<Stop>, Worker)> {
    let mut stops = Vec::new();
    let mut older = world.worker().start().await?;
    for _ in 0..count {
        let newer = world.worker().start().await?;
        let next = *arrivals.borrow() + BETWEEN;
        arrivals.wait_for(|arrived| *arrived >= next).await.context("the load ended")?;
        let signal = SystemTime::now();
        older.signal(Signal::TERM)?;
        let code = older.exit_code(STOPPED).await?;
        ensure!(code == 0, "the worker ended with {code}");
        let worker = older.id.as_raw_nonzero().to_string();
        stops.push(Stop { worker, signal, exit: SystemTime::now() });
        older = newer;
    }
    Ok((stops, older))
}

/// A repeated attempt, and the stop nearest to it: of its worker if that is known, else the last one before.
fn shown(task: &Repeated, stops: &[Stop]) -> String {
    let after = |later: SystemTime, earlier: SystemTime| match later.duration_since(earlier) {
        Ok(after) => format!("{:.3} s after", after.as_secs_f64()),
        Err(error) => format!("{:.3} s before", error.duration().as_secs_f64()),
    };
    let of_worker =
        |stop: &&Stop| task.worker.as_ref().is_some_and(|worker| worker.split('@').next() == Some(&stop.worker));
    let near = |stop: &&Stop| stop.exit >= task.scheduled && stop.signal <= task.repeated;
    let mut text =
        format!("{}: {}, repeated {} it was scheduled", task.task, task.why, after(task.repeated, task.scheduled));
    if let Some(worker) = &task.worker {
        write!(text, ", given to {worker}").unwrap_or_default();
    }
    for stop in stops.iter().filter(of_worker).chain(stops.iter().filter(near).take(3)) {
        let (signal, exit) = (after(task.scheduled, stop.signal), after(task.scheduled, stop.exit));
        write!(text, "; scheduled {signal} the signal to {}, {exit} its exit", stop.worker).unwrap_or_default();
    }
    text
}
