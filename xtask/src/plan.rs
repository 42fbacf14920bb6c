//! `cargo xtask plan`: what a fleet carries and what fails first, calculated from the manifests.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bundle::workspace::Workspace;
use capacity::database::{Database, Given};
use capacity::demand::Load;
use capacity::plan::{Inputs, Plan};
use capacity::settings::Settings;
use capacity::{manifests, table, terminal};

/// The folders of `manifests/` that describe the fleet and its database.
const FOLDERS: [&str; 3] = ["base", "services/postgres", "services/temporal"];

/// Calculate from the manifests what a fleet carries and what fails first, without a cluster
///
/// Reads the worker's Deployment and ScaledObject, and the configuration of Postgres and Temporal.
/// The worker's variables, such as DB_POOL_SIZE, are those of the Deployment. Variables in the
/// environment of this command replace them:
///
///   TEMPORAL_IO_ACTIVITY_CONCURRENCY=8 cargo xtask plan --rps 40
///   kubectl kustomize my/overlay | cargo xtask plan --manifests - --max-connections 500
///
/// The exit code is 0 if the plan holds. It is 1 if the plan does not hold: the largest fleet does
/// not carry the load, the database has too few connections, or a worker refuses its settings. It is
/// 2 if no plan can be calculated from the input. The rules are in docs/plan.md.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The load in documents per second.
    #[arg(long, value_name = "N", default_value_t = Load::GUIDE.rate,
        value_parser = positive, allow_negative_numbers = true)]
    rps: f64,

    /// Seconds that a document occupies an IO slot, for all its IO activities together.
    #[arg(long, value_name = "SECONDS", default_value_t = Load::GUIDE.io_seconds,
        value_parser = positive, allow_negative_numbers = true)]
    service: f64,

    /// Seconds that a document occupies a CPU slot.
    #[arg(long, value_name = "SECONDS", default_value_t = Load::GUIDE.cpu_seconds,
        value_parser = positive, allow_negative_numbers = true)]
    cpu_seconds: f64,

    /// Seconds that a document occupies a workflow slot, for all its workflow tasks together.
    #[arg(long, value_name = "SECONDS", default_value_t = Load::GUIDE.workflow_seconds,
        value_parser = positive, allow_negative_numbers = true)]
    workflow_seconds: f64,

    /// Size of a fleet that the table shows, besides one worker and the maximum. The guide has 15.
    #[arg(long, value_name = "N", default_value_t = table::GUIDE_WORKERS,
        value_parser = clap::value_parser!(u32).range(1..))]
    workers: u32,

    /// Manifests to read instead of those of this checkout: files, folders without subfolders, or - for standard input.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    manifests: Vec<PathBuf>,

    /// Maximum number of connections of the database, instead of the one in postgresql.conf.
    #[arg(long, value_name = "N")]
    max_connections: Option<u32>,

    /// Connections that others than the workers use, instead of those in Temporal's configuration.
    #[arg(long, value_name = "N")]
    other_connections: Option<u32>,

    /// Memory of the nodes for workers, such as 8Gi. Default: no limit.
    #[arg(long, value_name = "SIZE", value_parser = capacity::bytes)]
    memory: Option<u64>,

    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let environment = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
    let plan = make(args, &environment).map_err(crate::Unusable)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&plan)?);
    } else {
        print!("{}", terminal::render(&plan));
    }
    Ok(ExitCode::from(if plan.holds() { 0 } else { crate::FAILED }))
}

fn make(args: &Args, environment: &dyn Fn(&str) -> Option<String>) -> Result<Plan> {
    let paths = if args.manifests.is_empty() {
        let shipped = Workspace::checkout().context("there is no checkout: name --manifests PATH")?.manifests();
        FOLDERS.map(|folder| shipped.join(folder)).to_vec()
    } else {
        args.manifests.clone()
    };
    let manifests = manifests::read(&paths)?;
    let given = Given { max_connections: args.max_connections, others: args.other_connections };
    let inputs = Inputs {
        settings: Settings::read(&manifests, environment)?,
        database: Database::read(&manifests, given)?,
        memory: args.memory,
        load: Load {
            rate: args.rps,
            io_seconds: args.service,
            cpu_seconds: args.cpu_seconds,
            workflow_seconds: args.workflow_seconds,
        },
    };
    Plan::new(inputs, args.workers)
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|number| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "it must be a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn planned(line: &[&str], environment: &[(&str, &str)]) -> Result<Plan> {
        let args = Line::try_parse_from(["plan"].iter().chain(line))?.args;
        make(&args, &|name| {
            let (_, value) = environment.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        })
    }

    #[test]
    fn shipped_manifests_hold_at_the_guides_load() {
        let plan = planned(&[], &[]).unwrap();
        assert!(plan.holds(), "{:?}", plan.faults);
        assert_eq!(plan.inputs.load, Load::GUIDE);
    }

    #[test]
    fn load_and_environment_beyond_the_fleet_do_not_hold() {
        for (line, environment) in [
            (vec!["--rps", "33"], vec![]),
            (vec!["--max-connections", "200"], vec![]),
            (vec!["--memory", "4Gi"], vec![]),
            (vec![], vec![("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "50")]),
        ] {
            let plan = planned(&line, &environment).unwrap();
            assert!(!plan.holds(), "{line:?} {environment:?}");
            let json = serde_json::to_value(&plan).unwrap();
            let reason = json["faults"][0]["message"].as_str().unwrap();
            assert!(reason.contains("; "), "a reason and a way out: {reason}");
        }
    }

    #[test]
    fn bad_input_is_refused_in_a_line_that_names_it() {
        for (line, expected) in [
            (vec!["--rps", "0"], "'0' for '--rps <N>': it must be a number above 0"),
            (vec!["--rps", "-1"], "'-1' for '--rps <N>'"),
            (vec!["--service", "NaN"], "'NaN' for '--service <SECONDS>'"),
            (vec!["--workers", "0"], "0 is not in 1.."),
            (vec!["--memory", "much"], "\"much\" is no amount of memory"),
            (vec!["--manifests", "no/such"], "read no/such"),
        ] {
            let error = planned(&line, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = planned(&[], &[("DB_POOL_SIZE", "many")]).unwrap_err();
        assert!(format!("{error:#}").contains("DB_POOL_SIZE is \"many\""), "{error:#}");
    }
}
