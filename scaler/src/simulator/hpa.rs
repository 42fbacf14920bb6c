//! The algorithm of the HorizontalPodAutoscaler, as kube-controller-manager has it for `autoscaling/v2`: tolerance,
//! the largest answer of all metrics, missing metrics, stabilization windows and policies.

use std::collections::VecDeque;

/// What limits a change in one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Seconds whose recommendations are taken into account.
    pub stabilization: f64,
    /// Which policy counts.
    pub select: Select,
    /// The policies. Without any there is no limit.
    pub policies: Vec<Policy>,
}

/// Which policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: no change in this direction.
    Disabled,
}

/// How much may change within a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// What `value` counts.
    pub kind: Kind,
    /// Pods, or percent of the pods at the start of the period.
    pub value: u32,
    /// Seconds.
    pub period: f64,
}

/// What the value of a policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pods.
    Pods,
    /// Percent.
    Percent,
}

/// The limits of an HPA.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Part of a difference that is ignored.
    pub tolerance: f64,
    /// Limits on the way up.
    pub up: Rules,
    /// Limits on the way down.
    pub down: Rules,
}

impl Spec {
    /// The `behavior` that Kubernetes has where none is given.
    pub fn defaults(min: u32, max: u32) -> Self {
        let policy = |kind, value| Policy { kind, value, period: 15.0 };
        let up = vec![policy(Kind::Pods, 4), policy(Kind::Percent, 100)];
        Self {
            min,
            max,
            tolerance: 0.1,
            up: Rules { stabilization: 0.0, select: Select::Max, policies: up },
            down: Rules { stabilization: 300.0, select: Select::Max, policies: vec![policy(Kind::Percent, 100)] },
        }
    }

    /// The `behavior` of `manifests/base/keda-scaledobject.yaml`.
    pub fn shipped(min: u32, max: u32) -> Self {
        let policy = |value, period| vec![Policy { kind: Kind::Percent, value, period }];
        Self {
            up: Rules { stabilization: 0.0, select: Select::Max, policies: policy(200, 15.0) },
            down: Rules { stabilization: 60.0, select: Select::Max, policies: policy(50, 60.0) },
            ..Self::defaults(min, max)
        }
    }
}

/// What a metric said at a sync.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// A sum, and what each replica should have of it.
    AverageValue {
        /// The sum.
        sum: f64,
        /// The part of a replica.
        target: f64,
    },
    /// A value and its target, whose ratio the number of replicas is multiplied by.
    Value {
        /// The value.
        value: f64,
        /// The target.
        target: f64,
    },
    /// Mean utilization of the Ready pods and its target.
    Utilization {
        /// The utilization, of the request.
        mean: f64,
        /// The target.
        target: f64,
    },
}

impl Metric {
    /// Whether there is anything to scale for.
    pub fn is_positive(&self) -> bool {
        match *self {
            Self::AverageValue { sum: value, .. }
            | Self::Value { value, .. }
            | Self::Utilization { mean: value, .. } => value > 0.0,
        }
    }
}

/// An HPA with what it remembers.
#[derive(Debug, Clone)]
pub struct Hpa {
    spec: Spec,
    recommendations: VecDeque<(f64, u32)>,
    added: VecDeque<(f64, u32)>,
    removed: VecDeque<(f64, u32)>,
}

impl Hpa {
    /// An HPA that has not synced.
    pub fn new(spec: Spec) -> Self {
        Self { spec, recommendations: VecDeque::new(), added: VecDeque::new(), removed: VecDeque::new() }
    }

    /// One sync: the replicas that the workload is set to. None among the metrics is one that failed.
    pub fn sync(&mut self, now: f64, metrics: &[Option<Metric>], replicas: u32, ready: u32) -> u32 {
        if replicas == 0 && self.spec.min != 0 {
            return 0;
        }
        let Some(wanted) = self.recommend(metrics, replicas, ready) else { return replicas };
        let stable = self.stabilize(now, wanted, replicas);
        let next = self.limit(now, stable, replicas);
        if next > replicas {
            self.added.push_back((now, next - replicas));
        } else if next < replicas {
            self.removed.push_back((now, replicas - next));
        }
        let longest = self.spec.up.policies.iter().chain(&self.spec.down.policies).map(|policy| policy.period);
        let longest = longest.fold(0.0, f64::max);
        for events in [&mut self.added, &mut self.removed] {
            while events.front().is_some_and(|(at, _)| *at < now - longest) {
                events.pop_front();
            }
        }
        next
    }

    /// The largest answer. None where nothing may change: no metric answered, or one failed and the others would
    /// scale in.
    fn recommend(&self, metrics: &[Option<Metric>], replicas: u32, ready: u32) -> Option<u32> {
        let answers = metrics.iter().flatten().map(|metric| self.replicas_by(metric, replicas, ready));
        let most = answers.max()?;
        let failed = metrics.iter().any(Option::is_none);
        (!failed || most >= replicas).then_some(most)
    }

    fn replicas_by(&self, metric: &Metric, replicas: u32, ready: u32) -> u32 {
        let tolerance = self.spec.tolerance;
        let within = |ratio: f64| (1.0 - tolerance..=1.0 + tolerance).contains(&ratio);
        // The metrics API hands over thousandths, which round up.
        let milli = |value: f64| (value * 1000.0 - 1e-6).ceil();
        match *metric {
            Metric::AverageValue { sum, target } => match within(milli(sum) / (milli(target) * f64::from(replicas))) {
                true => replicas,
                false => (milli(sum) / milli(target)).ceil() as u32,
            },
            Metric::Value { value, target } => {
                let ratio = milli(value) / milli(target);
                match (replicas, within(ratio)) {
                    (0, _) => ratio.ceil() as u32,
                    (_, true) => replicas,
                    _ => (ratio * f64::from(ready)).ceil() as u32,
                }
            }
            Metric::Utilization { mean, target } => {
                let ratio = mean / target;
                match within(ratio) {
                    true => replicas,
                    // Pods that are not Ready count as idle on the way up, and must not turn it round.
                    false if ratio > 1.0 && ready < replicas => {
                        let with_unready = ratio * f64::from(ready) / f64::from(replicas);
                        match within(with_unready) || with_unready < 1.0 {
                            true => replicas,
                            false => (with_unready * f64::from(replicas)).ceil() as u32,
                        }
                    }
                    false => (ratio * f64::from(ready)).ceil() as u32,
                }
            }
        }
    }

    fn stabilize(&mut self, now: f64, wanted: u32, replicas: u32) -> u32 {
        let (up, down) = (self.spec.up.stabilization, self.spec.down.stabilization);
        while self.recommendations.front().is_some_and(|(at, _)| *at <= now - up.max(down)) {
            self.recommendations.pop_front();
        }
        let within = |window: f64| self.recommendations.iter().filter(move |(at, _)| *at > now - window);
        let lowest = within(up).map(|(_, count)| *count).fold(wanted, u32::min);
        let highest = within(down).map(|(_, count)| *count).fold(wanted, u32::max);
        self.recommendations.push_back((now, wanted));
        replicas.max(lowest).min(highest)
    }

    fn limit(&self, now: f64, wanted: u32, replicas: u32) -> u32 {
        if wanted > replicas {
            let limit = self.reach(now, &self.spec.up, replicas, true).max(replicas);
            wanted.min(limit.min(self.spec.max)).max(replicas.min(self.spec.max))
        } else {
            let limit = self.reach(now, &self.spec.down, replicas, false).min(replicas);
            let wanted = if wanted < replicas { wanted.max(limit) } else { wanted };
            wanted.clamp(self.spec.min, self.spec.max)
        }
    }

    /// How far the policies let the replicas go in one direction.
    fn reach(&self, now: f64, rules: &Rules, replicas: u32, up: bool) -> u32 {
        if rules.select == Select::Disabled {
            return replicas;
        }
        let limits = rules.policies.iter().map(|policy| {
            let changed = |events: &VecDeque<(f64, u32)>| -> i64 {
                events.iter().filter(|(at, _)| *at > now - policy.period).map(|(_, count)| i64::from(*count)).sum()
            };
            let start = (i64::from(replicas) - changed(&self.added) + changed(&self.removed)).max(0);
            let share = start as f64 * f64::from(policy.value) / 100.0;
            let limit = match (policy.kind, up) {
                (Kind::Pods, true) => start + i64::from(policy.value),
                (Kind::Pods, false) => start - i64::from(policy.value),
                (Kind::Percent, true) => (start as f64 + share).ceil() as i64,
                (Kind::Percent, false) => (start as f64 - share) as i64,
            };
            limit.clamp(0, i64::from(u32::MAX)) as u32
        });
        let furthest = (rules.select == Select::Max) == up;
        let limit = if furthest { limits.max() } else { limits.min() };
        limit.unwrap_or(if up { u32::MAX } else { 0 })
    }
}

#[cfg(test)]
#[path = "hpa_tests.rs"]
mod tests;
