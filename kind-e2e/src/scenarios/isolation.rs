//! A flood of one queue: IO tasks pile up, and the workflow and CPU queues go on.
//!
//! The number of workers is fixed at the minimum, so that the flood lasts while the other queues have work.

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::loaded::{Loaded, Stretch};
use super::{Scenario, delay, prepare};
use crate::cluster::{CPU_QUEUE, IO_QUEUE, WORKFLOW_QUEUE};
use crate::judge::bounds::WORKFLOW_DEPTH;
use crate::judge::fleet::depth_below;
use crate::judge::part::Part;
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question};
use crate::load::context::Context;
use crate::load::sizing::{GUIDE_SERVICE, LONGEST_SERVICE, Peak, SHARE, Sizing};
use crate::load::waits::fix_workers;
use crate::observe::sample::Sample;
use crate::observe::window::{Window, seen};

/// The flood has so many times the documents that the minimum's IO slots take.
const FLOOD: f64 = 2.0;
/// It is a flood where so many IO tasks wait at a time: three times the guide's threshold.
const FLOODED: f64 = 45.0;
/// Seconds of the flood, beside those until it is one.
const LASTS: f64 = 15.0;
/// Documents that pass the CPU queue while the flood lasts, at least.
const PASSED: usize = 20;
/// The threshold of the CPU queue's depth rule.
const CPU_DEPTH: f64 = 6.0;
/// The last documents are stored within this time, in seconds, with the most workers.
const DRAINED: f64 = 180.0;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Isolation {
    /// The fleet and its documents.
    sizing: Option<Sizing>,
    loaded: Loaded,
}

impl Scenario for Isolation {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        let (Some(sizing), Some(flood)) = (&self.sizing, self.loaded.window("flood")) else {
            return Vec::new();
        };
        // The first documents are at S3 until then, and the CPU queue has nothing to do.
        let window = Window { from: flood.from + sizing.service, ..flood };
        let depth = |id, name: &str, queue, limit| {
            let why = "each queue has slots and threads of its own in every worker";
            depth_below(id, name, samples, window, (queue, limit), why)
        };
        let mut checks = vec![
            flooded(samples, window),
            self.passed(window),
            depth("isolation-workflow", "workflow queue beside the flood", WORKFLOW_QUEUE, WORKFLOW_DEPTH),
            depth("isolation-cpu", "CPU queue beside the flood", CPU_QUEUE, CPU_DEPTH),
        ];
        checks.extend(self.loaded.checks(samples, true));
        checks
    }

    fn loads(&self) -> Vec<Part<'_>> {
        vec![Part::new("isolation", &self.loaded.starts, self.loaded.whole(), self.sizing.as_ref())]
    }

    fn tables(&self, _samples: &[Sample]) -> Vec<Table> {
        self.loaded.ending.table("isolation").into_iter().collect()
    }
}

impl Isolation {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        let sizing = prepare(context, "isolation/prepare", Peak::steady(0.0), GUIDE_SERVICE).await?;
        // As many documents as the host carries, of an IO time of which the minimum's slots take half as many.
        let rate = SHARE * sizing.capacity;
        let service = FLOOD * sizing.slots_of(sizing.min) / rate;
        ensure!(
            service <= LONGEST_SERVICE,
            "this host carries {:.1} documents/s, and {:.1}/s are needed for a flood of documents of at most \
             {LONGEST_SERVICE:.0} s",
            sizing.capacity,
            sizing.capacity * service / LONGEST_SERVICE
        );
        let sizing = Sizing { service, ..sizing };
        self.sizing = Some(sizing);
        delay(context, service).await?;
        fix_workers(context, sizing.min).await?;
        let (loaded, load) = Loaded::begin(context, "isolation");
        self.loaded = loaded;
        let until_flooded = FLOODED / (rate - rate / FLOOD);
        let flood = Stretch::new("flood", rate, service + until_flooded + LASTS);
        self.loaded.play(context, &load, "isolation", &[flood]).await;
        fix_workers(context, sizing.max).await?;
        self.loaded.end(context, DRAINED).await
    }

    /// Documents were stored while the flood lasted: each has passed the CPU queue.
    fn passed(&self, window: Window) -> Check {
        let starts = self.loaded.starts.iter();
        let stored = starts.filter(|start| start.stored.is_some_and(|stored| window.has(stored))).count();
        let question = Question::new(
            "isolation-work",
            "the CPU queue had work beside the flood",
            format!("≥ {PASSED} documents stored"),
            "an empty queue shows nothing",
        );
        match stored >= PASSED {
            true => question.require(true, format!("{stored} stored")),
            false => question.unseen(format!("only {stored} documents were stored beside the flood")),
        }
    }
}

fn flooded(samples: &[Sample], window: Window) -> Check {
    let question = Question::new(
        "isolation-flood",
        "the IO queue was flooded",
        format!("≥ {FLOODED:.0} tasks wait at a time"),
        "without a flood nothing is shown of the others",
    );
    let readings = match seen(samples, window, |sample| sample.depth.seen()?.get(IO_QUEUE)) {
        Ok(readings) => readings,
        Err(gap) => return question.unseen(gap),
    };
    let most = readings.iter().map(|(_, depth)| **depth).fold(0.0, f64::max);
    match most >= FLOODED {
        true => question.require(true, format!("{most:.0} waited")),
        false => question.unseen(format!("only {most:.0} waited at a time")),
    }
}
