//! How much load a number of workers is, by Little's law: tasks in flight are arrivals a second times the seconds of one.
//!
//! Pure. A load is sized by the fleet that it needs, so that a scenario means the same whatever the slots, the target and the
//! time of a document; where the host is too small for it, it is made smaller, and says so.

use capacity::demand::{CEILING, workers_needed};
use serde::{Deserialize, Serialize};

/// What a load is sized by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sizing {
    /// Fewest workers.
    pub min: i32,
    /// Most workers.
    pub max: i32,
    /// IO slots of a worker.
    pub slots: u32,
    /// IO slots in use that the autoscaler wants a worker to have.
    pub target: f64,
    /// Seconds that a document holds an IO slot: the latency on the way to S3.
    pub service: f64,
    /// Cores of the host.
    pub cores: usize,
}

impl Sizing {
    /// Documents a second that use so many workers at the target.
    pub fn rate_of(&self, workers: f64) -> f64 {
        workers * self.target / self.service
    }

    /// Workers that so many documents a second use at the target, within the fewest and the most.
    pub fn workers_for(&self, rate: f64) -> i32 {
        let needed = workers_needed(rate * self.service, self.target);
        i32::try_from(needed)
            .unwrap_or(i32::MAX)
            .clamp(self.min, self.max)
    }

    /// Workers that a load needs at once: they carry it within the guide's upper bound of the slots in use. The target is below, and
    /// what it asks for beyond them may come with the mean.
    pub fn needed_for(&self, rate: f64) -> i32 {
        Self {
            target: CEILING * f64::from(self.slots),
            ..*self
        }
        .workers_for(rate)
    }

    /// Documents a second that so many workers carry with every slot in use.
    pub fn capacity_of(&self, workers: i32) -> f64 {
        f64::from(workers) * f64::from(self.slots) / self.service
    }

    /// The same fleet with a load that the host carries: where `workers` workers' worth is more documents a second than
    /// `carried`, each takes so much longer that it is as many. Slots in use, which is what the fleet is scaled by, stay the same.
    pub fn on_host(self, workers: f64, carried: f64) -> Self {
        let scale = (self.rate_of(workers) / carried).max(1.0);
        Self {
            service: self.service * scale,
            ..self
        }
    }

    /// What the load is sized by, for people.
    pub fn told(&self) -> String {
        format!(
            "a document holds an IO slot for {:.1} s, which is set so that {} cores carry the load; at {:.1} of {} slots in \
             use a worker carries {:.2} documents/s (rate = workers × slots in use / seconds)",
            self.service,
            self.cores,
            self.target,
            self.slots,
            self.rate_of(1.0),
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sizing() -> Sizing {
        Sizing {
            min: 3,
            max: 20,
            slots: 5,
            target: 3.5,
            service: 2.0,
            cores: 2,
        }
    }

    #[test]
    fn rates_and_workers_are_each_others_inverse() {
        let sizing = sizing();
        for workers in sizing.min..=sizing.max {
            assert_eq!(sizing.workers_for(sizing.rate_of(f64::from(workers))), workers);
            assert_eq!(
                sizing.workers_for(sizing.rate_of(f64::from(workers) + 0.1)),
                (workers + 1).min(20)
            );
        }
        // 31.5 slots in use: 9 workers at 70 % of 45, 8 within 80 % of 40.
        assert_eq!(sizing.needed_for(sizing.rate_of(9.0)), 8);
        assert_eq!(sizing.rate_of(9.0), 15.75);
        assert_eq!(sizing.capacity_of(3), 7.5);
    }

    #[test]
    fn a_load_is_made_slower_only_where_the_host_is_too_small() {
        assert_eq!(sizing().on_host(9.0, 20.0), sizing());
        let slower = sizing().on_host(9.0, 10.0);
        assert_eq!((slower.service, slower.rate_of(9.0)), (3.15, 10.0));
        assert_eq!(slower.rate_of(9.0) * slower.service, sizing().rate_of(9.0) * 2.0);
    }

    #[test]
    fn a_fleet_has_its_bounds() {
        assert_eq!(sizing().workers_for(0.1), 3);
        assert_eq!(sizing().workers_for(1000.0), 20);
    }
}
