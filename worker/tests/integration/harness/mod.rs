//! What the tests stand on. A test gets a [`World`]: a Temporal namespace, a schema of the database, a bucket and a way to each server that
//! nobody else uses. It starts workers in it, lets them process documents, breaks the ways, and looks at what became of it:
//!
//! ```ignore
//! let worker = world.worker().env("DOCUMENT_MAX_BYTES", "1000").start().await?;    // the program, ready
//! let source = world.upload("a.md", "# Title").await?;                             // a document in S3
//! let history = world.run_document("a", &source).await?;                           // its workflow, to the end
//! let row = world.document("a").await?;                                            // its row in Postgres
//! let done = worker.metrics().await?.value("document_step_duration_seconds_count", &[("outcome", "done")]);
//! world.s3.cut().await?;                                                           // also slow, block, mend
//! worker.signal(Signal::TERM)?;
//! ```
//!
//! Waiting is [`eventually`] and [`consistently`]; nothing sleeps. What the workers print is shown when a test fails. The
//! [`keeper`] ends every process and removes every file, however the tests end.

pub(crate) mod by_hand;
pub(crate) mod collector;
pub(crate) mod history;
pub(crate) mod keeper;
pub(crate) mod llm;
pub(crate) mod metrics;
pub(crate) mod ports;
pub(crate) mod programs;
pub(crate) mod servers;
pub(crate) mod wait;
pub(crate) mod worker;
pub(crate) mod world;

pub(crate) use servers::Servers;
pub(crate) use wait::{Probe, eventually, when};
pub(crate) use worker::Worker;
pub(crate) use world::World;
