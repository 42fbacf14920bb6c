//! The numbers of threads that compute and that may block.

use serde::{Deserialize, Serialize};

use super::{Faults, concurrency::ConcurrencyConfig};

/// The `[pools]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PoolsConfig {
    /// Maximum number of threads that block on IO (`TEMPORAL_IO_THREAD_POOL_SIZE`).
    pub io_threads: usize,
    /// Number of threads that compute (`TEMPORAL_CPU_THREAD_POOL_SIZE`).
    pub cpu_threads: usize,
}

impl Default for PoolsConfig {
    fn default() -> Self {
        Self { io_threads: 10, cpu_threads: 4 }
    }
}

impl PoolsConfig {
    pub(super) fn validate(&self, concurrency: &ConcurrencyConfig, faults: &mut Faults) {
        faults.require_at_least("pools.io_threads", self.io_threads, 1);
        faults.require_at_least("pools.cpu_threads", self.cpu_threads, 1);
        if self.cpu_threads < concurrency.cpu_slots {
            faults.add(format!(
                "pools.cpu_threads is {}, fewer than concurrency.cpu_slots, {}: activities would wait inside a \
                 slot; raise TEMPORAL_CPU_THREAD_POOL_SIZE or lower TEMPORAL_CPU_ACTIVITY_CONCURRENCY",
                self.cpu_threads, concurrency.cpu_slots
            ));
        }
        if self.io_threads < concurrency.io_slots {
            faults.add(format!(
                "pools.io_threads is {}, fewer than concurrency.io_slots, {}: activities would wait inside a \
                 slot; raise TEMPORAL_IO_THREAD_POOL_SIZE or lower TEMPORAL_IO_ACTIVITY_CONCURRENCY",
                self.io_threads, concurrency.io_slots
            ));
        }
    }
}
