//! The worker as users run it: the program itself against a real Temporal, Postgres, Redis and S3. The tests see
//! only its environment, its signals, its port and its effects on the servers.
//!
//! `cargo xtask test` provides the servers, passes their paths, and runs this with `--include-ignored`. Plain
//! `cargo test` ignores all tests here. To run them by hand, put temporal-server, versitygw, toxiproxy-server,
//! redis-server, pgbouncer and the programs of Postgres on PATH:
//!
//! ```text
//! cargo test -p worker --test integration -- --include-ignored [part of a name]
//! ```
//!
//! To add a test, write `async fn what_it_shows(world: &World) -> Result<()>` in the module of its subject, and add
//! its name to that module's `tests!`. [`harness`] describes what a `World` offers. Tests run in parallel, so their
//! timeouts must be generous.

mod answers;
mod cache;
mod cancelling;
mod claims;
mod computing;
mod configuration;
mod connections;
mod credentials;
mod database;
mod depths;
mod documents;
mod harness;
mod kills;
mod leaving;
mod ledger;
mod memory;
mod metrics;
mod outages;
#[expect(dead_code, reason = "these tests need few of the builders")]
#[path = "../documents/pdf.rs"]
mod pdf;
mod poison;
mod private_authority;
mod reingest;
mod renewal;
mod requests;
mod runner;
mod stops;
mod summaries;
mod traces;
mod versions;

use std::process::ExitCode;

/// Number of parallel tests. They mostly wait, so more tests than cores save time.
const AT_A_TIME: usize = 8;

fn main() -> ExitCode {
    runner::main(&[
        // The longest first.
        credentials::TESTS,
        stops::TESTS,
        database::TESTS,
        kills::TESTS,
        reingest::TESTS,
        summaries::TESTS,
        outages::TESTS,
        depths::TESTS,
        versions::TESTS,
        leaving::TESTS,
        renewal::TESTS,
        cancelling::TESTS,
        ledger::TESTS,
        answers::TESTS,
        claims::TESTS,
        computing::TESTS,
        requests::TESTS,
        traces::TESTS,
        private_authority::TESTS,
        connections::TESTS,
        metrics::TESTS,
        cache::TESTS,
        documents::TESTS,
        poison::TESTS,
        configuration::TESTS,
        // It keeps the cores busy, which would disturb the others.
        memory::TESTS,
    ])
}
