//! `cargo xtask images`: builds the images and lists them.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use bundle::assemble::{self, Locking};
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

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

    /// Choose Debian's current packages, build with them, and write bundle/debian.lock and bundle/outputs.lock. With
    /// `=outputs`, keep the packages and write only the digests of what is built.
    #[arg(long, value_name = "WHAT", value_enum, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "all", conflicts_with_all = ["locked", "offline"])]
    update_lock: Option<Update>,

    #[command(flatten)]
    build: BuildArgs,
}

/// What an update of the locks writes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Update {
    /// The Debian packages and the outputs.
    All,
    /// The outputs.
    Outputs,
}

impl Args {
    fn locking(&self) -> Result<Locking> {
        Ok(match self.update_lock {
            None => self.build.locking(false),
            Some(Update::Outputs) => Locking::Outputs,
            Some(Update::All) => {
                let now = OffsetDateTime::from(SystemTime::now());
                Locking::All { now: now.format(format_description!("[year][month][day]T[hour][minute][second]Z"))? }
            }
        })
    }
}

/// An image in the list.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    digest: &'a str,
    size_bytes: u64,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let session = Session::of(&args.build)?;
    let pins = session.pins()?;
    session.check_build(&pins)?;
    let locking = args.locking()?;
    session.check_locks(&pins, &locking)?;
    bundle::packages::ensure(&[bundle::packages::Need::Images], &session.host, args.build.yes)
        .map_err(crate::Unusable)?;
    let built = session.build(&pins, &locking, &session.workspace.target().join("logs"))?;
    if args.update_lock.is_some() {
        assemble::write_locks(&session.workspace.root, &built)?;
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
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
