//! A steady load for hours: memory stays flat, and documents take as long at the end as at the beginning.
//!
//! [`memory`] has what each container takes, and what its growth would come to.

mod memory;

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::memory::{Memory, flat};
use super::loaded::{Loaded, Stretch};
use super::{Scenario, prepare};
use crate::judge::host::excuse;
use crate::judge::load::p99;
use crate::judge::part::Part;
use crate::judge::statistics::{latency, seconds};
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question};
use crate::load::context::Context;
use crate::load::sizing::{GUIDE_SERVICE, Peak, Sizing};
use crate::load::waits::{fix_workers, hand_over};
use crate::observe::sample::Sample;
use crate::observe::window::{Window, fleets};

/// The load in workers: more than the minimum, so that the autoscaler decides all the time.
const WORKERS: f64 = 4.5;
/// How often memory is read.
const READ: Duration = Duration::from_secs(15);
/// Seconds in which the fleet becomes as large as the load needs. They are not judged.
const SETTLES: f64 = 60.0;
/// The last documents are stored within this time, in seconds.
const DRAINED: f64 = 90.0;
/// The median of the last quarter is at most so many times that of the first. A drift that an hour cannot show, at most
/// a tenth, doubles the median in eight hours or more.
const DRIFT: f64 = 1.1;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Soak {
    sizing: Option<Sizing>,
    loaded: Option<Loaded>,
    /// What each container takes, again and again.
    memory: Memory,
}

impl Scenario for Soak {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        let (Some(sizing), Some(loaded)) = (&self.sizing, &self.loaded) else { return Vec::new() };
        let Some(window) = judged(loaded) else { return Vec::new() };
        let excuse = excuse(samples, window);
        let due = |window: Window| loaded.starts.iter().filter(move |start| window.has(start.due));
        let mut checks = loaded.checks(samples, true);
        checks.push(p99("p99 of all documents", due(window), sizing.service).excused_by(excuse.as_deref()));
        checks.push(steady(loaded, window).excused_by(excuse.as_deref()));
        checks.push(sized(sizing, samples, window).excused_by(excuse.as_deref()));
        checks.push(flat(&self.memory, window, loaded));
        checks
    }

    fn loads(&self) -> Vec<Part<'_>> {
        self.loaded.iter().map(|loaded| loaded.part(self.sizing.as_ref())).collect()
    }

    fn tables(&self, _samples: &[Sample]) -> Vec<Table> {
        let window = self.loaded.as_ref().and_then(|loaded| Some((judged(loaded)?, loaded)));
        let memory = window.map(|(window, loaded)| self.memory.table(window, loaded));
        memory.into_iter().chain(self.loaded.iter().filter_map(|one| one.ending.table(&one.name))).collect()
    }
}

impl Soak {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        let sizing = prepare(context, "soak/prepare", Peak::steady(WORKERS), GUIDE_SERVICE).await?;
        self.sizing = Some(sizing);
        fix_workers(context, sizing.min).await?;
        hand_over(context).await?;
        let (loaded, load) = Loaded::begin(context, "soak");
        let loaded = self.loaded.insert(loaded);
        let stretch = Stretch::new("load", sizing.rate_of(WORKERS), SETTLES + 3600.0 * context.hours);
        let what = format!("{:.1} documents/s for {:.2} h", stretch.rate, context.hours);
        context.enter("soak/load", &what);
        let never = CancellationToken::new();
        tokio::select! {
            () = loaded.play_until(context, &load, stretch, &never) => {}
            () = watch(context, &mut self.memory) => {}
        }
        loaded.end(context, DRAINED).await
    }
}

/// Reads memory for ever.
async fn watch(context: &Context, memory: &mut Memory) {
    let mut tick = interval(READ);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        memory.read(context).await;
    }
}

/// The load without the time in which the fleet grows.
fn judged(loaded: &Loaded) -> Option<Window> {
    let whole = loaded.whole()?;
    Some(Window { from: whole.from + SETTLES, ..whole }).filter(|window| window.seconds() > 0.0)
}

/// The first and the last quarter of a window.
fn quarters(window: Window) -> (Window, Window) {
    let quarter = window.seconds() / 4.0;
    (Window { to: window.from + quarter, ..window }, Window { from: window.to - quarter, ..window })
}

fn steady(loaded: &Loaded, window: Window) -> Check {
    let (first, last) = quarters(window);
    let median =
        |part: Window| latency(loaded.starts.iter().filter(|start| part.has(start.due))).and_then(|found| found.p50);
    let question = Question::new(
        "soak-latency",
        "documents take as long in the last quarter as in the first",
        format!("median ≤ {DRIFT} times as long"),
        "what piles up makes every document a little later, long before it fails",
    );
    let (first, last) = (median(first), median(last));
    let measured = format!("{} and then {}", seconds(first), seconds(last));
    match first.zip(last) {
        Some((first, last)) => question.require(last <= DRIFT * first, measured),
        None => question.require(false, measured),
    }
}

fn sized(sizing: &Sizing, samples: &[Sample], window: Window) -> Check {
    let (least, most) = sizing.right_count(sizing.rate_of(WORKERS));
    let (_, last) = quarters(window);
    let question = Question::new(
        "soak-workers",
        "as many workers as the load needs, on average of the last quarter",
        format!("{least} to {most}"),
        "a signal that drifts takes workers that nobody needs; chance may add one",
    );
    question.of(fleets(samples, last).map(|fleets| {
        let ready: i32 = fleets.iter().map(|(_, fleet)| fleet.ready).sum();
        let mean = f64::from(ready) / fleets.len().max(1) as f64;
        ((f64::from(least)..=f64::from(most)).contains(&mean), format!("{mean:.1}"))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::reaction::tests::sample;
    use crate::judge::verdict::Outcome;
    use crate::load::sizing::tests::sizing;
    use crate::load::tests::start;

    const HOUR: Window = Window { from: 0.0, to: 3600.0 };

    /// An hour of two documents a second, with the seconds that each takes.
    fn latency_of(takes: impl Fn(f64) -> f64) -> Check {
        let starts = (0..7200).map(|number| f64::from(number) / 2.0).map(|due| start(due, Some(due + takes(due))));
        steady(&Loaded { starts: starts.collect(), ..Loaded::default() }, HOUR)
    }

    #[test]
    fn documents_that_take_longer_and_longer_are_noticed() {
        assert_eq!(latency_of(|_| 2.0).outcome, Outcome::Pass);
        assert_eq!(latency_of(|due| if (due as u64).is_multiple_of(7) { 9.0 } else { 2.0 }).outcome, Outcome::Pass);
        // From 2 s to 2.4 s within the hour.
        assert!(matches!(latency_of(|due| 2.0 + 0.4 * due / 3600.0).outcome, Outcome::Fail(_)));
        let nothing = steady(&Loaded::default(), HOUR);
        assert!(matches!(nothing.outcome, Outcome::Fail(_)), "{nothing:?}");
    }

    /// An hour with so many workers in its last quarter.
    fn workers_of(last: i32) -> Check {
        let samples: Vec<Sample> = (0..=3600)
            .map(f64::from)
            .map(|at| sample(at, if at < 2700.0 { (5, 5) } else { (last, last) }, 0.0, 0.0))
            .collect();
        sized(&sizing(), &samples, HOUR)
    }

    #[test]
    fn workers_that_nobody_needs_are_noticed_in_the_last_quarter() {
        assert_eq!(workers_of(5).outcome, Outcome::Pass);
        assert!(matches!(workers_of(9).outcome, Outcome::Fail(_)));
        assert!(matches!(workers_of(3).outcome, Outcome::Fail(_)));
        let unseen = sized(&sizing(), &[], HOUR);
        assert!(matches!(unseen.outcome, Outcome::Inconclusive(_)), "{unseen:?}");
    }
}
