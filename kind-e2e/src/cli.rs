//! The command line, and which scenarios it asks for.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use thiserror::Error;

use crate::scenarios::{CORE, Entry, REGISTRY};

/// Loads, observes and judges a cluster.
///
/// Reads cluster.json, measures what the host carries, and runs scenarios against the cluster. It leaves in the run's
/// folder what it saw and what that shows: facts.json, samples.jsonl, verdict.json, figures.json, junit.xml,
/// report.html, report.md, and the cluster's logs, events and objects where the run did not pass.
///
/// Exit codes: 0 pass, 1 fail, 2 wrong use or no cluster (nothing was changed), 3 inconclusive, 130 interrupted.
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
    /// The folder of the documents: HTML, Markdown and text files, also in folders below.
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
    /// Play only these faults, by name; more than one with a comma between. Without a scenario or suite, nothing else.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub fault: Vec<String>,
    /// How long the scenario `soak` lasts, in hours.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 1.0)]
    pub hours: f64,
    /// Size the loads for a host that carries so many documents a second: the same load again as in another run.
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    pub capacity: Option<f64>,
    /// Break the cluster on purpose before the scenarios, to see whether the checks notice. See docs/mutations.md.
    #[arg(long, value_name = "NAME")]
    pub mutation: Option<String>,
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

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    (number.is_finite() && number > 0.0).then_some(number).ok_or_else(|| "not above 0".to_owned())
}

/// A name that is not known, with those that are.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no {kind} is called {name:?}; did you mean {nearest:?}? known: {known}")]
pub struct Unknown {
    kind: &'static str,
    name: String,
    nearest: String,
    known: String,
}

/// The scenarios that `names`, `suite` and `faults` ask for, each once, in the registry's order.
///
/// # Errors
/// A name is not known.
pub fn select(names: &[String], suite: Option<&str>, faults: &[String]) -> Result<Vec<Entry>, Unknown> {
    for name in names {
        known("scenario", name, REGISTRY.iter().map(|entry| entry.name))?;
    }
    let suite = suite.or((names.is_empty() && faults.is_empty()).then_some(CORE));
    if let Some(suite) = suite {
        known("suite", suite, REGISTRY.iter().map(Entry::suite))?;
    }
    let asked = |entry: &Entry| {
        let of_faults = entry.name == crate::scenarios::faults::NAME && !faults.is_empty();
        names.iter().any(|name| name == entry.name) || suite == Some(entry.suite()) || of_faults
    };
    Ok(REGISTRY.into_iter().filter(asked).collect())
}

/// Refuses a name that is none of `all`.
///
/// # Errors
/// The name is not known; the error has the nearest.
pub fn known<'a>(kind: &'static str, name: &str, all: impl Iterator<Item = &'a str>) -> Result<(), Unknown> {
    let mut all: Vec<&str> = all.collect();
    all.dedup();
    if all.contains(&name) {
        return Ok(());
    }
    let likeness = |one: &str| strsim::jaro_winkler(name, one);
    let nearest = all.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    Err(Unknown {
        kind,
        name: name.to_owned(),
        nearest: nearest.map(|one| (*one).to_owned()).unwrap_or_default(),
        known: all.join(", "),
    })
}

/// The list of scenarios as text or JSON.
pub fn list(json: bool) -> String {
    if json {
        let object =
            |entry: &Entry| serde_json::json!({"name": entry.name, "suite": entry.suite(), "about": entry.about()});
        return serde_json::Value::Array(REGISTRY.iter().map(object).collect()).to_string();
    }
    let row = |entry: &Entry| format!("{:<8} {:<16} {}", entry.suite(), entry.name, entry.about());
    REGISTRY.iter().map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(names: &[&str], suite: Option<&str>) -> Result<Vec<&'static str>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let found = select(&names, suite, &[]).map_err(|error| error.to_string())?;
        Ok(found.iter().map(|entry| entry.name).collect())
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn names_and_suites_select() {
        let core = Ok(vec!["fleet", "step", "monitoring", "security"]);
        assert_eq!(selected(&[], None), core);
        assert_eq!(selected(&[], Some("core")), core);
        assert_eq!(selected(&[], Some("scaling")).map(|found| found.len()), Ok(7));
        assert_eq!(selected(&["monitoring", "step", "step"], None), Ok(vec!["step", "monitoring"]));
    }

    #[test]
    fn a_fault_selects_its_scenario_alone() {
        let found = select(&[], None, &["poison".to_owned()]).unwrap();
        assert_eq!(found.iter().map(|entry| entry.name).collect::<Vec<_>>(), ["faults"]);
        let error = known("fault", "poisn", crate::scenarios::faults::names()).unwrap_err().to_string();
        assert!(error.starts_with("no fault is called \"poisn\"; did you mean \"poison\"? known: "), "{error}");
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        let error = selected(&["setp"], None).unwrap_err();
        assert!(
            error.starts_with("no scenario is called \"setp\"; did you mean \"step\"? known: fleet, step"),
            "{error}"
        );
        let error = selected(&[], Some("cor")).unwrap_err();
        assert_eq!(
            error,
            "no suite is called \"cor\"; did you mean \"core\"? known: core, scaling, overload, faults, soak"
        );
    }

    #[test]
    fn the_list_is_for_people_and_for_programs() {
        assert!(list(false).starts_with("core     fleet "));
        let parsed: serde_json::Value = serde_json::from_str(&list(true)).unwrap();
        assert_eq!(parsed[2]["name"], "monitoring");
    }
}
