//! How long a reaction may take, derived from what the cluster itself says about its autoscaling.
//!
//! Each bound carries the sentence that derives it; the report prints both. Pure: the HPA's object and
//! the ScaledObject's thresholds come in as values.

use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HorizontalPodAutoscaler};
use serde::{Deserialize, Serialize};

/// The HPA controller's period: kube-controller-manager's `--horizontal-pod-autoscaler-sync-period`
/// defaults to 15 s and cannot be set on managed clusters.
pub const HPA_SYNC: f64 = 15.0;
/// Temporal answers DescribeTaskQueue from a cache of this age (`matching.TaskQueueInfoByBuildIdTTL`).
pub const BACKLOG_CACHE: f64 = 5.0;
/// How old a depth on a worker's port is, at most: one worker of the fleet asks Temporal every second, and the others show
/// its reading a second later.
pub const DEPTH_READ: f64 = 2.0;
/// Prometheus' scrape interval in `manifests/services`.
pub const SCRAPE: f64 = 5.0;
/// The HPA does nothing while its ratio is within 10 % of 1
/// (`--horizontal-pod-autoscaler-tolerance`, default 0.1).
pub const HPA_TOLERANCE: f64 = 0.1;
/// From a decision to a Ready pod: the image is on the node, so it is scheduling, the start of one
/// static program and a readiness probe or two; under 1 s when idle, and the node's CPUs are busy here.
pub const POD_START: f64 = 20.0;
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
    /// Depth of the workflow queue above which workers are added, as the ScaledObject has it.
    pub workflow_threshold: f64,
    /// Depth of the IO queue above which workers are added, as the ScaledObject has it.
    pub io_threshold: f64,
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
    pub fn of(hpa: &HorizontalPodAutoscaler, workflow_threshold: f64, io_threshold: f64) -> Self {
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
            workflow_threshold,
            io_threshold,
            stabilization,
            scale_in: policies,
        }
    }

    /// The depth of the IO queue that makes the HPA add a worker to the fewest, at the latest: with an
    /// average value per worker, and past the HPA's tolerance.
    pub fn depth_that_scales(&self) -> f64 {
        self.io_threshold * f64::from(self.min) * (1.0 + HPA_TOLERANCE)
    }

    /// From the step in load to the decision to add workers, at most.
    pub fn decision(&self, surplus_per_second: f64) -> Bound {
        let depth = self.depth_that_scales();
        let growth = depth / surplus_per_second;
        let seconds = growth + DEPTH_READ + BACKLOG_CACHE + SCRAPE + 2.0 * HPA_SYNC;
        let why = format!(
            "the IO queue grows by {surplus_per_second:.1}/s beyond what {} workers carry and takes {growth:.0} s to \
             the {depth:.0} that add a worker (threshold {} × {} workers × {:.1} tolerance); then {DEPTH_READ:.0} s \
             to ask for the depth, {BACKLOG_CACHE:.0} s of cache in Temporal, {SCRAPE:.0} s to the scrape, and two \
             periods of {HPA_SYNC:.0} s of the HPA",
            self.min,
            self.io_threshold,
            self.min,
            1.0 + HPA_TOLERANCE,
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
        let signal = DEPTH_READ + BACKLOG_CACHE + SCRAPE;
        let seconds = (self.stabilization + signal + 2.0 * HPA_SYNC + steps + POD_START).min(LONGEST);
        let why = format!(
            "{:.0} s of stabilisation (read from the HPA), {signal:.0} s until the signal is back, two HPA periods of \
             {HPA_SYNC:.0} s, {steps:.0} s for the HPA's policies to go from {from} to {}, and {POD_START:.0} s for \
             the counts to follow",
            self.stabilization, self.min
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
                seconds += f64::from(period) + HPA_SYNC;
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
            workflow_threshold: 10.0,
            io_threshold: 15.0,
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
        assert_eq!(Autoscaling::of(&hpa, 10.0, 15.0), guide());

        let bare = serde_json::from_value(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "spec": {"maxReplicas": 20, "scaleTargetRef": {"kind": "Deployment", "name": "w"}},
        }))
        .unwrap();
        let read = Autoscaling::of(&bare, 10.0, 15.0);
        assert_eq!((read.min, read.stabilization), (1, DEFAULT_STABILIZATION));
    }

    #[test]
    fn the_decision_takes_the_growth_of_the_queue_and_the_lags_of_the_signal() {
        let bound = guide().decision(4.0);
        let growth = 15.0 * 3.0 * 1.1 / 4.0;
        assert!(
            (bound.seconds - (growth + 42.0)).abs() < 1e-9,
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
        assert_eq!(guide().scale_in(9).seconds, 60.0 + 12.0 + 30.0 + POD_START);
    }

    #[test]
    fn a_drain_is_as_long_as_what_waits() {
        let bound = guide().drain(60.0, 6.0, 2.5);
        assert_eq!(bound.seconds, 10.0 + 5.0 + DRAIN_SLACK);
    }
}
