//! `cargo xtask fetch`: fetches what builds need, so that they need no network.

use std::process::ExitCode;

use anyhow::Result;
use bundle::packages::{self, Need};
use bundle::steps::steps;
use support::progress;

use crate::Unusable;
use crate::session::Session;

/// Fetch what the images are built from: Go's modules, crates and Debian packages. Then --offline needs no network.
///
/// Everything is checked against its hash. What is already built needs nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install missing system packages without asking.
    #[arg(long, short)]
    yes: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let session = Session::begin()?;
    let pins = session.pins()?;
    session.check_build(&pins)?;
    packages::ensure(&[Need::Images], &session.host, args.yes).map_err(Unusable)?;
    let builder = session.builder(&pins, &session.workspace.target().join("logs"));
    for step in steps(&builder)? {
        progress::step(&format!("fetch for {}", step.name), || step.fetch(&builder))?;
    }
    for (name, component) in &pins.components {
        builder.modules(name, component)?;
    }
    Ok(ExitCode::SUCCESS)
}
