//! Tells a run: a page for people, the same in short for a CI's summary, files for programs, a few lines for the terminal. Pure:
//! what comes in is what lies in the run's folder, so that a report can be made again from it.

pub mod html;
pub mod junit;
pub mod markdown;
pub mod pinned;
pub mod terminal;

use std::path::Path;

use anyhow::{Context, Result};

use crate::facts::Facts;
use crate::figures::figures;
use crate::observe::sample::Sample;
use crate::verdict::Verdict;

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

/// Writes verdict, figures, pages and CI file into `folder`, and returns the lines for the terminal.
pub fn write(folder: &Path, facts: &Facts, samples: &[Sample], verdict: &Verdict) -> Result<String> {
    let run = pinned::Pinned::read(&folder.join(RUN));
    let verdict_text = serde_json::to_string_pretty(verdict).context("writing the verdict")?;
    let figures = figures(facts, samples);
    let figures_text = serde_json::to_string_pretty(&figures).context("writing the figures")?;
    let files = [
        (VERDICT, verdict_text),
        (FIGURES, figures_text),
        (PAGE, html::page(&run, facts, samples, verdict, &figures)),
        (MARKDOWN, markdown::page(&run, facts, samples, verdict)),
        (JUNIT, junit::file(facts, verdict)?),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(terminal::summary(verdict, &figures, &folder.join(PAGE)))
}
