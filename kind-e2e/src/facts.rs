//! Everything that a verdict and a report are made from, beside the samples: one file, `facts.json`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::reading::Reading;
use crate::cluster::secrets::Search;
use crate::cluster::survey::Survey;
use crate::load::calibration::Calibration;
use crate::load::corpus::Summary;
use crate::observe::sample::Sample;
use crate::scenarios::{Recorded, recorded};

/// The facts of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Which run.
    pub run: Run,
    /// What this host carries; none where no scenario of the run needs to know it.
    pub calibration: Option<Reading<Calibration>>,
    /// Its scenarios in the order in which they ran.
    pub scenarios: Vec<ScenarioFacts>,
    /// The cluster before the first scenario.
    pub began: Reading<Survey>,
    /// The cluster after the last.
    pub ended: Reading<Survey>,
    /// Whether the user ended the run.
    pub interrupted: bool,
    /// The secrets of the cluster that are in files of the run. None before the files are searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Reading<Search>>,
}

/// A run's identity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The beginning of its documents' ids.
    pub id: String,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// When it began, in seconds since 1970.
    pub began_unix: f64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Whether the cluster is that of others, into which a bundle was installed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub installed: bool,
    /// The cluster's name.
    pub cluster: String,
    /// The cores that the run and its cluster may use.
    pub cores: usize,
    /// The scenarios that were asked for.
    pub asked: Vec<String>,
    /// Its documents.
    pub corpus: Summary,
    /// What was changed in the cluster on purpose, to see whether the checks notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutation: Option<String>,
}

/// One scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    pub detail: Value,
}

impl ScenarioFacts {
    /// The scenario with what it found.
    ///
    /// # Errors
    /// The facts are of another version.
    pub fn scenario(&self) -> Result<Box<dyn Recorded>> {
        recorded(&self.name, self.detail.clone())
    }
}

/// The name of the facts' file in a run's folder.
pub const FACTS: &str = "facts.json";
/// The name of the samples' file.
pub const SAMPLES: &str = "samples.jsonl";

/// Reads the facts and the samples of the run in `folder`.
///
/// # Errors
/// There is no such run, or it is of another version.
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
    Ok((facts, samples(&text).with_context(|| format!("understanding {}", path.display()))?))
}

/// The samples in a text, one a line.
///
/// # Errors
/// A line is no sample.
pub fn samples(text: &str) -> Result<Vec<Sample>> {
    let lines = text.lines().enumerate();
    lines.map(|(number, line)| serde_json::from_str(line).with_context(|| format!("line {}", number + 1))).collect()
}
