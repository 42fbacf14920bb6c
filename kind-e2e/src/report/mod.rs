//! Tells a run: a page for people, a file for CI, a few lines for the terminal. Pure: what comes in is
//! what lies in the run's folder, so that a report can be made again from it.

pub mod junit;
pub mod markdown;
pub mod pinned;
pub mod terminal;

use std::path::Path;

use anyhow::{Context, Result};

use crate::facts::Facts;
use crate::observe::sample::Sample;
use crate::verdict::Verdict;

/// The page for people.
pub const PAGE: &str = "report.md";
/// The file for CI.
pub const JUNIT: &str = "junit.xml";
/// The verdict with every check.
pub const VERDICT: &str = "verdict.json";
/// What the caller wrote about pins, host and stages before the run.
const RUN: &str = "run.json";

/// Writes verdict, page and CI file into `folder`, and returns the lines for the terminal.
pub fn write(folder: &Path, facts: &Facts, samples: &[Sample], verdict: &Verdict) -> Result<String> {
    let run = pinned::Pinned::read(&folder.join(RUN));
    let verdict_text = serde_json::to_string_pretty(verdict).context("writing the verdict")?;
    let files = [
        (VERDICT, verdict_text),
        (PAGE, markdown::page(&run, facts, samples, verdict)),
        (JUNIT, junit::file(facts, verdict)?),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(terminal::summary(verdict, &folder.join(PAGE)))
}
