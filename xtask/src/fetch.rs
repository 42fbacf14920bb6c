//! `cargo xtask fetch`: fetches what builds need, so that they need no network.

use std::process::ExitCode;

use anyhow::Result;
use bundle::packages::{self, Need};
use bundle::shared;
use bundle::steps::steps;
use support::progress;

use crate::Unusable;
use crate::session::{FromArgs, Session};

/// Fetch what the images are built from: Go's modules, crates and Debian packages. Then --offline needs no network.
///
/// Everything is checked against its hash. What is already built needs nothing. With --from, what others have built is
/// fetched as it is, and later commands take from there, too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install missing system packages without asking.
    #[arg(long, short)]
    yes: bool,

    #[command(flatten)]
    from: FromArgs,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let begun = Session::begin()?;
    let session = Session { from: args.from.repository(&begun.cache), ..begun };
    let pins = session.pins()?;
    session.check_build(&pins)?;
    packages::ensure(&[Need::Images], &session.host, args.yes).map_err(Unusable)?;
    let builder = session.builder(&pins, &session.workspace.target().join("logs"));
    session.take(&builder)?;
    if let Some(repository) = &args.from.from {
        shared::remember(&session.cache, repository)?;
    }
    for step in steps(&builder)? {
        progress::step(&format!("fetch for {}", step.name), || step.fetch(&builder))?;
    }
    for (name, component) in &pins.components {
        builder.modules(name, component)?;
    }
    Ok(ExitCode::SUCCESS)
}
