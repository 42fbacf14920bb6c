//! Slots and polls of each queue: how many tasks one worker runs at a time.

use serde::{Deserialize, Serialize};

use super::Faults;

/// The SDK has a sticky and a normal poller for workflow tasks, so it rejects fewer than two polls or slots.
const WORKFLOW_MINIMUM: usize = 2;

/// The `[concurrency]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ConcurrencyConfig {
    /// Workflow tasks that run at the same time (`TEMPORAL_WORKFLOW_CONCURRENCY`).
    pub workflow_slots: usize,
    /// IO activities that run at the same time (`TEMPORAL_IO_ACTIVITY_CONCURRENCY`).
    pub io_slots: usize,
    /// CPU activities that run at the same time (`TEMPORAL_CPU_ACTIVITY_CONCURRENCY`).
    pub cpu_slots: usize,
    /// Concurrent polls for workflow tasks.
    pub workflow_polls: usize,
    /// Concurrent polls for IO activities.
    pub io_polls: usize,
    /// Concurrent polls for CPU activities.
    pub cpu_polls: usize,
    /// Maximum number of workflows that are cached between their tasks. Each keeps a body of up to 64 KiB several times.
    pub cached_workflows: usize,
    /// Memory of the tokens that the SDK keeps of ended activities, in KiB for each activity queue
    /// (`TEMPORAL_KEPT_TOKENS_KIB`). From a quarter of it, they are dropped at the next moment without an activity. At
    /// all of it, the queue's polls pause until there is one.
    pub kept_tokens_kib: u64,
}

impl Default for ConcurrencyConfig {
    fn default() -> Self {
        Self {
            workflow_slots: 3,
            io_slots: 5,
            cpu_slots: 2,
            workflow_polls: 2,
            io_polls: 2,
            cpu_polls: 1,
            cached_workflows: 100,
            kept_tokens_kib: 1_024,
        }
    }
}

impl ConcurrencyConfig {
    pub(super) fn validate(&self, faults: &mut Faults) {
        // More polls than slots are valid: the SDK takes a slot before it polls. So the slots can be lowered alone.
        for (key, value, minimum) in [
            ("concurrency.workflow_polls", self.workflow_polls, WORKFLOW_MINIMUM),
            ("concurrency.workflow_slots", self.workflow_slots, WORKFLOW_MINIMUM),
            ("concurrency.io_polls", self.io_polls, 1),
            ("concurrency.io_slots", self.io_slots, 1),
            ("concurrency.cpu_polls", self.cpu_polls, 1),
            ("concurrency.cpu_slots", self.cpu_slots, 1),
        ] {
            faults.require_at_least(key, value, minimum);
        }
        // Without a cache, every task would replay its workflow.
        faults.require_at_least("concurrency.cached_workflows", self.cached_workflows, 1);
        faults.require_at_least("concurrency.kept_tokens_kib", self.kept_tokens_kib, 1);
    }
}
