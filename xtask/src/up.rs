//! `cargo xtask up`: a cluster to keep.

use std::process::ExitCode;

use anyhow::Result;
use bundle::assemble::Assembly;
use bundle::cluster::{Maker, Record, Wanted};
use bundle::docker::Engine;
use support::interrupt;

use crate::session::{BuildArgs, Session};

/// Builds what is missing and starts the cluster with every service, the worker and its autoscaling.
///
/// Run again, it uses the cluster that is up if it was made from the same images, and makes a new one otherwise.
/// It stays until `cargo xtask down`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    build: BuildArgs,
}

/// What a cluster is made with.
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    /// Nodes, the control plane included.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,

    /// Seconds between two looks of the HPA at its metrics. Kubernetes' default, which managed clusters do not let you
    /// change, is 15.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=60))]
    hpa_sync: u8,
}

impl ClusterArgs {
    /// The cluster that these ask for.
    pub(crate) fn wanted(&self, keep: bool) -> Wanted {
        Wanted {
            nodes: usize::from(self.nodes),
            hpa_sync: self.hpa_sync,
            keep,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let session = Session::begin()?;
    session.check_host()?;
    session.print_adaptations();
    let engine = session.engine(&args.build)?;
    let logs = session.workspace.target().join("logs");
    let built = session.build_for(&engine, &args.build, &logs)?;
    let wanted = args.cluster.wanted(true);
    let record = make(&session, &engine, &built, wanted, &logs.join("up")).inspect_err(|_| {
        if interrupt::requested() {
            take_down(&session, &engine, &built);
        }
    })?;
    crate::status::print_addresses(&record);
    Ok(ExitCode::SUCCESS)
}

/// Makes the cluster.
pub(crate) fn make(
    session: &Session,
    engine: &Engine,
    built: &Assembly,
    wanted: Wanted,
    evidence: &std::path::Path,
) -> Result<Record> {
    let maker = Maker {
        workspace: &session.workspace,
        host: &session.host,
        engine,
        built,
        evidence: evidence.to_owned(),
    };
    maker.up(wanted)
}

/// Takes everything down after a run that is over, one way or the other.
pub(crate) fn take_down(session: &Session, engine: &Engine, built: &Assembly) {
    interrupt::start_cleaning();
    let taken = built.parts.program("kind", "kind").and_then(|kind| {
        bundle::cluster::down(Some(engine), &kind, &session.workspace, session.cache.root())
    });
    if let Err(error) = taken {
        eprintln!("error: take the cluster down: {error:#}; try `cargo xtask down`");
    }
}
