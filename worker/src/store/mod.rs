//! Where bytes and rows are kept: the object store and the database. Neither knows of Temporal.

mod database;
mod object;
mod pool;
mod readings;

pub use database::{Database, DocumentRecord};
pub use object::{ObjectStore, StoreError};
pub use readings::SharedReading;
