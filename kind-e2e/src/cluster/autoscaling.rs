//! How the cluster scales the workers: what the HPA's object says, and Kubernetes' defaults where it says nothing.

use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HorizontalPodAutoscaler};
use serde::{Deserialize, Serialize};

/// Default of kube-controller-manager's `--horizontal-pod-autoscaler-sync-period`, in seconds.
/// A managed cluster neither shows nor changes it.
pub const DEFAULT_SYNC: u8 = 15;
/// Kubernetes' default of the HPA's scale-down stabilization window, in seconds.
pub const DEFAULT_STABILIZATION: f64 = 300.0;

/// How the cluster scales the workers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Autoscaling {
    /// Minimum number of workers.
    pub min: i32,
    /// Maximum number of workers.
    pub max: i32,
    /// IO slots in use that one worker should have: the utilization that `temporal-scaler` is given, of its slots.
    pub target: f64,
    /// The HPA's sync period, in seconds.
    pub hpa_sync: f64,
    /// The HPA's scale-down stabilization window, in seconds.
    pub stabilization: f64,
    /// The HPA's scale-down policies.
    pub scale_in: Vec<Policy>,
}

/// One of the HPA's scaling policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `Pods` or `Percent`.
    pub kind: String,
    /// Pods, or per cent of the pods.
    pub value: i32,
    /// In this many seconds.
    pub period: i32,
}

impl From<&HPAScalingPolicy> for Policy {
    fn from(policy: &HPAScalingPolicy) -> Self {
        Self { kind: policy.type_.clone(), value: policy.value, period: policy.period_seconds }
    }
}

impl Policy {
    /// How many of `replicas` pods the policy removes at once. Kubernetes rounds what stays downwards.
    fn removes(&self, replicas: i32) -> i32 {
        match self.kind.as_str() {
            "Percent" => replicas - replicas * (100 - self.value.clamp(0, 100)) / 100,
            _ => self.value,
        }
    }
}

impl Autoscaling {
    /// Reads the HPA. `target` and `hpa_sync` are not part of its object.
    pub fn of(hpa: &HorizontalPodAutoscaler, target: f64, hpa_sync: f64) -> Self {
        let spec = &hpa.spec;
        let rules = spec.behavior.as_ref().and_then(|behavior| behavior.scale_down.as_ref());
        let stabilization =
            rules.and_then(|rules| rules.stabilization_window_seconds).map_or(DEFAULT_STABILIZATION, f64::from);
        let policies = rules.and_then(|rules| rules.policies.as_ref());
        Self {
            min: spec.min_replicas.unwrap_or(1),
            max: spec.max_replicas,
            target,
            hpa_sync,
            stabilization,
            scale_in: policies.into_iter().flatten().map(Policy::from).collect(),
        }
    }

    /// Seconds that the scale-down policies need from `from` workers to the minimum; infinite where they forbid it.
    pub fn scale_in_seconds(&self, from: i32) -> f64 {
        if self.scale_in.is_empty() {
            return 0.0;
        }
        let (mut replicas, mut seconds) = (from, 0.0);
        while replicas > self.min {
            // selectPolicy Max: the policy that removes most in its period decides.
            let removed = self.scale_in.iter().map(|policy| (policy.removes(replicas), policy.period));
            let fastest = removed.max_by_key(|(removed, period)| (*removed, -period));
            let Some((removed, period)) = fastest.filter(|(removed, _)| *removed > 0) else {
                return f64::INFINITY;
            };
            replicas -= removed;
            // The HPA notices at its next sync that a policy's period has passed.
            if replicas > self.min {
                seconds += f64::from(period) + self.hpa_sync;
            }
        }
        seconds
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn shipped() -> Autoscaling {
        Autoscaling {
            min: 3,
            max: 20,
            target: 3.5,
            hpa_sync: 15.0,
            stabilization: 60.0,
            scale_in: vec![Policy { kind: "Percent".to_owned(), value: 100, period: 15 }],
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
        assert_eq!(Autoscaling::of(&hpa, 3.5, 15.0), shipped());

        let bare = serde_json::from_value(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "spec": {"maxReplicas": 20, "scaleTargetRef": {"kind": "Deployment", "name": "w"}},
        }))
        .unwrap();
        let read = Autoscaling::of(&bare, 3.5, 15.0);
        assert_eq!((read.min, read.stabilization), (1, DEFAULT_STABILIZATION));
    }

    #[test]
    fn scale_in_takes_as_long_as_its_policies_need() {
        let table = [
            (vec![("Percent", 100, 15)], 13, 0.0, "all at once"),
            (vec![("Pods", 5, 30)], 13, 45.0, "13 → 8 → 3"),
            (vec![("Percent", 50, 30)], 12, 45.0, "12 → 6 → 3"),
            (vec![("Pods", 1, 60), ("Percent", 100, 15)], 9, 0.0, "the faster policy decides"),
            (vec![("Pods", 0, 60)], 9, f64::INFINITY, "scaling in is switched off"),
            (vec![], 9, 0.0, "no policy limits nothing"),
        ];
        for (policies, from, expected, why) in table {
            let policy = |(kind, value, period): (&str, i32, i32)| Policy { kind: kind.to_owned(), value, period };
            let scale_in = policies.into_iter().map(policy).collect();
            let autoscaling = Autoscaling { scale_in, ..shipped() };
            assert_eq!(autoscaling.scale_in_seconds(from), expected, "{why}");
        }
    }
}
