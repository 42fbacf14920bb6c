//! The reaction to a step up in load, taken apart: load → signal → decision → pod → first poll → latency back.
//! Pure: samples and starts in, seconds out.
//!
//! The workers' counts are of a watch, which tells a change within milliseconds; the signal has the grain of the samples, a second,
//! and latency that of [`WINDOW`].

use serde::{Deserialize, Serialize};

use crate::fixture::IO_QUEUE;
use crate::load::{Latency, Start, latency};
use crate::observe::sample::{Fleet, Sample, fleets};
use crate::scaling::{MAX_GAP, Window};

/// The guide's success metric: p99 below 4 s.
pub const P99_BOUND: f64 = 4.0;
/// Seconds of waiting in it, with documents of 2 s of IO: where documents take longer, what is left of the guide's bound.
pub const WAITING: f64 = 2.0;
/// What p99 is to be under, in seconds, with documents of so many seconds of IO.
pub fn p99_bound(service: f64) -> f64 {
    P99_BOUND.max(service + WAITING)
}

/// Latency is told for documents that were due within so many seconds of each other: at 10 a second that is fifty
/// documents, fewer than a percentile wants and more than an eye can follow.
pub const WINDOW: f64 = 5.0;

/// What a reaction is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// The number of IO slots in use that a worker is to have. Where it is not known, more work than was ever there before counts as
    /// the signal.
    pub target: Option<f64>,
    /// Workers that the load needs. Where they are not known, as many as were wanted at the most.
    pub needed: Option<i32>,
    /// What p99 is to be under, in seconds.
    pub p99_bound: f64,
}

impl Expected {
    /// Nothing but the guide's bound is known.
    pub const NOTHING: Self = Self {
        target: None,
        needed: None,
        p99_bound: P99_BOUND,
    };
}

/// When p99 was under its bound again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// No document was due after the step.
    #[default]
    NotSeen,
    /// It never was above.
    NeverAbove,
    /// From so many seconds after the step on, for good.
    Back(f64),
    /// It still was above when the load ended.
    NotBack,
}

/// What happened after a step up in load, in seconds after it; none for what did not happen or was not seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reaction {
    /// The step, in seconds since the run began.
    pub step: f64,
    /// Workers wanted just before it.
    pub before: i32,
    /// Work in the IO queue and its slots was more than those workers are to carry.
    pub signal: Option<f64>,
    /// More workers were wanted.
    pub decision: Option<f64>,
    /// There was a new pod.
    pub pod: Option<f64>,
    /// A new worker was ready, which it is when its polls are registered.
    pub first_poll: Option<f64>,
    /// As many as the load needs.
    pub needed: i32,
    /// So many were ready.
    pub all_ready: Option<f64>,
    /// The most workers that were wanted.
    pub most_wanted: i32,
    /// The most workers that were ready.
    pub most_ready: i32,
    /// Latency was back.
    pub latency: Recovery,
    /// The worst p99 of a window, in seconds.
    pub worst_p99: Option<f64>,
    /// What p99 is to be under, in seconds.
    pub p99_bound: f64,
}

/// Takes apart the reaction to the step at the begin of `window`, until its end (the next step, or the end).
pub fn reaction(samples: &[Sample], starts: &[Start], window: Window, expected: &Expected) -> Reaction {
    let Window {
        from: step,
        to: until,
    } = window;
    let (earlier, after): (Vec<_>, Vec<_>) = fleets(samples)
        .into_iter()
        .filter(|(at, _)| *at <= until)
        .partition(|(at, _)| *at <= step);
    // What was seen long before the step is of another load.
    let before = earlier
        .last()
        .filter(|(at, _)| step - at <= MAX_GAP)
        .or(after.first())
        .map_or(0, |(_, fleet)| fleet.wanted);
    let worked = |after: bool| {
        let inside = samples
            .iter()
            .filter(move |sample| sample.at <= until && (sample.at > step) == after);
        inside.filter_map(|sample| Some((sample.at, work(sample)?)))
    };
    let carried = expected.target.map_or_else(
        || worked(false).map(|(_, work)| work).fold(0.0, f64::max),
        |target| target * f64::from(before),
    );
    let grew = |pick: fn(&Fleet) -> i32, above: i32| {
        let first = after.iter().find(|(_, fleet)| pick(fleet) > above);
        first.map(|(at, _)| at - step)
    };
    let most = |pick: fn(&Fleet) -> i32| after.iter().map(|(_, fleet)| pick(fleet)).max();
    let most_wanted = most(|fleet| fleet.wanted).unwrap_or(before);
    let needed = expected.needed.unwrap_or(most_wanted);
    let windows = windows(starts, step, until);
    Reaction {
        step,
        before,
        signal: worked(true)
            .find(|(_, work)| *work > carried)
            .map(|(at, _)| at - step),
        decision: grew(|fleet| fleet.wanted, before),
        pod: grew(|fleet| fleet.present, before),
        first_poll: grew(|fleet| fleet.ready, before),
        needed,
        all_ready: (needed > before)
            .then(|| grew(|fleet| fleet.ready, needed - 1))
            .flatten(),
        most_wanted,
        most_ready: most(|fleet| fleet.ready).unwrap_or(0),
        latency: recovery(&windows, expected.p99_bound),
        worst_p99: windows
            .iter()
            .filter_map(|window| Some(window.latency?.p99))
            .reduce(f64::max),
        p99_bound: expected.p99_bound,
    }
}

/// Tasks of the IO queue that wait or are worked on, as far as they were seen: where one of the two readings is missing,
/// there is at least the other.
fn work(sample: &Sample) -> Option<f64> {
    let of = |reading: Option<&std::collections::BTreeMap<String, f64>>| reading?.get(IO_QUEUE).copied();
    match (of(sample.slots_used.seen()), of(sample.depth.seen())) {
        (None, None) => None,
        (used, depth) => Some(used.unwrap_or(0.0) + depth.unwrap_or(0.0)),
    }
}

/// The documents that were due within [`WINDOW`] seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Due {
    /// The window's first second.
    pub from: f64,
    /// Latency of those that were stored; none where none was.
    pub latency: Option<Latency>,
    /// Documents that were due and never stored.
    pub lost: usize,
}

/// The windows from `from` to `until`, one after the other, those without a document included.
pub fn windows(starts: &[Start], from: f64, until: f64) -> Vec<Due> {
    let end = starts
        .iter()
        .map(|start| start.due)
        .filter(|due| *due >= from && *due < until)
        .fold(from, f64::max);
    let has_any = starts.iter().any(|start| start.due >= from && start.due < until);
    let count = if has_any {
        ((end - from) / WINDOW) as usize + 1
    } else {
        0
    };
    (0..count)
        .map(|number| {
            let begin = from + number as f64 * WINDOW;
            let end = (begin + WINDOW).min(until);
            let within = |start: &Start| start.due >= begin && start.due < end;
            Due {
                from: begin,
                latency: latency(starts, within),
                lost: starts
                    .iter()
                    .filter(|start| within(start) && start.stored.is_none())
                    .count(),
            }
        })
        .collect()
}

/// A document that was never stored is later than any bound.
fn recovery(windows: &[Due], bound: f64) -> Recovery {
    let above = |due: &Due| due.lost > 0 || due.latency.is_some_and(|latency| latency.p99 >= bound);
    let has_documents = |due: &Due| due.lost > 0 || due.latency.is_some();
    let (Some(begin), Some(last)) = (windows.first(), windows.iter().rposition(has_documents)) else {
        return Recovery::NotSeen;
    };
    match windows.iter().rposition(above) {
        None => Recovery::NeverAbove,
        Some(worst) if worst == last => Recovery::NotBack,
        Some(worst) => Recovery::Back(windows[worst].from + WINDOW - begin.from),
    }
}

#[cfg(test)]
#[path = "reaction_tests.rs"]
pub(crate) mod tests;
