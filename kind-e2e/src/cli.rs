//! The command line, and which scenarios it asks for.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use thiserror::Error;

use crate::scenarios::{ALL, CORE, Scenario};

/// Loads, observes and judges a cluster.
///
/// Reads cluster.json, runs scenarios against the cluster that it describes, and leaves in the run's
/// folder what it saw and what it made of that: facts.json, samples.jsonl, verdict.json, figures.json,
/// junit.xml, report.html, report.md, and the cluster's logs, events and objects where the run did not pass.
///
/// Exit codes: 0 pass, 1 fail, 2 wrong use or no cluster (nothing was changed), 3 inconclusive,
/// 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "kind-e2e", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios against a cluster and judge them.
    Run(Run),
    /// List the scenarios, the suite of each, and what each shows.
    List(List),
    /// Make verdict and report again from what lies in a run's folder.
    Report(Report),
    /// Compare two runs with the same seed, figure by figure.
    Agree(Agree),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The file that describes the cluster; `cargo xtask up` writes it.
    #[arg(long, value_name = "FILE")]
    pub cluster: PathBuf,
    /// Where the run's files go; it is made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub run_dir: PathBuf,
    /// The folder of the documents: HTML (.html, .htm), Markdown (.md, .markdown) and text (.txt) files, in folders below, too.
    #[arg(long, value_name = "DIR")]
    pub corpus: PathBuf,
    /// The seed of everything that is drawn: documents, their order, their times.
    #[arg(long, value_name = "N")]
    pub seed: u64,
    /// A scenario to run; may be given more than once. See `list`.
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<String>,
    /// A suite to run; `core` where neither scenario nor suite is given.
    #[arg(long, value_name = "NAME")]
    pub suite: Option<String>,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// As JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// The run's folder.
    #[arg(long, value_name = "DIR")]
    pub run_dir: PathBuf,
}

/// Arguments of `agree`. Exit code 0 where every figure of the loads that both runs have agrees, else 1.
#[derive(Debug, Args)]
pub struct Agree {
    /// The folder of one run.
    #[arg(value_name = "DIR")]
    pub one: PathBuf,
    /// The folder of the other.
    #[arg(value_name = "DIR")]
    pub other: PathBuf,
}

/// A name that is not known, with those that are.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no {kind} is called {name:?}; did you mean {nearest:?}? known: {known}")]
pub struct Unknown {
    /// Scenario or suite.
    kind: &'static str,
    /// What was asked for.
    name: String,
    /// The known name that is most like it.
    nearest: &'static str,
    /// All known names.
    known: String,
}

/// The scenarios that `names` and `suite` ask for, each once, in their own order.
///
/// # Errors
/// A name is not known.
pub fn select(names: &[String], suite: Option<&str>) -> Result<Vec<Scenario>, Unknown> {
    let known: Vec<&'static str> = ALL.iter().map(|scenario| scenario.name()).collect();
    for name in names {
        if !known.contains(&name.as_str()) {
            return Err(unknown("scenario", name, &known));
        }
    }
    let mut suites: Vec<&'static str> = ALL.iter().map(|scenario| scenario.suite()).collect();
    suites.dedup();
    let suite = suite.or(names.is_empty().then_some(CORE));
    if let Some(suite) = suite
        && !suites.contains(&suite)
    {
        return Err(unknown("suite", suite, &suites));
    }
    let asked = |scenario: &Scenario| {
        names.iter().any(|name| name == scenario.name()) || suite == Some(scenario.suite())
    };
    Ok(ALL.into_iter().filter(asked).collect())
}

fn unknown(kind: &'static str, name: &str, known: &[&'static str]) -> Unknown {
    let nearest = known
        .iter()
        .max_by(|one, other| strsim::jaro_winkler(name, one).total_cmp(&strsim::jaro_winkler(name, other)));
    Unknown {
        kind,
        name: name.to_owned(),
        nearest: nearest.copied().unwrap_or(""),
        known: known.join(", "),
    }
}

/// The list of scenarios as text or JSON.
pub fn list(json: bool) -> String {
    if json {
        let scenarios: Vec<serde_json::Value> = ALL
            .iter()
            .map(|scenario| {
                serde_json::json!({"name": scenario.name(), "suite": scenario.suite(), "about": scenario.about()})
            })
            .collect();
        return serde_json::Value::Array(scenarios).to_string();
    }
    let rows = ALL.iter().map(|scenario| {
        format!(
            "{:<8} {:<16} {}",
            scenario.suite(),
            scenario.name(),
            scenario.about()
        )
    });
    rows.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn names_and_suites_select() {
        assert_eq!(select(&[], None).unwrap(), ALL[..3]);
        assert_eq!(select(&[], Some("core")).unwrap(), ALL[..3]);
        assert_eq!(select(&[], Some("scaling")).unwrap(), ALL[3..]);
        assert_eq!(
            select(&names(&["monitoring"]), None).unwrap(),
            [Scenario::Monitoring]
        );
        assert_eq!(
            select(&names(&["monitoring", "step", "step"]), None).unwrap(),
            [Scenario::Step, Scenario::Monitoring]
        );
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        let error = select(&names(&["setp"]), None).unwrap_err();
        let told = "no scenario is called \"setp\"; did you mean \"step\"? known: step, fleet, monitoring, \
             comparison, oscillation, table, isolation, outage";
        assert_eq!(error.to_string(), told);
        let error = select(&[], Some("cor")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no suite is called \"cor\"; did you mean \"core\"? known: core, scaling"
        );
    }

    #[test]
    fn the_list_is_for_people_and_for_programs() {
        assert!(list(false).starts_with("core     step             holds 3 workers"));
        let parsed: serde_json::Value = serde_json::from_str(&list(true)).unwrap();
        assert_eq!(parsed[2]["name"], "monitoring");
    }
}
