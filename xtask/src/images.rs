//! `cargo xtask images`: builds the images and lists them.

use std::process::ExitCode;

use anyhow::Result;
use bundle::assemble;
use serde::Serialize;

use crate::session::{BuildArgs, Session};

/// Build every image, including the node image, and list name, digest and size.
///
/// The same pins and packages give the same digests in every folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// List the images. This is the default.
    #[arg(long)]
    list: bool,

    /// Print the list as JSON with name, digest and size in bytes.
    #[arg(long)]
    json: bool,

    /// Update bundle/debian.lock to the packages in the images.
    #[arg(long, conflicts_with = "locked")]
    update_lock: bool,

    #[command(flatten)]
    build: BuildArgs,
}

/// An image in the list.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    digest: &'a str,
    size_bytes: u64,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let session = Session::begin()?;
    session.check_host()?;
    bundle::packages::ensure(&[bundle::packages::Need::Images], &session.pins, &session.host, args.build.yes)
        .map_err(crate::Unusable)?;
    let built = session.build(&args.build, &session.workspace.target().join("logs"))?;
    if args.update_lock {
        assemble::write_lock(&session.workspace.root, &built.packages)?;
    }
    let mut list: Vec<Row<'_>> = built
        .images
        .iter()
        .map(|image| Row { name: &image.name, digest: &image.digest, size_bytes: image.size_bytes })
        .collect();
    list.push(Row { name: &built.node.reference, digest: &built.node.digest, size_bytes: built.node.size_bytes });
    if args.json {
        println!("{}", serde_json::to_string_pretty(&list)?);
    } else {
        let width = list.iter().map(|image| image.name.len()).max().unwrap_or(0);
        for image in &list {
            println!("{:width$}  {}  {:>7.1} MB", image.name, image.digest, megabytes(image.size_bytes));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
