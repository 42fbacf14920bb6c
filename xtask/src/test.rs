//! `cargo xtask test`: every test that needs no cluster.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use bundle::interrupt::side_by_side;
use bundle::packages::{self, Need};
use bundle::{checks, parts, progress};

use crate::session::Session;

/// Runs the format check, the lints, all unit tests, and the checks of the manifests and of the flake.
///
/// Installs what is missing. The programs that check the manifests (kubectl, kubeconform, promtool) are the pinned
/// ones, built from source if they are not in the cache.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install missing system packages without asking.
    #[arg(long, short)]
    yes: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let session = Session::begin()?;
    session.check_host()?;
    packages::ensure(&[Need::Images, Need::Nix], &session.pins, &session.host, args.yes)
        .map_err(crate::Unusable)?;
    let logs = session.workspace.target().join("logs");
    let builder = session.builder(&logs);
    let ((), built) = side_by_side(|| rust(&session), || builder.some(&checks::COMPONENTS))?;
    progress::step("manifests: kustomize, kubeconform, promtool", || {
        checks::manifests(&session.workspace, &built)
    })?;
    progress::step("flake: parse and evaluate", || {
        crate::nix::check(&session.workspace.root)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Format, lints and unit tests of the workspace.
fn rust(session: &Session) -> Result<()> {
    let cargo = |args: &[&str]| parts::cargo(&session.workspace, &session.cache).args(args);
    progress::step("format: cargo fmt", || {
        Ok(cargo(&["fmt", "--all", "--check"]).run().map(drop)?)
    })?;
    progress::step("lints: cargo clippy", || {
        let lints =
            cargo(&["clippy", "--workspace", "--all-targets", "--locked"]).args(["--", "--deny", "warnings"]);
        Ok(lints.run().map(drop)?)
    })?;
    progress::step("unit tests: cargo test", || {
        let tests = cargo(&["test", "--workspace", "--locked"]).passthrough()?;
        ensure!(tests.success(), "unit tests failed ({tests})");
        Ok(())
    })
}
