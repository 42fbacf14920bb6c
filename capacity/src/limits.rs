//! The rate at which each resource is exhausted.

use serde::Serialize;

use crate::demand::{self, CEILING};
use crate::inputs::Inputs;
use crate::settings::{Queue, Settings};

/// A resource that can be exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// The slots of a queue: the maximum number of workers has [`CEILING`] of its slots in use.
    Slots(Queue),
    /// The connections of the database, during a rollout.
    Connections,
    /// The memory of the nodes, during a rollout.
    Memory,
}

/// The limit that a resource sets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limit {
    /// The resource.
    pub resource: Resource,
    /// The most documents a second for which the resource suffices.
    pub rate: f64,
    /// The most workers for which the resource suffices.
    pub workers: u32,
}

/// All limits, the lowest rate first.
pub fn limits(inputs: &Inputs) -> Vec<Limit> {
    let Inputs { settings, database, memory, load } = inputs;
    let slots = Queue::ALL.into_iter().filter_map(|queue| {
        let rate = demand::carried(settings, load, queue, settings.max, CEILING)?;
        Some(Limit { resource: Resource::Slots(queue), rate, workers: settings.max })
    });
    let connections =
        (Resource::Connections, u64::from(database.for_workers()), Some(u64::from(settings.connections())));
    let memory = memory.map(|memory| (Resource::Memory, memory, memory_per_worker(settings)));
    let of_fleet = [Some(connections), memory].into_iter().flatten().filter_map(|(resource, budget, each)| {
        let each = each.filter(|each| *each > 0)?;
        let workers = largest_fleet(settings, budget / each);
        let (_, rate) = demand::carried_by_all(settings, load, workers, CEILING)?;
        Some(Limit { resource, rate, workers })
    });
    let mut all: Vec<Limit> = slots.chain(of_fleet).collect();
    all.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    all
}

/// Bytes of memory that one worker may use: its limit, else its request.
pub(crate) fn memory_per_worker(settings: &Settings) -> Option<u64> {
    settings.memory_limit.or(settings.memory_request)
}

/// The largest fleet whose rollout runs at most `at_a_time` workers at the same time.
pub(crate) fn largest_fleet(settings: &Settings, at_a_time: u64) -> u32 {
    let fits = |workers: u32| u64::from(workers) + u64::from(settings.surge.of(workers)) <= at_a_time;
    let (mut fitting, mut above) = (0_u32, u32::try_from(at_a_time.saturating_add(1)).unwrap_or(u32::MAX));
    if !fits(0) {
        return 0;
    }
    while above - fitting > 1 {
        let middle = fitting + (above - fitting) / 2;
        if fits(middle) {
            fitting = middle;
        } else {
            above = middle;
        }
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::fixture::inputs;
    use crate::settings::Surge;

    #[test]
    fn the_lowest_limit_comes_first() {
        let mut inputs = inputs();
        let order = |inputs: &Inputs| {
            limits(inputs)
                .into_iter()
                .map(|limit| (limit.resource, (limit.rate * 10.0).round() / 10.0, limit.workers))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            order(&inputs),
            [
                (Resource::Slots(Queue::Io), 32.0, 20),
                // 23 workers and a surge of 6 open 29 × 6 = 174 of 177 connections.
                (Resource::Connections, 36.8, 23),
                (Resource::Slots(Queue::Workflow), 480.0, 20),
                (Resource::Slots(Queue::Cpu), 640.0, 20),
            ]
        );
        inputs.load.cpu_seconds = 2.0;
        inputs.load.io_seconds = 0.1;
        assert_eq!(order(&inputs)[0], (Resource::Slots(Queue::Cpu), 16.0, 20));
        inputs.memory = Some(10 * (300 << 20));
        assert_eq!(order(&inputs)[0], (Resource::Memory, 6.4, 8));
    }

    #[test]
    fn a_queue_that_the_load_does_not_use_sets_no_limit() {
        let mut inputs = inputs();
        inputs.load.cpu_seconds = 0.0;
        assert!(limits(&inputs).iter().all(|limit| limit.resource != Resource::Slots(Queue::Cpu)));
    }

    #[test]
    fn the_rollout_of_the_largest_fleet_just_fits() {
        let mut settings = inputs().settings;
        for surge in [Surge::Percent(25), Surge::Percent(0), Surge::Percent(100), Surge::Workers(3)] {
            settings.surge = surge;
            for at_a_time in 0..200 {
                let fits = |workers: &u32| u64::from(workers + surge.of(*workers)) <= at_a_time;
                let expected = (0..=200).take_while(fits).last().unwrap_or(0);
                assert_eq!(largest_fleet(&settings, at_a_time), expected, "{surge:?} of {at_a_time}");
            }
        }
    }
}
