//! Runs the tests with the options of `cargo test` (names, filters, `--list`, `--include-ignored`). All tests share
//! one set of servers, which starts with the first test and ends after the last.

use std::{any::Any, panic::AssertUnwindSafe, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use futures::{FutureExt as _, future::LocalBoxFuture};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::{runtime::Runtime, sync::OnceCell, time::timeout};

use crate::{
    AT_A_TIME,
    harness::{Servers, World, reaper},
};

/// Timeout of a test. The longest reads a dozen documents of 32 MiB in a debug build, which takes two minutes alone.
const LIMIT: Duration = Duration::from_secs(400);

/// The variable with another timeout in seconds, for a test that was asked for more than by default.
const LIMIT_SECONDS: &str = "TEST_LIMIT_SECONDS";

/// A test and its name.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    /// Path of the function.
    pub(crate) name: &'static str,
    /// The function.
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
    let shared = match Shared::new() {
        Ok(shared) => Arc::new(shared),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = groups.iter().copied().flatten().map(|test| trial(*test, &shared)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Dropping the last owner ends the servers.
    drop(shared);
    conclusion.exit_code()
}

fn trial(test: Test, shared: &Arc<Shared>) -> Trial {
    let shared = Arc::clone(shared);
    let name = test.name.split_once("::").map_or(test.name, |(_crate, name)| name);
    Trial::test(name, move || shared.run(test)).with_ignored_flag(true)
}

/// What all tests share.
struct Shared {
    servers: OnceCell<Result<Arc<Servers>, String>>,
    runtime: Runtime,
}

impl Shared {
    fn new() -> Result<Self> {
        let runtime = Runtime::new().context("starting an async runtime")?;
        Ok(Self { servers: OnceCell::new(), runtime })
    }

    fn run(&self, test: Test) -> Result<(), Failed> {
        self.runtime.block_on(async {
            let start = async || Servers::start().await.map(Arc::new).map_err(|error| format!("{error:#}"));
            let servers = self.servers.get_or_init(start).await.clone();
            let world = World::new(servers?).await.map_err(|error| format!("creating a world: {error:#}"))?;
            let other = std::env::var(LIMIT_SECONDS).ok().and_then(|seconds| seconds.parse().ok());
            let limit = other.map_or(LIMIT, Duration::from_secs);
            let outcome = AssertUnwindSafe(timeout(limit, (test.run)(&world))).catch_unwind().await;
            let fault = match outcome {
                Ok(Ok(Ok(()))) => return Ok(()),
                Ok(Ok(Err(error))) => format!("{error:#}"),
                Ok(Err(_)) => format!("not finished within {limit:?}"),
                Err(panic) => message(panic.as_ref()),
            };
            Err(format!("{fault}\n{}", world.outputs()).into())
        })
    }
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
}
