//! `cargo xtask up`: starts a cluster that is kept.

use std::process::ExitCode;

use anyhow::Result;
use bundle::cluster::{Maker, OtherNode, Record, Wanted, is_kept};
use bundle::docker::Engine;
use bundle::release::Release;
use support::interrupt;

use crate::Unusable;
use crate::session::{Session, SourceArgs};

/// Start a cluster with every service, the worker and its autoscaling.
///
/// The checkout is built where the cache lacks something, or everything comes from a bundle. If a kept cluster is up, it
/// is reused, and the manifests are applied again. One of another version is upgraded: its data stays, and if something
/// does not start, the version before is applied again. Otherwise a new cluster is created. It stays until `down`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    source: SourceArgs,
}

/// The flags for a cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    /// Number of nodes, including the control plane.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,

    /// The HPA's sync period in seconds. Kubernetes' default is 15, and managed clusters do not let you change it.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=60))]
    hpa_sync: u8,
}

impl ClusterArgs {
    /// The options of the wanted cluster.
    pub(crate) fn wanted(&self, keep: bool) -> Wanted {
        Wanted { nodes: usize::from(self.nodes), hpa_sync: self.hpa_sync, keep }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let session = Session::of(&args.source.build)?;
    let source = session.source(&args.source)?;
    session.check(&source)?;
    session.print_adaptations();
    let engine = session.engine(&args.source.build, &source)?;
    let logs = session.workspace.target().join("logs");
    let release = source.release(&session, &engine, &logs)?;
    let wanted = args.cluster.wanted(true);
    // A cluster that was there before has data.
    let promised = is_kept(&engine, &session.workspace)?;
    let record = make(&session, &engine, &release, wanted, &logs.join("up")).inspect_err(|_| {
        if interrupt::requested() && !promised {
            take_down(&session, &engine);
        }
    })?;
    crate::status::print_addresses(&record);
    Ok(ExitCode::SUCCESS)
}

/// Creates or reuses the cluster.
pub(crate) fn make(
    session: &Session,
    engine: &Engine,
    release: &Release,
    wanted: Wanted,
    evidence: &std::path::Path,
) -> Result<Record> {
    let maker =
        Maker { workspace: &session.workspace, host: &session.host, engine, release, evidence: evidence.to_owned() };
    maker.up(wanted).map_err(|error| if error.is::<OtherNode>() { Unusable(error).into() } else { error })
}

/// Deletes the cluster and stops the private engine after a run, whether it succeeded or not.
pub(crate) fn take_down(session: &Session, engine: &Engine) {
    interrupt::start_cleaning();
    if let Err(error) = bundle::cluster::down(Some(engine), &session.workspace, session.cache.root()) {
        eprintln!("error: delete the cluster: {error:#}; try `{} down`", session.workspace.command());
    }
}
