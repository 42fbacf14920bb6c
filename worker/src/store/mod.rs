//! Where bytes and rows are kept: the object store and the database. Neither knows of Temporal.

mod database;
mod object;
mod pool;

pub use database::{Database, DocumentRecord};
pub use object::{ObjectStore, StoreError};
