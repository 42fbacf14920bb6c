//! `cargo xtask down`: deletes the cluster and leaves nothing running.

use std::process::ExitCode;

use anyhow::Result;
use bundle::{cluster, docker};

use crate::session::Session;

/// Delete this checkout's cluster, and stop the private Docker engine if it has no other. The caches stay.
///
/// It also removes what a killed run left. If there is no cluster, it does nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    let session = Session::begin()?;
    let engine = docker::running_or_restarted(&session.host, session.cache.root())?;
    cluster::down(engine.as_ref(), &session.workspace, session.cache.root())?;
    Ok(ExitCode::SUCCESS)
}
