//! How many workers a load needs: Little's law, for each queue.
//!
//! Little's law: the mean number of slots in use is the arrival rate times the mean time that a task holds a slot.
//! [`slots_in_use`], [`rate_of`] and [`seconds_of`] are the law, each solved for another quantity.
//! Dividing the slots in use by the slots that one worker is meant to have in use gives the number of workers.
//! `temporal-scaler` does the same: it counts tasks in slots and tasks that wait for a slot.

use std::ops::RangeInclusive;

use serde::Serialize;

use crate::rounding::{ceil, floor};
use crate::settings::{Queue, Settings};

/// The highest share of its slots that a fleet should have in use on average: the upper end of the guide's 60 to 80 %.
/// The rest is for bursts. A fleet with every slot in use on average has a backlog that grows without end.
pub const CEILING: f64 = 0.8;
/// The lowest such share: the lower end of the guide's range. A fleet below it pays for idle workers.
pub const FLOOR: f64 = 0.6;
/// The tolerance of the HPA: it changes nothing while the wanted size is within 10 % of the present size.
/// This is the default of `--horizontal-pod-autoscaler-tolerance`. `manifests/base` sets it to 0 where the cluster can.
/// The fleet then stays within the 5 % of `temporal-scaler` itself, which the range of the HPA holds, too.
pub const HPA_TOLERANCE: f64 = 0.1;

/// Little's law: the mean number of slots in use, when `rate` tasks a second each hold a slot for `seconds`.
pub fn slots_in_use(rate: f64, seconds: f64) -> f64 {
    rate * seconds
}

/// Little's law, solved for the rate: the tasks a second at which each of `workers` has `target` slots in use.
/// A task holds a slot for `seconds`, which is above 0.
///
/// With `target` set to all slots of a worker, this is the most that the workers can carry.
pub fn rate_of(workers: f64, target: f64, seconds: f64) -> f64 {
    workers * target / seconds
}

/// Little's law, solved for the time: the seconds that a task may hold a slot, so that each of `workers` has `target`
/// slots in use. There are `rate` tasks a second, which is above 0.
pub fn seconds_of(workers: f64, target: f64, rate: f64) -> f64 {
    workers * target / rate
}

/// The smallest number of workers that have at most `target` slots in use each. `slots_in_use` is the number for all of
/// them together, and `target` is above 0.
pub fn workers_needed(slots_in_use: f64, target: f64) -> u32 {
    ceil(slots_in_use / target)
}

/// The numbers of workers at which the HPA leaves the fleet as it is: every size within [`HPA_TOLERANCE`], and the size
/// that the HPA asks for. `slots_in_use` and `target` are those of [`workers_needed`].
pub fn settles_within(slots_in_use: f64, target: f64) -> RangeInclusive<u32> {
    let exact = slots_in_use / target;
    let smallest = ceil(exact / (1.0 + HPA_TOLERANCE));
    let largest = floor(exact / (1.0 - HPA_TOLERANCE));
    smallest..=largest.max(ceil(exact))
}

/// A load of documents. Every figure is finite and at least 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Load {
    /// Documents a second.
    pub rate: f64,
    /// Seconds that a document holds IO slots, all its IO activities together.
    pub io_seconds: f64,
    /// Seconds that a document holds CPU slots, all its CPU activities together.
    pub cpu_seconds: f64,
    /// Seconds that a document holds workflow slots, all its workflow tasks together.
    pub workflow_seconds: f64,
}

impl Load {
    /// The guide's load. 75 IO slots at 30 documents a second leave 2.5 s of IO for each document.
    /// The guide gives no times for the other two queues. The plan assumes 50 ms of extraction, and four workflow tasks
    /// of 25 ms, which includes the answer of Temporal.
    pub const GUIDE: Self = Self { rate: 30.0, io_seconds: 2.5, cpu_seconds: 0.05, workflow_seconds: 0.1 };

    /// Seconds that a document holds slots of this queue.
    pub fn seconds(&self, queue: Queue) -> f64 {
        match queue {
            Queue::Workflow => self.workflow_seconds,
            Queue::Io => self.io_seconds,
            Queue::Cpu => self.cpu_seconds,
        }
    }

    /// The mean number of slots of this queue that are in use.
    pub fn slots_in_use(&self, queue: Queue) -> f64 {
        slots_in_use(self.rate, self.seconds(queue))
    }
}

/// The demand of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QueueDemand {
    /// The queue.
    pub queue: Queue,
    /// The mean number of its slots in use.
    pub slots_in_use: f64,
    /// Workers that this queue alone needs.
    pub workers: u32,
}

/// The workers that a load needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Demand {
    /// The demand of each queue.
    pub queues: [QueueDemand; 3],
    /// The largest demand of the three queues, in workers, without the limits of the ScaledObject.
    pub wanted: u32,
    /// `wanted`, within `minReplicaCount` and `maxReplicaCount`.
    pub workers: u32,
    /// The numbers of workers at which the HPA leaves the fleet as it is under this load.
    pub settles: RangeInclusive<u32>,
}

impl Demand {
    /// The demand of this load on workers with these settings.
    pub fn of(settings: &Settings, load: &Load) -> Self {
        let queues = Queue::ALL.map(|queue| QueueDemand {
            queue,
            slots_in_use: load.slots_in_use(queue),
            workers: workers_needed(load.slots_in_use(queue), settings.slots(queue).target),
        });
        let wanted = queues.iter().map(|it| it.workers).max().unwrap_or(0);
        let within = |workers: u32| workers.clamp(settings.min, settings.max);
        let ranges = queues.map(|it| settles_within(it.slots_in_use, settings.slots(it.queue).target));
        let largest = |end: fn(&RangeInclusive<u32>) -> &u32| ranges.iter().map(end).copied().max().unwrap_or(0);
        Self {
            queues,
            wanted,
            workers: within(wanted),
            settles: within(largest(RangeInclusive::start))..=within(largest(RangeInclusive::end)),
        }
    }
}

/// The documents a second that `workers` carry with this share of the slots of `queue` in use.
/// `None` if the documents do not use the queue.
pub fn carried(settings: &Settings, load: &Load, queue: Queue, workers: u32, utilisation: f64) -> Option<f64> {
    let target = f64::from(settings.slots(queue).count.value) * utilisation;
    let seconds = load.seconds(queue);
    (seconds > 0.0).then(|| rate_of(f64::from(workers), target, seconds))
}

/// The documents a second that `workers` carry with this share of their slots in use, and the queue that limits them.
/// `None` if the documents use no queue.
pub fn carried_by_all(settings: &Settings, load: &Load, workers: u32, utilisation: f64) -> Option<(Queue, f64)> {
    Queue::ALL
        .into_iter()
        .filter_map(|queue| Some((queue, carried(settings, load, queue, workers, utilisation)?)))
        .min_by(|(_, one), (_, other)| one.total_cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::settings;

    #[test]
    fn the_law_holds_in_every_direction() {
        for (workers, target, seconds, rate) in [(20.0, 4.0, 2.5, 32.0), (1.0, 3.5, 2.0, 1.75), (3.0, 5.0, 2.0, 7.5)] {
            assert_eq!(rate_of(workers, target, seconds), rate);
            assert_eq!(seconds_of(workers, target, rate), seconds);
            assert_eq!(slots_in_use(rate, seconds), workers * target);
        }
    }

    #[test]
    fn workers_are_slots_in_use_over_the_target_rounded_up() {
        for (in_use, target, expected) in [
            (0.0, 3.5, 0),
            (0.1, 3.5, 1),
            (3.5, 3.5, 1),
            (3.6, 3.5, 2),
            (70.0, 3.5, 20),
            (70.1, 3.5, 21),
            (75.0, 3.5, 22),
            // Not 21, although 0.7 × 3 is a little less than 2.1 in binary.
            (42.0, 0.7 * 3.0, 20),
            (0.1 * 3.0, 0.3, 1),
        ] {
            assert_eq!(workers_needed(in_use, target), expected, "{in_use} over {target}");
        }
    }

    #[test]
    fn the_hpa_changes_nothing_within_its_tolerance() {
        for (in_use, target, expected) in [
            // The target of 20 workers is 70 slots: 77 are 110 % of it, 63 are 90 %.
            (77.0, 3.5, 20..=24),
            (77.1, 3.5, 21..=24),
            (63.0, 3.5, 17..=20),
            (62.9, 3.5, 17..=19),
            // With 4 workers the ratio is 0.83. The HPA calculates again, and asks for 4.
            (11.6, 3.5, 4..=4),
            (0.0, 3.5, 0..=0),
        ] {
            assert_eq!(settles_within(in_use, target), expected, "{in_use} over {target}");
        }
    }

    #[test]
    fn the_queue_with_the_largest_demand_decides_within_the_replica_limits() {
        let settings = settings();
        for (rate, cpu_seconds, wanted, workers, settles) in [
            (1.0, 0.05, 1, 3, 3..=3),
            // The target of 3 workers is 10.5 slots.
            (4.2, 0.05, 3, 3, 3..=3),
            (4.3, 0.05, 4, 4, 3..=4),
            (10.0, 0.05, 8, 8, 7..=8),
            (10.0, 2.0, 15, 15, 13..=15),
            (30.0, 0.05, 22, 20, 20..=20),
        ] {
            let load = Load { rate, cpu_seconds, ..Load::GUIDE };
            let demand = Demand::of(&settings, &load);
            assert_eq!((demand.wanted, demand.workers), (wanted, workers), "{rate}");
            assert_eq!(demand.settles, settles, "{rate}");
        }
    }

    #[test]
    fn the_busiest_queue_limits_the_fleet() {
        let settings = settings();
        assert_eq!(carried_by_all(&settings, &Load::GUIDE, 15, 1.0), Some((Queue::Io, 30.0)));
        let computing = Load { cpu_seconds: 2.0, ..Load::GUIDE };
        assert_eq!(carried_by_all(&settings, &computing, 15, 1.0), Some((Queue::Cpu, 15.0)));
    }
}
