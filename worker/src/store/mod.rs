//! The object store, the database and the cache. None of them knows Temporal.

mod cache;
mod database;
mod ledger;
mod object;
mod pool;
mod readings;

pub use cache::{ExtractCache, extract_key};
pub use database::{Database, DocumentRecord, Outcome, Request};
pub use object::{ObjectStore, StoreError};
pub use pool::PoolSettings;
pub use readings::SharedReading;
