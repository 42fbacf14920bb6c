//! `cargo xtask test`: every test that needs no cluster.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use bundle::checks;
use bundle::packages::{self, Need};
use bundle::parts::{self, Parts};
use support::interrupt::side_by_side;
use support::progress;

use crate::session::Session;

/// Runs the format check, the lints, all unit tests, the worker against real servers, and the checks of the manifests
/// and of the flake.
///
/// Installs what is missing. The programs that check the manifests (kubectl, kubeconform, promtool) and the servers that
/// the worker is tried against (Temporal, versitygw, toxiproxy) are the pinned ones, built from source if they are not in
/// the cache; Postgres and Redis are the system's.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install missing system packages without asking.
    #[arg(long, short)]
    yes: bool,
}

/// The servers that are built from the pins: component, program, and the variable by which the tests find it.
const SERVERS: [(&str, &str, &str); 3] = [
    ("temporal", "temporal-server", "SLIPWAY_TEMPORAL_SERVER"),
    ("toxiproxy", "toxiproxy-server", "SLIPWAY_TOXIPROXY"),
    ("versitygw", "versitygw", "SLIPWAY_VERSITYGW"),
];

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let session = Session::begin()?;
    session.check_host()?;
    let needs = [Need::Images, Need::Nix, Need::Servers];
    packages::ensure(&needs, &session.pins, &session.host, args.yes).map_err(crate::Unusable)?;
    let logs = session.workspace.target().join("logs");
    let builder = session.builder(&logs);
    let components: Vec<_> = checks::COMPONENTS
        .into_iter()
        .chain(SERVERS.map(|(name, ..)| name))
        .collect();
    let ((), built) = side_by_side(|| rust(&session), || builder.some(&components))?;
    integration(&session, &built)?;
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
    let cargo = |args: &[&str]| anyhow::Ok(parts::cargo(&session.workspace, &session.cache)?.args(args));
    progress::step("format: cargo fmt", || {
        Ok(cargo(&["fmt", "--all", "--check"])?.run().map(drop)?)
    })?;
    progress::step("lints: cargo clippy", || {
        let lints = cargo(&["clippy", "--workspace", "--all-targets", "--locked"])?
            .args(["--", "--deny", "warnings"]);
        Ok(lints.run().map(drop)?)
    })?;
    progress::step("unit tests: cargo test", || {
        let tests = cargo(&["test", "--workspace", "--locked"])?.passthrough()?;
        ensure!(tests.success(), "unit tests failed ({tests})");
        Ok(())
    })
}

/// The worker against real servers. The whole workspace is named, though the worker alone has such tests: so cargo uses what
/// it has compiled for the unit tests.
fn integration(session: &Session, built: &Parts) -> Result<()> {
    let mut cargo = parts::cargo(&session.workspace, &session.cache)?.args([
        "test",
        "--workspace",
        "--locked",
        "--test",
        "integration",
        "--",
        "--include-ignored",
    ]);
    for (component, program, variable) in SERVERS {
        cargo = cargo.env(variable, built.program(component, program)?);
    }
    progress::step("integration tests: the worker against real servers", || {
        let tests = cargo.passthrough()?;
        ensure!(tests.success(), "integration tests failed ({tests})");
        Ok(())
    })
}
