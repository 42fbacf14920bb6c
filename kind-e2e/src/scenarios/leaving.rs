//! Half of a fleet leaves while few of it have work: those that have none go first. The end of [`super::fleet`].

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;

use super::loads::{Loaded, Stretch};
use super::{Context, fleet::pause};
use crate::observe::sample::Sample;
use crate::scaling::{Window, seen};
use crate::verdict::{Check, Outcome};

/// What its samples' phases begin with.
const NAME: &str = "fleet/leave";
/// Seconds of a document's IO: long, so that it is known who has work when workers leave.
const SERVICE: f64 = 12.0;
/// Documents that are worked on at a time.
const IN_FLIGHT: f64 = 7.0;
/// Seconds until there are so many, and it is known who has work and who has none.
const TRICKLE: f64 = 20.0;
/// Seconds in which workers leave.
const LEAVING: &str = "leaving";
const LEAVING_SECONDS: f64 = 10.0;
/// For the last documents, of which some take two answers of S3.
const PATIENCE: f64 = 60.0;

/// Gives many workers little to do, and has half of them leave.
///
/// # Errors
/// The ScaledObject or the way to S3 cannot be changed, or what is stored cannot be read.
pub(super) async fn run(context: &Context, workers: i32, loaded: &mut Loaded) -> Result<()> {
    let toxiproxy = &context.fixture.toxiproxy;
    toxiproxy.delay_answers(Duration::from_secs_f64(SERVICE)).await?;
    let (begun, load) = Loaded::begin(context, NAME);
    *loaded = begun;
    let stretch = |name, seconds| Stretch::new(name, IN_FLIGHT / SERVICE, seconds).even();
    let trickle = [stretch("trickle", TRICKLE)];
    loaded.play(context, &load, NAME, &trickle).await;
    // By KEDA's switch, as the fleet came: who leaves is Kubernetes' choice either way.
    pause(context, Some(workers / 2)).await?;
    let leaving = [stretch(LEAVING, LEAVING_SECONDS)];
    loaded.play(context, &load, NAME, &leaving).await;
    loaded.end(context, PATIENCE).await?;
    toxiproxy.clear().await
}

/// What became of it.
pub(super) fn judge(loaded: &Loaded, samples: &[Sample]) -> Vec<Check> {
    let (Some(window), Some(_)) = (loaded.whole(), loaded.window(LEAVING)) else {
        return Vec::new();
    };
    let mut checks = vec![idle_first(samples, window)];
    checks.extend(loaded.checks().into_iter().map(|mut check| {
        check.name = format!("while workers leave: {}", check.name);
        check
    }));
    checks
}

/// For so many seconds a worker has to be seen with work for Kubernetes to know it: a look of `temporal-worker watch` (5 s), and what a
/// scrape and a sample are late.
const KNOWN_BUSY: f64 = 7.0;
/// And without work: two looks.
const KNOWN_IDLE: f64 = 12.0;

/// Whenever workers left, none that was known to have work was among them while one that was known to be idle stayed.
fn idle_first(samples: &[Sample], window: Window) -> Check {
    let name = "idle workers left first";
    let bound =
        format!("none with work for {KNOWN_BUSY:.0} s left while one idle for {KNOWN_IDLE:.0} s stayed");
    let why = "Kubernetes takes those with the lowest pod-deletion-cost, which temporal-queue-metrics sets";
    if let Err(gap) = seen(samples, window, |sample| {
        sample
            .slots_by_worker
            .seen()
            .filter(|_| sample.pods.seen().is_some())
    }) {
        return Check::new(name, bound, "not seen", why, Outcome::inconclusive(gap));
    }
    let inside: Vec<&Sample> = window
        .of(samples)
        .filter(|sample| sample.pods.seen().is_some())
        .collect();
    let (mut left, mut choices, mut wrong) = (0, 0, Vec::new());
    for pair in inside.windows(2) {
        let [before, after] = [pair[0], pair[1]].map(available);
        let at = pair[0].at;
        let (stayed, gone): (Vec<&str>, Vec<&str>) =
            before.iter().copied().partition(|name| after.contains(name));
        if gone.is_empty() {
            continue;
        }
        left += gone.len();
        let busy = |name: &str| known(samples, name, at, KNOWN_BUSY, |used| used > 0.0);
        let idle = |name: &str| known(samples, name, at, KNOWN_IDLE, |used| used == 0.0);
        let spared = before.iter().any(|name| busy(name)) && before.iter().any(|name| idle(name));
        choices += usize::from(spared);
        if let Some(stays) = stayed.iter().find(|name| idle(name)) {
            let busy = gone.iter().filter(|name| busy(name));
            wrong.extend(
                busy.map(|gone| format!("second {at:.0}: {gone} left with work, {stays} stayed without")),
            );
        }
    }
    let measured = format!("{left} left, {choices} times where one had work and another had none");
    let outcome = match (wrong.is_empty(), choices) {
        (false, _) => Outcome::Fail(wrong),
        (true, 0) => Outcome::inconclusive(
            "there was nothing to choose: no worker left while one had work and another had none",
        ),
        (true, _) => Outcome::Pass,
    };
    Check::new(name, bound, measured, why, outcome)
}

/// Workers that are Ready and not leaving.
fn available(sample: &Sample) -> BTreeSet<&str> {
    let pods = sample.pods.seen().into_iter().flatten();
    pods.filter(|pod| pod.ready && !pod.leaving)
        .map(|pod| pod.name.as_str())
        .collect()
}

/// Whether a worker's slots in use were so in every sample of the last `span` seconds before `at`.
fn known(samples: &[Sample], worker: &str, at: f64, span: f64, so: impl Fn(f64) -> bool) -> bool {
    let within = samples
        .iter()
        .filter(|sample| (at - span..=at).contains(&sample.at))
        .filter_map(|sample| sample.slots_by_worker.seen());
    let used: Vec<Option<f64>> = within.map(|workers| workers.get(worker).copied()).collect();
    used.len() as f64 >= span && used.into_iter().all(|used| used.is_some_and(&so))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::sample::{PodState, Reading};
    use crate::scaling::tests::sample;

    /// Twenty seconds of three workers, of which `a` has work, and `b` and `c` have none until second `from`; in the last second
    /// only `stays` are there.
    fn left(stays: &[&str], from: f64) -> (Vec<Sample>, Window) {
        let pod = |name: &str| PodState {
            name: name.to_owned(),
            phase: "Running".to_owned(),
            ready: true,
            leaving: !stays.contains(&name),
            restarts: 0,
            last_end: None,
            waiting: None,
        };
        let window = Window { from: 0.0, to: 20.0 };
        let mut samples: Vec<Sample> = (0..=20)
            .map(|second| sample(f64::from(second), Some((3, 3, 3))))
            .collect();
        for sample in &mut samples {
            let used = |name: &str| f64::from(name == "a" || sample.at >= from);
            let workers = ["a", "b", "c"].map(|name| (name.to_owned(), used(name)));
            sample.slots_by_worker = Reading::Seen(workers.into());
            let mut pods = ["a", "b", "c"].map(pod);
            if sample.at < 20.0 {
                pods.iter_mut().for_each(|pod| pod.leaving = false);
            }
            sample.pods = Reading::Seen(pods.into());
        }
        (samples, window)
    }

    #[test]
    fn who_has_work_stays_while_somebody_idle_does() {
        let never = f64::INFINITY;
        let table: [(&str, &[&str], f64, &str); 7] = [
            ("an idle one left", &["a", "b"], never, "Pass"),
            ("both idle ones left", &["a"], never, "Pass"),
            ("the busy one left", &["b", "c"], never, "Fail"),
            ("all left", &[], never, "Pass"),
            (
                "the busy one left when the others were not known to be idle",
                &["b", "c"],
                10.0,
                "Inconclusive",
            ),
            ("nobody left", &["a", "b", "c"], never, "Inconclusive"),
            (
                "one left of workers that all had work",
                &["a", "b"],
                0.0,
                "Inconclusive",
            ),
        ];
        for (why, stays, from, word) in table {
            let (samples, window) = left(stays, from);
            assert_eq!(idle_first(&samples, window).outcome.word(), word, "{why}");
        }
        let (mut samples, window) = left(&["a", "b"], never);
        for sample in &mut samples {
            sample.slots_by_worker = Reading::Gap("refused".to_owned());
        }
        assert_eq!(idle_first(&samples, window).outcome.word(), "Inconclusive");
    }
}
