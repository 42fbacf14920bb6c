//! The names of the worker's own metrics, each with what it means. The SDK names its own.

/// A metric: its name and its help text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// As Prometheus knows it.
    pub name: &'static str,
    /// As `# HELP` shows it.
    pub help: &'static str,
}

/// Depth of the workflow queue.
pub const WORKFLOW_DEPTH: Name = Name {
    name: "temporal_workflow_task_queue_depth",
    help: "Workflow tasks waiting in a queue (approximate, by the server). Absent where it cannot be read.",
};

/// Depth of an activity queue.
pub const ACTIVITY_DEPTH: Name = Name {
    name: "temporal_activity_task_queue_depth",
    help: "Activity tasks waiting in a queue (approximate, by the server). Absent where it cannot be read.",
};

/// Time of a step.
pub const STEP_SECONDS: Name = Name {
    name: "document_step_duration_seconds",
    help: "Seconds that an attempt at a step took, by step and outcome (done, poison, failed, cancelled).",
};

/// Threads that compute.
pub const CPU_THREADS: Name = Name {
    name: "document_cpu_threads",
    help: "Threads for computation, by state (busy, idle).",
};

/// Connections to Postgres.
pub const DATABASE_CONNECTIONS: Name = Name {
    name: "document_database_connections",
    help: "Connections to the database, by state (in_use, idle).",
};

/// All of them.
pub const ALL: [Name; 5] = [
    WORKFLOW_DEPTH,
    ACTIVITY_DEPTH,
    STEP_SECONDS,
    CPU_THREADS,
    DATABASE_CONNECTIONS,
];
