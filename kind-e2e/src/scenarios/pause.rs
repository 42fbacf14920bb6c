//! An operator pauses the fleet at 0 workers, and ends the pause. The minimum of workers comes back without a task
//! that waits for it.

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::sleep_until;

use super::Scenario;
use crate::cluster::switches::pause;
use crate::judge::fleet::{held, timed};
use crate::judge::verdict::{Check, Question};
use crate::load::context::Context;
use crate::load::waits::{fix_workers, settle_at, tell};
use crate::observe::sample::Sample;
use crate::observe::window::{Window, fleets};

/// Seconds for which the fleet is paused.
const PAUSED: f64 = 10.0;
/// The minimum of workers is back within this time, in seconds: KEDA looks at a ScaledObject every 30 s, and the
/// workers start.
const BACK: f64 = 60.0;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// The minimum of workers.
    min: i32,
    /// While the fleet was paused.
    paused: Option<Window>,
    /// From the end of the pause until the minimum was Ready.
    back: Option<Window>,
}

impl Scenario for Pause {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        let paused = self.paused.map(|window| {
            let why = "a pause that does not hold is none";
            held("pause-holds", "no worker runs while the fleet is paused at 0".to_owned(), samples, window, 0, why)
        });
        paused.into_iter().chain(self.back.map(|window| self.comes_back(samples, window))).collect()
    }
}

impl Pause {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        self.min = context.autoscaling.min;
        context.enter("pause/zero", "the fleet is paused at 0 workers");
        fix_workers(context, 0).await?;
        let from = context.clock.now();
        sleep_until(context.clock.instant(from + PAUSED)).await;
        self.paused = Some(Window { from, to: context.clock.now() });
        context.enter("pause/back", "the pause ends: back to the minimum of workers");
        let from = context.clock.now();
        pause(&context.fixture, None).await?;
        let settled = settle_at(context, self.min, BACK).await;
        tell(context, "the minimum of workers again", settled);
        self.back = Some(Window { from, to: context.clock.now() });
        Ok(())
    }

    fn comes_back(&self, samples: &[Sample], window: Window) -> Check {
        let question = Question::new(
            "pause-ends",
            format!("{} workers after the pause, with no task waiting", self.min),
            format!("≤ {BACK:.0} s"),
            "a fleet of 0 workers must not wait for a task",
        );
        let settled = |sample: &&Sample| sample.fleet.seen().is_some_and(|fleet| fleet.is_settled_at(self.min));
        let first = window.of(samples).find(settled).map(|sample| sample.at - window.from);
        let gap = fleets(samples, window).err();
        timed(question, first, BACK, gap.as_deref(), || "the minimum was not Ready".to_owned())
    }
}
