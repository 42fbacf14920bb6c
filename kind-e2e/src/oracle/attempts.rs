//! Steps that needed more than one attempt: which worker lost the first, what ended it, and whether the worker was
//! leaving. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::observe::rows::Attempt;
use crate::observe::sample::Sample;

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
    /// Why that attempt ended, by Temporal's history.
    pub reason: String,
    /// Whether the worker was leaving or gone before the next attempt began; none where it was not seen.
    pub leaving: Option<bool>,
}

/// The steps of these attempts, and those that needed more than one.
///
/// `began` is the run's beginning in seconds since 1970. The reasons are filled in later.
pub fn retried(attempts: &[Attempt], samples: &[Sample], began: f64) -> (usize, Vec<Retried>) {
    let mut steps = BTreeMap::<(&str, &str), Vec<&Attempt>>::new();
    for attempt in attempts {
        steps.entry((&attempt.workflow_id, &attempt.step)).or_default().push(attempt);
    }
    let retried = steps.iter_mut().filter_map(|((workflow, step), attempts)| {
        attempts.sort_by_key(|attempt| attempt.attempt);
        let last = attempts.last()?;
        // An attempt that was lost before it began has no row; then nobody knows who had it.
        let lost = attempts.iter().rev().find(|attempt| attempt.attempt < last.attempt);
        let worker = lost.map(|attempt| pod(&attempt.worker).to_owned());
        (last.attempt > 1).then(|| Retried {
            workflow_id: (*workflow).to_owned(),
            step: (*step).to_owned(),
            attempts: last.attempt,
            leaving: worker.as_deref().and_then(|worker| leaving(samples, worker, last.at - began)),
            worker: worker.unwrap_or_else(|| "unknown".to_owned()),
            reason: String::new(),
        })
    });
    let retried = retried.collect();
    (steps.len(), retried)
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

/// Pods that made attempts.
pub fn workers(attempts: &[Attempt]) -> BTreeSet<&str> {
    attempts.iter().map(|attempt| pod(&attempt.worker)).collect()
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
            attempt("b", 2, "1@other", 9.0),
            attempt("b", 1, "1@leaves", 2.0),
            attempt("c", 2, "1@stays", 9.0),
        ];
        let pod = |name: &str, leaving: bool| PodState { name: name.to_owned(), leaving, ..PodState::default() };
        let sample = Sample {
            at: 5.0,
            pods: Reading::Seen(vec![pod("stays", false), pod("leaves", true)]),
            ..Sample::default()
        };
        let (steps, retried) = super::retried(&attempts, &[sample], 1000.0);
        assert_eq!((steps, retried.len()), (3, 2));
        assert_eq!((retried[0].worker.as_str(), retried[0].leaving), ("leaves", Some(true)));
        assert_eq!((retried[1].worker.as_str(), retried[1].leaving), ("unknown", None));
        assert_eq!(workers(&attempts).len(), 3);
    }
}
