//! The document worker: one process, one Temporal client, three task queues.
//!
//! The path of a document:
//! - [`workflows`] names the steps, and [`wire`] holds the types that travel between them.
//! - [`activities`] runs the steps with [`store`] (S3, Postgres), [`text`] (HTML, Markdown, plain text, PDF) and
//!   [`summary`].
//! - [`cpu`] holds the threads that compute, [`memory`] is the budget of large documents, and [`external`] guards every
//!   call to S3, Redis and the LLM.
//!
//! Around it: [`config`], [`temporal`] (the connection and the three SDK workers, with their [`slots`]), [`depth`], [`metrics`],
//! [`health`], [`logs`] and [`traces`]. [`lifecycle`] starts and stops all of it, or only the part that shows the
//! queue depths.

pub mod activities;
pub mod config;
pub mod cpu;
pub mod depth;
pub mod external;
mod faults;
pub mod health;
pub mod lifecycle;
pub mod logs;
pub mod memory;
pub mod metrics;
#[cfg(test)]
mod reference;
pub mod signals;
pub mod slots;
pub mod store;
pub mod summary;
pub mod temporal;
pub mod text;
pub mod tls;
pub mod traces;
pub mod wire;
pub mod workflows;
