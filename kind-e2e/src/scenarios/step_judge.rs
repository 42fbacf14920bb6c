//! What the facts of [`super::step`] and the samples show. Pure; the bounds come with the facts.

use super::loads::ended;
use super::step::Facts;
use crate::bounds::{Bound, IO_DEPTH, WORKFLOW_DEPTH};
use crate::fixture::{IO_QUEUE, WORKFLOW_QUEUE};
use crate::load::Start;
use crate::observe::sample::Sample;
use crate::oracle;
use crate::plan::{LATENCY, Plan};
use crate::scaling::{self, Window, timed};
use crate::verdict::{Check, Outcome};

/// A start sent later than this, in seconds, after it was due is not the load that was planned.
const LATE: f64 = 1.0;

/// What the facts and the samples show.
pub(super) fn judge(facts: &Facts, samples: &[Sample]) -> Vec<Check> {
    let Some(plan) = &facts.plan else {
        return Vec::new();
    };
    let fewest = plan.autoscaling.min;
    let mut checks = vec![latency_in_force(plan), kept_schedule(&facts.starts)];
    if let Some(window) = facts.stays {
        checks.extend(below_thresholds(samples, window));
        let why = "four periods of the HPA: a decision to scale would have come and shown";
        let name = format!("{fewest} workers stay below the thresholds");
        checks.push(scaling::held(&name, samples, window, fewest, why));
    }
    if let Some(window) = facts.out {
        checks.extend(scaling::scaled_out(samples, window, &plan.decision, &plan.ready));
    }
    if let (Some(window), Some(bound)) = (facts.drain, &facts.drain_bound) {
        checks.push(drained(facts.left, window, bound));
    }
    if let (Some(window), Some(bound)) = (facts.scale_in, &facts.scale_in_bound) {
        checks.push(scaling::scaled_in(samples, window, fewest, bound));
    }
    if let Some(window) = facts.hold {
        let why = "two periods of the HPA: a fleet that swings would have moved";
        checks.push(scaling::held(
            &format!("{fewest} workers hold"),
            samples,
            window,
            fewest,
            why,
        ));
    }
    if let Some(window) = watched(facts) {
        checks.push(scaling::never_restarted(samples, window));
    }
    checks.extend(ended(&facts.starts, &facts.statuses, &facts.oracle));
    checks
}

/// From the begin of the load to the end of the last window that there is.
pub(super) fn watched(facts: &Facts) -> Option<Window> {
    let from = facts.stays?.from;
    let windows = [facts.stays, facts.out, facts.drain, facts.scale_in, facts.hold];
    let to = windows
        .into_iter()
        .flatten()
        .map(|window| window.to)
        .fold(from, f64::max);
    Some(Window { from, to })
}

fn latency_in_force(plan: &Plan) -> Check {
    // Twice, for a machine that is busy with a cluster that has just started.
    let most = 2.0 * LATENCY;
    let within = (LATENCY..=most).contains(&plan.service);
    Check::new(
        "one document takes what the way to S3 takes",
        format!("{LATENCY} to {most} s"),
        format!("{:.2} s", plan.service),
        "the latency is on the way to S3 and nowhere else; the load is sized by it",
        Outcome::require(within, || {
            format!("{:.2} s: the load is not what was planned", plan.service)
        }),
    )
}

pub(super) fn kept_schedule(starts: &[Start]) -> Check {
    let latest = starts
        .iter()
        .map(|start| start.sent - start.due)
        .fold(0.0, f64::max);
    let outcome = if latest <= LATE {
        Outcome::Pass
    } else {
        Outcome::inconclusive(format!(
            "a start was sent {latest:.1} s late: this host was too busy to load"
        ))
    };
    Check::new(
        "the load kept its schedule",
        format!("every start sent within {LATE} s of its time"),
        format!("{} starts, {latest:.2} s late at the most", starts.len()),
        "an open-loop load that waits for the system is none",
        outcome,
    )
}

fn below_thresholds(samples: &[Sample], window: Window) -> [Check; 2] {
    let why = "the phase is to show what happens below the guide's thresholds";
    [
        scaling::depth_below(
            "workflow queue below its threshold",
            samples,
            window,
            WORKFLOW_QUEUE,
            WORKFLOW_DEPTH,
            why,
        ),
        scaling::depth_below(
            "IO queue below its threshold",
            samples,
            window,
            IO_QUEUE,
            IO_DEPTH,
            why,
        ),
    ]
}

fn drained(left: u64, window: Window, bound: &Bound) -> Check {
    let seconds = window.seconds();
    let took = (left == 0).then_some(seconds);
    // The wait's own period is the grain of the measurement.
    let outcome = timed(took, bound.seconds + 1.0, None, || {
        format!("{left} documents were not stored")
    });
    Check::new(
        "the queue drains after the load",
        format!("≤ {:.0} s", bound.seconds),
        if left == 0 {
            format!("{seconds:.0} s")
        } else {
            format!("{left} left after {seconds:.0} s")
        },
        &bound.why,
        outcome,
    )
}

pub(super) fn no_errors(starts: &[Start]) -> Check {
    let refused = starts.iter().filter(|start| start.acknowledged.is_none());
    let refused = refused.map(|start| {
        format!(
            "{}: {}",
            start.id,
            start.error.as_deref().unwrap_or("no answer before the run ended")
        )
    });
    let lost = starts
        .iter()
        .filter(|start| start.acknowledged.is_some() && start.stored.is_none());
    let wrong: Vec<String> = refused
        .chain(lost.map(|start| format!("{}: not stored", start.id)))
        .collect();
    let rate = 100.0 * wrong.len() as f64 / starts.len().max(1) as f64;
    Check::new(
        "error rate 0",
        "0 of all starts refused or not stored",
        format!("{} of {} ({rate:.1} %)", wrong.len(), starts.len()),
        "nothing fails here on purpose; the guide's bound is 1 %",
        oracle::problems(wrong),
    )
}

#[cfg(test)]
#[path = "step_judge_tests.rs"]
pub(crate) mod tests;
