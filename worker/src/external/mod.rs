//! Calls to S3, Redis and the LLM, and connections to Postgres.
//!
//! Every call goes through the [`Guard`] of its service, which adds a timeout, retries from a budget, a circuit
//! breaker and metrics. The callers (`store`, `summary`) decide what to send and what an answer means. Temporal is not
//! here: there is no work without it, and its client waits for it.

mod breaker;
mod guard;
mod retry_after;

pub(crate) use breaker::WINDOW as CIRCUIT_WINDOW;
pub use guard::{CallError, Guard, Guards};
pub(crate) use retry_after::retry_after;

/// A service and its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The object store, even if it is a folder.
    S3,
    /// The cache of extraction results.
    Redis,
    /// The endpoint that writes summaries.
    Llm,
    /// The database, whose connections wait for it.
    Postgres,
}

impl Service {
    /// Label value of the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Redis => "redis",
            Self::Llm => "llm",
            Self::Postgres => "postgres",
        }
    }

    /// Label values of its operations.
    pub fn operations(self) -> &'static [&'static str] {
        match self {
            Self::S3 => &["get", "put"],
            Self::Redis => &["connect", "get", "put"],
            Self::Llm => &["complete"],
            Self::Postgres => &["connect"],
        }
    }
}

/// Whose fault an error is, which decides whether it is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request's: the service works, and would give the same answer again.
    Request,
    /// The service's: a retry may succeed.
    Service,
    /// The load's: the service asks for a pause, so the guard does not retry.
    Load,
}

/// An error that knows whose fault it is.
pub trait Fault: std::error::Error {
    /// Whose fault it is.
    fn blame(&self) -> Blame;
}
