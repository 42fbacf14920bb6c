//! The worker's own metrics: each is declared here, once, and docs/reference/metrics.md is generated from here. The SDK names
//! its own.

use std::fmt;

/// How a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
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

/// A metric: what it is called, how it counts, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// As Prometheus knows it.
    pub name: &'static str,
    /// As `# TYPE` shows it.
    pub kind: Type,
    /// Labels of each series.
    pub labels: &'static [&'static str],
    /// As `# HELP` shows it.
    pub help: &'static str,
}

/// Depth of the workflow queue.
pub const WORKFLOW_DEPTH: Name = Name {
    name: "temporal_workflow_task_queue_depth",
    kind: Type::Gauge,
    labels: &["queue"],
    help: "Workflow tasks waiting in a queue (approximate, by the server). Absent where it cannot be read.",
};

/// Depth of an activity queue.
pub const ACTIVITY_DEPTH: Name = Name {
    name: "temporal_activity_task_queue_depth",
    kind: Type::Gauge,
    labels: &["queue"],
    help: "Activity tasks waiting in a queue (approximate, by the server). Absent where it cannot be read.",
};

/// Age of a queue's backlog.
pub const BACKLOG_AGE: Name = Name {
    name: "temporal_task_queue_backlog_age_seconds",
    kind: Type::Gauge,
    labels: &["kind", "queue"],
    help: "Seconds that the oldest waiting task of a queue has waited, by kind (workflow, activity). Absent as the depth is.",
};

/// Rate of tasks into a queue.
pub const QUEUE_ADD_RATE: Name = Name {
    name: "temporal_task_queue_add_rate",
    kind: Type::Gauge,
    labels: &["kind", "queue"],
    help: "Tasks added to a queue a second, over the last 30 s, those that never waited included.",
};

/// Rate of tasks out of a queue.
pub const QUEUE_DISPATCH_RATE: Name = Name {
    name: "temporal_task_queue_dispatch_rate",
    kind: Type::Gauge,
    labels: &["kind", "queue"],
    help: "Tasks of a queue handed to workers a second, over the last 30 s, those that never waited included.",
};

/// Pollers of a queue.
pub const QUEUE_POLLERS: Name = Name {
    name: "temporal_task_queue_pollers",
    kind: Type::Gauge,
    labels: &["kind", "queue"],
    help: "Workers of the fleet that polled a queue within the last minutes, as Temporal sees them.",
};

/// What became of documents.
pub const DOCUMENTS: Name = Name {
    name: "document_outcomes_total",
    kind: Type::Counter,
    labels: &["outcome", "poison"],
    help: "Documents that came to an end, by outcome: stored, or refused for good, then with the kind of poison.",
};

/// Attempts beyond the first.
pub const STEP_RETRIES: Name = Name {
    name: "document_step_retries_total",
    kind: Type::Counter,
    labels: &["step"],
    help: "Attempts at a step beyond its first.",
};

/// Time of a step.
pub const STEP_SECONDS: Name = Name {
    name: "document_step_duration_seconds",
    kind: Type::Histogram,
    labels: &["step", "outcome"],
    help: "Seconds that an attempt at a step took, by step and outcome (done, poison, failed, cancelled).",
};

/// Threads that compute.
pub const CPU_THREADS: Name = Name {
    name: "document_cpu_threads",
    kind: Type::Gauge,
    labels: &["state"],
    help: "Threads for computation, by state (busy, idle).",
};

/// Connections to Postgres.
pub const DATABASE_CONNECTIONS: Name = Name {
    name: "document_database_connections",
    kind: Type::Gauge,
    labels: &["state"],
    help: "Connections to the database, by state (in_use, idle).",
};

/// Who waits for a connection to Postgres.
pub const DATABASE_WAITERS: Name = Name {
    name: "document_database_waiters",
    kind: Type::Gauge,
    labels: &[],
    help: "Callers that wait for a connection to the database.",
};

/// Time until there is a connection to Postgres.
pub const DATABASE_ACQUIRE_SECONDS: Name = Name {
    name: "document_database_acquire_seconds",
    kind: Type::Histogram,
    labels: &["outcome"],
    help: "Seconds that a caller waited for a connection to the database, by outcome (acquired, timed_out, failed).",
};

/// Calls to external services.
pub const EXTERNAL_CALLS: Name = Name {
    name: "document_external_calls_total",
    kind: Type::Counter,
    labels: &["service", "operation", "outcome"],
    help: "Attempts at calls to external services, by service (s3, redis, llm), operation and outcome \
           (ok, refused, failed, timeout, circuit_open).",
};

/// Time of these calls.
pub const EXTERNAL_SECONDS: Name = Name {
    name: "document_external_call_duration_seconds",
    kind: Type::Histogram,
    labels: &["service", "operation"],
    help: "Seconds that an attempt at a call to an external service took, by service and operation.",
};

/// State of the circuit breakers.
pub const EXTERNAL_CIRCUIT_OPEN: Name = Name {
    name: "document_external_circuit_open",
    kind: Type::Gauge,
    labels: &["service"],
    help: "1 while an external service is left alone because it fails, else 0.",
};

/// Retries of calls to external services.
pub const EXTERNAL_RETRIES: Name = Name {
    name: "document_external_retries_total",
    kind: Type::Counter,
    labels: &["service", "budget"],
    help: "Retries that were wanted of calls to external services, by service and budget (granted, exhausted).",
};

/// Look-ups in the cache.
pub const CACHE: Name = Name {
    name: "document_cache_total",
    kind: Type::Counter,
    labels: &["outcome"],
    help: "Look-ups of extracted results in the cache, by outcome (hit, miss, corrupt, away).",
};

/// Summaries.
pub const SUMMARIES: Name = Name {
    name: "document_summaries_total",
    kind: Type::Counter,
    labels: &["outcome"],
    help: "Documents stored that should have a summary, by outcome (written, refused, unavailable).",
};

/// All of them, in the order of the reference.
pub const ALL: &[Name] = &[
    WORKFLOW_DEPTH,
    ACTIVITY_DEPTH,
    BACKLOG_AGE,
    QUEUE_ADD_RATE,
    QUEUE_DISPATCH_RATE,
    QUEUE_POLLERS,
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
