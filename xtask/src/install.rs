//! `slipway install` and `slipway uninstall`: into a cluster that somebody else made, and out of it again.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use bundle::cluster::install::{Foreign, NotOurs, check_context};
use support::progress;

use crate::Unusable;
use crate::session::Session;

/// Install a bundle into an existing cluster, which pulls the images from a registry.
///
/// The bundle must have been sent there with `bundle push`. Everything is installed: the services, the worker and its
/// autoscaling. If the cluster has an object or a node port of somebody else that this would need, nothing is changed.
/// Run it again with another bundle to update; volumes stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: TargetArgs,

    /// The repository that the bundle was sent to, as registry.example.com/slipway.
    #[arg(long, value_name = "REGISTRY/NAME")]
    registry: String,
}

/// Take out of a cluster what `install` put there, and nothing else.
///
/// Volumes with data stay, unless --delete-data is given.
#[derive(Debug, clap::Args)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Delete the volumes of Postgres and of the object store, too.
    #[arg(long)]
    delete_data: bool,
}

/// The flags that say into which cluster, and of what.
#[derive(Debug, clap::Args)]
struct TargetArgs {
    /// The cluster, by its context in the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: String,

    /// The bundle.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
}

pub(crate) fn install(args: &Args) -> Result<ExitCode> {
    let session = Session::begin()?;
    with(&session, &args.target, |cluster| {
        let installed = cluster.install(&args.registry);
        let record = installed.map_err(|error| if error.is::<NotOurs>() { Unusable(error).into() } else { error })?;
        progress::note(&format!("installed into {}", record.name));
        crate::status::print_addresses(&record);
        Ok(())
    })
}

pub(crate) fn uninstall(args: &UninstallArgs) -> Result<ExitCode> {
    let session = Session::begin()?;
    with(&session, &args.target, |cluster| {
        let stays = cluster.uninstall(args.delete_data)?;
        for name in &stays {
            progress::note(&format!("stays: {name}"));
        }
        Ok(())
    })
}

fn with(session: &Session, target: &TargetArgs, act: impl FnOnce(&Foreign<'_>) -> Result<()>) -> Result<ExitCode> {
    let release = bundle::file::open(&session.cache, &target.bundle).map_err(Unusable)?;
    check_context(&release.kubectl, &target.context).map_err(Unusable)?;
    act(&Foreign { workspace: &session.workspace, release: &release, context: &target.context })?;
    Ok(ExitCode::SUCCESS)
}
