//! The object store, the database and the cache. None of them knows Temporal.

mod cache;
mod database;
mod ledger;
mod object;
mod pool;
mod refusal;
mod s3;
mod schema;
mod sqlstate;

pub use cache::{ExtractCache, extract_key};
pub use database::{Database, DocumentRecord, Outcome, Request};
pub use object::{ClaimLost, ObjectStore, StoreError};
pub use pool::PoolSettings;
pub(crate) use pool::blocked_for;
#[cfg(test)]
pub(crate) use refusal::SAMPLES;
pub use refusal::{Cause, Refusal};
pub(crate) use s3::{bucket_and_prefix, is_prefix};
pub(crate) use sqlstate::poison;
pub use sqlstate::{FOR_GOOD, ForGood};
