//! The worker's own metrics, each declared once. docs/reference/metrics.md is generated from this file. The SDK
//! declares its own metrics.

use std::fmt;

/// Type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Only increases.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Counts by buckets.
    Histogram,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// A metric: its name, type, labels and meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Name in Prometheus.
    pub name: &'static str,
    /// Type in `# TYPE`.
    pub kind: Type,
    /// Labels of each series.
    pub labels: &'static [&'static str],
    /// Text in `# HELP`.
    pub help: &'static str,
}

/// Depth of the workflow queue.
pub const WORKFLOW_DEPTH: Name = Name {
    name: "temporal_workflow_task_queue_depth",
    kind: Type::Gauge,
    labels: &["queue"],
    help: "Workflow tasks in the backlog of a queue (the server's approximation). Absent if it cannot be read.",
};

/// Depth of an activity queue.
pub const ACTIVITY_DEPTH: Name = Name {
    name: "temporal_activity_task_queue_depth",
    kind: Type::Gauge,
    labels: &["queue"],
    help: "Activity tasks in the backlog of a queue (the server's approximation). Absent if it cannot be read.",
};

/// Age of a queue's backlog.
pub const BACKLOG_AGE: Name = Name {
    name: "temporal_task_queue_backlog_age_seconds",
    kind: Type::Gauge,
    labels: &["kind", "queue"],
    help: "Age of a queue's oldest waiting task in seconds, by kind (workflow, activity). Absent if it cannot be read.",
};

/// Rate of tasks into a queue.
pub const QUEUE_ADD_RATE: Name = Name {
    name: "temporal_task_queue_add_rate",
    kind: Type::Gauge,
    labels: &["kind", "queue"],
    help: "Tasks added to a queue per second, over the last 30 s. Includes tasks that did not wait.",
};

/// Rate of tasks out of a queue.
pub const QUEUE_DISPATCH_RATE: Name = Name {
    name: "temporal_task_queue_dispatch_rate",
    kind: Type::Gauge,
    labels: &["kind", "queue"],
    help: "Tasks of a queue dispatched to workers per second, over the last 30 s. Includes tasks that did not wait.",
};

/// Pollers of a queue.
pub const QUEUE_POLLERS: Name = Name {
    name: "temporal_task_queue_pollers",
    kind: Type::Gauge,
    labels: &["kind", "queue"],
    help: "Workers that polled a queue within the last minutes, as Temporal reports them.",
};

/// Whether polls of a queue fail.
pub const POLLS_FAILING: Name = Name {
    name: "temporal_task_queue_polls_failing",
    kind: Type::Gauge,
    labels: &["kind", "queue"],
    help: "1 while this worker's polls of a queue fail, and the worker is not ready, else 0.",
};

/// Outcomes of documents.
pub const DOCUMENTS: Name = Name {
    name: "document_outcomes_total",
    kind: Type::Counter,
    labels: &["outcome", "poison"],
    help: "Finished documents by outcome (stored, unchanged, superseded, refused). The label poison has the kind of \
           error of a refused one.",
};

/// Attempts after the first.
pub const STEP_RETRIES: Name = Name {
    name: "document_step_retries_total",
    kind: Type::Counter,
    labels: &["step"],
    help: "Attempts at a step after the first.",
};

/// Duration of a step.
pub const STEP_SECONDS: Name = Name {
    name: "document_step_duration_seconds",
    kind: Type::Histogram,
    labels: &["step", "outcome"],
    help: "Duration of an attempt at a step in seconds, by step and outcome (done, poison, failed, cancelled, stopped).",
};

/// CPU threads.
pub const CPU_THREADS: Name = Name {
    name: "document_cpu_threads",
    kind: Type::Gauge,
    labels: &["state"],
    help: "CPU threads by state (busy, idle).",
};

/// Connections to Postgres.
pub const DATABASE_CONNECTIONS: Name = Name {
    name: "document_database_connections",
    kind: Type::Gauge,
    labels: &["state"],
    help: "Connections to the database by state (in_use, idle).",
};

/// Callers that wait for a connection to Postgres.
pub const DATABASE_WAITERS: Name = Name {
    name: "document_database_waiters",
    kind: Type::Gauge,
    labels: &[],
    help: "Callers that wait for a connection to the database.",
};

/// Time to get a connection to Postgres.
pub const DATABASE_ACQUIRE_SECONDS: Name = Name {
    name: "document_database_acquire_seconds",
    kind: Type::Histogram,
    labels: &["outcome"],
    help: "Wait for a connection to the database in seconds, by outcome (acquired, timed_out, failed).",
};

/// Calls to external services.
pub const EXTERNAL_CALLS: Name = Name {
    name: "document_external_calls_total",
    kind: Type::Counter,
    labels: &["service", "operation", "outcome"],
    help: "Attempts at calls to external services, by service (s3, redis, llm, postgres), operation and outcome \
           (ok, refused, failed, timeout, circuit_open).",
};

/// Duration of these calls.
pub const EXTERNAL_SECONDS: Name = Name {
    name: "document_external_call_duration_seconds",
    kind: Type::Histogram,
    labels: &["service", "operation"],
    help: "Duration of an attempt at a call to an external service in seconds, by service and operation.",
};

/// State of the circuit breakers.
pub const EXTERNAL_CIRCUIT_OPEN: Name = Name {
    name: "document_external_circuit_open",
    kind: Type::Gauge,
    labels: &["service"],
    help: "1 while the circuit of an external service is open and it is not called, else 0.",
};

/// Retries of calls to external services.
pub const EXTERNAL_RETRIES: Name = Name {
    name: "document_external_retries_total",
    kind: Type::Counter,
    labels: &["service", "budget"],
    help: "Retries of calls to external services, by service and whether the budget allowed them (granted, exhausted).",
};

/// Cache lookups.
pub const CACHE: Name = Name {
    name: "document_cache_total",
    kind: Type::Counter,
    labels: &["outcome"],
    help: "Cache lookups of extraction results by outcome (hit, miss, corrupt, away). \
           Away: the call failed or was not made.",
};

/// Summaries.
pub const SUMMARIES: Name = Name {
    name: "document_summaries_total",
    kind: Type::Counter,
    labels: &["outcome"],
    help: "Stored documents for which a summary was requested, by its outcome (written, refused, unavailable).",
};

/// All metrics, in the order of the reference.
pub const ALL: &[Name] = &[
    WORKFLOW_DEPTH,
    ACTIVITY_DEPTH,
    BACKLOG_AGE,
    QUEUE_ADD_RATE,
    QUEUE_DISPATCH_RATE,
    QUEUE_POLLERS,
    POLLS_FAILING,
    DOCUMENTS,
    STEP_RETRIES,
    STEP_SECONDS,
    CPU_THREADS,
    DATABASE_CONNECTIONS,
    DATABASE_WAITERS,
    DATABASE_ACQUIRE_SECONDS,
    EXTERNAL_CALLS,
    EXTERNAL_SECONDS,
    EXTERNAL_CIRCUIT_OPEN,
    EXTERNAL_RETRIES,
    CACHE,
    SUMMARIES,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_that_is_declared_is_listed() {
        let declared = include_str!("names.rs").matches(": Name = Name {").count();
        // One match is the line above.
        assert_eq!(ALL.len(), declared - 1);
    }
}
