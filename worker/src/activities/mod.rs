//! The activities of two queues: those of the IO queue wait for S3, Postgres and the LLM, those of the CPU queue
//! compute.
//!
//! Each activity unpacks its argument, calls `store`, `text` or `summary`, and packs the result. [`step`] holds
//! what they share.

mod body;
mod cpu;
mod deaths;
mod failure;
mod io;
mod kept_tokens;
mod step;

use tokio_util::sync::CancellationToken;

use crate::{
    config::DocumentsConfig,
    cpu::CpuPool,
    memory::Memory,
    metrics::Metrics,
    store::{Database, ExtractCache, ObjectStore},
    summary::Summarizer,
};

pub use cpu::CpuActivities;
pub(crate) use failure::CLAIM_LOST;
pub use failure::{StepError, Stop};
pub use io::IoActivities;
pub use kept_tokens::KeptTokens;
pub(crate) use step::{ATTEMPT_TIMEOUT, HEARTBEAT, READING_TIMEOUT};

/// Names of the activities. The tables `attempts` and `effects` use them as the names of the steps.
pub mod names {
    /// Reads a document from the store.
    pub const FETCH: &str = "fetch_document";
    /// Extracts its text and cuts it into passages.
    pub const EXTRACT: &str = "extract_text";
    /// Asks the LLM for a summary.
    pub const SUMMARIZE: &str = "summarize_document";
    /// Writes the results to the database.
    pub const STORE: &str = "store_document";
}

/// What activities use.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The object store, with documents and claims.
    pub objects: ObjectStore,
    /// The database.
    pub database: Database,
    /// The cache of extraction results, if configured.
    pub cache: Option<ExtractCache>,
    /// The client of the LLM, if configured.
    pub summarizer: Option<Summarizer>,
    /// The memory for large documents.
    pub memory: Memory,
    /// The CPU threads.
    pub cpu: CpuPool,
    /// The metrics that steps update.
    pub metrics: Metrics,
    /// Limits on documents.
    pub documents: DocumentsConfig,
    /// This worker's name in the table `attempts`.
    pub identity: String,
    /// Whether the table `attempts` has first attempts, too.
    pub record_first_attempts: bool,
    /// The tokens that this queue's SDK worker keeps.
    pub kept_tokens: KeptTokens,
    /// Cancelled when the drain time of a graceful shutdown is over: activities in flight then fail, and Temporal
    /// retries them.
    pub interrupt: CancellationToken,
}
