//! The environment of the tests. A test gets a [`World`]: a Temporal namespace, a database schema, a bucket and a
//! proxy to each server, which no other test uses. The test starts workers in it, lets them process documents,
//! breaks the proxies, and checks the results:
//!
//! ```ignore
//! let worker = world.worker().env("DOCUMENT_MAX_BYTES", "1000").start().await?;    // the program, ready
//! let source = world.upload("a.md", "# Title").await?;                             // a document in S3
//! let history = world.run_document("a", &source).await?;                           // its workflow, to the end
//! let row = world.document("a").await?;                                            // its row in Postgres
//! let done = worker.metrics().await?.value("document_step_duration_seconds_count", &[("outcome", "done")]);
//! world.s3.cut().await?;                                                           // also slow, block, restore
//! worker.signal(Signal::TERM)?;
//! ```
//!
//! Tests wait with [`eventually`] and [`consistently`](wait::consistently), and never sleep. The output of the
//! workers is shown when a test fails. The [`reaper`] ends every process and removes every file, however the tests
//! end.

pub(crate) mod by_hand;
pub(crate) mod collector;
pub(crate) mod gate;
pub(crate) mod grpc;
pub(crate) mod history;
pub(crate) mod llm;
pub(crate) mod metrics;
pub(crate) mod ports;
pub(crate) mod programs;
pub(crate) mod reaper;
pub(crate) mod s3_stub;
pub(crate) mod servers;
pub(crate) mod tls;
pub(crate) mod wait;
pub(crate) mod worker;
pub(crate) mod world;

pub(crate) use servers::Servers;
pub(crate) use wait::{Probe, eventually, when};
pub(crate) use worker::Worker;
pub(crate) use world::World;
