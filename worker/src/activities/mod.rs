//! The activities, on two queues: IO waits for S3, Postgres and the LLM, CPU computes.
//!
//! Each is thin: it unpacks what travelled, calls `store` or `text`, and packs the result. [`step`] holds what they share.

mod body;
mod cpu;
mod failure;
mod io;
mod step;
mod taken;

use tokio_util::sync::CancellationToken;

use crate::{
    config::DocumentsConfig,
    cpu::CpuPool,
    metrics::Metrics,
    store::{Database, ExtractCache, ObjectStore},
    summary::Summarizer,
};

pub use cpu::CpuActivities;
pub use failure::StepError;
pub use io::IoActivities;
pub use taken::Taken;

/// Names of the activities, which are also the steps in `attempts` and `effects`.
pub mod names {
    /// Reads a document from the store.
    pub const FETCH: &str = "fetch_document";
    /// Makes words and passages of it.
    pub const EXTRACT: &str = "extract_text";
    /// Makes a summary of it.
    pub const SUMMARIZE: &str = "summarize_document";
    /// Writes them to the database.
    pub const STORE: &str = "store_document";
}

/// What activities work with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Documents and claims.
    pub objects: ObjectStore,
    /// Rows.
    pub database: Database,
    /// Results of extraction, where they are kept.
    pub cache: Option<ExtractCache>,
    /// Summaries, where they are wanted.
    pub summarizer: Option<Summarizer>,
    /// Threads for computation.
    pub cpu: CpuPool,
    /// Where durations are noted.
    pub metrics: Metrics,
    /// Limits.
    pub documents: DocumentsConfig,
    /// Who this worker is, in `attempts`.
    pub identity: String,
    /// Activities that the SDK's worker of this queue has taken.
    pub taken: Taken,
    /// Cancelled when what is in flight must be given back, because the worker leaves.
    pub give_back: CancellationToken,
}
