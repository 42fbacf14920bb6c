//! How many workers a load needs: Little's law, queue by queue.
//!
//! Documents a second times the seconds that one holds a slot are the slots in use; over the slots in use that are meant for one
//! worker they are the workers. That is what the ScaledObject's demand triggers ask for, too: they count the slots in use and
//! what waits for one, and their threshold is the target of one worker.

use std::ops::RangeInclusive;

use serde::Serialize;

use crate::ROUNDING;
use crate::settings::{Queue, Settings};

/// The part of a fleet's slots above which it does not carry its load: the upper end of the guide's 60 to 80 %. The rest is
/// for bursts; a fleet that has all of its slots in use on average has a queue that grows without end.
pub const CEILING: f64 = 0.8;
/// The lower end: a target below it pays for workers that stand idle.
pub const FLOOR: f64 = 0.6;
/// The HPA leaves a fleet as it is while what it wants is within 10 % of what there is
/// (`--horizontal-pod-autoscaler-tolerance`, default 0.1).
pub const HPA_TOLERANCE: f64 = 0.1;

/// Documents, and how long one takes of each queue's slots. Every figure is finite and not negative.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Load {
    /// Documents a second.
    pub rate: f64,
    /// Seconds in IO slots, of all activities of a document together.
    pub io_seconds: f64,
    /// Seconds in CPU slots.
    pub cpu_seconds: f64,
    /// Seconds in workflow slots.
    pub workflow_seconds: f64,
}

impl Load {
    /// The guide's: 75 IO slots at 30 documents a second leave 2.5 s of IO a document. The guide says nothing of the other two:
    /// 50 ms of extraction, and four workflow tasks of 25 ms, Temporal's answer included.
    pub const GUIDE: Self = Self {
        rate: 30.0,
        io_seconds: 2.5,
        cpu_seconds: 0.05,
        workflow_seconds: 0.1,
    };

    /// Seconds that a document holds a slot of this queue.
    pub fn seconds(&self, queue: Queue) -> f64 {
        match queue {
            Queue::Workflow => self.workflow_seconds,
            Queue::Io => self.io_seconds,
            Queue::Cpu => self.cpu_seconds,
        }
    }

    /// Slots of this queue that are in use on average.
    pub fn slots_in_use(&self, queue: Queue) -> f64 {
        self.rate * self.seconds(queue)
    }
}

/// What a queue asks for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QueueDemand {
    /// Which.
    pub queue: Queue,
    /// Slots in use on average.
    pub slots_in_use: f64,
    /// Workers that its slots in use ask for.
    pub workers: u32,
}

/// What a load asks for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Demand {
    /// By queue.
    pub queues: [QueueDemand; 3],
    /// Workers that the largest demand asks for, whatever the ScaledObject allows.
    pub wanted: u32,
    /// Workers that there will be: what is wanted, within the ScaledObject's bounds.
    pub workers: u32,
    /// Sizes at which the HPA leaves the fleet alone under this load.
    pub settles: RangeInclusive<u32>,
}

impl Demand {
    /// Of this load on workers with these settings.
    pub fn of(settings: &Settings, load: &Load) -> Self {
        let queues = Queue::ALL.map(|queue| QueueDemand {
            queue,
            slots_in_use: load.slots_in_use(queue),
            workers: workers_needed(load.slots_in_use(queue), settings.slots(queue).target),
        });
        let wanted = queues.iter().map(|it| it.workers).max().unwrap_or(0);
        let within = |workers: u32| workers.clamp(settings.min, settings.max);
        let ranges = queues.map(|it| settles_within(it.slots_in_use, settings.slots(it.queue).target));
        let most = |end: fn(&RangeInclusive<u32>) -> &u32| ranges.iter().map(end).copied().max().unwrap_or(0);
        Self {
            queues,
            wanted,
            workers: within(wanted),
            settles: within(most(RangeInclusive::start))..=within(most(RangeInclusive::end)),
        }
    }
}

/// Workers for so many slots in use where each is meant to have `target` (above 0) of them in use.
pub fn workers_needed(slots_in_use: f64, target: f64) -> u32 {
    ceil(slots_in_use / target)
}

/// Sizes at which the HPA leaves a fleet alone: those within its tolerance, and the one that it asks for.
pub fn settles_within(slots_in_use: f64, target: f64) -> RangeInclusive<u32> {
    let exact = slots_in_use / target;
    let fewest = ceil(exact / (1.0 + HPA_TOLERANCE));
    let most = (exact / (1.0 - HPA_TOLERANCE) * (1.0 + ROUNDING)).floor() as u32;
    fewest..=most.max(ceil(exact))
}

/// The documents a second that so many workers carry with this part of a queue's slots in use; none where the documents take
/// nothing of that queue.
pub fn carried(
    settings: &Settings,
    load: &Load,
    queue: Queue,
    workers: u32,
    utilisation: f64,
) -> Option<f64> {
    let slots = f64::from(workers) * f64::from(settings.slots(queue).count.value);
    let seconds = load.seconds(queue);
    (seconds > 0.0).then(|| slots * utilisation / seconds)
}

/// The documents a second that so many workers carry with this part of their slots in use, and the queue that holds them there.
pub fn carried_by_all(
    settings: &Settings,
    load: &Load,
    workers: u32,
    utilisation: f64,
) -> Option<(Queue, f64)> {
    Queue::ALL
        .into_iter()
        .filter_map(|queue| Some((queue, carried(settings, load, queue, workers, utilisation)?)))
        .min_by(|(_, one), (_, other)| one.total_cmp(other))
}

/// The whole number above, but for what is only rounding.
fn ceil(value: f64) -> u32 {
    (value * (1.0 - ROUNDING)).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::inputs;

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
            // Not 21: 0.7 × 3 is a little less than 2.1 in binary.
            (42.0, 0.7 * 3.0, 20),
            (0.1 * 3.0, 0.3, 1),
        ] {
            assert_eq!(workers_needed(in_use, target), expected, "{in_use} over {target}");
        }
    }

    #[test]
    fn the_hpa_leaves_alone_what_is_within_its_tolerance() {
        for (in_use, target, expected) in [
            // 77 slots in use are 110 % of what 20 workers are meant to have, 63 are 90 %.
            (77.0, 3.5, 20..=24),
            (77.1, 3.5, 21..=24),
            (63.0, 3.5, 17..=20),
            (62.9, 3.5, 17..=19),
            // At 4 workers the ratio is 0.83, so it asks again, and asks for 4.
            (11.6, 3.5, 4..=4),
            (0.0, 3.5, 0..=0),
        ] {
            assert_eq!(settles_within(in_use, target), expected, "{in_use} over {target}");
        }
    }

    #[test]
    fn the_queue_that_asks_for_most_decides_within_the_bounds() {
        let settings = inputs().settings;
        for (rate, cpu_seconds, wanted, workers, settles) in [
            (1.0, 0.05, 1, 3, 3..=3),
            // 10.5 slots in use are what 3 workers are meant to have.
            (4.2, 0.05, 3, 3, 3..=3),
            (4.3, 0.05, 4, 4, 3..=4),
            (10.0, 0.05, 8, 8, 7..=8),
            (10.0, 2.0, 15, 15, 13..=15),
            (30.0, 0.05, 22, 20, 20..=20),
        ] {
            let load = Load {
                rate,
                cpu_seconds,
                ..Load::GUIDE
            };
            let demand = Demand::of(&settings, &load);
            assert_eq!((demand.wanted, demand.workers), (wanted, workers), "{rate}");
            assert_eq!(demand.settles, settles, "{rate}");
        }
    }

    #[test]
    fn a_fleet_carries_what_its_busiest_queue_does() {
        let settings = inputs().settings;
        assert_eq!(
            carried_by_all(&settings, &Load::GUIDE, 15, 1.0),
            Some((Queue::Io, 30.0))
        );
        let computing = Load {
            cpu_seconds: 2.0,
            ..Load::GUIDE
        };
        assert_eq!(
            carried_by_all(&settings, &computing, 15, 1.0),
            Some((Queue::Cpu, 15.0))
        );
    }
}
