//! What the facts of [`super::Step`] and the samples show. Pure.

use super::{SETTLED, STEP, Step};
use crate::cluster::{CPU_QUEUE, IO_QUEUE, WORKFLOW_QUEUE};
use crate::judge::bounds::{self, Bound, CHANCE, IO_DEPTH, NORMAL_DEPTH, WORKFLOW_DEPTH};
use crate::judge::fleet;
use crate::judge::host::excuse;
use crate::judge::load::{drained, p99, recovers, service_in_force};
use crate::judge::reaction::{Expected, Reaction, WINDOW, reaction};
use crate::judge::verdict::{Check, Question};
use crate::load::Start;
use crate::load::sizing::Sizing;
use crate::observe::sample::Sample;
use crate::observe::window::{Window, fleets};

/// What the facts and the samples show.
pub(super) fn judge(facts: &Step, samples: &[Sample]) -> Vec<Check> {
    let Some(sizing) = &facts.sizing else {
        return Vec::new();
    };
    let mut checks = vec![service_in_force(&timed(facts), sizing.service)];
    if let Some(stays) = facts.loaded.window("stays") {
        checks.extend(below(facts, samples, stays));
    }
    if let (Some(out), Some(steady)) = (facts.loaded.window("out"), facts.loaded.window("steady")) {
        checks.extend(above(facts, sizing, samples, out, steady));
    }
    checks.extend(after(facts, samples));
    checks.extend(facts.loaded.checks(samples, true));
    checks
}

/// Seconds that each document took that was loaded alone.
fn timed(facts: &Step) -> Vec<f64> {
    let alone = facts.loaded.starts.iter().filter(|start| start.phase == "one");
    alone.filter_map(Start::latency).collect()
}

/// Below the thresholds the minimum of workers stays.
fn below(facts: &Step, samples: &[Sample], stays: Window) -> Vec<Check> {
    let depth = |queue, limit, name: &str| {
        let why = "a load below the threshold must be one: the guide adds workers above it";
        fleet::depth_below("below-threshold", name, samples, stays, (queue, limit), why)
    };
    let min = facts.autoscaling.min;
    vec![
        depth(WORKFLOW_QUEUE, WORKFLOW_DEPTH, "workflow queue below its threshold"),
        depth(IO_QUEUE, IO_DEPTH, "IO queue below its threshold"),
        fleet::held(
            "stays",
            format!("{min} workers stay below the thresholds"),
            samples,
            stays,
            min,
            "a fleet that grows below the thresholds pays for workers that nobody needs; three of the HPA's default \
             periods",
        ),
    ]
}

/// The step: the fleet grows in time, and then keeps the guide's promises.
fn above(facts: &Step, sizing: &Sizing, samples: &[Sample], out: Window, steady: Window) -> Vec<Check> {
    let (rate, whole) = (sizing.rate_of(STEP), out.until(steady));
    let excuse = excuse(samples, whole);
    let found = reaction(samples, &facts.loaded.starts, whole, &Expected::of(sizing, rate));
    let gap = fleets(samples, out).err();
    let recovery = bounds::recovery(&facts.decision, &facts.ready, sizing.service, WINDOW);
    let mut timing = reacted(&found, &facts.decision, &facts.ready, gap.as_deref()).to_vec();
    timing.push(recovers(&found, &recovery));
    let settled_from = out.from + recovery.seconds;
    let due = facts
        .loaded
        .starts
        .iter()
        .filter(|start| start.phase == "stays" || (settled_from..=steady.to).contains(&start.due));
    timing.push(p99("p99 under load, from the end of the recovery on", due, sizing.service));
    let mut checks: Vec<Check> = timing.into_iter().map(|check| check.excused_by(excuse.as_deref())).collect();
    checks.extend(sized(sizing, samples, whole, steady.last(SETTLED)));
    checks
}

/// More workers were wanted, and the first was Ready, each within its bound.
fn reacted(found: &Reaction, decision: &Bound, ready: &Bound, gap: Option<&str>) -> [Check; 2] {
    let question = |id, name: String, after: &str, bound: &Bound| {
        Question::new(id, name, format!("≤ {:.1} s after {after}", bound.seconds), &bound.why)
    };
    let before = found.before;
    let decided = question("decision", format!("more than {before} workers wanted"), "the step", decision);
    let became = question("ready", format!("more than {before} workers Ready"), "the decision", ready);
    let lag = found.first_poll.zip(found.decision).map(|(ready, decision)| ready - decision);
    let never = |most: i32, what: &str| format!("{most} {what} at most");
    [
        fleet::timed(decided, found.decision, decision.seconds, gap, || never(found.most_wanted, "wanted")),
        fleet::timed(became, lag, ready.seconds, gap, || never(found.most_ready, "Ready")),
    ]
}

/// The size of the fleet: no overshoot, and, when the cool-down is over, the plan's size, depth and utilization.
fn sized(sizing: &Sizing, samples: &[Sample], whole: Window, settled: Window) -> Vec<Check> {
    let rate = sizing.rate_of(STEP);
    let in_use = sizing.in_use(rate);
    let burst = in_use + CHANCE * in_use.sqrt();
    let most = sizing.workers_for(burst / sizing.service) + 1;
    let (least, settles) = sizing.settles(rate);
    let normal = |queue, name: &str| {
        let why = "the guide's success metric: queue depth < 10 under normal load";
        fleet::depth_below("depth-normal", name, samples, settled, (queue, NORMAL_DEPTH - 1.0), why)
    };
    vec![
        fleet::no_overshoot(
            samples,
            whole,
            most,
            &format!(
                "{in_use:.0} slots in use and what chance adds are {burst:.0}; at {:.1} a worker, and one for what \
                 waits at the step",
                sizing.target
            ),
        ),
        fleet::sized(
            "size",
            format!("the plan's workers under {rate:.1} documents/s"),
            samples,
            settled,
            (least, settles + 1),
            "cargo xtask plan: slots in use over the target, within the HPA's tolerance; one more, whose removal would \
             be within it",
        ),
        fleet::utilized(samples, settled, sizing.slots, "the guide's success metric: 60 to 80 %"),
        normal(WORKFLOW_QUEUE, "workflow queue under normal load"),
        normal(IO_QUEUE, "IO queue under normal load"),
        normal(CPU_QUEUE, "CPU queue under normal load"),
    ]
}

/// The load has ended: the queues drain, the fleet shrinks to its minimum, and nothing broke on the way.
fn after(facts: &Step, samples: &[Sample]) -> Vec<Check> {
    let (Some(sizing), Some(watched)) = (&facts.sizing, facts.watched()) else {
        return Vec::new();
    };
    let mut checks = Vec::new();
    if let Some(drain) = facts.loaded.drain {
        let slots = sizing.slots_of(sizing.min);
        let bound = bounds::drain(facts.waiting(drain.from), slots, sizing.service);
        let excuse = excuse(samples, drain);
        checks.push(drained(&facts.loaded.starts, drain.from, &bound).excused_by(excuse.as_deref()));
    }
    let min = facts.autoscaling.min;
    if let Some(window) = facts.scale_in {
        let bound = bounds::scale_in(&facts.autoscaling, fleet::peak(samples, watched));
        checks.push(fleet::scaled_in(samples, window, min, &bound));
    }
    if let Some(window) = facts.hold {
        let why = "two of the HPA's default periods: a fleet that swings would move";
        checks.push(fleet::held("hold", format!("{min} workers hold"), samples, window, min, why));
        checks.push(fleet::never_below_in_use(samples, watched, sizing.slots));
        checks.push(fleet::few_turns(samples, watched, 1, "out with the load, and in when it ends"));
    }
    checks.push(fleet::never_restarted(samples, watched));
    checks.push(fleet::memory(samples, watched, facts.memory_limit));
    checks
}
