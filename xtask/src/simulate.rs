//! `cargo xtask simulate`: ways to scale side by side, without a cluster.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use scaler::simulator::{self, Load, Scenario, Setup, Way};

/// Simulate ways to scale the fleet, side by side, without a cluster
///
/// Discrete events: documents arrive, hold slots and share a host; the HPA syncs as Kubernetes does; the way "ours"
/// is the very code of temporal-scaler. Prints a table, and writes a page with plots. docs/simulator.md describes the
/// scenarios, the ways and the columns.
///
///   cargo xtask simulate --scenario saturated --hpa 1,15
///   cargo xtask simulate --trace arrivals.csv --ways ours,temporal --workers-max 100
///
/// A trace has lines of "seconds,arrivals", or of the time of one arrival in seconds. The exit code is 2 if the input
/// cannot be used.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The scenario, or "all". Can be given several times.
    #[arg(long, value_name = "NAME", default_value = "step", conflicts_with = "trace")]
    scenario: Vec<String>,

    /// A CSV file with arrivals, instead of a scenario.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Seconds between two syncs of the HPA.
    #[arg(long, value_name = "SECONDS", value_delimiter = ',', default_value = "1,15,30", value_parser = period,
        allow_negative_numbers = true)]
    hpa: Vec<f64>,

    /// The ways to scale that are compared. Default: all.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    ways: Vec<String>,

    /// Fewest workers, instead of the scenario's.
    #[arg(long, value_name = "N")]
    workers_min: Option<u32>,

    /// Most workers, instead of the scenario's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    workers_max: Option<u32>,

    /// Seed of the arrivals.
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,

    /// The page with plots.
    #[arg(long, value_name = "FILE", default_value = "target/simulation.html")]
    out: PathBuf,

    /// Print the outcomes as JSON instead of a table.
    #[arg(long)]
    json: bool,

    /// Vary each constant of the decision, and print what each value does.
    #[arg(long, conflicts_with_all = ["trace", "json"])]
    sweep: bool,
}

fn period(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it must be a number of seconds".to_owned())?;
    (0.1..=3600.0).contains(&number).then_some(number).ok_or_else(|| "it must be from 0.1 to 3600 seconds".to_owned())
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.sweep {
        print!("{}", simulator::sweep(args.seed));
        return Ok(ExitCode::SUCCESS);
    }
    let (scenarios, ways) = plan(args).map_err(crate::Unusable)?;
    let mut outcomes = Vec::new();
    for scenario in &scenarios {
        for hpa in &args.hpa {
            for way in &ways {
                outcomes.push(simulator::simulate(scenario, *way, &Setup::usual(*hpa, args.seed)));
            }
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    } else {
        print!("{}", simulator::table(&outcomes));
    }
    let line = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    if let Some(folder) = args.out.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    std::fs::write(&args.out, simulator::page(&outcomes, &format!("cargo xtask {line}")))
        .with_context(|| format!("write {}", args.out.display()))?;
    if !args.json {
        println!("The page with plots is {}.", args.out.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn plan(args: &Args) -> Result<(Vec<Scenario>, Vec<Way>)> {
    let mut scenarios = match &args.trace {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            let load = Load::trace(&text).with_context(|| format!("{} is no trace", path.display()))?;
            vec![simulator::of_trace(&path.display().to_string(), load)]
        }
        None if args.scenario.iter().any(|name| name == "all") => simulator::all(),
        None => {
            let found: Result<_, String> = args.scenario.iter().map(|name| simulator::find(name)).collect();
            found.map_err(anyhow::Error::msg)?
        }
    };
    for scenario in &mut scenarios {
        scenario.fleet.min = args.workers_min.unwrap_or(scenario.fleet.min);
        scenario.fleet.max = args.workers_max.unwrap_or(scenario.fleet.max);
        if scenario.fleet.min > scenario.fleet.max {
            let (min, max) = (scenario.fleet.min, scenario.fleet.max);
            bail!("the fewest workers are {min} and the most {max}; set --workers-max to {min} or more");
        }
        scenario.workers = scenario.workers.clamp(scenario.fleet.min, scenario.fleet.max);
    }
    let ways: Result<Vec<Way>, String> = args.ways.iter().map(|name| name.parse()).collect();
    let ways = ways.map_err(anyhow::Error::msg)?;
    Ok((scenarios, if ways.is_empty() { Way::ALL.to_vec() } else { ways }))
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

    fn planned(line: &[&str]) -> Result<(Vec<Scenario>, Vec<Way>)> {
        plan(&Line::try_parse_from(["simulate"].iter().chain(line))?.args)
    }

    #[test]
    fn without_arguments_all_ways_play_the_step() {
        let (scenarios, ways) = planned(&[]).unwrap();
        assert_eq!((scenarios.len(), scenarios[0].name.as_str(), ways.len()), (1, "step", Way::ALL.len()));
        assert_eq!(planned(&["--scenario", "all"]).unwrap().0.len(), simulator::all().len());
    }

    #[test]
    fn bad_input_is_refused_in_a_line_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace.csv");
        std::fs::write(&trace, "0,3\n1,-4\n").unwrap();
        let trace = trace.display().to_string();
        for (line, expected) in [
            (vec!["--scenario", "stepp"], "there is no scenario \"stepp\": did you mean step? there are step, "),
            (vec!["--ways", "ours,temporl"], "there is no way to scale \"temporl\": did you mean temporal? there are "),
            (vec!["--trace", "no/such.csv"], "read no/such.csv"),
            (vec!["--trace", &trace], "trace.csv is no trace: line 2: \"-4\" is negative; write a number of arrivals"),
            (vec!["--hpa", "1,0"], "'0' for '--hpa <SECONDS>': it must be from 0.1 to 3600 seconds"),
            (vec!["--hpa", "often"], "'often' for '--hpa <SECONDS>'"),
            (vec!["--workers-max", "0"], "0 is not in 1..=1000000"),
            (vec!["--workers-max", "2"], "the fewest workers are 3 and the most 2; set --workers-max to 3 or more"),
        ] {
            let error = format!("{:#}", planned(&line).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
