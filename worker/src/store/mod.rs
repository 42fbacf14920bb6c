//! Where bytes and rows are kept: the object store, the database, the cache. None knows of Temporal.

mod cache;
mod database;
mod object;
mod pool;
mod readings;

pub use cache::{ExtractCache, extract_key};
pub use database::{Database, DocumentRecord};
pub use object::{ObjectStore, StoreError};
pub use pool::Holder;
pub use readings::SharedReading;
