//! The rules that a plan has to satisfy. Each broken rule is a fault, whose message names the cause and the way out.

use std::fmt;

use serde::Serialize;

use crate::demand::{self, CEILING, Load};
use crate::inputs::Inputs;
use crate::limits::{self, memory_per_worker};
use crate::quantity::readable;
use crate::rounding::at_most;
use crate::settings::{ASSUMED_UTILISATION, Queue, Settings, UTILISATION};
use crate::table::Fleet;

/// A rule that the plan breaks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Fault {
    /// A worker has fewer threads than slots, and refuses to start: `PoolsConfig::validate`
    /// (`worker/src/config/pools.rs`).
    Threads {
        /// The queue that the threads serve.
        queue: Queue,
        /// The variable that sets the number of threads.
        variable: &'static str,
        /// The number of threads.
        threads: u32,
        /// The number of slots.
        slots: u32,
    },
    /// A worker is allowed fewer connections than it has IO slots, and refuses to start: `DatabaseConfig::validate`
    /// (`worker/src/config/database.rs`).
    Pool {
        /// The connections that a worker is allowed.
        allowed: u32,
        /// The IO slots of a worker.
        slots: u32,
    },
    /// The share of the slots that is meant to be in use leaves no room for bursts.
    Target {
        /// That share.
        utilisation: f64,
    },
    /// The maximum number of workers does not carry the load.
    Load {
        /// The queue that has too few slots.
        queue: Queue,
        /// The maximum number of workers.
        workers: u32,
        /// The documents a second that they carry.
        carried: f64,
        /// The documents a second of the load.
        rate: f64,
        /// The seconds that a document holds a slot.
        seconds: f64,
        /// The number of workers that carries the load.
        workers_needed: u32,
        /// The slots per worker with which the maximum number of workers carries the load.
        slots_needed: u32,
        /// The seconds that a document may hold a slot, so that the maximum number of workers carries the load.
        seconds_allowed: f64,
    },
    /// The workers open more connections than the database has for them.
    Connections {
        /// The maximum number of workers.
        workers: u32,
        /// The workers that a rollout adds.
        surge: u32,
        /// The maximum number of connections of one worker.
        each: u32,
        /// The connections of all workers during a rollout.
        wanted: u64,
        /// The connections that the database has for workers.
        budget: u32,
        /// The number of workers for which the budget suffices.
        workers_that_fit: u32,
        /// The `max_connections` that suffices.
        max_connections: u64,
    },
    /// The workers may use more memory than the nodes have for them.
    Memory {
        /// The maximum number of workers.
        workers: u32,
        /// The workers that a rollout adds.
        surge: u32,
        /// The bytes that one worker may use.
        each: u64,
        /// The bytes that all workers may use during a rollout.
        wanted: u64,
        /// The bytes that the nodes have for workers.
        budget: u64,
        /// The number of workers for which the budget suffices.
        workers_that_fit: u32,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        match *self {
            Self::Threads { queue, variable, threads, slots } => write!(
                f,
                "a worker refuses to start: {variable} is {threads}, fewer than its {slots} {} slots; set it to at \
                 least {slots}, or lower the slots",
                queue.name()
            ),
            Self::Pool { allowed, slots } => write!(
                f,
                "a worker refuses to start: DB_POOL_SIZE and DB_MAX_OVERFLOW are {allowed} together, fewer than its \
                 {slots} IO slots; raise one of them, or lower the slots"
            ),
            Self::Target { utilisation } => write!(
                f,
                "{UTILISATION} is {utilisation}: more than {} of the slots in use leaves no room for bursts; set it to \
                 {ASSUMED_UTILISATION}",
                percent(CEILING),
            ),
            Self::Load { queue, workers, carried, rate, seconds, workers_needed, slots_needed, seconds_allowed } => {
                write!(
                    f,
                    "{workers} workers carry at most {carried:.1} documents/s with {} of their {} slots in use, and the \
                 load is {rate} documents/s; raise maxReplicaCount to {workers_needed} or {} to {slots_needed}, or \
                 reduce the {seconds} s that a document holds a slot to {} s",
                    percent(CEILING),
                    queue.name(),
                    queue.variable(),
                    (seconds_allowed * 1e3).floor() / 1e3
                )
            }
            Self::Connections { workers, surge, each, wanted, budget, workers_that_fit, max_connections } => write!(
                f,
                "{workers} workers, and {surge} more during a rollout, open {wanted} connections, {each} each, and \
                 the database has {budget} for workers; lower maxReplicaCount to {workers_that_fit}, lower the \
                 connections of a worker, or raise max_connections to {max_connections}"
            ),
            Self::Memory { workers, surge, each, wanted, budget, workers_that_fit } => write!(
                f,
                "{workers} workers, and {surge} more during a rollout, may use {} of memory, {} each, and the nodes \
                 have {} for workers; lower maxReplicaCount to {workers_that_fit}, or lower the memory limit of a \
                 worker",
                readable(wanted),
                readable(each),
                readable(budget)
            ),
        }
    }
}

/// All faults of a plan with these inputs.
pub fn faults(inputs: &Inputs) -> Vec<Fault> {
    let Inputs { settings, load, .. } = inputs;
    let mut faults = refused_by_the_worker(settings);
    faults.extend(target_too_high(settings));
    faults.extend(Queue::ALL.into_iter().filter_map(|queue| load_too_high(settings, load, queue)));
    faults.extend(too_many_connections(inputs));
    faults.extend(inputs.memory.and_then(|budget| too_much_memory(settings, budget)));
    faults
}

fn refused_by_the_worker(settings: &Settings) -> Vec<Fault> {
    let pools = [(Queue::Io, settings.io_threads), (Queue::Cpu, settings.cpu_threads)];
    let mut faults: Vec<Fault> = pools
        .into_iter()
        .map(|(queue, threads)| (queue, threads, settings.slots(queue).count.value))
        .filter(|(_, threads, slots)| threads.value < *slots)
        .map(|(queue, threads, slots)| Fault::Threads { queue, variable: threads.name, threads: threads.value, slots })
        .collect();
    let (allowed, slots) = (settings.connections_allowed(), settings.io.count.value);
    if allowed < slots {
        faults.push(Fault::Pool { allowed, slots });
    }
    faults
}

fn target_too_high(settings: &Settings) -> Option<Fault> {
    let utilisation = settings.utilisation;
    (!at_most(utilisation, CEILING)).then_some(Fault::Target { utilisation })
}

fn load_too_high(settings: &Settings, load: &Load, queue: Queue) -> Option<Fault> {
    let workers = settings.max;
    let carried = demand::carried(settings, load, queue, workers, CEILING)?;
    let in_use = load.slots_in_use(queue);
    let slots = f64::from(settings.slots(queue).count.value);
    (!at_most(load.rate, carried)).then(|| Fault::Load {
        queue,
        workers,
        carried,
        rate: load.rate,
        seconds: load.seconds(queue),
        workers_needed: demand::workers_needed(in_use, slots * CEILING),
        // Workers and slots are interchangeable here: only their product counts.
        slots_needed: demand::workers_needed(in_use, f64::from(workers) * CEILING),
        seconds_allowed: demand::seconds_of(f64::from(workers), slots * CEILING, load.rate),
    })
}

fn too_many_connections(inputs: &Inputs) -> Option<Fault> {
    let Inputs { settings, database, .. } = inputs;
    let wanted = Fleet::of(settings, settings.peak()).connections;
    let budget = database.for_workers();
    let each = settings.connections();
    (wanted > u64::from(budget)).then(|| Fault::Connections {
        workers: settings.max,
        surge: settings.surge.of(settings.max),
        each,
        wanted,
        budget,
        workers_that_fit: limits::largest_fleet(settings, u64::from(budget / each.max(1))),
        max_connections: wanted + u64::from(database.reserved) + u64::from(database.others),
    })
}

fn too_much_memory(settings: &Settings, budget: u64) -> Option<Fault> {
    let each = memory_per_worker(settings)?;
    let wanted = each.saturating_mul(u64::from(settings.peak()));
    (wanted > budget).then(|| Fault::Memory {
        workers: settings.max,
        surge: settings.surge.of(settings.max),
        each,
        wanted,
        budget,
        workers_that_fit: limits::largest_fleet(settings, budget / each.max(1)),
    })
}

#[cfg(test)]
mod tests;
