//! The reaction to a step up in load, stage by stage: load → signal → decision → pod → first poll → latency back. Pure.
//!
//! The workers' counts come from a watch and are exact to milliseconds. The signal has the period of the samples, a
//! second, and latency has that of [`WINDOW`].

use serde::{Deserialize, Serialize};

use super::statistics::{ABOVE_P99, Latency, allowed, latency};
use crate::cluster::IO_QUEUE;
use crate::cluster::kubernetes::Fleet;
use crate::load::Start;
use crate::load::sizing::Sizing;
use crate::observe::sample::{Sample, changes};
use crate::observe::window::{MAX_GAP, Window};

/// Latency is read for the documents that were due within so many seconds of each other.
pub const WINDOW: f64 = 5.0;

/// What a reaction is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// IO slots in use that one worker should have. Where it is not known, more work than ever before is the signal.
    pub target: Option<f64>,
    /// Workers that the load needs. Where they are not known, the most that were wanted.
    pub needed: Option<i32>,
    /// The bound on p99, in seconds.
    pub p99_bound: f64,
}

impl Expected {
    /// Under so many documents a second.
    pub fn of(sizing: &Sizing, rate: f64) -> Self {
        Self { target: Some(sizing.target), needed: Some(sizing.needed_for(rate)), p99_bound: sizing.p99_bound() }
    }
}

/// When p99 was within its bound again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// No document was due after the step.
    #[default]
    NotSeen,
    /// It never exceeded the bound.
    NeverAbove,
    /// For good, from so many seconds after the step on.
    Back(f64),
    /// It still exceeded the bound when the load ended.
    NotBack,
}

/// What happened after a step up in load, in seconds after it; none for what did not happen or was not seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reaction {
    /// The step, in seconds since the run began.
    pub step: f64,
    /// Workers wanted just before it.
    pub before: i32,
    /// Slots in use and tasks waiting in the IO queue exceeded those workers' target.
    pub signal: Option<f64>,
    /// More workers were wanted.
    pub decision: Option<f64>,
    /// A new pod was there.
    pub pod: Option<f64>,
    /// A new worker was Ready: its polls are registered.
    pub first_poll: Option<f64>,
    /// Workers that the load needs.
    pub needed: i32,
    /// So many were Ready.
    pub all_ready: Option<f64>,
    /// The most workers that were wanted.
    pub most_wanted: i32,
    /// The most workers that were Ready.
    pub most_ready: i32,
    /// When latency was within its bound again, by the count of late documents.
    pub latency: Recovery,
    /// The worst p99 of a window, in seconds; none where a document of that window was never stored.
    pub worst_p99: Option<f64>,
    /// The bound on p99, in seconds.
    pub p99_bound: f64,
}

/// The reaction to the step at the beginning of `window`, until its end.
pub fn reaction(samples: &[Sample], starts: &[Start], window: Window, expected: &Expected) -> Reaction {
    let Window { from: step, to: until } = window;
    let (earlier, after): (Vec<_>, Vec<_>) =
        changes(samples).into_iter().filter(|(at, _)| *at <= until).partition(|(at, _)| *at <= step);
    // A reading long before the step belongs to another load.
    let before =
        earlier.last().filter(|(at, _)| step - at <= MAX_GAP).or(after.first()).map_or(0, |(_, fleet)| fleet.wanted);
    let worked = |after: bool| {
        let inside = samples.iter().filter(move |sample| sample.at <= until && (sample.at > step) == after);
        inside.filter_map(|sample| Some((sample.at, work(sample)?)))
    };
    let carried = expected
        .target
        .map_or_else(|| worked(false).map(|(_, work)| work).fold(0.0, f64::max), |target| target * f64::from(before));
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
        signal: worked(true).find(|(_, work)| *work > carried).map(|(at, _)| at - step),
        decision: grew(|fleet| fleet.wanted, before),
        pod: grew(|fleet| fleet.present, before),
        first_poll: grew(|fleet| fleet.ready, before),
        needed,
        all_ready: (needed > before).then(|| grew(|fleet| fleet.ready, needed - 1)).flatten(),
        most_wanted,
        most_ready: most(|fleet| fleet.ready).unwrap_or(0),
        latency: recovery(&windows, expected.p99_bound),
        worst_p99: windows
            .iter()
            .filter_map(|due| Some(due.latency()?.p99.unwrap_or(f64::INFINITY)))
            .reduce(f64::max)
            .filter(|seconds| seconds.is_finite()),
        p99_bound: expected.p99_bound,
    }
}

/// Tasks of the IO queue in a slot or waiting. Where one of the two readings is missing, there is at least the other.
fn work(sample: &Sample) -> Option<f64> {
    let used = Sample::of_queue(&sample.slots_used, IO_QUEUE);
    let depth = Sample::of_queue(&sample.depth, IO_QUEUE);
    (used.is_some() || depth.is_some()).then(|| used.unwrap_or(0.0) + depth.unwrap_or(0.0))
}

/// The documents of one trip to S3 that were due within [`WINDOW`] seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Due<'a> {
    /// The window's first second.
    pub from: f64,
    starts: Vec<&'a Start>,
}

impl Due<'_> {
    /// Their latency; none where no document was due.
    pub fn latency(&self) -> Option<Latency> {
        latency(self.starts.iter().copied())
    }

    /// Whether more of them are late than chance makes of the share that may be.
    fn is_above(&self, bound: f64) -> bool {
        let late = self.starts.iter().filter(|start| start.latency().is_none_or(|latency| latency >= bound));
        late.count() > allowed(self.starts.len(), ABOVE_P99)
    }
}

/// The windows from `from` to `until`, one after the other, up to the last document.
///
/// Only documents of one trip to S3 count: one that travels as a claim takes several times as long, and a window has
/// too few of those for a percentile.
pub fn windows(starts: &[Start], from: f64, until: f64) -> Vec<Due<'_>> {
    let starts: Vec<&Start> =
        starts.iter().filter(|start| start.trips <= 1 && (from..until).contains(&start.due)).collect();
    let Some(last) = starts.iter().map(|start| start.due).reduce(f64::max) else {
        return Vec::new();
    };
    let window = |number: usize| {
        let begin = from + number as f64 * WINDOW;
        let due = starts.iter().copied().filter(|start| (begin..begin + WINDOW).contains(&start.due));
        Due { from: begin, starts: due.collect() }
    };
    (0..=((last - from) / WINDOW) as usize).map(window).collect()
}

fn recovery(windows: &[Due<'_>], bound: f64) -> Recovery {
    let Some(begin) = windows.first() else {
        return Recovery::NotSeen;
    };
    match windows.iter().rposition(|due| due.is_above(bound)) {
        None => Recovery::NeverAbove,
        Some(worst) if worst + 1 == windows.len() => Recovery::NotBack,
        Some(worst) => Recovery::Back(windows[worst].from + WINDOW - begin.from),
    }
}

/// When latency was within its bound again, in words.
pub fn recovered(recovery: Recovery) -> String {
    match recovery {
        Recovery::NotSeen => "no latency seen".to_owned(),
        Recovery::NeverAbove => "latency never above its bound".to_owned(),
        Recovery::Back(seconds) => format!("latency back after {seconds:.0} s"),
        Recovery::NotBack => "latency not back".to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cluster::reading::Reading;
    use crate::load::tests::start;

    /// A sample with so many workers wanted, present and Ready, IO slots in use, and IO tasks waiting.
    pub(crate) fn sample(at: f64, (wanted, ready): (i32, i32), used: f64, depth: f64) -> Sample {
        let of = |figure: f64| Reading::Seen([(IO_QUEUE.to_owned(), figure)].into());
        Sample {
            at,
            phase: "s/out".to_owned(),
            fleet: Reading::Seen(Fleet { wanted, present: wanted, ready }),
            slots_used: of(used),
            depth: of(depth),
            ..Sample::default()
        }
    }

    #[test]
    fn each_stage_is_told_when_it_was_first_seen() {
        let counts = [(3, 3), (3, 3), (3, 3), (6, 3), (6, 4), (9, 8), (9, 9)];
        let mut samples: Vec<Sample> =
            (0..7).map(|at| sample(f64::from(at), counts[at as usize], 6.0 * f64::from(at), 0.0)).collect();
        samples[3].changes = vec![(2.5, Fleet { wanted: 6, present: 3, ready: 3 })];
        let expected = Expected { target: Some(3.5), needed: Some(8), p99_bound: 4.0 };
        let window = Window { from: 1.0, to: 6.0 };
        let found = reaction(&samples, &[start(1.0, Some(3.0))], window, &expected);
        assert_eq!((found.before, found.most_wanted, found.most_ready), (3, 9, 9));
        assert_eq!(found.signal, Some(1.0), "12 is above 10.5");
        assert_eq!((found.decision, found.pod), (Some(1.5), Some(2.0)));
        assert_eq!((found.first_poll, found.all_ready), (Some(3.0), Some(4.0)));
        assert_eq!(found.latency, Recovery::NeverAbove);
    }

    #[test]
    fn latency_is_back_after_the_last_window_above_its_bound() {
        let late = |due: f64, seconds: Option<f64>| start(due, seconds.map(|seconds| due + seconds));
        let recovery = |starts: &[Start]| super::recovery(&windows(starts, 0.0, 30.0), 4.0);
        let (fast, slow) = (Some(1.0), Some(5.0));
        assert_eq!(recovery(&[]), Recovery::NotSeen);
        assert_eq!(recovery(&[late(1.0, fast)]), Recovery::NeverAbove);
        assert_eq!(recovery(&[late(1.0, slow), late(11.0, fast)]), Recovery::Back(5.0));
        assert_eq!(recovery(&[late(1.0, None), late(6.0, slow), late(11.0, fast)]), Recovery::Back(10.0));
        assert_eq!(recovery(&[late(1.0, fast), late(11.0, None)]), Recovery::NotBack);
        // Of 49 documents two may be late by chance, and three are more than that.
        let of_49 = |slow_ones: usize| -> Vec<Start> {
            let one = |number: usize| late(1.0, if number < slow_ones { slow } else { fast });
            (0..49).map(one).chain([late(6.0, fast)]).collect()
        };
        assert_eq!(recovery(&of_49(2)), Recovery::NeverAbove);
        assert_eq!(recovery(&of_49(3)), Recovery::Back(5.0));
    }
}
