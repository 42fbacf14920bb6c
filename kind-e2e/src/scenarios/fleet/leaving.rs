//! Half of a fleet leaves while few of its workers have work: the idle ones leave first.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::cluster::switches::pause;
use crate::judge::verdict::{Check, Outcome, Question};
use crate::load::context::Context;
use crate::observe::sample::Sample;
use crate::observe::window::{Window, seen};
use crate::scenarios::delay;
use crate::scenarios::loaded::{Loaded, Stretch};

/// The beginning of its samples' phases.
const NAME: &str = "fleet/leave";
/// Seconds of a document's IO: long, so that it is known who has work when workers leave.
const SERVICE: f64 = 12.0;
/// Documents in flight.
const IN_FLIGHT: f64 = 7.0;
/// Seconds until so many are in flight, and it is known who has work.
const TRICKLE: f64 = 20.0;
/// The stretch in which workers leave, and its seconds.
const LEAVING: &str = "leaving";
const LEAVING_SECONDS: f64 = 10.0;
/// The last documents are stored within this time, in seconds; some go to S3 several times.
const DRAINED: f64 = 90.0;

/// Gives many workers little to do, and has half of them leave.
///
/// # Errors
/// The ScaledObject or the latency cannot be changed, or what is stored cannot be read.
pub(super) async fn run(context: &Context, workers: i32, loaded: &mut Loaded) -> Result<()> {
    delay(context, SERVICE).await?;
    let (begun, load) = Loaded::begin(context, NAME);
    *loaded = begun;
    let stretch = |name, seconds| [Stretch::new(name, IN_FLIGHT / SERVICE, seconds).even()];
    loaded.play(context, &load, NAME, &stretch("trickle", TRICKLE)).await;
    // The number is fixed either way; Kubernetes chooses who leaves.
    pause(&context.fixture, Some(workers / 2)).await?;
    loaded.play(context, &load, NAME, &stretch(LEAVING, LEAVING_SECONDS)).await;
    loaded.end(context, DRAINED).await
}

/// What became of it.
pub(super) fn judge(loaded: &Loaded, samples: &[Sample]) -> Vec<Check> {
    let (Some(window), Some(_)) = (loaded.whole(), loaded.window(LEAVING)) else {
        return Vec::new();
    };
    let loaded = loaded.checks(samples, true).into_iter().map(|check| check.of_part("while workers leave"));
    std::iter::once(idle_first(samples, window)).chain(loaded).collect()
}

/// A worker that was seen with work for so many seconds is known to have work: `temporal-scaler` looks every
/// 5 s, and a scrape and a sample add up to 2 s.
const KNOWN_BUSY: f64 = 7.0;
/// A worker that was seen without work for so many seconds is known to be idle: two looks.
const KNOWN_IDLE: f64 = 12.0;

/// Whenever workers left, none that was known to have work was among them while one known to be idle stayed.
fn idle_first(samples: &[Sample], window: Window) -> Check {
    let question = Question::new(
        "idle-first",
        "idle workers leave first",
        format!("none with work for {KNOWN_BUSY:.0} s leaves while one idle for {KNOWN_IDLE:.0} s stays"),
        "Kubernetes removes pods with the lowest pod-deletion-cost first; temporal-scaler sets it",
    );
    let both = |sample: &Sample| sample.pods.seen().is_some() && sample.slots_by_worker.seen().is_some();
    if let Err(gap) = seen(samples, window, |sample| Some(sample).filter(|sample| both(sample))) {
        return question.unseen(gap);
    }
    let inside: Vec<&Sample> = window.of(samples).filter(|sample| sample.pods.seen().is_some()).collect();
    let (mut left, mut choices, mut wrong) = (0, 0, Vec::new());
    for pair in inside.windows(2) {
        let [before, after] = [pair[0], pair[1]].map(available);
        let at = pair[0].at;
        let (stayed, gone): (Vec<&str>, Vec<&str>) = before.iter().copied().partition(|name| after.contains(name));
        if gone.is_empty() {
            continue;
        }
        left += gone.len();
        let busy = |name: &str| known(samples, name, at, KNOWN_BUSY, |used| used > 0.0);
        let idle = |name: &str| known(samples, name, at, KNOWN_IDLE, |used| used == 0.0);
        let choice = before.iter().any(|name| busy(name)) && before.iter().any(|name| idle(name));
        choices += usize::from(choice);
        if let Some(stays) = stayed.iter().find(|name| idle(name)) {
            let busy = gone.iter().filter(|name| busy(name));
            wrong.extend(busy.map(|gone| format!("second {at:.0}: {gone} left with work, {stays} stayed without")));
        }
    }
    let measured = format!("{left} left, {choices} times where one had work and another had none");
    match (wrong.is_empty(), choices) {
        (false, _) => question.answer(measured, Outcome::Fail(wrong)),
        (true, 0) => question.unseen("no worker left while one had work and another had none"),
        (true, _) => question.answer(measured, Outcome::Pass),
    }
}

/// Workers that are Ready and not leaving.
fn available(sample: &Sample) -> BTreeSet<&str> {
    let pods = sample.pods.seen().into_iter().flatten();
    pods.filter(|pod| pod.ready && !pod.leaving).map(|pod| pod.name.as_str()).collect()
}

/// Whether `so` held of a worker's slots in use in every sample of the last `span` seconds before `at`.
fn known(samples: &[Sample], worker: &str, at: f64, span: f64, so: impl Fn(f64) -> bool) -> bool {
    let within = samples
        .iter()
        .filter(|sample| (at - span..=at).contains(&sample.at))
        .filter_map(|sample| sample.slots_by_worker.seen());
    let used: Vec<Option<f64>> = within.map(|workers| workers.get(worker).copied()).collect();
    used.len() as f64 >= span && used.into_iter().all(|used| used.is_some_and(&so))
}
