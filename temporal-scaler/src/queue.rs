//! A task queue: its kind, its name, and the names that the SDKs give it in metrics.

use std::fmt;

/// The kind of a queue's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Workflow,
    Activity,
}

impl Kind {
    /// The name in settings, metrics and answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Activity => "activity",
        }
    }

    /// The SDKs' counter of attempts that failed.
    pub(crate) fn failures(self) -> &'static str {
        match self {
            Self::Workflow => "temporal_workflow_task_execution_failed",
            Self::Activity => "temporal_activity_execution_failed",
        }
    }

    /// The label `worker_type` of the SDKs' slot metrics.
    pub(crate) fn worker_type(self) -> &'static str {
        match self {
            Self::Workflow => "WorkflowWorker",
            Self::Activity => "ActivityWorker",
        }
    }
}

/// A task queue of one kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Queue {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Slots of one worker, until a worker's page says how many there are.
    pub(crate) slots: f64,
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.name)
    }
}
