//! Workflows. They are deterministic: no I/O, clock or randomness except through the workflow context.

mod document;

pub use document::{DocumentWorkflow, Route};
