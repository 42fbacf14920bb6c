//! What a load and a scenario are given: the cluster, the run's clock and seed, its documents, and the shared state.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use capacity::settings::Settings;

use super::calibration::Calibration;
use super::corpus::Document;
use crate::cluster::Fixture;
use crate::cluster::autoscaling::Autoscaling;
use crate::cluster::reading::Reading;
use crate::observe::board::Board;
use crate::observe::clock::Clock;
use crate::observe::progress::say;

/// What a load and a scenario are given.
#[derive(Clone)]
pub struct Context {
    /// The cluster.
    pub fixture: Fixture,
    /// The run's shared state.
    pub board: Arc<Board>,
    /// The run's clock.
    pub clock: Clock,
    /// The run's seed.
    pub seed: u64,
    /// The run's id.
    pub run: String,
    /// The run's documents.
    pub documents: Arc<Vec<Document>>,
    /// The run's folder.
    pub folder: PathBuf,
    /// How the cluster scales, as the run began: while the number of workers is fixed, there is no HPA to read.
    pub autoscaling: Autoscaling,
    /// The workers' settings.
    pub settings: Settings,
    /// What this host carries.
    pub calibration: Reading<Calibration>,
    /// The faults that were asked for by name; all of them where there are none.
    pub faults: Vec<String>,
    /// The length of a soak, in hours.
    pub hours: f64,
    /// Seconds that a mutation adds to the latency on the way to S3.
    pub later: f64,
}

impl Context {
    /// Begins a phase: labels the samples and prints a line.
    pub fn enter(&self, phase: &str, what: &str) {
        self.board.enter(phase);
        self.say(&format!("{phase}: {what}"));
    }

    /// Prints a line.
    pub fn say(&self, what: &str) {
        say(self.clock, what);
    }

    /// What this host carries.
    ///
    /// # Errors
    /// It was not measured.
    pub fn calibration(&self) -> Result<&Calibration> {
        match &self.calibration {
            Reading::Seen(calibration) => Ok(calibration),
            Reading::Gap(why) => Err(anyhow::anyhow!(why.clone())).context("this host was not calibrated"),
        }
    }
}
