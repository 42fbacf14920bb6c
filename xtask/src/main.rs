//! The project's commands. Each command is a file with its `Args` and one `run`. Here is only the match between them.

mod bundle;
mod doctor;
mod down;
mod e2e;
mod fetch;
mod gc;
mod images;
mod install;
mod nix;
mod plan;
mod scenarios;
mod session;
mod simulate;
mod status;
mod test;
mod up;
mod verify;

use std::process::ExitCode;

use ::bundle::workspace::Workspace;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use support::interrupt;

/// Exit code of a command that failed during its work.
const FAILED: u8 = 1;
/// Exit code of a command that changed nothing, because of its arguments or the host.
const UNUSABLE: u8 = 2;

/// One reproducible path from source to a verified cluster of autoscaled Temporal workers.
///
/// Everything is built from the sources pinned in bundle/pins.toml, or comes from a bundle. It is started as a kind
/// cluster and tested under load. The build results are cached outside the checkout. The results of a run are in
/// target/e2e/<run>/, or without a checkout in slipway-e2e/<run>/.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_long_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print every command that runs.
    #[arg(long, short, global = true)]
    verbose: bool,
}

const AFTER_HELP: &str = "\
Exit codes:
  0    done; for e2e: the verdict is Pass
  1    failed; for e2e: the verdict is Fail; for plan: the plan does not hold
  2    nothing was changed: the arguments are invalid, or this host has faults
  3    for e2e: the verdict is Inconclusive, because samples are missing
  130  interrupted, after the clean-up

Environment:
  SLIPWAY_CACHE  the folder of the cache (default: slipway in the user's cache folder)
  DOCKER_HOST    the address of the Docker engine, as for the docker client";

#[derive(Debug, Subcommand)]
enum Command {
    // The help of each is the doc comment of its `Args`. A doc comment here would replace it.
    E2e(e2e::Args),
    Test(test::Args),
    Doctor(doctor::Args),
    Plan(plan::Args),
    Simulate(simulate::Args),
    Images(images::Args),
    Bundle(bundle::Args),
    Verify(verify::Args),
    Fetch(fetch::Args),
    Gc(gc::Args),
    Up(up::Args),
    Install(install::Args),
    Uninstall(install::UninstallArgs),
    Status(status::Args),
    Down(down::Args),
}

/// The commands that need a checkout in every case.
const OF_CHECKOUT: [&str; 4] = ["fetch", "gc", "images", "test"];

/// A problem that was found before anything was changed.
#[derive(Debug)]
struct Unusable(anyhow::Error);

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Unusable {}

fn main() -> ExitCode {
    if let Some(args) = ::bundle::oci_runtime::called() {
        let Err(error) = ::bundle::oci_runtime::run(&args);
        eprintln!("error: {error:#}");
        return ExitCode::from(FAILED);
    }
    let cli = parse();
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
        Command::Simulate(args) => simulate::run(&args),
        Command::Images(args) => images::run(&args),
        Command::Bundle(args) => bundle::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Gc(args) => gc::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Install(args) => install::install(&args),
        Command::Uninstall(args) => install::uninstall(&args),
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

/// Reads the command line. Without a checkout, the commands that need one are not in the list of commands.
fn parse() -> Cli {
    let matches = match Workspace::checkout() {
        Some(_) => command("cargo xtask").get_matches(),
        None => OF_CHECKOUT
            .iter()
            .fold(command("slipway"), |command, name| command.mut_subcommand(name, |it| it.hide(true)))
            .get_matches(),
    };
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn command(name: &'static str) -> clap::Command {
    Cli::command().name(name).bin_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_valid() {
        command("cargo xtask").debug_assert();
    }

    #[test]
    fn commands_that_need_a_checkout_exist() {
        let command = command("slipway");
        for name in OF_CHECKOUT {
            assert!(command.find_subcommand(name).is_some(), "{name}");
        }
    }
}
