//! The observer: once a second it reads everything there is to read and writes it down. The workers' number, whose every change
//! counts, it watches as well.
//!
//! It never decides. What could not be read within the second's limit is a gap with its reason; a
//! second that it missed is missing, and the checks see the distance between the samples.

pub mod connections;
pub mod kubernetes;
pub mod prometheus;
pub mod sample;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::board::{Board, lock};
use crate::clock::Clock;
use crate::fixture::Fixture;
use crate::oracle::rows;
use sample::{Fleet, Reading, Sample};

/// How often.
const PERIOD: Duration = Duration::from_secs(1);
/// A reading that takes longer is a gap: it would be of another second.
const LIMIT: Duration = Duration::from_secs(3);
/// Temporal is asked for its backlog in every such sample: it answers from a cache of 5 s.
const BACKLOG_EVERY: u64 = 5;

/// Before the workers' number is watched again after the watch ended or failed.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Changes of the workers' number that are in no sample yet.
type Changes = Mutex<Vec<(f64, Fleet)>>;

/// Observes until `stop`, appending to `file`.
///
/// # Errors
/// The samples cannot be written: without its samples a run shows nothing.
pub async fn observe(
    fixture: Fixture,
    board: Arc<Board>,
    clock: Clock,
    file: PathBuf,
    stop: CancellationToken,
) -> Result<()> {
    let changes = Changes::default();
    let watching = stop.run_until_cancelled(watch(&fixture, clock, &changes));
    let (_, sampled) = tokio::join!(watching, sample(&fixture, &board, clock, &file, &stop, &changes));
    sampled
}

/// Watches the workers' number, again and again; what is missed meanwhile the samples have.
async fn watch(fixture: &Fixture, clock: Clock, changes: &Changes) {
    let told = |fleet| {
        lock(changes).push((clock.now(), fleet));
    };
    let mut again = interval(WATCH_AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        again.tick().await;
        // Why it ended does not matter: an API server that is away is a gap in the samples.
        let _ended = kubernetes::watch_fleet(&fixture.kube, told).await;
    }
}

async fn sample(
    fixture: &Fixture,
    board: &Board,
    clock: Clock,
    file: &Path,
    stop: &CancellationToken,
    changes: &Changes,
) -> Result<()> {
    let told = || format!("writing {}", file.display());
    let mut output = std::fs::File::create(file).with_context(told)?;
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0u64.. {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => {}
        }
        let mut sample = take(fixture, board, clock, number.is_multiple_of(BACKLOG_EVERY)).await;
        sample.changes = std::mem::take(&mut *lock(changes));
        let line = serde_json::to_string(&sample).with_context(told)?;
        writeln!(output, "{line}").with_context(told)?;
        board.show(sample);
    }
    Ok(())
}

/// Reads every source at the same time.
async fn take(fixture: &Fixture, board: &Board, clock: Clock, with_backlog: bool) -> Sample {
    let (at, phase, load) = (clock.now(), board.phase(), board.load());
    let backlog = async {
        match with_backlog {
            true => Some(reading(fixture.temporal.backlogs()).await),
            false => None,
        }
    };
    let (fleet, autoscaler, pods, depth, slots_used, slots_by_worker, backlog, stored) = futures::join!(
        reading(kubernetes::read_fleet(&fixture.kube)),
        reading(kubernetes::read_autoscaler(&fixture.kube)),
        reading(kubernetes::read_pods(&fixture.kube)),
        reading(ask(fixture, prometheus::DEPTH_QUERY, "queue")),
        reading(ask(fixture, prometheus::SLOTS_QUERY, "task_queue")),
        reading(ask(fixture, prometheus::WORKERS_QUERY, "pod")),
        backlog,
        reading(stored(fixture, board)),
    );
    Sample {
        at,
        phase,
        fleet,
        changes: Vec::new(),
        autoscaler,
        pods,
        depth,
        slots_used,
        slots_by_worker,
        backlog,
        stored,
        load,
    }
}

async fn reading<T>(read: impl Future<Output = Result<T>>) -> Reading<T> {
    match timeout(LIMIT, read).await {
        Ok(result) => result.into(),
        Err(_) => Reading::Gap(format!("no answer within {LIMIT:.0?}")),
    }
}

async fn ask(fixture: &Fixture, promql: &str, label: &str) -> Result<BTreeMap<String, f64>> {
    let series = prometheus::query(&fixture.http, &fixture.cluster.endpoints.prometheus, promql).await?;
    prometheus::greatest_by(label, &series)
}

async fn stored(fixture: &Fixture, board: &Board) -> Result<u64> {
    let Some(prefix) = board.prefix() else {
        bail!("no load yet")
    };
    rows::count_stored(&fixture.postgres, &prefix).await
}
