//! From samples and starts to charts: what is shown of a load over time. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::chart::{Chart, Mark, Panel, Span};
use super::series::{Form, Point, Series};
use crate::cluster::kubernetes::Fleet;
use crate::cluster::reading::Reading;
use crate::cluster::{CPU_QUEUE, IO_QUEUE, WORKFLOW_QUEUE};
use crate::judge::part::Part;
use crate::judge::reaction::{Reaction, Recovery, WINDOW, windows};
use crate::judge::simulation::Simulated;
use crate::judge::statistics::Latency;
use crate::load::sizing::{GUIDE_P99, WAITING};
use crate::observe::host::HostUse;
use crate::observe::sample::{Sample, changes};

/// Samples are a second apart; where two are further apart than this, one at least is missing, and no line is drawn.
const BREAK: f64 = 2.5;
/// Arrivals a second are means over so many seconds before and after: a Poisson process is too rough to read by
/// the second.
const SMOOTH: f64 = 2.5;
/// More decisions to scale in than these are counted, and not marked one by one: they would hide what is below them.
const NUMBERED: usize = 6;
/// The stages of more reactions than these are in the table alone.
const DETAILED: usize = 3;
/// The closer look at a step begins so many seconds before it, and ends so many after it.
const CLOSE: (f64, f64) = (10.0, 60.0);

type ByQueue = BTreeMap<String, f64>;

/// The whole load; none where no sample was taken of it.
pub(super) fn whole(
    part: &Part<'_>,
    samples: &[Sample],
    reactions: &[Reaction],
    simulated: &[Simulated],
) -> Option<Chart> {
    let (from, to) = (samples.first()?.at, samples.last()?.at);
    let zero = reactions.first().map_or(from, |reaction| reaction.step);
    let since = match reactions.len() {
        0 => "the first sample",
        1 => "the step in load",
        _ => "the first step in load",
    };
    Some(Chart {
        title: format!("Seconds from {since}"),
        from,
        to,
        zero,
        phases: phases(samples, part.name),
        marks: marks(samples, reactions),
        panels: panels(part, samples, simulated),
    })
}

/// A closer look at the reaction to a step.
pub(super) fn close(whole: &Chart, reaction: &Reaction) -> Chart {
    Chart {
        title: "The reaction, closer: seconds from the step in load".to_owned(),
        from: (reaction.step - CLOSE.0).max(whole.from),
        to: (reaction.step + CLOSE.1).min(whole.to),
        zero: reaction.step,
        ..whole.clone()
    }
}

fn panels(part: &Part<'_>, samples: &[Sample], simulated: &[Simulated]) -> Vec<Panel> {
    vec![
        workers(samples, simulated),
        depth(samples),
        slots(samples, part.io_slots),
        latency(part, samples),
        host(samples),
    ]
}

/// What used this host's CPU: a load that saturates it judges the host.
fn host(samples: &[Sample]) -> Panel {
    let of = |pick: fn(&HostUse) -> Option<f64>| points(samples, |sample| pick(sample.host.seen()?));
    Panel {
        title: "CPU of this host",
        unit: "cores",
        right_unit: "",
        gaps: gaps(&of(|_| Some(0.0))),
        series: vec![
            series("in use", "c1", Form::Steps, of(|host| Some(host.busy + host.steal))),
            series("by others", "c2", Form::Area, of(|host| Some(host.others? + host.steal))),
            series("cores", "grey", Form::Dashed, of(|host| Some(host.cores))),
        ],
        bound: None,
        may_be_log: false,
    }
}

/// The workers, and beside them those of the simulator, if it has played this load.
fn workers(samples: &[Sample], simulated: &[Simulated]) -> Panel {
    let count = |pick: fn(&Fleet) -> i32| {
        let read = points(samples, |sample| sample.fleet.seen().map(pick).map(f64::from));
        let changes = samples.iter().flat_map(|sample| &sample.changes);
        let changed = changes.map(|(at, fleet)| (*at, Some(f64::from(pick(fleet)))));
        let mut all: Vec<Point> = read.into_iter().chain(changed).collect();
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        all
    };
    let wanted = count(|fleet| fleet.wanted);
    let of_simulator = |name: &str, color, form, pick: fn(&Simulated) -> i32| {
        let points = simulated.iter().map(|moment| (moment.at, Some(f64::from(pick(moment)))));
        (!simulated.is_empty()).then(|| series(name, color, form, points.collect()))
    };
    let simulated = [
        of_simulator("wanted, simulated", "c4", Form::Dashed, |moment| moment.wanted),
        of_simulator("Ready, simulated", "c3", Form::Steps, |moment| moment.ready),
    ];
    Panel {
        title: "Workers against load",
        unit: "workers",
        right_unit: "documents/s",
        gaps: gaps(&wanted),
        series: [
            series("load due, documents/s", "load", Form::Area, rate(samples)).on_the_right(),
            series("wanted", "c2", Form::Dashed, wanted),
            series("Ready", "c1", Form::Steps, count(|fleet| fleet.ready)),
        ]
        .into_iter()
        .chain(simulated.into_iter().flatten())
        .collect(),
        bound: None,
        may_be_log: false,
    }
}

fn depth(samples: &[Sample]) -> Panel {
    let mut all = by_queue(samples, "", Form::Steps, |sample| sample.depth.seen());
    all.extend(backlog(samples));
    Panel {
        title: "Depth by queue",
        unit: "tasks that wait",
        right_unit: "",
        gaps: gaps(&points(samples, |sample| sample.depth.seen().map(|_| 0.0))),
        series: all,
        bound: None,
        may_be_log: false,
    }
}

/// Temporal is asked in some samples only: points, with nothing between them.
fn backlog(samples: &[Sample]) -> Vec<Series> {
    let asked: Vec<Sample> = samples.iter().filter(|sample| sample.backlog.is_some()).cloned().collect();
    by_queue(&asked, ", by Temporal itself", Form::Dots, |sample| sample.backlog.as_ref().and_then(Reading::seen))
}

fn slots(samples: &[Sample], io_slots: Option<u32>) -> Panel {
    let mut all = by_queue(samples, "", Form::Steps, |sample| sample.slots_used.seen());
    if let Some(slots) = io_slots {
        let there = points(samples, |sample| Some(f64::from(slots) * f64::from(sample.fleet.seen()?.ready)));
        all.insert(0, series("IO slots of Ready workers", "grey", Form::Dashed, there));
    }
    Panel {
        title: "Slots in use by queue",
        unit: "slots",
        right_unit: "",
        gaps: gaps(&points(samples, |sample| sample.slots_used.seen().map(|_| 0.0))),
        series: all,
        bound: None,
        may_be_log: false,
    }
}

/// Latency of the documents that were due within [`WINDOW`] seconds, drawn in the middle of them.
fn latency(part: &Part<'_>, samples: &[Sample]) -> Panel {
    let first = part.starts.iter().map(|start| start.due).fold(f64::INFINITY, f64::min);
    // A step begins a window, so that no window has documents of both.
    let from = part.steps.first().map_or(first, |step| step.at - ((step.at - first) / WINDOW).ceil().max(0.0) * WINDOW);
    let until = samples.last().map_or(from, |sample| sample.at + WINDOW);
    let windows = windows(part.starts, from, until);
    let percentile = |pick: fn(&Latency) -> Option<f64>| -> Vec<Point> {
        windows.iter().map(|due| (due.from + WINDOW / 2.0, due.latency().as_ref().and_then(pick))).collect()
    };
    let bound = match part.p99_bound > GUIDE_P99 {
        false => format!("guide: p99 < {GUIDE_P99:.0} s"),
        true => format!("p99 < {:.1} s: the documents' IO and the guide's {WAITING:.1} s", part.p99_bound),
    };
    Panel {
        title: "Latency of documents of one trip to S3, by the time at which they were due",
        unit: "seconds",
        right_unit: "",
        series: vec![
            series("p50", "c1", Form::Line, percentile(|latency| latency.p50)),
            series("p99", "c2", Form::Line, percentile(|latency| latency.p99)),
        ],
        bound: Some((part.p99_bound, bound)),
        gaps: Vec::new(),
        may_be_log: true,
    }
}

fn series(name: impl Into<String>, color: &'static str, form: Form, points: Vec<Point>) -> Series {
    Series { name: name.into(), color, form, right: false, points }
}

impl Series {
    fn on_the_right(self) -> Self {
        Self { right: true, ..self }
    }
}

fn by_queue(samples: &[Sample], more: &str, form: Form, pick: impl Fn(&Sample) -> Option<&ByQueue>) -> Vec<Series> {
    let seen: BTreeSet<&str> = samples.iter().filter_map(&pick).flat_map(BTreeMap::keys).map(String::as_str).collect();
    let known = [(WORKFLOW_QUEUE, "workflow", "c1"), (IO_QUEUE, "IO", "c2"), (CPU_QUEUE, "CPU", "c3")];
    let others = seen.iter().filter(|queue| known.iter().all(|(name, _, _)| name != *queue));
    let all = known.iter().copied().filter(|(queue, _, _)| seen.contains(queue));
    all.chain(others.map(|queue| (*queue, *queue, "c4")))
        .map(|(queue, name, color)| {
            let values = points(samples, |sample| pick(sample)?.get(queue).copied());
            let values = match form {
                // Points need no end of a line between them.
                Form::Dots => values.into_iter().filter(|(_, value)| value.is_some()).collect(),
                _ => values,
            };
            series(format!("{name}{more}"), color, form, values)
        })
        .collect()
}

/// A point a sample, and one without a value where samples are missing.
fn points(samples: &[Sample], pick: impl Fn(&Sample) -> Option<f64>) -> Vec<Point> {
    let mut points = Vec::with_capacity(samples.len());
    let mut last: Option<f64> = None;
    for sample in samples {
        if last.is_some_and(|last| sample.at - last > BREAK) {
            points.push((f64::midpoint(last.unwrap_or_default(), sample.at), None));
        }
        points.push((sample.at, pick(sample)));
        last = Some(sample.at);
    }
    points
}

/// From the last value before to the first value after each stretch without one.
fn gaps(points: &[Point]) -> Vec<(f64, f64)> {
    let mut gaps = Vec::new();
    let mut begin: Option<f64> = None;
    let mut last: Option<f64> = None;
    for (at, value) in points {
        match (value, begin) {
            (None, None) => begin = Some(last.unwrap_or(*at)),
            (Some(_), Some(from)) => {
                gaps.push((from, *at));
                begin = None;
            }
            _ => {}
        }
        last = Some(*at);
    }
    gaps.extend(begin.zip(last).filter(|(from, to)| to > from));
    gaps
}

/// Arrivals a second around each sample, within its phase: a step in load between two phases stays a step.
fn rate(samples: &[Sample]) -> Vec<Point> {
    let at = |sample: &Sample| {
        let near = |other: &&Sample| (other.at - sample.at).abs() <= SMOOTH && other.phase == sample.phase;
        let mut near = samples.iter().filter(near);
        let first = near.next()?;
        let last = near.next_back()?;
        // The counts begin again at 0 with each load.
        let due = last.load.scheduled.checked_sub(first.load.scheduled)?;
        Some(due as f64 / (last.at - first.at))
    };
    points(samples, at)
}

/// The phases by the rest of their names.
fn phases(samples: &[Sample], part: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for sample in samples {
        let name = sample.phase.strip_prefix(part).unwrap_or(&sample.phase).trim_start_matches('/');
        match spans.last_mut() {
            Some(last) if last.name == name => last.to = sample.at,
            last => {
                if let Some(last) = last {
                    last.to = sample.at;
                }
                spans.push(Span { from: sample.at, to: sample.at, name: name.to_owned() });
            }
        }
    }
    spans
}

/// What happened, in order of time.
fn marks(samples: &[Sample], reactions: &[Reaction]) -> Vec<Mark> {
    let few = reactions.len() <= DETAILED;
    let mut marks: Vec<Mark> =
        reactions.iter().flat_map(|reaction| of_reaction(reaction, few)).chain(scale_ins(samples)).collect();
    marks.sort_by(|one, other| one.at.total_cmp(&other.at));
    marks
}

/// The stages of a reaction, or its step alone.
fn of_reaction(reaction: &Reaction, stages: bool) -> Vec<Mark> {
    let back = match reaction.latency {
        Recovery::Back(seconds) => Some(seconds),
        _ => None,
    };
    let found = [
        (Some(0.0), "the load steps up"),
        (reaction.signal, "signal: more work than the workers' target"),
        (reaction.decision, "decision: more workers wanted"),
        (reaction.first_poll, "first new worker Ready"),
        (reaction.all_ready, "all needed workers Ready"),
        (back, "latency back"),
    ];
    let mark = |(after, what): (Option<f64>, &str)| Some(Mark { at: reaction.step + after?, what: what.to_owned() });
    let shown = if stages { found.len() } else { 1 };
    found.into_iter().take(shown).filter_map(mark).collect()
}

fn scale_ins(samples: &[Sample]) -> Vec<Mark> {
    let wanted: Vec<(f64, i32)> = changes(samples).into_iter().map(|(at, fleet)| (at, fleet.wanted)).collect();
    let fewer = wanted.windows(2).filter(|pair| pair[1].1 < pair[0].1);
    let all: Vec<Mark> = fewer
        .map(|pair| Mark { at: pair[1].0, what: format!("scale-in: {} → {} wanted", pair[0].1, pair[1].1) })
        .collect();
    let more = all.len().saturating_sub(NUMBERED);
    let mut shown: Vec<Mark> = all.into_iter().take(NUMBERED).collect();
    if let Some(last) = shown.last_mut().filter(|_| more > 0) {
        last.what = format!("{}, and {more} more after it", last.what);
    }
    shown
}
