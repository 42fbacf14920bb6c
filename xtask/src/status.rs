//! `cargo xtask status`: the nodes, workloads and addresses of the cluster. Changes nothing.

use std::process::ExitCode;

use anyhow::Result;
use bundle::cluster::{Record, kubectl, read_record};

use crate::session::Session;

/// Show the nodes and workloads of the cluster and the addresses of its services.
///
/// The exit code is 2 if no cluster is up.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    let session = Session::begin()?;
    let record = read_record(&session.workspace).map_err(crate::Unusable)?;
    for what in ["nodes", "deployments,statefulsets,daemonsets,scaledobjects"] {
        let listing = kubectl(&record).args(["get", what, "--all-namespaces"]).read().map_err(|error| {
            let told = format!("the cluster does not answer: run `{} up`", session.workspace.command());
            crate::Unusable(anyhow::Error::new(error).context(told))
        })?;
        println!("{listing}\n");
    }
    print_addresses(&record);
    Ok(ExitCode::SUCCESS)
}

/// Prints the addresses of the cluster's services on this host.
pub(crate) fn print_addresses(record: &Record) {
    let endpoints = &record.endpoints;
    println!("export KUBECONFIG={}", record.kubeconfig.display());
    println!("kubectl     {}", record.kubectl.display());
    println!("temporal    {} (HTTP: {})", endpoints.temporal, endpoints.temporal_http);
    println!("postgres    {}", endpoints.postgres);
    println!("prometheus  {}", endpoints.prometheus);
    println!("s3          {} (bucket {})", endpoints.s3, record.s3.bucket);
    println!("toxiproxy   {}", endpoints.toxiproxy);
    println!("passwords   {}", record.secrets.display());
}
