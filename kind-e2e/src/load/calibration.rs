//! What this host carries: documents a second with the most workers, measured in each run before any scenario.
//!
//! A closed loop keeps a fixed number of documents in flight, without latency on the way to S3, so that nothing but
//! the host limits them. Every load is then a share of what was measured.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::arrivals::{generator, shuffled};
use super::context::Context;
use super::waits::{fix_workers, stored};
use super::{Load, Start, acknowledged, corpus, note};
use crate::observe::rows;
use crate::observe::window::{Window, inside};

/// Its name in phases and in the report.
pub const NAME: &str = "calibration";
/// Documents in flight for each worker: enough to use all of the host's CPU.
const IN_FLIGHT: i32 = 2;
/// Seconds before the measurement: caches fill, and the loop reaches its pace.
const WARM_UP: f64 = 8.0;
/// Seconds of the measurement, at least and at most.
const SECONDS: (f64, f64) = (20.0, 60.0);
/// Documents of the measurement, where it may still last: their number is then known within some 8 %.
const DOCUMENTS: u64 = 150;
/// How often the loop looks for documents that were stored.
const LOOK: Duration = Duration::from_millis(200);
/// The last documents are stored within this time, in seconds.
const DRAINED: f64 = 120.0;

/// How long new workers take to be Ready on a host without load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PodStarts {
    /// New workers.
    pub pods: i32,
    /// Seconds to the first of them.
    pub first: f64,
    /// Seconds to the last.
    pub all: f64,
}

impl PodStarts {
    /// Seconds in which this host starts so many workers without load.
    pub fn seconds_of(&self, workers: f64) -> f64 {
        workers * self.all / f64::from(self.pods.max(1))
    }
}

/// What this host carries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Documents a second that loads are sized by, where the user gave them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<f64>,
    /// Workers.
    pub workers: i32,
    /// Documents in flight.
    pub in_flight: i32,
    /// Seconds of the measurement.
    pub seconds: f64,
    /// Documents that were stored in it.
    pub documents: u64,
    /// The measurement's place in the run.
    pub window: Window,
    /// How the workers started, from the minimum to the maximum.
    pub starts: PodStarts,
    /// Starts that Temporal acknowledged, and documents that were stored of them.
    pub kept: (u64, u64),
}

impl Calibration {
    /// Documents a second that loads are sized by: what was given, else what was measured.
    pub fn per_second(&self) -> f64 {
        self.given.unwrap_or_else(|| self.measured())
    }

    /// Documents a second that were measured, to a tenth.
    pub fn measured(&self) -> f64 {
        (10.0 * self.documents as f64 / self.seconds.max(f64::MIN_POSITIVE)).round() / 10.0
    }
}

/// Uploads the documents, for every later load too, and measures what this host carries. Leaves the most workers, with
/// their number fixed.
///
/// # Errors
/// The workers do not start, or the cluster does not store documents.
pub async fn calibrate(context: &Context, given: Option<f64>) -> Result<Calibration> {
    let autoscaling = &context.autoscaling;
    let toxiproxy = &context.fixture.toxiproxy;
    toxiproxy.clear().await?;
    context.enter("calibration/prepare", "uploading documents");
    corpus::upload(&context.fixture, &context.documents).await?;
    let workers = autoscaling.max;
    fix_workers(context, autoscaling.min).await?;
    context.enter("calibration/workers", &format!("{workers} workers, none loaded"));
    let from = context.clock.now();
    fix_workers(context, workers).await?;
    let starts = pod_starts(context, from, autoscaling.min, workers);
    context.enter("calibration/load", "documents without latency, as many as this host carries");
    let load = Load::begin(context, NAME);
    let mut sent = Vec::new();
    let (window, documents) = closed_loop(context, &load, IN_FLIGHT * workers, &mut sent).await?;
    let due = acknowledged(&sent);
    stored(context, &load.prefix, due, DRAINED).await?;
    let calibration = Calibration {
        given,
        workers,
        in_flight: IN_FLIGHT * workers,
        seconds: window.seconds(),
        documents,
        window,
        starts,
        kept: (due, rows::count_stored(&context.fixture.postgres, &load.prefix).await?),
    };
    ensure!(documents > 0, "no document was stored in {:.0} s", window.seconds());
    context.say(&format!(
        "this host carries {:.1} documents/s; {} workers started in {:.1} s",
        calibration.measured(),
        calibration.starts.pods,
        calibration.starts.all
    ));
    Ok(calibration)
}

/// When the first and the last of the new workers was Ready, from what was observed.
fn pod_starts(context: &Context, from: f64, before: i32, workers: i32) -> PodStarts {
    let to = context.clock.now();
    let samples = context.board.since(from);
    let ready = |count: i32| {
        let mut fleets = inside(&samples, Window { from, to });
        let found = fleets.find(|(_, fleet)| fleet.ready >= count);
        found.map_or(to - from, |(at, _)| at - from)
    };
    PodStarts { pods: workers - before, first: ready(before + 1), all: ready(workers) }
}

/// Keeps `in_flight` documents in flight. Returns the measurement's window, and the documents stored in it.
async fn closed_loop(context: &Context, load: &Load, in_flight: i32, sent: &mut Vec<Start>) -> Result<(Window, u64)> {
    let in_flight = u64::try_from(in_flight)?;
    let order = shuffled(context.documents.len(), &mut generator(context.seed, NAME));
    let mut answers = JoinSet::new();
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begin = context.clock.now() + WARM_UP;
    let mut first: Option<(f64, u64)> = None;
    let (window, documents) = loop {
        tokio::select! {
            _ = tick.tick() => {}
            Some(answer) = answers.join_next() => {
                note(sent, answer);
                continue;
            }
        }
        let stored = rows::count_stored(&context.fixture.postgres, &load.prefix).await?;
        let now = context.clock.now();
        if now >= begin {
            let (from, before) = *first.get_or_insert((now, stored));
            let (window, documents) = (Window { from, to: now }, stored - before);
            let seconds = window.seconds();
            if seconds >= SECONDS.1 || (seconds >= SECONDS.0 && documents >= DOCUMENTS) {
                break (window, documents);
            }
        }
        // A start that failed is never stored: it would shrink the loop for good.
        let failed = sent.iter().filter(|start| start.error.is_some()).count() as u64;
        for number in sent.len() as u64..stored + in_flight + failed {
            let document = order[number as usize % order.len()];
            load.send("closed", document, 0.0, sent, &mut answers);
        }
    };
    while let Some(answer) = answers.join_next().await {
        note(sent, answer);
    }
    Ok((window, documents))
}
