//! What the samples show about the workers' number. Pure: samples in, checks out.
//!
//! A window in which the source was not seen for more than [`MAX_GAP`] shows nothing: such a check is
//! inconclusive, whatever the samples beside the gap say.

use serde::{Deserialize, Serialize};

use crate::bounds::Bound;
use crate::observe::sample::{self, Fleet, PodState, Sample};
use crate::reaction::{Expected, reaction};
use crate::verdict::{Check, Outcome};

/// The longest time, in seconds, that may lie between two readings.
///
/// The HPA decides every 15 s: replicas that went up and came back take two decisions, so that nothing
/// it did can hide in a third of its period.
pub const MAX_GAP: f64 = 5.0;

/// A stretch of the run, in seconds since it began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its first second.
    pub from: f64,
    /// Its last second.
    pub to: f64,
}

impl Window {
    /// Its length in seconds.
    pub fn seconds(self) -> f64 {
        self.to - self.from
    }

    /// Whether second `at` of the run is within it, both ends included.
    pub fn has(self, at: f64) -> bool {
        (self.from..=self.to).contains(&at)
    }

    /// The samples taken within it.
    pub fn of(self, samples: &[Sample]) -> impl Iterator<Item = &Sample> {
        samples.iter().filter(move |sample| self.has(sample.at))
    }
}

/// The readings of one source in a window, if none is missing for too long.
///
/// # Errors
/// The first stretch without a reading.
pub fn seen<'a, T>(
    samples: &'a [Sample],
    window: Window,
    pick: impl Fn(&'a Sample) -> Option<&'a T>,
) -> Result<Vec<(f64, &'a T)>, String> {
    let inside: Vec<(f64, &T)> = window
        .of(samples)
        .filter_map(|sample| pick(sample).map(|value| (sample.at, value)))
        .collect();
    let mut last = window.from;
    for at in inside.iter().map(|(at, _)| *at).chain([window.to]) {
        if at - last > MAX_GAP {
            return Err(format!("nothing was seen from second {last:.0} to {at:.0}"));
        }
        last = at;
    }
    Ok(inside)
}

/// The workers' counts in a window, changes between two samples included, if no reading is missing for too long.
///
/// # Errors
/// The first stretch without a reading.
pub fn fleets(samples: &[Sample], window: Window) -> Result<Vec<(f64, Fleet)>, String> {
    seen(samples, window, |sample| sample.fleet.seen())?;
    Ok(inside(samples, window).collect())
}

/// The workers' counts in a window, changes between two samples included, whatever is missing.
pub fn inside(samples: &[Sample], window: Window) -> impl Iterator<Item = (f64, Fleet)> {
    let all = sample::fleets(samples).into_iter();
    all.filter(move |(at, _)| window.has(*at))
}

/// Exactly `count` workers wanted, present and ready in every reading of `window`.
pub fn held(name: &str, samples: &[Sample], window: Window, count: i32, why: &str) -> Check {
    let length = window.seconds();
    let bound = format!("{count} wanted and ready in every reading of {length:.0} s");
    let readings = match fleets(samples, window) {
        Ok(readings) => readings,
        Err(gap) => return Check::new(name, bound, "not seen", why, Outcome::inconclusive(gap)),
    };
    let wanted = |pick: fn(&Fleet) -> i32| {
        let values: Vec<i32> = readings.iter().map(|(_, fleet)| pick(fleet)).collect();
        (
            values.iter().min().copied().unwrap_or(0),
            values.iter().max().copied().unwrap_or(0),
        )
    };
    let (least, most) = wanted(|fleet| fleet.ready);
    let (least_wanted, most_wanted) = wanted(|fleet| fleet.wanted);
    let measured = format!(
        "{} readings: wanted {least_wanted} to {most_wanted}, ready {least} to {most}",
        readings.len()
    );
    let broken = readings.iter().find(|(_, fleet)| !fleet.is_settled_at(count));
    let outcome = match broken {
        None => Outcome::Pass,
        Some((at, fleet)) => Outcome::fail(format!("second {at:.0}: {fleet}")),
    };
    Check::new(name, bound, measured, why, outcome)
}

/// More workers than before were wanted within the first bound and ready within the second.
pub fn scaled_out(samples: &[Sample], window: Window, decision: &Bound, ready: &Bound) -> [Check; 2] {
    let reaction = reaction(samples, &[], window, &Expected::NOTHING);
    let before = reaction.before;
    let gap = fleets(samples, window).err();
    let decided = timed(reaction.decision, decision.seconds, gap.as_deref(), || {
        format!("never more than {} wanted", reaction.most_wanted)
    });
    let lag = reaction
        .first_poll
        .zip(reaction.decision)
        .map(|(ready, decision)| ready - decision);
    let became = timed(lag, ready.seconds, gap.as_deref(), || {
        format!("never more than {} ready", reaction.most_ready)
    });
    [
        Check::new(
            format!("more than {before} workers wanted after the step in load"),
            format!("≤ {:.0} s after the step", decision.seconds),
            told(
                reaction.decision,
                &format!("most wanted {}", reaction.most_wanted),
            ),
            &decision.why,
            decided,
        ),
        Check::new(
            format!("more than {before} workers ready after the decision"),
            format!("≤ {:.0} s after the decision", ready.seconds),
            told(lag, &format!("most ready {}", reaction.most_ready)),
            &ready.why,
            became,
        ),
    ]
}

/// The fleet was settled at `count` within `bound` of `window.from`. It may have been before: a queue that has drained while
/// the load goes on lets the fleet go, and then the window is as good as empty.
pub fn scaled_in(samples: &[Sample], window: Window, count: i32, bound: &Bound) -> Check {
    let before = samples.iter().rev().find(|sample| sample.at < window.from);
    let settled = before
        .into_iter()
        .chain(window.of(samples))
        .find(|sample| {
            sample
                .fleet
                .seen()
                .is_some_and(|fleet| fleet.is_settled_at(count))
        })
        .map(|sample| (sample.at - window.from).max(0.0));
    let last = samples.iter().rev().find_map(|sample| sample.fleet.seen());
    let gap = fleets(samples, window).err();
    let outcome = timed(settled, bound.seconds, gap.as_deref(), || match last {
        Some(fleet) => format!("{fleet} at the end"),
        None => "no replicas were seen".to_owned(),
    });
    Check::new(
        format!("back to {count} workers"),
        format!("≤ {:.0} s after the last document was stored", bound.seconds),
        told(settled, ""),
        &bound.why,
        outcome,
    )
}

/// A time against its bound: late or never is a failure, unless a gap may hide that it was in time.
pub fn timed(
    seconds: Option<f64>,
    bound: f64,
    gap: Option<&str>,
    otherwise: impl FnOnce() -> String,
) -> Outcome {
    match (seconds, gap) {
        (Some(seconds), _) if seconds <= bound => Outcome::Pass,
        (_, Some(gap)) => Outcome::inconclusive(gap),
        (Some(seconds), None) => Outcome::fail(format!("only after {seconds:.0} s, more than {bound:.0} s")),
        (None, None) => Outcome::fail(otherwise()),
    }
}

fn told(seconds: Option<f64>, beside: &str) -> String {
    let time = seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.0} s"));
    if beside.is_empty() {
        time
    } else {
        format!("{time}; {beside}")
    }
}

/// The greatest depth of `queue` in `window` against `limit`.
pub fn depth_below(
    name: &str,
    samples: &[Sample],
    window: Window,
    queue: &str,
    limit: f64,
    why: &str,
) -> Check {
    let bound = format!("≤ {limit:.0}");
    match seen(samples, window, |sample| {
        sample.depth.seen().and_then(|depth| depth.get(queue))
    }) {
        Err(gap) => Check::new(name, bound, "not seen", why, Outcome::inconclusive(gap)),
        Ok(readings) => {
            let most = readings.iter().map(|(_, depth)| **depth).fold(0.0, f64::max);
            let outcome = Outcome::require(most <= limit, || {
                format!("{most:.0} at the most, above {limit:.0}")
            });
            Check::new(name, bound, format!("{most:.0} at the most"), why, outcome)
        }
    }
}

/// No worker was restarted or killed for memory while it was watched.
///
/// Restarts are counted against the first reading of each pod: what a kept cluster went through
/// before this run is not held against it. A pod that is new starts from 0.
pub fn never_restarted(samples: &[Sample], window: Window) -> Check {
    let name = "no worker restarted, none killed for memory";
    let why = "the guide's success metric: no worker crashes or OOM errors";
    let readings = match seen(samples, window, |sample| sample.pods.seen()) {
        Ok(readings) => readings,
        Err(gap) => return Check::new(name, "0 restarts", "not seen", why, Outcome::inconclusive(gap)),
    };
    let mut first = std::collections::BTreeMap::new();
    let mut broken = std::collections::BTreeMap::new();
    for (index, (at, pods)) in readings.iter().enumerate() {
        for pod in pods.iter() {
            let base = *first
                .entry(&pod.name)
                .or_insert(if index == 0 { pod.restarts } else { 0 });
            if pod.restarts > base {
                broken
                    .entry(&pod.name)
                    .or_insert_with(|| restarted(*at, pod, base));
            }
        }
    }
    let measured = format!("{} pods seen, {} restarted", first.len(), broken.len());
    let outcome = if broken.is_empty() {
        Outcome::Pass
    } else {
        Outcome::Fail(broken.into_values().collect())
    };
    Check::new(name, "0 restarts", measured, why, outcome)
}

fn restarted(at: f64, pod: &PodState, base: i32) -> String {
    let reason = pod.last_end.as_deref().unwrap_or("no reason given");
    format!(
        "second {at:.0}: {} restarted {} times ({reason})",
        pod.name,
        pod.restarts - base
    )
}

#[cfg(test)]
#[path = "scaling_tests.rs"]
pub(crate) mod tests;
