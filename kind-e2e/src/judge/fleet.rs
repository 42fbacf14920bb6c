//! What the samples show of the workers: their number, its changes, their slots, memory and restarts. Pure.

use std::collections::BTreeMap;

use super::bounds::{Bound, COOL_DOWN};
use super::verdict::{Check, Outcome, Question, faults};
use crate::cluster::IO_QUEUE;
use crate::cluster::kubernetes::{Fleet, PodState};
use crate::observe::sample::Sample;
use crate::observe::window::{MAX_GAP, Window, fleets, inside, seen};

/// The guide's least and greatest utilization of a fleet that is sized by load.
pub use capacity::demand::{CEILING, FLOOR};

/// Worker-minutes of what ships, over those of an oracle that knows the load.
const COST: f64 = 1.5;
/// Share of the memory limit that a worker may use: the rest is room before the kernel kills it.
const MEMORY_SHARE: f64 = 0.8;

/// Exactly `count` workers are wanted, present and Ready in every reading.
pub fn held(id: &'static str, name: String, samples: &[Sample], window: Window, count: i32, why: &str) -> Check {
    let bound = format!("{count} wanted and Ready in every reading of {:.0} s", window.seconds());
    let question = Question::new(id, name, bound, why);
    question.of(fleets(samples, window).map(|readings| {
        match readings.iter().find(|(_, fleet)| !fleet.is_settled_at(count)) {
            None => (true, format!("{} readings", readings.len())),
            Some((at, fleet)) => (false, format!("second {at:.0}: {fleet}")),
        }
    }))
}

/// The fleet has its minimum within `bound` of the window's beginning. It may have had it before.
pub fn scaled_in(samples: &[Sample], window: Window, count: i32, bound: &Bound) -> Check {
    let before = samples.iter().rev().find(|sample| sample.at < window.from);
    let mut readings = before.into_iter().chain(window.of(samples));
    let settled = readings
        .find(|sample| sample.fleet.seen().is_some_and(|fleet| fleet.is_settled_at(count)))
        .map(|sample| (sample.at - window.from).max(0.0));
    let last = samples.iter().rev().find_map(|sample| sample.fleet.seen());
    let question = Question::new(
        "scale-in",
        format!("back to {count} workers"),
        format!("≤ {:.0} s after the last document was stored", bound.seconds),
        &bound.why,
    );
    let gap = fleets(samples, window).err();
    let never = || last.map_or_else(|| "no worker was seen".to_owned(), |fleet| format!("{fleet} at the end"));
    timed(question, settled, bound.seconds, gap.as_deref(), never)
}

/// A time against its bound. Late or never is a failure, unless a gap may hide that it was in time.
pub fn timed(
    question: Question,
    seconds: Option<f64>,
    bound: f64,
    gap: Option<&str>,
    never: impl FnOnce() -> String,
) -> Check {
    match (seconds, gap) {
        (Some(seconds), _) if seconds <= bound => question.require(true, format!("{seconds:.1} s")),
        (_, Some(gap)) => question.unseen(gap),
        (Some(seconds), None) => question.require(false, format!("{seconds:.1} s")),
        (None, None) => question.require(false, format!("never: {}", never())),
    }
}

/// The greatest depth of `queue` is at most `limit`.
pub fn depth_below(
    id: &'static str,
    name: impl Into<String>,
    samples: &[Sample],
    window: Window,
    (queue, limit): (&str, f64),
    why: &str,
) -> Check {
    let readings = seen(samples, window, |sample| sample.depth.seen().and_then(|depth| depth.get(queue)));
    Question::new(id, name, format!("≤ {limit:.0}"), why).of(readings.map(|readings| {
        let most = readings.iter().map(|(_, depth)| **depth).fold(0.0, f64::max);
        (most <= limit, format!("{most:.0} at most"))
    }))
}

/// No worker restarted and none was killed for memory.
///
/// Restarts count from the first reading of each pod, because a kept cluster may have older ones. A pod that appears
/// later starts from 0.
pub fn never_restarted(samples: &[Sample], window: Window) -> Check {
    let question = Question::new(
        "no-crash",
        "no worker restarted, none was killed for memory",
        "0 restarts",
        "the guide's success metric: no worker crashes or OOM errors",
    );
    let readings = match seen(samples, window, |sample| sample.pods.seen()) {
        Ok(readings) => readings,
        Err(gap) => return question.unseen(gap),
    };
    let mut first = BTreeMap::new();
    let mut broken = BTreeMap::new();
    for (index, (at, pods)) in readings.iter().enumerate() {
        for pod in pods.iter() {
            let base = *first.entry(&pod.name).or_insert(if index == 0 { pod.restarts } else { 0 });
            if pod.restarts > base {
                broken.entry(&pod.name).or_insert_with(|| restarted(*at, pod, base));
            }
        }
    }
    let measured = format!("{} pods seen, {} restarted", first.len(), broken.len());
    question.answer(measured, faults(broken.into_values()))
}

fn restarted(at: f64, pod: &PodState, base: i32) -> String {
    let reason = pod.last_end.as_deref().unwrap_or("no reason given");
    let times = pod.restarts - base;
    format!("second {at:.0}: {} restarted {times} times ({reason})", pod.name)
}

/// The workers' memory stays well below the limit at which the kernel kills them.
pub fn memory(samples: &[Sample], window: Window, limit: Option<u64>) -> Check {
    let megabytes = |bytes: f64| format!("{:.0} MB", bytes / 1e6);
    let question = |bound: String| {
        Question::new(
            "memory",
            "memory of one worker",
            bound,
            "the guide's success metric: stable and predictable memory; 200 to 300 MB a worker. The rest of the limit \
             is room before the kernel kills the worker",
        )
    };
    let Some(limit) = limit else {
        return question("below its limit".to_owned()).unseen("the Deployment has no memory limit");
    };
    let bound = MEMORY_SHARE * limit as f64;
    let readings = window.of(samples).filter_map(|sample| sample.memory.as_ref()?.seen());
    let all: Vec<u64> = readings.flat_map(|workers| workers.values().copied()).collect();
    let question = question(format!("≤ {}, {:.0} % of its limit", megabytes(bound), 100.0 * MEMORY_SHARE));
    match all.iter().max() {
        None => question.unseen("the metrics API gave no worker's memory"),
        Some(most) => {
            let measured = format!("{} at most, {} readings", megabytes(*most as f64), all.len());
            question.require(*most as f64 <= bound, measured)
        }
    }
}

/// How often the number of workers wanted changed from growing to shrinking, or back.
///
/// # Errors
/// The workers were not seen for too long.
pub fn turns(samples: &[Sample], window: Window) -> Result<usize, String> {
    let wanted: Vec<i32> = fleets(samples, window)?.iter().map(|(_, fleet)| fleet.wanted).collect();
    let moves: Vec<bool> = wanted.windows(2).filter(|pair| pair[0] != pair[1]).map(|pair| pair[1] > pair[0]).collect();
    Ok(moves.windows(2).filter(|pair| pair[0] != pair[1]).count())
}

/// At most `most` changes of direction.
pub fn few_turns(samples: &[Sample], window: Window, most: usize, why: &str) -> Check {
    let bound = format!("≤ {most} changes of direction");
    let question = Question::new("smooth", "the fleet does not flap", bound, why);
    question.of(turns(samples, window).map(|turns| (turns <= most, format!("{turns} changes of direction"))))
}

/// Seconds of workers: how many were present, over time.
///
/// # Errors
/// The workers were not seen for too long.
pub fn worker_seconds(samples: &[Sample], window: Window) -> Result<f64, String> {
    let readings = fleets(samples, window)?;
    let between = readings.windows(2).map(|pair| f64::from(pair[0].1.present) * (pair[1].0 - pair[0].0));
    Ok(between.sum())
}

/// Seconds of workers of an oracle that knows the load: the windows of a load, each with the fewest workers that carry it
/// within the guide's 80 % of their slots.
///
/// It has these workers at once, keeps the guide's minimum, and keeps each worker for the guide's cool-down.
pub fn oracle_seconds(needed: &[(Window, i32)], window: Window, min: i32) -> f64 {
    let at = |second: f64| {
        let held = needed.iter().filter(|(load, _)| load.from <= second && second < load.to + COOL_DOWN);
        f64::from(held.map(|(_, workers)| *workers).max().unwrap_or(min).max(min))
    };
    let seconds = window.seconds().ceil().max(1.0) as u32;
    let length = window.seconds() / f64::from(seconds);
    (0..seconds).map(|second| at(window.from + length * f64::from(second)) * length).sum()
}

/// The workers cost at most [`COST`] times what an oracle's cost.
pub fn cost(samples: &[Sample], window: Window, needed: &[(Window, i32)], min: i32) -> Check {
    let least = oracle_seconds(needed, window, min) / 60.0;
    let question = Question::new(
        "cost",
        "worker-minutes",
        format!("≤ {:.1}, {COST} times {least:.1}", COST * least),
        format!(
            "{least:.1} is the cost of an oracle that knows the load: at each second the fewest workers that carry it at \
             80 % of their slots, at least {min}, each kept for the guide's cool-down of {COOL_DOWN:.0} s"
        ),
    );
    question.of(worker_seconds(samples, window).map(|seconds| {
        let minutes = seconds / 60.0;
        (minutes <= COST * least, format!("{minutes:.1}"))
    }))
}

/// After a fall in load, no more than `most` workers are wanted within twice the guide's cool-down, for good.
pub fn back(samples: &[Sample], fall: Window, most: i32) -> Check {
    let bound = 2.0 * COOL_DOWN;
    let question = Question::new(
        "back",
        format!("back to at most {most} workers after the load fell"),
        format!("≤ {bound:.0} s"),
        format!("{most} is the plan's number for the lower load; the bound is twice the guide's cool-down"),
    );
    let readings = match fleets(samples, fall) {
        Ok(readings) => readings,
        Err(gap) => return question.unseen(gap),
    };
    let above = readings.iter().rposition(|(_, fleet)| fleet.wanted > most);
    let since = above.map_or(Some(fall.from), |last| readings.get(last + 1).map(|(at, _)| *at));
    let last = readings.last().map_or(0, |(_, fleet)| fleet.wanted);
    timed(question, since.map(|at| at - fall.from), bound, None, || format!("{last} wanted at the end"))
}

/// The share of the Ready workers' IO slots that was in use, on average.
///
/// # Errors
/// Slots or workers were not seen for too long.
pub fn utilization(samples: &[Sample], window: Window, slots: u32) -> Result<f64, String> {
    seen(samples, window, |sample| sample.slots_used.seen().filter(|_| sample.fleet.seen().is_some()))?;
    // One reading of each a second: a change between two samples would weigh as much as a second.
    let both = window
        .of(samples)
        .filter_map(|sample| Some((Sample::of_queue(&sample.slots_used, IO_QUEUE)?, sample.fleet.seen()?)));
    let (used, ready) = both.fold((0.0, 0), |(used, ready), (in_use, fleet)| (used + in_use, ready + fleet.ready));
    Ok(used / f64::from(ready.max(1)) / f64::from(slots))
}

/// Utilization is within the guide's 60 to 80 %.
pub fn utilized(samples: &[Sample], window: Window, slots: u32, why: &str) -> Check {
    let bound = format!("{} to {} over {:.0} s", percent(FLOOR), percent(CEILING), window.seconds());
    let question = Question::new("utilization", "IO slots in use", bound, why);
    let found = utilization(samples, window, slots);
    question.of(found.map(|found| ((FLOOR..=CEILING).contains(&found), percent(found))))
}

/// A share in per cent.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// The least and the greatest number of Ready workers.
///
/// # Errors
/// The workers were not seen for too long.
pub fn ready(samples: &[Sample], window: Window) -> Result<(i32, i32), String> {
    let readings = fleets(samples, window)?;
    let ready = || readings.iter().map(|(_, fleet)| fleet.ready);
    Ok((ready().min().unwrap_or(0), ready().max().unwrap_or(0)))
}

/// Between `least` and `most` workers are Ready in every reading.
pub fn sized(
    id: &'static str,
    name: String,
    samples: &[Sample],
    window: Window,
    (least, most): (i32, i32),
    why: &str,
) -> Check {
    let bound = format!("{least} to {most} Ready over {:.0} s", window.seconds());
    let question = Question::new(id, name, bound, why);
    question
        .of(ready(samples, window).map(|(low, high)| (low >= least && high <= most, format!("{low} to {high} Ready"))))
}

/// Never more than `most` workers are wanted.
pub fn no_overshoot(samples: &[Sample], window: Window, most: i32, why: &str) -> Check {
    let bound = format!("≤ {most} workers wanted");
    let question = Question::new("overshoot", "the fleet does not overshoot", bound, why);
    question.of(fleets(samples, window).map(|readings| {
        let wanted = readings.iter().map(|(_, fleet)| fleet.wanted).max().unwrap_or(0);
        (wanted <= most, format!("{wanted} wanted at most"))
    }))
}

/// Whenever the number of workers wanted falls, those that stay have a slot for every IO task in flight.
pub fn never_below_in_use(samples: &[Sample], window: Window, slots: u32) -> Check {
    let question = Question::new(
        "scale-in-in-use",
        "scale-in leaves a slot for every task in flight",
        "slots of the workers that stay ≥ slots in use, at every scale-in",
        "a fleet that shrinks below its work makes new documents wait",
    );
    let readings = match fleets(samples, window) {
        Ok(readings) => readings,
        Err(gap) => return question.unseen(gap),
    };
    let decisions: Vec<(f64, Fleet)> =
        readings.windows(2).filter(|pair| pair[1].1.wanted < pair[0].1.wanted).map(|pair| pair[1]).collect();
    let (mut broken, mut unseen) = (Vec::new(), None);
    for (at, fleet) in &decisions {
        match used_at(samples, *at) {
            Some(used) if used > f64::from(fleet.wanted) * f64::from(slots) => {
                broken.push(format!("second {at:.0}: {} workers wanted, {used:.0} slots in use", fleet.wanted));
            }
            Some(_) => {}
            None => unseen = Some(format!("second {at:.0}: the slots in use were not seen")),
        }
    }
    let measured = format!("{} scale-ins", decisions.len());
    match (broken.is_empty(), decisions.is_empty(), unseen) {
        (true, _, Some(gap)) => question.unseen(gap),
        (true, true, None) => question.unseen("no scale-in in this window"),
        _ => question.answer(measured, faults(broken)),
    }
}

/// IO slots in use as last seen at a second, at most [`MAX_GAP`] before it.
fn used_at(samples: &[Sample], at: f64) -> Option<f64> {
    let before = samples.iter().rev().filter(|sample| (at - MAX_GAP..=at).contains(&sample.at));
    before.filter_map(|sample| Sample::of_queue(&sample.slots_used, IO_QUEUE)).next()
}

/// No reading has fewer workers wanted than the window's first.
pub fn never_fewer(name: String, samples: &[Sample], window: Window, why: &str) -> Check {
    let question = Question::new("outage-holds", name, "never fewer wanted than at its beginning", why);
    question.of(fleets(samples, window).map(|readings| {
        let wanted = || readings.iter().map(|(_, fleet)| fleet.wanted);
        let (first, least) = (wanted().next().unwrap_or(0), wanted().min().unwrap_or(0));
        (least >= first, format!("{first} wanted, {least} at least"))
    }))
}

/// The most workers wanted in a window, whatever was missed.
pub fn peak(samples: &[Sample], window: Window) -> i32 {
    inside(samples, window).map(|(_, fleet)| fleet.wanted).max().unwrap_or(0)
}

/// Outcome of a check that the whole scenario was carried out.
pub fn carried_out(id: &'static str, name: &str, done: usize, due: usize) -> Option<Check> {
    let question = Question::new(id, name, due.to_string(), "what was not played shows nothing");
    (done < due).then(|| question.answer(done.to_string(), Outcome::inconclusive(format!("{done} of {due}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::reading::Reading;

    #[test]
    fn an_oracle_grows_at_once_and_keeps_its_workers_for_the_cool_down() {
        let window = |from: f64, to: f64| Window { from, to };
        let load = [(window(0.0, 30.0), 7), (window(30.0, 60.0), 2), (window(60.0, 90.0), 7), (window(90.0, 210.0), 4)];
        let seconds = |to: f64| oracle_seconds(&load, window(0.0, to), 3);
        assert_eq!(seconds(30.0), 210.0);
        // The dip is shorter than the cool-down; after the last high 7 stay for 60 s, then 4.
        assert_eq!(seconds(150.0), 1050.0);
        assert_eq!(seconds(210.0), 1050.0 + 240.0);
        assert_eq!(oracle_seconds(&load[1..2], window(30.0, 40.0), 3), 30.0, "never below the minimum");
    }

    #[test]
    fn a_fleet_is_back_when_it_stays_at_the_lower_number() {
        let fall = Window { from: 0.0, to: 125.0 };
        let word = |wanted: fn(f64) -> i32| {
            let sample = |second: i32| {
                let at = f64::from(second);
                let wanted = wanted(at);
                let fleet = Reading::Seen(Fleet { wanted, present: wanted, ready: wanted });
                Sample { at, fleet, ..Sample::default() }
            };
            back(&(0..=125).map(sample).collect::<Vec<_>>(), fall, 5).outcome.word()
        };
        assert_eq!(word(|at| if at < 100.0 { 9 } else { 4 }), "Pass");
        assert_eq!(word(|at| if at < 122.0 { 9 } else { 4 }), "Fail");
        assert_eq!(word(|_| 9), "Fail");
        assert_eq!(word(|_| 5), "Pass");
    }
}
