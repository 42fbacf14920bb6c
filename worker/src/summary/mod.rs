//! The optional summary of a document: `prompt` builds the request, `client` sends it.
//!
//! A document is stored without its summary if need be, so everything here has a limit: the text sent, the answer
//! read, and the time.

mod client;
mod prompt;

pub use client::{LlmError, Summarizer};
