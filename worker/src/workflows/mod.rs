//! Workflows: deterministic, without I/O, clock or randomness of their own.

mod document;

pub use document::{DocumentWorkflow, Route};
