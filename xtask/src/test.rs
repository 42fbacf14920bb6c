//! `cargo xtask test`: every test that needs no cluster.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
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
    let cargo = || parts::cargo(&session.workspace, &session.cache);
    progress::step("format: cargo fmt", || {
        Ok(cargo().args(["fmt", "--all", "--check"]).run().map(drop)?)
    })?;
    progress::step("lints: cargo clippy", || {
        let lints = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "--deny",
            "warnings",
        ];
        Ok(cargo().args(lints).run().map(drop)?)
    })?;
    let tests = cargo()
        .args(["test", "--workspace", "--locked"])
        .passthrough()
        .context("run the unit tests")?;
    if !tests.success() {
        bail!("unit tests failed ({tests})");
    }
    let logs = session.workspace.target().join("logs");
    let built = session.builder(&logs).some(&checks::COMPONENTS)?;
    progress::step("manifests: kustomize, kubeconform, promtool", || {
        checks::manifests(&session.workspace, &built)
    })?;
    progress::step("flake: parse and evaluate", || {
        crate::nix::check(&session.workspace.root)
    })?;
    Ok(ExitCode::SUCCESS)
}
