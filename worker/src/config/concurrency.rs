//! Slots and polls of each queue: how much one worker takes on at a time.

use serde::{Deserialize, Serialize};

use super::Faults;

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
    /// Activities after which the SDK's worker of their queue is made anew, once nothing of it is in flight: the SDK keeps a
    /// note of each for as long as that worker lives (`TEMPORAL_RENEW_AFTER_ACTIVITIES`).
    pub renew_after_activities: u64,
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
            renew_after_activities: 1_000,
        }
    }
}

impl ConcurrencyConfig {
    pub(super) fn validate(&self, faults: &mut Faults) {
        // More polls than slots are no fault: the SDK takes a slot before it polls, so lowering the slots alone is enough.
        for (key, value, minimum) in [
            (
                "concurrency.workflow_polls",
                self.workflow_polls,
                WORKFLOW_MINIMUM,
            ),
            (
                "concurrency.workflow_slots",
                self.workflow_slots,
                WORKFLOW_MINIMUM,
            ),
            ("concurrency.io_polls", self.io_polls, 1),
            ("concurrency.io_slots", self.io_slots, 1),
            ("concurrency.cpu_polls", self.cpu_polls, 1),
            ("concurrency.cpu_slots", self.cpu_slots, 1),
        ] {
            faults.require_at_least(key, value, minimum);
        }
        // Without a cache every task would replay its workflow.
        faults.require_at_least("concurrency.cached_workflows", self.cached_workflows, 1);
        faults.require_at_least(
            "concurrency.renew_after_activities",
            self.renew_after_activities,
            1,
        );
    }
}
