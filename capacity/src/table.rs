//! The guide's capacity table: what a fleet of a size has.

use serde::Serialize;

use crate::settings::Settings;

/// The fleet of the guide's own totals.
pub const GUIDE_WORKERS: u32 = 15;

/// The guide's own totals for [`GUIDE_WORKERS`], least and most.
pub const GUIDE: Guide = Guide {
    workflow_slots: 45,
    io_slots: 75,
    cpu_slots: 30,
    // 14 a worker.
    threads: 210,
    // 200 to 300 MB a worker, read as Mi.
    memory: (3000 << 20, 4500 << 20),
    // 15 to 20 a worker.
    connections: (225, 300),
};

/// Totals as the guide states them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Guide {
    /// "Concurrent Workflows".
    pub workflow_slots: u64,
    /// "IO Activities".
    pub io_slots: u64,
    /// "CPU Activities".
    pub cpu_slots: u64,
    /// "Thread Pool Size", of all workers.
    pub threads: u64,
    /// "Memory Usage", in bytes.
    pub memory: (u64, u64),
    /// "Database Connections".
    pub connections: (u64, u64),
}

/// What so many workers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// How many.
    pub workers: u32,
    /// Workflow tasks at a time.
    pub workflow_slots: u64,
    /// IO activities at a time.
    pub io_slots: u64,
    /// CPU activities at a time.
    pub cpu_slots: u64,
    /// Threads of the two pools.
    pub threads: u64,
    /// Bytes that the scheduler sets aside.
    pub memory_request: Option<u64>,
    /// Bytes that they may take.
    pub memory_limit: Option<u64>,
    /// Connections that they open, at the most.
    pub connections: u64,
    /// Connections that they are allowed: pool and overflow, as SQLAlchemy would open them.
    pub connections_allowed: u64,
}

impl Fleet {
    /// Of these settings, and so many.
    pub fn of(settings: &Settings, workers: u32) -> Self {
        let times = |each: u32| u64::from(workers) * u64::from(each);
        let bytes = |each: Option<u64>| each.map(|each| each.saturating_mul(u64::from(workers)));
        Self {
            workers,
            workflow_slots: times(settings.workflow.count.value),
            io_slots: times(settings.io.count.value),
            cpu_slots: times(settings.cpu.count.value),
            threads: times(
                settings
                    .io_threads
                    .value
                    .saturating_add(settings.cpu_threads.value),
            ),
            memory_request: bytes(settings.memory_request),
            memory_limit: bytes(settings.memory_limit),
            connections: times(settings.connections()),
            connections_allowed: times(settings.connections_allowed()),
        }
    }
}
