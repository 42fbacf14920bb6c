//! Everything that a verdict and a report are made from, beside the samples: one file, `facts.json`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::corpus::Summary;
use crate::observe::sample::{Reading, Sample};
use crate::scenarios::Detail;
use crate::survey::Survey;

/// The facts of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Which run.
    pub run: Run,
    /// Its scenarios in the order in which they ran.
    pub scenarios: Vec<ScenarioFacts>,
    /// The cluster before the first scenario.
    pub began: Reading<Survey>,
    /// The cluster after the last.
    pub ended: Reading<Survey>,
    /// Whether the user ended the run.
    pub interrupted: bool,
}

/// A run's identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What its documents' ids begin with.
    pub id: String,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// When it began, in seconds since 1970.
    pub began_unix: f64,
    /// Seconds that it took.
    pub seconds: f64,
    /// The cluster's name.
    pub cluster: String,
    /// The host's cores.
    pub cores: usize,
    /// The scenarios that were asked for.
    pub asked: Vec<String>,
    /// Its documents.
    pub corpus: Summary,
}

/// One scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScenarioFacts {
    /// Its name.
    pub name: String,
    /// When it began, in seconds since the run began.
    pub began: f64,
    /// When it ended.
    pub ended: f64,
    /// Why it did not come to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it found, as far as it came.
    pub detail: Detail,
}

/// The name of the facts' file in a run's folder.
pub const FACTS: &str = "facts.json";
/// The name of the samples' file.
pub const SAMPLES: &str = "samples.jsonl";

/// Reads the facts and the samples of the run in `folder`.
///
/// # Errors
/// There is no such run, or it is not of this version.
pub fn read(folder: &Path) -> Result<(Facts, Vec<Sample>)> {
    let path = folder.join(FACTS);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{} is not the folder of a run that came to its end (no {FACTS}): give one of target/e2e",
            folder.display()
        )
    })?;
    let facts = serde_json::from_str(&text).with_context(|| format!("understanding {}", path.display()))?;
    let path = folder.join(SAMPLES);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let samples = text
        .lines()
        .enumerate()
        .map(|(number, line)| {
            serde_json::from_str(line).with_context(|| format!("{} line {}", path.display(), number + 1))
        })
        .collect::<Result<_>>()?;
    Ok((facts, samples))
}
