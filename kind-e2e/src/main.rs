//! The program: parses, runs, and turns what came out into an exit code.

use std::process::ExitCode;

use clap::Parser;
use kind_e2e::cli::{Cli, Command, list};
use kind_e2e::run;

/// Wrong use, or no cluster to use.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let code = match Cli::parse().command {
        Command::List(arguments) => {
            println!("{}", list(arguments.json));
            Ok(0)
        }
        Command::Report(arguments) => run::report_again(&arguments.run_dir),
        Command::Agree(arguments) => run::agree([&arguments.one, &arguments.other]),
        Command::Run(arguments) => runtime().and_then(|runtime| runtime.block_on(run::run(&arguments))),
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(USAGE)
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
