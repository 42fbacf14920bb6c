//! The guide's capacity table, for a fleet of any size.

use serde::Serialize;

use crate::settings::Settings;

/// The number of workers for which the guide states totals.
pub const GUIDE_WORKERS: u32 = 15;

/// The guide's own totals for [`GUIDE_WORKERS`].
pub const GUIDE: Guide = Guide {
    workflow_slots: 45,
    io_slots: 75,
    cpu_slots: 30,
    // 14 per worker.
    threads: 210,
    // 200 to 300 MB per worker, read as Mi.
    memory: (3000 << 20, 4500 << 20),
    // 15 to 20 per worker.
    connections: (225, 300),
};

/// Totals that the guide states. A pair is a minimum and a maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Guide {
    /// "Concurrent Workflows".
    pub workflow_slots: u64,
    /// "IO Activities".
    pub io_slots: u64,
    /// "CPU Activities".
    pub cpu_slots: u64,
    /// "Thread Pool Size", all workers together.
    pub threads: u64,
    /// "Memory Usage", in bytes.
    pub memory: (u64, u64),
    /// "Database Connections".
    pub connections: (u64, u64),
}

/// The totals of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// The number of workers.
    pub workers: u32,
    /// Workflow tasks that run at the same time.
    pub workflow_slots: u64,
    /// IO activities that run at the same time.
    pub io_slots: u64,
    /// CPU activities that run at the same time.
    pub cpu_slots: u64,
    /// Threads of the IO and the CPU pool together.
    pub threads: u64,
    /// Bytes of memory that the workers request; `None` if the manifests set no request.
    pub memory_request: Option<u64>,
    /// Bytes of memory at which the workers are killed; `None` if the manifests set no limit.
    pub memory_limit: Option<u64>,
    /// Maximum number of database connections that the workers open.
    pub connections: u64,
    /// Connections that SQLAlchemy would open with the same settings: pool size and overflow of every worker.
    pub connections_allowed: u64,
}

impl Fleet {
    /// The totals of `workers` workers with these settings.
    pub fn of(settings: &Settings, workers: u32) -> Self {
        let times = |each: u32| u64::from(workers) * u64::from(each);
        let bytes = |each: Option<u64>| each.map(|each| each.saturating_mul(u64::from(workers)));
        Self {
            workers,
            workflow_slots: times(settings.workflow.count.value),
            io_slots: times(settings.io.count.value),
            cpu_slots: times(settings.cpu.count.value),
            threads: times(settings.io_threads.value.saturating_add(settings.cpu_threads.value)),
            memory_request: bytes(settings.memory_request),
            memory_limit: bytes(settings.memory_limit),
            connections: times(settings.connections()),
            connections_allowed: times(settings.connections_allowed()),
        }
    }
}
