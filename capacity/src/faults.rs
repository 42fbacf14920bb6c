//! Why a plan does not hold: each rule, and its reason in words with the way out.

use std::fmt;

use serde::Serialize;

use crate::at_most;
use crate::demand::{self, CEILING, Load};
use crate::limits::{self, memory_of_one};
use crate::plan::Inputs;
use crate::quantity::readable;
use crate::settings::{ASSUMED_UTILISATION, Queue, Settings};
use crate::table::Fleet;

/// A reason why a plan does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Fault {
    /// Fewer threads than slots. The worker refuses to start: `PoolsConfig::validate` (`worker/src/config/pools.rs`).
    Threads {
        /// The queue with more slots.
        queue: Queue,
        /// The variable of its threads.
        variable: &'static str,
        /// Threads.
        threads: u32,
        /// Slots.
        slots: u32,
    },
    /// Fewer connections than slots. The worker refuses to start: `DatabaseConfig::validate`
    /// (`worker/src/config/database.rs`).
    Pool {
        /// Connections that a worker is allowed.
        allowed: u32,
        /// IO slots.
        slots: u32,
    },
    /// A trigger's target leaves no room for bursts, or is more than a worker has.
    Target {
        /// The trigger's queue.
        queue: Queue,
        /// Slots in use that are meant for a worker.
        target: f64,
        /// A worker's slots.
        slots: u32,
    },
    /// The load is more than the largest fleet carries.
    Carried {
        /// The queue whose slots do not suffice.
        queue: Queue,
        /// The most workers.
        workers: u32,
        /// Documents a second that they carry.
        carried: f64,
        /// Documents a second that are asked of them.
        rate: f64,
        /// Seconds in a slot that each of them takes.
        seconds: f64,
        /// Workers that would carry them.
        workers_for_it: u32,
        /// Slots of a worker with which they would.
        slots_for_it: u32,
        /// Seconds in a slot with which they would.
        seconds_for_it: f64,
    },
    /// The workers' connections are more than the database has for them.
    Connections {
        /// The most workers.
        workers: u32,
        /// Beside them in a rollout.
        surge: u32,
        /// Connections of one, at the most.
        each: u32,
        /// Connections of all, a rollout's included.
        wanted: u64,
        /// What there is for them.
        budget: u32,
        /// The most workers for which that suffices.
        fitting: u32,
        /// `max_connections` that would suffice.
        max_connections: u64,
    },
    /// The workers may take more memory than the nodes have for them.
    Memory {
        /// The most workers.
        workers: u32,
        /// Beside them in a rollout.
        surge: u32,
        /// Bytes of one.
        each: u64,
        /// Bytes of all, a rollout's included.
        wanted: u64,
        /// What there is for them.
        budget: u64,
        /// The most workers for which that suffices.
        fitting: u32,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        match *self {
            Self::Threads {
                queue,
                variable,
                threads,
                slots,
            } => write!(
                f,
                "a worker refuses to start: {variable} is {threads}, fewer than its {slots} {} slots; set it to {slots} or \
                 more, or lower the slots",
                queue.name()
            ),
            Self::Pool { allowed, slots } => write!(
                f,
                "a worker refuses to start: DB_POOL_SIZE and DB_MAX_OVERFLOW are {allowed} together, fewer than its {slots} \
                 IO slots; raise one of them, or lower the slots"
            ),
            Self::Target { queue, target, slots } => write!(
                f,
                "the trigger {} asks for a worker for every {target} slots in use: that is {} of a worker's {slots}, and {} \
                 is the most; set its threshold to {:.2}, which is {}",
                queue.trigger(),
                percent(target / f64::from(slots)),
                percent(CEILING),
                ASSUMED_UTILISATION * f64::from(slots),
                percent(ASSUMED_UTILISATION)
            ),
            Self::Carried {
                queue,
                workers,
                carried,
                rate,
                seconds,
                workers_for_it,
                slots_for_it,
                seconds_for_it,
            } => write!(
                f,
                "{workers} workers carry {carried:.1} documents/s with {} of their {} slots in use, not {rate}; raise \
                 maxReplicaCount to {workers_for_it} or {} to {slots_for_it}, or bring a document's {seconds} s in them down to \
                 {}",
                percent(CEILING),
                queue.name(),
                queue.variable(),
                (seconds_for_it * 1e3).floor() / 1e3
            ),
            Self::Connections {
                workers,
                surge,
                each,
                wanted,
                budget,
                fitting,
                max_connections,
            } => write!(
                f,
                "{workers} workers and {surge} more in a rollout open {wanted} connections, {each} each, and the database \
                 has {budget} for them; lower maxReplicaCount to {fitting}, or what a worker opens, or raise max_connections \
                 to {max_connections}"
            ),
            Self::Memory {
                workers,
                surge,
                each,
                wanted,
                budget,
                fitting,
            } => write!(
                f,
                "{workers} workers and {surge} more in a rollout may take {}, {} each, and the nodes have {} for them; lower \
                 maxReplicaCount to {fitting}, or a worker's limit",
                readable(wanted),
                readable(each),
                readable(budget)
            ),
        }
    }
}

/// Every fault of a plan.
pub fn faults(inputs: &Inputs) -> Vec<Fault> {
    let Inputs { settings, load, .. } = inputs;
    let mut faults = refused_by_worker(settings);
    faults.extend(Queue::ALL.into_iter().filter_map(|queue| target(settings, queue)));
    faults.extend(
        Queue::ALL
            .into_iter()
            .filter_map(|queue| not_carried(settings, load, queue)),
    );
    faults.extend(connections(inputs));
    faults.extend(inputs.memory.and_then(|memory| nodes(settings, memory)));
    faults
}

fn refused_by_worker(settings: &Settings) -> Vec<Fault> {
    let pools = [
        (Queue::Io, settings.io_threads),
        (Queue::Cpu, settings.cpu_threads),
    ];
    let mut faults: Vec<Fault> = pools
        .into_iter()
        .map(|(queue, threads)| (queue, threads, settings.slots(queue).count.value))
        .filter(|(_, threads, slots)| threads.value < *slots)
        .map(|(queue, threads, slots)| Fault::Threads {
            queue,
            variable: threads.name,
            threads: threads.value,
            slots,
        })
        .collect();
    let (allowed, slots) = (settings.connections_allowed(), settings.io.count.value);
    if allowed < slots {
        faults.push(Fault::Pool { allowed, slots });
    }
    faults
}

fn target(settings: &Settings, queue: Queue) -> Option<Fault> {
    let slots = settings.slots(queue);
    (!at_most(slots.utilisation(), CEILING)).then_some(Fault::Target {
        queue,
        target: slots.target,
        slots: slots.count.value,
    })
}

fn not_carried(settings: &Settings, load: &Load, queue: Queue) -> Option<Fault> {
    let workers = settings.max;
    let carried = demand::carried(settings, load, queue, workers, CEILING)?;
    let in_use = load.slots_in_use(queue);
    let slots = f64::from(settings.slots(queue).count.value);
    (!at_most(load.rate, carried)).then(|| Fault::Carried {
        queue,
        workers,
        carried,
        rate: load.rate,
        seconds: load.seconds(queue),
        workers_for_it: demand::workers_needed(in_use, slots * CEILING),
        slots_for_it: demand::workers_needed(in_use, f64::from(workers) * CEILING),
        seconds_for_it: f64::from(workers) * slots * CEILING / load.rate,
    })
}

fn connections(inputs: &Inputs) -> Option<Fault> {
    let Inputs {
        settings, database, ..
    } = inputs;
    let wanted = Fleet::of(settings, settings.peak()).connections;
    let budget = database.for_workers();
    let each = settings.connections();
    (wanted > u64::from(budget)).then(|| Fault::Connections {
        workers: settings.max,
        surge: settings.surge.of(settings.max),
        each,
        wanted,
        budget,
        fitting: limits::largest_fleet(settings, u64::from(budget / each.max(1))),
        max_connections: wanted + u64::from(database.reserved) + u64::from(database.others),
    })
}

fn nodes(settings: &Settings, budget: u64) -> Option<Fault> {
    let each = memory_of_one(settings)?;
    let wanted = each.saturating_mul(u64::from(settings.peak()));
    (wanted > budget).then(|| Fault::Memory {
        workers: settings.max,
        surge: settings.surge.of(settings.max),
        each,
        wanted,
        budget,
        fitting: limits::largest_fleet(settings, budget / each.max(1)),
    })
}

#[cfg(test)]
mod tests;
