//! Tells a run: a page for people, the same as Markdown for a CI's summary, files for programs, and lines for the
//! terminal. Pure: everything is made from what lies in the run's folder.

pub mod agreement;
pub mod figures;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod pinned;
pub mod tables;
pub mod terminal;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use self::figures::{Figures, figures};
use self::pinned::Pinned;
use crate::facts::Facts;
use crate::judge::verdict::Verdict;
use crate::observe::sample::Sample;
use crate::scenarios::{Recorded, Scenario};

/// The page for people.
pub const PAGE: &str = "report.html";
/// The page in Markdown, for a CI's summary.
pub const MARKDOWN: &str = "report.md";
/// The scenarios' figures.
pub const FIGURES: &str = "figures.json";
/// The file for CI.
pub const JUNIT: &str = "junit.xml";
/// The verdict with every check.
pub const VERDICT: &str = "verdict.json";
/// What the caller wrote about pins, host and stages before the run.
const RUN: &str = "run.json";

/// A run, with everything that a report is made from.
pub struct Run<'a> {
    /// Pins, host and stages.
    pub pinned: Pinned,
    /// The facts.
    pub facts: &'a Facts,
    /// The samples.
    pub samples: &'a [Sample],
    /// The verdict.
    pub verdict: &'a Verdict,
    /// The scenarios by name, those whose facts are understood.
    pub scenarios: BTreeMap<&'a str, Box<dyn Recorded>>,
    /// The figures of each load.
    pub figures: BTreeMap<String, Figures>,
}

impl<'a> Run<'a> {
    /// A run with its figures.
    pub fn of(pinned: Pinned, facts: &'a Facts, samples: &'a [Sample], verdict: &'a Verdict) -> Self {
        let scenarios = scenarios(facts);
        Self { pinned, facts, samples, verdict, figures: of_scenarios(&scenarios, samples), scenarios }
    }

    /// The scenario of this name.
    pub fn scenario(&self, name: &str) -> Option<&dyn Scenario> {
        self.scenarios.get(name).map(|scenario| &**scenario as &dyn Scenario)
    }
}

fn scenarios(facts: &Facts) -> BTreeMap<&str, Box<dyn Recorded>> {
    let understood = facts.scenarios.iter().filter_map(|one| Some((one.name.as_str(), one.scenario().ok()?)));
    understood.collect()
}

/// The figures of every load of a run.
pub fn figures_of(facts: &Facts, samples: &[Sample]) -> BTreeMap<String, Figures> {
    of_scenarios(&scenarios(facts), samples)
}

fn of_scenarios(scenarios: &BTreeMap<&str, Box<dyn Recorded>>, samples: &[Sample]) -> BTreeMap<String, Figures> {
    figures(scenarios.values().map(|scenario| &**scenario as &dyn Scenario), samples)
}

/// Writes verdict, figures, pages and CI file into `folder`, and returns the lines for the terminal.
///
/// # Errors
/// A file cannot be written.
pub fn write(folder: &Path, facts: &Facts, samples: &[Sample], verdict: &Verdict) -> Result<String> {
    let run = Run::of(Pinned::read(&folder.join(RUN)), facts, samples, verdict);
    let files = [
        (VERDICT, serde_json::to_string_pretty(verdict).context("writing the verdict")?),
        (FIGURES, serde_json::to_string_pretty(&run.figures).context("writing the figures")?),
        (PAGE, html::page(&run)),
        (MARKDOWN, markdown::page(&run)),
        (JUNIT, junit::file(facts, verdict)?),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(terminal::summary(verdict, &run.figures, &run.pinned.unlocked, &folder.join(PAGE)))
}
