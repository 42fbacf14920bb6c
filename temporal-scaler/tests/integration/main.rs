//! The scaler as users run it: the program itself against a real Temporal, a worker in Python, and an API server and
//! workers' pages that the tests play over HTTP.
//!
//! `cargo xtask test` provides Temporal, passes its path, and runs this with `--include-ignored`. Plain `cargo test`
//! ignores all tests here. To run them by hand, put temporal-server and python3 with pip on PATH:
//!
//! ```text
//! cargo test -p temporal-scaler --test integration -- --include-ignored [part of a name]
//! ```

mod answers;
mod conditions;
mod configuration;
mod costs;
mod fleets;
mod harness;
mod languages;
#[path = "../../../worker/tests/integration/runner.rs"]
mod runner;
mod tls;

use std::process::ExitCode;

/// Number of parallel tests. One of them plays ten thousand pods in this process.
const AT_A_TIME: usize = 4;

fn main() -> ExitCode {
    runner::main(&[
        languages::TESTS,
        costs::TESTS,
        fleets::TESTS,
        conditions::TESTS,
        answers::TESTS,
        configuration::TESTS,
        tls::TESTS,
    ])
}
