//! Steps that needed more than one attempt: what ended the one before, which worker lost it, and whether that worker
//! was leaving. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::observe::rows::Attempt;
use crate::observe::sample::Sample;
use crate::observe::window::Window;

/// A step that needed another attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Retried {
    /// The workflow.
    pub workflow_id: String,
    /// The activity.
    pub step: String,
    /// The attempts that it needed.
    pub attempts: i64,
    /// The pod that made the last attempt but one.
    pub worker: String,
    /// When the last attempt began, in seconds since the run began.
    #[serde(default)]
    pub at: f64,
    /// Why that attempt ended, by Temporal's history.
    pub reason: String,
    /// Whether the worker was leaving or gone before the next attempt began; none where it was not seen.
    pub leaving: Option<bool>,
}

/// The steps that needed more than one attempt. The worker records an attempt from the second on.
///
/// `began` is the run's beginning in seconds since 1970. The reasons are filled in later.
pub fn retried(attempts: &[Attempt], samples: &[Sample], began: f64) -> Vec<Retried> {
    let mut steps = BTreeMap::<(&str, &str), Vec<&Attempt>>::new();
    for attempt in attempts {
        steps.entry((&attempt.workflow_id, &attempt.step)).or_default().push(attempt);
    }
    let retried = steps.iter_mut().filter_map(|((workflow, step), attempts)| {
        attempts.sort_by_key(|attempt| attempt.attempt);
        let last = attempts.last()?;
        // A first attempt has no row, and none has one that was lost before it began: then nobody knows who had it.
        let lost = attempts.iter().rev().find(|attempt| attempt.attempt < last.attempt);
        let worker = lost.map(|attempt| pod(&attempt.worker).to_owned());
        (last.attempt > 1).then(|| Retried {
            workflow_id: (*workflow).to_owned(),
            step: (*step).to_owned(),
            attempts: last.attempt,
            at: last.at - began,
            leaving: worker.as_deref().and_then(|worker| leaving(samples, worker, last.at - began)),
            worker: worker.unwrap_or_else(|| "unknown".to_owned()),
            reason: String::new(),
        })
    });
    retried.collect()
}

/// The pod of an identity, which is `process@pod`.
fn pod(identity: &str) -> &str {
    identity.split_once('@').map_or(identity, |(_, pod)| pod)
}

/// Whether a pod was being deleted, or gone, at second `at` of the run, as last seen before it.
fn leaving(samples: &[Sample], worker: &str, at: f64) -> Option<bool> {
    let before = samples.iter().rev().filter(|sample| sample.at <= at);
    let pods = before.filter_map(|sample| sample.pods.seen()).next()?;
    Some(pods.iter().find(|pod| pod.name == worker).is_none_or(|pod| pod.leaving))
}

/// Workers that had a slot in use in a sample of this window.
pub fn workers(samples: &[Sample], window: Window) -> BTreeSet<&str> {
    let slots = window.of(samples).filter_map(|sample| sample.slots_by_worker.seen()).flatten();
    slots.filter(|(_, used)| **used > 0.0).map(|(worker, _)| worker.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kubernetes::PodState;
    use crate::cluster::reading::Reading;

    #[test]
    fn a_retried_step_is_told_with_its_worker_and_whether_it_was_leaving() {
        let attempt = |workflow: &str, number: i64, worker: &str, at: f64| Attempt {
            workflow_id: workflow.to_owned(),
            step: "fetch".to_owned(),
            attempt: number,
            worker: worker.to_owned(),
            at: 1000.0 + at,
        };
        let attempts = [
            attempt("a", 1, "1@stays", 1.0),
            attempt("b", 3, "1@other", 9.0),
            attempt("b", 2, "1@leaves", 2.0),
            attempt("c", 2, "1@stays", 9.0),
        ];
        let pod = |name: &str, leaving: bool| PodState { name: name.to_owned(), leaving, ..PodState::default() };
        let sample = Sample {
            at: 5.0,
            pods: Reading::Seen(vec![pod("stays", false), pod("leaves", true)]),
            ..Sample::default()
        };
        let retried = super::retried(&attempts, &[sample], 1000.0);
        let shown: Vec<_> = retried.iter().map(|one| (one.workflow_id.as_str(), one.attempts)).collect();
        assert_eq!(shown, [("b", 3), ("c", 2)], "a first attempt is no retry");
        assert_eq!((retried[0].worker.as_str(), retried[0].leaving), ("leaves", Some(true)));
        assert_eq!((retried[1].worker.as_str(), retried[1].leaving), ("unknown", None));
        assert_eq!(retried[1].at, 9.0);
    }

    #[test]
    fn workers_are_those_with_a_slot_in_use_within_the_window() {
        let sample = |at: f64, worker: &str, used: f64| Sample {
            at,
            slots_by_worker: Reading::Seen([(worker.to_owned(), used)].into()),
            ..Sample::default()
        };
        let samples = [
            sample(1.0, "before", 1.0),
            sample(2.0, "busy", 1.0),
            sample(3.0, "busy", 2.0),
            sample(3.5, "idle", 0.0),
            Sample { at: 4.0, ..Sample::default() },
            sample(5.0, "after", 1.0),
        ];
        assert_eq!(workers(&samples, Window { from: 2.0, to: 4.0 }), ["busy"].into());
    }
}
