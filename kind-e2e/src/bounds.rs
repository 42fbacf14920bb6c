//! How long a reaction may take, derived from what the cluster itself says about its autoscaling.
//!
//! Each bound carries the sentence that derives it; the report prints both. Pure: the HPA's object and
//! the ScaledObject's target come in as values.

use capacity::demand::HPA_TOLERANCE;
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HorizontalPodAutoscaler};
use serde::{Deserialize, Serialize};

/// The HPA controller's period where the cluster does not show another: the default of kube-controller-manager's
/// `--horizontal-pod-autoscaler-sync-period`, which cannot be set on managed clusters.
pub const HPA_SYNC: u8 = 15;
/// Temporal answers DescribeTaskQueue from a cache of this age (`matching.TaskQueueInfoByBuildIdTTL` in
/// `manifests/services`; its default is 5 s).
pub const BACKLOG_CACHE: f64 = 0.2;
/// How old a depth on a worker's port is, at most: one worker of the fleet asks Temporal every second, and the others show
/// its reading a second later.
pub const DEPTH_READ: f64 = 2.0;
/// Prometheus' interval of scraping the workers in `manifests/services`.
pub const SCRAPE: f64 = 0.5;
/// How old what KEDA hears of a depth is, at most.
const LAGS: f64 = DEPTH_READ + BACKLOG_CACHE + SCRAPE;
/// To the demand triggers, what is above a mean m by so many times √m is more than chance.
pub const CHANCE: f64 = 3.0;
/// The demand triggers look back so far for their mean.
pub const MEAN: f64 = 30.0;
/// The guide: the depth of the workflow queue above which workers are added.
pub const WORKFLOW_DEPTH: f64 = 10.0;
/// The guide: the depth of the IO queue above which workers are added.
pub const IO_DEPTH: f64 = 15.0;
/// From a decision to a Ready pod: the image is on the node, so it is scheduling, the start of one
/// static program and a readiness probe or two; under 1 s when idle, and the node's CPUs are busy here.
pub const POD_START: f64 = 20.0;
/// From being told to leave to being gone, for a worker whose documents take seconds.
pub const LEAVING: f64 = 10.0;
/// The HPA's stabilisation window for scaling in where its object does not say: Kubernetes' default.
pub const DEFAULT_STABILIZATION: f64 = 300.0;
/// Added to the time that a drain takes in theory: one HPA period and the tail of the last document.
pub const DRAIN_SLACK: f64 = 15.0;

/// No bound is longer: a run that waits for ten minutes has its answer.
const LONGEST: f64 = 600.0;

/// A bound in seconds and its derivation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// Seconds.
    pub seconds: f64,
    /// Why so many.
    pub why: String,
}

/// What the cluster says about how it scales the workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Autoscaling {
    /// Fewest workers.
    pub min: i32,
    /// Most workers.
    pub max: i32,
    /// IO slots in use that a worker is meant to have, as the ScaledObject's demand trigger has it.
    pub target: f64,
    /// Seconds between two looks of the HPA.
    pub hpa_sync: f64,
    /// The HPA's stabilisation window for scaling in, in seconds.
    pub stabilization: f64,
    /// The HPA's policies for scaling in.
    pub scale_in: Vec<Policy>,
}

/// One of the HPA's scaling policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `Pods` or `Percent`.
    pub kind: String,
    /// So many pods, or so many per cent of them.
    pub value: i32,
    /// In so many seconds.
    pub period: i32,
}

impl From<&HPAScalingPolicy> for Policy {
    fn from(policy: &HPAScalingPolicy) -> Self {
        Self {
            kind: policy.type_.clone(),
            value: policy.value,
            period: policy.period_seconds,
        }
    }
}

impl Autoscaling {
    /// Takes from the HPA what it says and from Kubernetes' defaults what it leaves out.
    pub fn of(hpa: &HorizontalPodAutoscaler, target: f64, hpa_sync: f64) -> Self {
        let spec = &hpa.spec;
        let rules = spec
            .behavior
            .as_ref()
            .and_then(|behavior| behavior.scale_down.as_ref());
        let stabilization = rules
            .and_then(|rules| rules.stabilization_window_seconds)
            .map_or(DEFAULT_STABILIZATION, f64::from);
        let policies: Vec<Policy> = rules
            .and_then(|rules| rules.policies.as_ref())
            .map(|policies| policies.iter().map(Policy::from).collect())
            .unwrap_or_default();
        Self {
            min: spec.min_replicas.unwrap_or(1),
            max: spec.max_replicas,
            target,
            hpa_sync,
            stabilization,
            scale_in: policies,
        }
    }

    /// The work in the system, in IO slots in use and tasks waiting, that makes the HPA add a worker to the fewest, where it was
    /// `calm` before: past the HPA's tolerance, as much as their `slots` hold, and more than chance makes of that mean.
    pub fn demand_that_scales(&self, calm: f64, slots: f64) -> f64 {
        let enough = self.target * f64::from(self.min) * (1.0 + HPA_TOLERANCE);
        enough.max(slots).max(calm + CHANCE * calm.sqrt())
    }

    /// From the step in load to the decision to add workers, at most; before the step `calm` of the fewest workers' IO `slots`
    /// were in use.
    pub fn decision(&self, calm: f64, slots: f64, surplus_per_second: f64) -> Bound {
        let demand = self.demand_that_scales(calm, slots);
        let growth = demand / surplus_per_second;
        let seconds = growth + LAGS + 2.0 * self.hpa_sync;
        let why = format!(
            "work in the system grows by {surplus_per_second:.1}/s beyond what {} workers carry and takes at most \
             {growth:.0} s to the {demand:.0} that add a worker (every one of their {slots:.0} slots, and \
             beyond what chance makes of {calm:.0}); then {DEPTH_READ:.0} s to ask for the depth, {BACKLOG_CACHE:.1} s of \
             cache in Temporal, {SCRAPE:.1} s to the scrape, and two periods of {:.0} s of the HPA",
            self.min, self.hpa_sync,
        );
        Bound { seconds, why }
    }

    /// From the decision to the first worker beyond the fewest being Ready, at most.
    pub fn ready() -> Bound {
        let why = "the image is on the node: scheduling, one static program, one or two readiness probes"
            .to_owned();
        Bound {
            seconds: POD_START,
            why,
        }
    }

    /// From the end of the load to everything being stored, at most, with `waiting` documents then.
    pub fn drain(&self, waiting: f64, capacity_of_min: f64, service: f64) -> Bound {
        let seconds = waiting / capacity_of_min + 2.0 * service + DRAIN_SLACK;
        let why = format!(
            "{waiting:.0} documents waited when the load ended; {} workers alone carry {capacity_of_min:.1}/s, the \
             last ones take up to twice {service:.1} s, and {DRAIN_SLACK:.0} s of slack (one HPA period)",
            self.min
        );
        Bound { seconds, why }
    }

    /// From an empty queue to the fewest workers, at most.
    pub fn scale_in(&self, from: i32) -> Bound {
        let steps = self.scale_in_steps(from);
        let signal = MEAN + LAGS;
        let sync = self.hpa_sync;
        let seconds = (self.stabilization + signal + 2.0 * sync + steps + LEAVING + POD_START).min(LONGEST);
        let why = format!(
            "{:.0} s of stabilisation (read from the HPA), {signal:.0} s until the signal is back ({MEAN:.0} s of it the \
             mean's), two HPA periods of {sync:.0} s, {steps:.0} s for the HPA's policies to go from {from} to {}, and \
             {:.0} s for the counts to follow",
            self.stabilization,
            self.min,
            LEAVING + POD_START,
        );
        Bound { seconds, why }
    }

    /// Seconds that the scale-in policies need from `from` replicas to the fewest.
    fn scale_in_steps(&self, from: i32) -> f64 {
        if self.scale_in.is_empty() {
            return 0.0;
        }
        let mut replicas = from;
        let mut seconds = 0.0;
        while replicas > self.min {
            // selectPolicy Max: the policy that removes most in its period decides.
            let fastest = self
                .scale_in
                .iter()
                .map(|policy| (policy.removes(replicas), policy.period))
                .max_by_key(|(removed, period)| (*removed, -period));
            let Some((removed, period)) = fastest.filter(|(removed, _)| *removed > 0) else {
                return f64::INFINITY;
            };
            replicas -= removed;
            // A policy's period that has passed is noticed at the next sync.
            if replicas > self.min {
                seconds += f64::from(period) + self.hpa_sync;
            }
        }
        seconds
    }
}

impl Policy {
    /// How many of `replicas` it lets go at once. Kubernetes rounds what stays downwards.
    fn removes(&self, replicas: i32) -> i32 {
        match self.kind.as_str() {
            "Percent" => replicas - replicas * (100 - self.value.clamp(0, 100)) / 100,
            _ => self.value,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guide() -> Autoscaling {
        Autoscaling {
            min: 3,
            max: 20,
            target: 3.5,
            hpa_sync: 15.0,
            stabilization: 60.0,
            scale_in: vec![Policy {
                kind: "Percent".to_owned(),
                value: 100,
                period: 15,
            }],
        }
    }

    #[test]
    fn the_hpa_is_read_and_its_gaps_are_filled_with_defaults() {
        let hpa = serde_json::from_value(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "spec": {
                "minReplicas": 3, "maxReplicas": 20, "scaleTargetRef": {"kind": "Deployment", "name": "w"},
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60, "policies": [
                    {"type": "Percent", "value": 100, "periodSeconds": 15}]}},
            },
        }))
        .unwrap();
        assert_eq!(Autoscaling::of(&hpa, 3.5, 15.0), guide());

        let bare = serde_json::from_value(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "spec": {"maxReplicas": 20, "scaleTargetRef": {"kind": "Deployment", "name": "w"}},
        }))
        .unwrap();
        let read = Autoscaling::of(&bare, 3.5, 15.0);
        assert_eq!((read.min, read.stabilization), (1, DEFAULT_STABILIZATION));
    }

    #[test]
    fn the_triggers_that_ship_look_back_and_tell_chance_as_the_bounds_say() {
        let shipped = include_str!("../../manifests/base/keda-scaledobject.yaml");
        let said = |part: &str| shipped.matches(part).count();
        assert_eq!(said(&format!("+ {CHANCE} * sqrt(")), said(" * sqrt("));
        assert_eq!(said(&format!("[{MEAN}s:1s]")), 3 * 3);
    }

    #[test]
    fn the_decision_takes_the_growth_of_demand_and_the_lags_of_the_signal() {
        assert!(
            (guide().demand_that_scales(1.0, 9.0) - 11.55).abs() < 1e-9,
            "the tolerance decides"
        );
        assert_eq!(guide().demand_that_scales(1.0, 15.0), 15.0, "the slots decide");
        assert_eq!(guide().demand_that_scales(9.0, 15.0), 18.0, "chance decides");
        let bound = guide().decision(9.0, 15.0, 4.0);
        assert!(
            (bound.seconds - (18.0 / 4.0 + 2.7 + 30.0)).abs() < 1e-9,
            "{}",
            bound.seconds
        );
        assert!(
            bound.why.contains("two periods of 15 s of the HPA"),
            "{}",
            bound.why
        );
    }

    #[test]
    fn scaling_in_takes_the_window_and_the_policies() {
        let table = [
            (vec![("Percent", 100, 15)], 13, 0.0, "all at once"),
            (vec![("Pods", 5, 30)], 13, 45.0, "13 → 8 → 3"),
            (vec![("Percent", 50, 30)], 12, 45.0, "12 → 6 → 3"),
            (
                vec![("Pods", 1, 60), ("Percent", 100, 15)],
                9,
                0.0,
                "the faster policy decides",
            ),
            (
                vec![("Pods", 0, 60)],
                9,
                f64::INFINITY,
                "scaling in is switched off",
            ),
            (vec![], 9, 0.0, "no policy limits nothing"),
        ];
        for (policies, from, expected, why) in table {
            let scale_in = policies
                .into_iter()
                .map(|(kind, value, period)| Policy {
                    kind: kind.to_owned(),
                    value,
                    period,
                })
                .collect();
            let autoscaling = Autoscaling { scale_in, ..guide() };
            assert_eq!(autoscaling.scale_in_steps(from), expected, "{why}");
        }
        assert_eq!(
            guide().scale_in(9).seconds,
            60.0 + 32.7 + 30.0 + LEAVING + POD_START
        );
    }

    #[test]
    fn a_drain_is_as_long_as_what_waits() {
        let bound = guide().drain(60.0, 6.0, 2.5);
        assert_eq!(bound.seconds, 10.0 + 5.0 + DRAIN_SLACK);
    }
}
