//! The object store, the database and the cache. None of them knows Temporal.

mod cache;
mod database;
mod object;
mod pool;
mod readings;
mod schema;

pub use cache::{ExtractCache, extract_key};
pub use database::{Database, DocumentRecord};
pub use object::{ObjectStore, StoreError};
pub use pool::PoolSettings;
pub use readings::SharedReading;
