//! Slots and polls of each queue: how much one worker takes on at a time.

use serde::{Deserialize, Serialize};

use super::{Faults, with_variable};

/// The SDK keeps a sticky and a normal poller for workflow tasks, so it refuses fewer than two polls and slots.
const WORKFLOW_MINIMUM: usize = 2;

/// The `[concurrency]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ConcurrencyConfig {
    /// Workflow tasks at a time (`TEMPORAL_WORKFLOW_CONCURRENCY`).
    pub workflow_slots: usize,
    /// IO activities at a time (`TEMPORAL_IO_ACTIVITY_CONCURRENCY`).
    pub io_slots: usize,
    /// CPU activities at a time (`TEMPORAL_CPU_ACTIVITY_CONCURRENCY`).
    pub cpu_slots: usize,
    /// Polls for workflow tasks in flight.
    pub workflow_polls: usize,
    /// Polls for IO activities in flight.
    pub io_polls: usize,
    /// Polls for CPU activities in flight.
    pub cpu_polls: usize,
    /// Workflows kept in memory between their tasks.
    pub cached_workflows: usize,
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
            cached_workflows: 200,
        }
    }
}

impl ConcurrencyConfig {
    pub(super) fn validate(&self, faults: &mut Faults) {
        for (queue, polls, slots, minimum) in [
            (
                "workflow",
                self.workflow_polls,
                self.workflow_slots,
                WORKFLOW_MINIMUM,
            ),
            ("io", self.io_polls, self.io_slots, 1),
            ("cpu", self.cpu_polls, self.cpu_slots, 1),
        ] {
            let (polls_key, slots_key) = (
                format!("concurrency.{queue}_polls"),
                format!("concurrency.{queue}_slots"),
            );
            faults.require_at_least(&polls_key, polls, minimum);
            faults.require_at_least(&slots_key, slots, minimum);
            // The SDK takes a slot before it polls. Slots that are too few have their fault already.
            if slots >= minimum && polls > slots {
                faults.add(format!(
                    "{} is {polls}, more than {}, {slots}: polls beyond the slots never run; lower the one or raise the other",
                    with_variable(&polls_key),
                    with_variable(&slots_key)
                ));
            }
        }
        // Without a cache every task would replay its workflow.
        faults.require_at_least("concurrency.cached_workflows", self.cached_workflows, 1);
    }
}
