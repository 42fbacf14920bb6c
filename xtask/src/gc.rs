//! `cargo xtask gc`: removes from the cache what nobody used for a while and this checkout does not need.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use bundle::host::gib;
use bundle::steps::needed;

use crate::Unusable;
use crate::images::megabytes;
use crate::session::Session;

/// A day in seconds.
const DAY: u64 = 24 * 60 * 60;

/// Remove from the cache what this checkout does not need and what nobody used for some days.
///
/// It removes programs, root filesystems, Debian packages and digests of other checkouts and older commits. It keeps
/// what this checkout builds from, cargo's target folder, and the data of the private Docker engine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The time without use, in days.
    #[arg(long, default_value_t = 30)]
    days: u32,

    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let session = Session::begin()?;
    let pins = session.pins()?;
    // Without this list, nothing may be removed.
    let needed = needed(&session.builder(&pins, &session.workspace.target().join("logs"))).map_err(Unusable)?;
    let unused = Duration::from_secs(u64::from(args.days) * DAY);
    let now = SystemTime::now();
    let (mut count, mut bytes) = (0, 0);
    for garbage in session.cache.garbage(&needed, unused, now)? {
        if !args.dry_run && !session.cache.remove(&garbage)? {
            continue;
        }
        count += 1;
        bytes += garbage.bytes;
        let days = now.duration_since(garbage.used).unwrap_or_default().as_secs() / DAY;
        let path = garbage.path.strip_prefix(session.cache.root()).unwrap_or(&garbage.path);
        println!("{:>8.1} MB  {days:>4} days  {}", megabytes(garbage.bytes), path.display());
    }
    let what = if args.dry_run { "would be removed" } else { "removed" };
    println!("{count} entries {what}, {}", gib(bytes));
    Ok(ExitCode::SUCCESS)
}
