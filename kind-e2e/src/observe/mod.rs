//! The observer: once a second it reads every source and writes down what it read. It also watches the workers'
//! counts, so that no change between two samples is missed.
//!
//! It never decides. A source that does not answer in time is a gap with its reason. A second that was missed is
//! missing, and the checks see the distance between the samples.

pub mod board;
pub mod clock;
pub mod connections;
pub mod host;
pub mod progress;
pub mod rows;
pub mod sample;
pub mod window;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use self::board::{Board, lock};
use self::clock::Clock;
use self::host::Meter;
use self::sample::{Figures, Sample};
use crate::cluster::kubernetes::{self, Fleet};
use crate::cluster::reading::Reading;
use crate::cluster::{Fixture, prometheus};

/// Time between two samples.
const PERIOD: Duration = Duration::from_secs(1);
/// A reading that takes longer is a gap: it would belong to another second.
const LIMIT: Duration = Duration::from_secs(3);
/// Temporal is asked for its backlog in every fifth sample: by default it answers from a cache of 5 s.
const BACKLOG_EVERY: u64 = 5;
/// The metrics API is asked for memory in every fifteenth sample: metrics-server scrapes every 15 s at most.
const MEMORY_EVERY: u64 = 15;
/// A watch that ended or failed begins again after this time.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Changes of the workers' counts that are in no sample yet.
type Changes = Mutex<Vec<(f64, Fleet)>>;

/// Observes until `stop`, appending samples to `file`.
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

/// Watches the workers' counts, again and again; the samples have what is missed between two watches.
async fn watch(fixture: &Fixture, clock: Clock, changes: &Changes) {
    let shown = |fleet| lock(changes).push((clock.now(), fleet));
    let mut again = interval(WATCH_AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        again.tick().await;
        // Why it ended does not matter: an API server that is away is a gap in the samples.
        let _ended = kubernetes::watch_fleet(&fixture.kube, shown).await;
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
    let writing = || format!("writing {}", file.display());
    let mut output = std::fs::File::create(file).with_context(writing)?;
    let mut meter = Meter::start(&fixture.cluster).await;
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0u64.. {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => {}
        }
        let mut sample = take(fixture, board, clock, number).await;
        sample.host = meter.read().into();
        sample.changes = std::mem::take(&mut *lock(changes));
        let line = serde_json::to_string(&sample).with_context(writing)?;
        writeln!(output, "{line}").with_context(writing)?;
        board.show(sample);
    }
    Ok(())
}

/// Reads every source at the same time.
async fn take(fixture: &Fixture, board: &Board, clock: Clock, number: u64) -> Sample {
    let (at, phase, load) = (clock.now(), board.phase(), board.load());
    let backlog = every(number, BACKLOG_EVERY, fixture.temporal.backlogs());
    let memory = every(number, MEMORY_EVERY, kubernetes::read_memory(&fixture.kube));
    let (fleet, pods, depth, slots_used, slots_by_worker, backlog, memory, stored) = futures::join!(
        reading(kubernetes::read_fleet(&fixture.kube)),
        reading(kubernetes::read_pods(&fixture.kube)),
        reading(ask(fixture, prometheus::DEPTH_QUERY, "queue")),
        reading(ask(fixture, prometheus::SLOTS_QUERY, "task_queue")),
        reading(ask(fixture, prometheus::WORKERS_QUERY, "pod")),
        backlog,
        memory,
        reading(stored(fixture, board)),
    );
    Sample {
        at,
        phase,
        fleet,
        pods,
        depth,
        slots_used,
        slots_by_worker,
        backlog,
        memory,
        stored,
        load,
        ..Sample::default()
    }
}

/// Reads in every `period`-th sample only.
async fn every<T>(number: u64, period: u64, read: impl Future<Output = Result<T>>) -> Option<Reading<T>> {
    match number.is_multiple_of(period) {
        true => Some(reading(read).await),
        false => None,
    }
}

async fn reading<T>(read: impl Future<Output = Result<T>>) -> Reading<T> {
    match timeout(LIMIT, read).await {
        Ok(result) => result.into(),
        Err(_) => Reading::Gap(format!("no answer within {LIMIT:.0?}")),
    }
}

async fn ask(fixture: &Fixture, promql: &str, label: &str) -> Result<Figures> {
    let series = prometheus::query(&fixture.http, &fixture.cluster.endpoints.prometheus, promql).await?;
    prometheus::greatest_by(label, &series)
}

async fn stored(fixture: &Fixture, board: &Board) -> Result<u64> {
    let Some(prefix) = board.prefix() else { bail!("no load yet") };
    rows::count_stored(&fixture.postgres, &prefix).await
}
