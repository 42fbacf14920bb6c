//! The project's commands. One file a command, each with its `Args` and one `run`; here only the match between them.

mod doctor;
mod down;
mod e2e;
mod images;
mod nix;
mod plan;
mod scenarios;
mod session;
mod status;
mod test;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use support::interrupt;

/// Exit code of a command that failed while it worked.
const FAILED: u8 = 1;
/// Exit code of a command that changed nothing: bad arguments, or a host that cannot do it.
const UNUSABLE: u8 = 2;

/// One reproducible path from source to a verified cluster of autoscaled Temporal workers.
///
/// Everything is built from pinned sources (bundle/pins.toml), assembled into images, started as a kind cluster and
/// tested under load. What is built is cached outside the checkout; what a run finds is in target/e2e/<run>/.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100, after_long_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print every command that is run.
    #[arg(long, short, global = true)]
    verbose: bool,
}

const AFTER_HELP: &str = "\
Exit codes:
  0    done; for e2e: the verdict is Pass
  1    failed; for e2e: the verdict is Fail; for plan: it does not hold
  2    nothing was changed: bad arguments, or this host cannot do it (the message says what to do)
  3    e2e: the verdict is Inconclusive, samples are missing
  130  interrupted, and cleaned up

Environment:
  SLIPWAY_CACHE  the cache's folder (default: slipway in the user's cache folder)
  DOCKER_HOST    the Docker engine to use, as for the docker client";

#[derive(Debug, Subcommand)]
enum Command {
    /// From source to a verified cluster: build, start, load, judge, take down.
    E2e(e2e::Args),
    /// Every test that needs no cluster: format, lints, unit tests, the worker against real servers, manifests, flake.
    Test(test::Args),
    /// What this host has and lacks, and how a run will adapt to it.
    Doctor(doctor::Args),
    // What it does is told in its file: the help of a command with a comment here has nothing but that comment.
    Plan(plan::Args),
    /// Build the images and list them.
    Images(images::Args),
    /// Build what is missing and start the cluster, to keep.
    Up(up::Args),
    /// What runs: nodes, workloads, addresses.
    Status(status::Args),
    /// Take the cluster down and stop the private Docker engine.
    Down(down::Args),
}

/// A problem found before anything was changed.
#[derive(Debug)]
struct Unusable(anyhow::Error);

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Unusable {}

fn main() -> ExitCode {
    if let Some(args) = bundle::oci_runtime::called() {
        let Err(error) = bundle::oci_runtime::run(&args);
        eprintln!("error: {error:#}");
        return ExitCode::from(FAILED);
    }
    let cli = Cli::parse();
    support::progress::set_verbose(cli.verbose);
    if let Err(error) = interrupt::listen() {
        eprintln!("error: listen for signals: {error}");
        return ExitCode::from(UNUSABLE);
    }
    let result = match cli.command {
        Command::E2e(args) => e2e::run(args),
        Command::Test(args) => test::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Images(args) => images::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Down(args) => down::run(&args),
    };
    result.unwrap_or_else(|error| {
        if interrupt::requested() {
            return ExitCode::from(interrupt::EXIT_CODE);
        }
        eprintln!("error: {error:#}");
        ExitCode::from(if error.is::<Unusable>() { UNUSABLE } else { FAILED })
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
