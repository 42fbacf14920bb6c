//! The worker as its users run it: the program itself against a real Temporal, Postgres, Redis and S3. A black box: its
//! environment, its signals, its port and what it leaves in the servers are all that is looked at.
//!
//! `cargo xtask test` builds or installs the servers, says where they are, and runs this with `--include-ignored`. Plain
//! `cargo test` ignores every test here. By hand, with temporal-server, versitygw, toxiproxy-server, redis-server and
//! Postgres' programs on PATH:
//!
//! ```text
//! cargo test -p worker --test integration -- --include-ignored [part of a name]
//! ```
//!
//! To add a test, write `async fn what_it_shows(world: &World) -> Result<()>` in the module of its subject, and its name into
//! that module's `tests!`. See [`harness`] for what a `World` offers. Tests run side by side: bounds must be generous, and
//! what takes long is waited for, not timed.

mod cache;
mod cancelling;
mod configuration;
mod connections;
mod documents;
mod harness;
mod kills;
mod leaving;
mod metrics;
mod outages;
#[expect(dead_code, reason = "these tests need few of the builders")]
#[path = "../documents/pdf.rs"]
mod pdf;
mod poison;
mod readings;
mod renewal;
mod runner;
mod summaries;
mod traces;
mod versions;
mod watching;

use std::process::ExitCode;

fn main() -> ExitCode {
    runner::main(&[
        // The longest first.
        kills::TESTS,
        summaries::TESTS,
        outages::TESTS,
        readings::TESTS,
        watching::TESTS,
        versions::TESTS,
        leaving::TESTS,
        renewal::TESTS,
        cancelling::TESTS,
        traces::TESTS,
        connections::TESTS,
        metrics::TESTS,
        cache::TESTS,
        documents::TESTS,
        poison::TESTS,
        configuration::TESTS,
    ])
}
