//! Runs the tests with the options of `cargo test`. All tests share one Temporal, which starts with the first test and
//! ends after the last.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::{runtime::Runtime, sync::OnceCell, time::timeout};

use crate::harness::{Servers, World, reaper};

/// Number of parallel tests. They mostly wait.
const AT_A_TIME: usize = 4;

/// Timeout of a test.
const LIMIT: Duration = Duration::from_secs(150);

/// A test and its name.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a World) -> LocalBoxFuture<'a, Result<()>>,
}

/// Defines the constant `TESTS` of a module from the names of its functions.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        /// The tests of this module.
        pub(crate) const TESTS: &[$crate::runner::Test] = &[$($crate::runner::Test {
            name: concat!(module_path!(), "::", stringify!($test)),
            run: |world| Box::pin($test(world)),
        }),*];
    };
}
pub(crate) use tests;

/// Runs the tests that the command line selects.
pub(crate) fn main(groups: &[&[Test]]) -> ExitCode {
    if let Some(code) = reaper::run_if_called() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let shared = match Runtime::new() {
        Ok(runtime) => Arc::new(Shared { servers: OnceCell::new(), runtime }),
        Err(error) => {
            eprintln!("error: starting an async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let trial = |test: Test| {
        let shared = Arc::clone(&shared);
        let name = test.name.split_once("::").map_or(test.name, |(_crate, name)| name);
        Trial::test(name, move || shared.run(test)).with_ignored_flag(true)
    };
    let trials = groups.iter().copied().flatten().map(|test| trial(*test)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Dropping the last owner ends the servers.
    drop(shared);
    conclusion.exit_code()
}

/// What all tests share.
struct Shared {
    servers: OnceCell<Result<Arc<Servers>, String>>,
    runtime: Runtime,
}

impl Shared {
    fn run(&self, test: Test) -> Result<(), Failed> {
        self.runtime.block_on(async {
            let start = async || Servers::start().await.map(Arc::new).map_err(|error| format!("{error:#}"));
            let servers = self.servers.get_or_init(start).await.clone();
            let world = World::new(servers?).await.map_err(|error| format!("creating a world: {error:#}"))?;
            let outcome = timeout(LIMIT, (test.run)(&world)).await.context("not finished in time").flatten();
            outcome.map_err(|error| format!("{error:#}\n{}", world.outputs()).into())
        })
    }
}
