//! The optional summary of a document: what is asked (`prompt`) and who is asked (`client`).
//!
//! A document is worth storing without its summary, so everything here is bounded: the text that is sent, the answer that is
//! read, the time that it may take.

mod client;
mod prompt;

pub use client::{LlmError, Summarizer};
