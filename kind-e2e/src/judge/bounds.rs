//! How long a reaction may take, derived from what the cluster says about its autoscaling and from the calibration.
//!
//! Each bound carries the sentence that derives it; the report prints both. Pure.

use capacity::demand::HPA_TOLERANCE;
use serde::{Deserialize, Serialize};

use crate::cluster::autoscaling::Autoscaling;
use crate::load::calibration::PodStarts;

/// Age of Temporal's answer to DescribeTaskQueue, in seconds: `matching.TaskQueueInfoByBuildIdTTL` in
/// `manifests/services`; its default is 5 s.
pub const BACKLOG_CACHE: f64 = 0.2;
/// `temporal-scaler` reads once a second, and counts what two readings in a row have, in seconds.
const READ: f64 = 2.0;
/// The time that it takes to read Temporal and every worker, in seconds.
const ROUND: f64 = 0.5;
/// Age of what its answer is made of, in seconds, at most.
const LAGS: f64 = READ + BACKLOG_CACHE + ROUND;
/// `temporal-scaler` takes a mean of `m` for chance up to `m` and this many times √m.
pub const CHANCE: f64 = 3.0;
/// Its mean is over this many seconds.
pub const MEAN: f64 = 30.0;
/// The guide's cool-down, in seconds: the HPA's scale-down stabilization window in `manifests/base`.
pub const COOL_DOWN: f64 = 60.0;
/// The guide's threshold of the workflow queue's depth.
pub const WORKFLOW_DEPTH: f64 = 10.0;
/// The guide's threshold of the IO queue's depth.
pub const IO_DEPTH: f64 = 15.0;
/// The guide's success metric: the depth of a queue under normal load.
pub const NORMAL_DEPTH: f64 = 10.0;
/// From the scheduler's decision to the first readiness probe that passes, in seconds, beside the CPU that it takes:
/// the kubelet probes every second.
const PROBE: f64 = 2.0;
/// From SIGTERM to the end of a worker whose documents take seconds, in seconds.
const LEAVING: f64 = 10.0;
/// Added to the time that a drain takes in theory, in seconds: the tail of the last documents.
const DRAIN_SLACK: f64 = 15.0;
/// No bound is longer, in seconds: a run that waits for ten minutes has its answer.
const LONGEST: f64 = 600.0;

/// A bound in seconds and its derivation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// Seconds.
    pub seconds: f64,
    /// Why so many.
    pub why: String,
}

/// IO slots in use and tasks waiting at which `temporal-scaler` adds a worker to the minimum.
///
/// It is more than the minimum's target and the HPA's tolerance, more than all `slots` of the minimum, and more than
/// chance makes of the mean before, `usual`.
pub fn demand_that_scales(autoscaling: &Autoscaling, usual: f64, slots: f64) -> f64 {
    let beyond_tolerance = autoscaling.target * f64::from(autoscaling.min) * (1.0 + HPA_TOLERANCE);
    beyond_tolerance.max(slots).max(usual + CHANCE * usual.sqrt())
}

/// From a step in load to the HPA's decision, at most. Demand grows from `usual` by `rate` tasks a second until the
/// documents of the step begin to end, after `service` seconds; then by what exceeds the minimum's `slots`.
pub fn decision(autoscaling: &Autoscaling, usual: f64, slots: f64, rate: f64, service: f64) -> Bound {
    let demand = demand_that_scales(autoscaling, usual, slots);
    // What was in use before the step ends and comes again at the old rate.
    let growth = rate - usual / service;
    let first = growth * service;
    let missing = demand - usual;
    let seconds = match missing <= first {
        true => missing / growth,
        false => service + (missing - first) / (rate - slots / service),
    };
    let sync = autoscaling.hpa_sync;
    Bound {
        seconds: seconds + LAGS + 2.0 * sync,
        why: format!(
            "slots in use and tasks waiting grow from {usual:.0} to the {demand:.0} that add a worker within \
             {seconds:.1} s; then {READ:.0} s for two readings of temporal-scaler, {BACKLOG_CACHE} s of cache in \
             Temporal, {ROUND} s for a reading, and two HPA periods of {sync:.0} s"
        ),
    }
}

/// From the decision to the first new worker that is Ready, at most. A load of this share of what the host carries
/// leaves the rest of the CPU to it.
pub fn ready(starts: &PodStarts, share: f64) -> Bound {
    let rest = 1.0 - share;
    Bound {
        seconds: starts.first / rest + PROBE,
        why: format!(
            "without load the first of {} new workers was Ready after {:.1} s; the load leaves {:.0} % of the CPU; and \
             {PROBE:.0} s for the readiness probe",
            starts.pods,
            starts.first,
            100.0 * rest
        ),
    }
}

/// From a step in load until latency is within its bound for good, at most.
///
/// Until the first new workers are Ready, a backlog forms. Workers sized for at most 80 % of their slots then take it
/// down at least as fast as it formed, and the last of it still takes its `service`.
pub fn recovery(decision: &Bound, ready: &Bound, service: f64, window: f64) -> Bound {
    let forms = decision.seconds + ready.seconds;
    Bound {
        seconds: 2.0 * forms + service + window,
        why: format!(
            "a backlog forms for at most {forms:.0} s, as derived for the decision and the new workers; it drains in \
             as many; {service:.1} s for its last document; latency is read in windows of {window:.0} s"
        ),
    }
}

/// From the end of the load until every document is stored, at most, with `waiting` documents at the end and workers
/// of `slots` slots in all.
pub fn drain(waiting: f64, slots: f64, service: f64) -> Bound {
    Bound {
        seconds: waiting * service / slots + 2.0 * service + DRAIN_SLACK,
        why: format!(
            "{waiting:.0} documents were not stored when the load ended; the minimum's {slots:.0} slots take \
             {service:.1} s for each; and {DRAIN_SLACK:.0} s for the last documents"
        ),
    }
}

/// From an empty queue to the minimum number of workers, at most, from `from` workers.
pub fn scale_in(autoscaling: &Autoscaling, from: i32) -> Bound {
    let policies = autoscaling.scale_in_seconds(from);
    let (signal, sync) = (MEAN + LAGS, autoscaling.hpa_sync);
    let seconds = autoscaling.stabilization + signal + 2.0 * sync + policies + 2.0 * LEAVING;
    Bound {
        seconds: seconds.min(LONGEST),
        why: format!(
            "the HPA's stabilization window of {:.0} s; {signal:.0} s until the mean of {MEAN:.0} s is 0; two HPA \
             periods of {sync:.0} s; {policies:.0} s for the scale-down policies from {from} to {}; {:.0} s for \
             workers to end and the counts to follow",
            autoscaling.stabilization,
            autoscaling.min,
            2.0 * LEAVING,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::autoscaling::tests::shipped;

    #[test]
    fn the_scaler_that_ships_has_the_constants_of_the_bounds() {
        let tuning = scaler::Tuning::default();
        assert_eq!((CHANCE, MEAN), (tuning.deviations, tuning.window));
    }

    #[test]
    fn a_decision_takes_the_growth_of_demand_and_the_lags_of_the_signal() {
        let demand = |usual, slots| demand_that_scales(&shipped(), usual, slots);
        assert!((demand(1.0, 9.0) - 11.55).abs() < 1e-9, "the tolerance decides");
        assert_eq!(demand(1.0, 15.0), 15.0, "the slots decide");
        assert_eq!(demand(9.0, 15.0), 18.0, "chance decides");
        // From 4.5 to 15 at 10/s less the 1.8/s that were there.
        let early = decision(&shipped(), 4.5, 15.0, 10.0, 2.5);
        assert!((early.seconds - (10.5 / 8.2 + 2.7 + 30.0)).abs() < 1e-9, "{early:?}");
        // A step of 7/s needs 25 in flight: it passes 15 slots only where documents wait.
        let late = decision(&shipped(), 4.5, 15.0, 6.2, 2.5);
        assert!((late.seconds - (10.5 / 4.4 + 2.7 + 30.0)).abs() < 1e-9, "{late:?}");
        // Chance makes up to 28 of 16: more than the 20 slots, so that documents have to wait.
        let waiting = decision(&shipped(), 16.0, 20.0, 9.0, 2.5);
        assert!((waiting.seconds - (2.5 + 5.5 + 2.7 + 30.0)).abs() < 1e-9, "{waiting:?}");
    }

    #[test]
    fn the_other_bounds_are_the_sums_that_they_say() {
        let starts = PodStarts { pods: 17, first: 1.5, all: 9.0 };
        assert!((ready(&starts, 0.7).seconds - 7.0).abs() < 1e-9);
        let bound = |seconds| Bound { seconds, ..Bound::default() };
        assert_eq!(recovery(&bound(6.0), &bound(4.0), 2.5, 5.0).seconds, 27.5);
        assert_eq!(drain(60.0, 15.0, 2.5).seconds, 30.0);
        assert_eq!(scale_in(&shipped(), 9).seconds, 60.0 + 32.7 + 30.0 + 20.0);
    }
}
