//! The size of the load: from the host's cores, the workers' slots and the latency on the way to S3.
//!
//! Pure. Every figure comes with the sentence that says where it is from; the report prints both.

use serde::{Deserialize, Serialize};

use crate::bounds::{Autoscaling, Bound};
use crate::sizing::Sizing;

/// The latency on the way to S3: the guide's 75 IO slots at 30 documents a second leave 2.5 s of IO a
/// document.
pub const LATENCY: f64 = 2.5;
/// Documents a second that one core carries with the whole cluster beside the load; 2 cores held 10
/// with a 99th percentile of 0.3 s when this was measured.
const RATE_PER_CORE: f64 = 5.0;
/// The guide's own load test ends at 25 to 30 a second: more cores do not make the step larger.
const RATE_LIMIT: f64 = 25.0;
/// The step is at least so many times what the fewest workers carry, or the queue would grow too
/// slowly to be told from noise.
const STEP_FACTOR: f64 = 1.3;
/// Before the step the fewest workers are used to this part: well below the thresholds, and the
/// bursts of a Poisson process stay within the free slots (of a mean of 4.5, 16 once in 50 000).
const CALM_SHARE: f64 = 0.3;
/// For so many seconds the replicas must hold: four periods of the HPA.
pub const STAYS: f64 = 60.0;
/// The load runs for so many seconds before the replicas are watched: twice the time of a document.
pub const WARM_UP: f64 = 5.0;
/// At the end the fewest replicas must hold for two periods of the HPA.
pub const HOLD: f64 = 30.0;
/// The step lasts at least and at most so many seconds, whatever the bounds say.
const OUT: (f64, f64) = (75.0, 90.0);

/// The load of one step and what it is held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Cores of the host.
    pub cores: usize,
    /// IO slots of one worker.
    pub slots: u32,
    /// How the cluster scales.
    pub autoscaling: Autoscaling,
    /// Seconds that a document took, from start to stored, on an idle system with the latency on.
    pub service: f64,
    /// Documents a second that the fewest workers carry at the most: IO slots over the latency alone.
    pub capacity: f64,
    /// Documents a second before the step.
    pub calm_rate: f64,
    /// Documents a second in the step.
    pub step_rate: f64,
    /// Why these rates.
    pub rule: String,
    /// Seconds that the step lasts.
    pub out: f64,
    /// From the step to the decision.
    pub decision: Bound,
    /// From the decision to the first new worker.
    pub ready: Bound,
}

impl Plan {
    /// The load and the fleet by which a reaction is told.
    pub fn sizing(&self) -> Sizing {
        Sizing {
            min: self.autoscaling.min,
            max: self.autoscaling.max,
            slots: self.slots,
            target: self.autoscaling.target,
            service: LATENCY,
            cores: self.cores,
        }
    }
}

/// Documents a second that a host of so many cores is loaded with.
pub fn rate_of_cores(cores: usize) -> f64 {
    carried_by(cores).min(RATE_LIMIT)
}

/// Documents a second that a host of so many cores carries with the whole cluster beside the load.
pub fn carried_by(cores: usize) -> f64 {
    RATE_PER_CORE * cores as f64
}

/// Plans the step for a host and a cluster.
pub fn plan(cores: usize, slots: u32, autoscaling: Autoscaling, service: f64) -> Plan {
    let carried = f64::from(slots) * f64::from(autoscaling.min);
    let capacity = carried / LATENCY;
    let calm_rate = CALM_SHARE * carried / service.max(LATENCY);
    let by_cores = rate_of_cores(cores);
    let at_least = STEP_FACTOR * capacity;
    let step_rate = by_cores.max(at_least);
    let deciding = if by_cores >= at_least {
        "the cores decide"
    } else {
        "the workers' capacity decides"
    };
    let rule = format!(
        "{} workers × {slots} IO slots / {LATENCY} s carry {capacity:.1}/s; before the step {:.0} % of what they \
         carry at the measured {service:.2} s; the step is {RATE_PER_CORE:.0}/s a core on {cores} cores, at most \
         {RATE_LIMIT:.0}/s and at least {STEP_FACTOR} times their capacity ({at_least:.1}/s): {deciding}",
        autoscaling.min,
        CALM_SHARE * 100.0,
    );
    let decision = autoscaling.decision(calm_rate * service, carried, step_rate - capacity);
    let ready = Autoscaling::ready();
    let out = (decision.seconds + ready.seconds).clamp(OUT.0, OUT.1);
    Plan {
        cores,
        slots,
        autoscaling,
        service,
        capacity,
        calm_rate,
        step_rate,
        rule,
        out,
        decision,
        ready,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guide() -> Autoscaling {
        Autoscaling {
            min: 3,
            max: 20,
            target: 3.5,
            hpa_sync: 15.0,
            stabilization: 60.0,
            scale_in: Vec::new(),
        }
    }

    #[test]
    fn the_step_follows_the_cores_within_its_limits() {
        let table = [
            (1, 7.8, "capacity decides"),
            (2, 10.0, "cores decide"),
            (4, 20.0, ""),
            (64, 25.0, ""),
        ];
        for (cores, rate, rule) in table {
            let plan = plan(cores, 5, guide(), 2.6);
            assert!(
                (plan.step_rate - rate).abs() < 1e-9,
                "{cores} cores: {}",
                plan.step_rate
            );
            assert!(plan.rule.contains(rule), "{}", plan.rule);
            assert!(plan.step_rate >= STEP_FACTOR * plan.capacity - 1e-9);
            assert!((OUT.0..=OUT.1).contains(&plan.out));
        }
    }

    #[test]
    fn the_calm_rate_is_a_part_of_what_was_measured() {
        let plan = plan(2, 5, guide(), 3.0);
        assert!((plan.calm_rate - 0.3 * 15.0 / 3.0).abs() < 1e-9);
        assert!((plan.capacity - 6.0).abs() < 1e-9);
    }

    #[test]
    fn more_slots_ask_for_more_load() {
        let plan = plan(2, 50, guide(), 2.6);
        assert!((plan.step_rate - 78.0).abs() < 1e-9, "{}", plan.step_rate);
        assert!(plan.rule.contains("capacity decides"));
    }
}
