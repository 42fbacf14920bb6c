//! How large a load is: by the workers that it needs, and by what this host carries. Pure.
//!
//! Documents a second times the seconds that each holds a slot are the slots in use (Little's law, in
//! [`capacity::demand`]). A slower host gets fewer documents that take longer: the slots in use, which the fleet is
//! scaled by, stay the same.

use anyhow::{Result, ensure};
use capacity::demand::{CEILING, rate_of, seconds_of, settles_within, slots_in_use, workers_needed};
use serde::{Deserialize, Serialize};

use super::calibration::{Calibration, PodStarts};
use crate::cluster::autoscaling::Autoscaling;

/// The guide's IO time of a document, in seconds: its 75 IO slots at 30 documents a second.
pub const GUIDE_SERVICE: f64 = 2.5;
/// The guide's bound on p99 for such documents, in seconds.
pub const GUIDE_P99: f64 = 4.0;
/// What the guide leaves a document beside its IO, in seconds.
pub const WAITING: f64 = GUIDE_P99 - GUIDE_SERVICE;
/// The largest share of the host's capacity that a load takes: the rest starts workers, and keeps the host from
/// being what is judged.
pub const SHARE: f64 = 0.7;
/// The least share: a load that takes less shows how the host starts workers, and little of the fleet.
pub const LEAST_SHARE: f64 = 0.5 * SHARE;
/// Seconds in which the workers that a step adds at once are Ready beside its load, at most. What waits until then is
/// demand, too, and the fleet outgrows its load.
pub const STARTED: f64 = 4.0;
/// The longest IO time of a document, in seconds: half of the worker's timeout for one request to S3.
pub const LONGEST_SERVICE: f64 = 15.0;

/// The largest load of a scenario, in workers at the autoscaler's target.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    /// Workers that it needs.
    pub workers: f64,
    /// Workers of these that start at once, beside the load.
    pub starting: f64,
}

impl Peak {
    /// A load of so many workers, of which none start beside it.
    pub fn steady(workers: f64) -> Self {
        Self { workers, starting: 0.0 }
    }

    /// A load that rises to so many workers from a fleet of `min`.
    pub fn step(workers: f64, min: i32) -> Self {
        Self { workers, starting: workers - f64::from(min) }
    }

    /// The share of this host's capacity that the load may take: the rest starts the new workers within [`STARTED`].
    fn share(self, starts: &PodStarts) -> f64 {
        (1.0 - starts.seconds_of(self.starting) / STARTED).clamp(LEAST_SHARE, SHARE)
    }
}

/// A fleet, and the documents that it is loaded with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sizing {
    /// Minimum number of workers.
    pub min: i32,
    /// Maximum number of workers.
    pub max: i32,
    /// IO slots of a worker.
    pub slots: u32,
    /// IO slots in use that one worker should have.
    pub target: f64,
    /// Seconds that a document holds an IO slot: the latency on the way to S3.
    pub service: f64,
    /// Documents a second that this host carries.
    pub capacity: f64,
    /// The share of them that the load takes at most.
    #[serde(default = "most")]
    pub share: f64,
}

fn most() -> f64 {
    SHARE
}

impl Sizing {
    /// The load whose peak uses `workers` workers at the target, with documents of `service` seconds, or of more
    /// where this host would not carry so many documents.
    ///
    /// # Errors
    /// The host carries too few documents a second; the error says how many, and how many are needed.
    pub fn fit(
        autoscaling: &Autoscaling,
        slots: u32,
        calibration: &Calibration,
        peak: Peak,
        service: f64,
    ) -> Result<Self> {
        let (capacity, workers) = (calibration.per_second(), peak.workers);
        let (share, in_use) = (peak.share(&calibration.starts), workers * autoscaling.target);
        let needed = in_use / LONGEST_SERVICE / share;
        ensure!(
            capacity >= needed,
            "this host carries {capacity:.1} documents/s, and {needed:.1}/s are needed: the load of {workers:.0} \
             workers has {in_use:.0} documents in flight, of at most {LONGEST_SERVICE:.0} s each, at {:.0} % of the \
             host's capacity",
            100.0 * share
        );
        Ok(Self {
            min: autoscaling.min,
            max: autoscaling.max,
            slots,
            target: autoscaling.target,
            service: service.max(seconds_of(workers, autoscaling.target, share * capacity)),
            capacity,
            share,
        })
    }

    /// A load of so many times what this host carries, with documents of `service` seconds: it saturates the host on
    /// purpose.
    pub fn overload(
        autoscaling: &Autoscaling,
        slots: u32,
        calibration: &Calibration,
        times: f64,
        service: f64,
    ) -> Self {
        let Autoscaling { min, max, target, .. } = *autoscaling;
        Self { min, max, slots, target, service, capacity: calibration.per_second(), share: times }
    }

    /// Documents a second that use `workers` workers at the target.
    pub fn rate_of(&self, workers: f64) -> f64 {
        rate_of(workers, self.target, self.service)
    }

    /// Slots in use under so many documents a second.
    pub fn in_use(&self, rate: f64) -> f64 {
        slots_in_use(rate, self.service)
    }

    /// IO slots of so many workers.
    pub fn slots_of(&self, workers: i32) -> f64 {
        f64::from(workers) * f64::from(self.slots)
    }

    /// Workers at the target under so many documents a second, within minimum and maximum.
    pub fn workers_for(&self, rate: f64) -> i32 {
        self.within(workers_needed(self.in_use(rate), self.target))
    }

    /// Workers that keep their utilization within the guide's upper bound. The target is below it.
    pub fn needed_for(&self, rate: f64) -> i32 {
        self.within(workers_needed(self.in_use(rate), CEILING * f64::from(self.slots)))
    }

    /// The least and the greatest number of workers at which the HPA rests under so many documents a second.
    pub fn settles(&self, rate: f64) -> (i32, i32) {
        let sizes = settles_within(self.in_use(rate), self.target);
        (self.within(*sizes.start()), self.within(*sizes.end()))
    }

    /// The least and the most workers that are right for so many documents a second. Demand is a mean of 30 s: chance
    /// may add one.
    pub fn right_count(&self, rate: f64) -> (i32, i32) {
        let (least, most) = self.settles(rate);
        (least, most + 1)
    }

    fn within(&self, workers: u32) -> i32 {
        i32::try_from(workers).unwrap_or(i32::MAX).clamp(self.min, self.max)
    }

    /// The bound on p99 of documents of one trip to S3, in seconds.
    pub fn p99_bound(&self) -> f64 {
        self.service + WAITING
    }

    /// The load in a sentence.
    pub fn rule(&self) -> String {
        format!(
            "this host carries {:.1} documents/s; a document holds an IO slot for {:.1} s, so that the load takes at \
             most {:.0} % of that; a worker with {:.1} of {} slots in use carries {:.2} documents/s",
            self.capacity,
            self.service,
            100.0 * self.share,
            self.target,
            self.slots,
            self.rate_of(1.0),
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cluster::autoscaling::tests::shipped;

    pub(crate) fn sizing() -> Sizing {
        Sizing { min: 3, max: 20, slots: 5, target: 3.5, service: 2.0, capacity: 25.0, share: SHARE }
    }

    #[test]
    fn rates_and_workers_are_each_others_inverse() {
        let sizing = sizing();
        for workers in sizing.min..=sizing.max {
            assert_eq!(sizing.workers_for(sizing.rate_of(f64::from(workers))), workers);
        }
        // 31.5 slots in use: 9 workers at 70 %, 8 within 80 %.
        assert_eq!(sizing.needed_for(sizing.rate_of(9.0)), 8);
        assert_eq!((sizing.rate_of(9.0), sizing.in_use(15.75)), (15.75, 31.5));
        assert_eq!((sizing.workers_for(0.1), sizing.workers_for(1000.0)), (3, 20));
    }

    #[test]
    fn a_slower_host_gets_fewer_documents_that_take_longer() {
        let fit = |per_second: f64| {
            let calibration =
                Calibration { seconds: 10.0, documents: (per_second * 10.0) as u64, ..Calibration::default() };
            Sizing::fit(&shipped(), 5, &calibration, Peak::steady(7.0), 2.5)
        };
        let fast = fit(20.0).unwrap();
        assert_eq!(fast.service, 2.5);
        let slow = fit(7.0).unwrap();
        assert!((slow.service - 5.0).abs() < 1e-9, "{slow:?}");
        assert_eq!(slow.in_use(slow.rate_of(7.0)), fast.in_use(fast.rate_of(7.0)));
        assert!((slow.rate_of(7.0) - 0.7 * 7.0).abs() < 1e-9);
        let error = fit(2.0).unwrap_err().to_string();
        assert!(error.starts_with("this host carries 2.0 documents/s, and 2.3/s are needed"), "{error}");
    }

    #[test]
    fn a_host_that_starts_workers_slowly_keeps_more_of_its_capacity_for_that() {
        let fit = |all: f64| {
            let starts = PodStarts { pods: 17, first: 1.0, all };
            let calibration = Calibration { seconds: 10.0, documents: 100, starts, ..Calibration::default() };
            Sizing::fit(&shipped(), 5, &calibration, Peak::step(7.0, 3), 2.5)
        };
        assert_eq!(fit(4.0).unwrap().share, SHARE);
        // Four workers take 2 s: half of the time that there is, so half of the host.
        let slow = fit(8.5).unwrap();
        assert!((slow.share - 0.5).abs() < 1e-9 && (slow.rate_of(7.0) - 5.0).abs() < 1e-9, "{slow:?}");
        assert_eq!(fit(17.0).unwrap().share, LEAST_SHARE);
    }
}
