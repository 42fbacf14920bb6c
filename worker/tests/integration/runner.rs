//! Runs the tests as `cargo test` runs others (names, filters, `--list`, `--include-ignored`), but with one set of servers for
//! all of them, which is started at the first test and ended after the last.

use std::{any::Any, panic::AssertUnwindSafe, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use futures::{FutureExt as _, future::LocalBoxFuture};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::{runtime::Runtime, sync::OnceCell, time::timeout};

use crate::harness::{Servers, World, keeper};

/// Tests at a time. They wait most of their time, so that more than there are cores gain much.
const AT_A_TIME: usize = 8;

/// A test that takes longer hangs: the longest wait of one is a minute, and none has more than two such.
const LIMIT: Duration = Duration::from_secs(150);

/// A test and its name.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    /// Path of the function.
    pub(crate) name: &'static str,
    /// The function.
    pub(crate) run: for<'a> fn(&'a World) -> LocalBoxFuture<'a, Result<()>>,
}

/// Makes the constant `TESTS` of a module from the names of its functions.
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

/// Runs what the command line asks for.
pub(crate) fn main(groups: &[&[Test]]) -> ExitCode {
    if let Some(code) = keeper::called() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let stage = match Stage::new() {
        Ok(stage) => Arc::new(stage),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = groups
        .iter()
        .copied()
        .flatten()
        .map(|test| trial(*test, &stage))
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The last owner: here the servers end.
    drop(stage);
    conclusion.exit_code()
}

fn trial(test: Test, stage: &Arc<Stage>) -> Trial {
    let stage = Arc::clone(stage);
    let name = test
        .name
        .split_once("::")
        .map_or(test.name, |(_crate, name)| name);
    Trial::test(name, move || stage.run(test)).with_ignored_flag(true)
}

/// What all tests share.
struct Stage {
    servers: OnceCell<Result<Arc<Servers>, String>>,
    runtime: Runtime,
}

impl Stage {
    fn new() -> Result<Self> {
        let runtime = Runtime::new().context("starting an async runtime")?;
        Ok(Self {
            servers: OnceCell::new(),
            runtime,
        })
    }

    fn run(&self, test: Test) -> Result<(), Failed> {
        self.runtime.block_on(async {
            let start = async || {
                Servers::start()
                    .await
                    .map(Arc::new)
                    .map_err(|error| format!("{error:#}"))
            };
            let servers = self.servers.get_or_init(start).await.clone();
            let world = World::new(servers?)
                .await
                .map_err(|error| format!("making a world: {error:#}"))?;
            let outcome = AssertUnwindSafe(timeout(LIMIT, (test.run)(&world)))
                .catch_unwind()
                .await;
            let fault = match outcome {
                Ok(Ok(Ok(()))) => return Ok(()),
                Ok(Ok(Err(error))) => format!("{error:#}"),
                Ok(Err(_)) => format!("not done after {LIMIT:?}"),
                Err(panic) => message(panic.as_ref()),
            };
            Err(format!("{fault}\n{}", world.outputs()).into())
        })
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".into())
}
