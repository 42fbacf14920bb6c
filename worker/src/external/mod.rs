//! Calls to the services that the worker can do without for a while: S3, Redis, the LLM.
//!
//! Every such call goes through the [`Guard`] of its service, which gives it a time-out, retries out of a budget, a circuit
//! breaker and metrics, the same for all; what the call says and what its answer means stay with the caller (`store`,
//! `summary`). Temporal and Postgres are not here: without them there is no work, and each has a client that waits.

mod breaker;
mod guard;

pub use guard::{CallError, Guard, Guards};

/// A service, with the operations that are asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The object store, also where it is a folder.
    S3,
    /// The cache of extracts.
    Redis,
    /// The endpoint that writes summaries.
    Llm,
}

impl Service {
    /// As the metrics name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Redis => "redis",
            Self::Llm => "llm",
        }
    }

    /// As the metrics name its operations.
    pub fn operations(self) -> &'static [&'static str] {
        match self {
            Self::S3 | Self::Redis => &["get", "put"],
            Self::Llm => &["complete"],
        }
    }
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request's: the service works, and would answer the same again.
    Request,
    /// The service's, and it may pass in a moment.
    Service,
    /// The load's: the service asks for a pause, so it is not asked again here.
    Load,
}

/// An error of a service that knows whose fault it is.
pub trait Fault: std::error::Error {
    /// Whose fault it is.
    fn blame(&self) -> Blame;
}
