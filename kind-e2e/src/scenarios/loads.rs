//! A load in stretches, each with a rate of its own, and what became of it. The same for every scenario that scales.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::time::sleep_until;

use super::probes::{stored, tell};
use super::{Context, ends};
use crate::load::{Load, Start};
use crate::oracle::{self, rows};
use crate::scaling::Window;
use crate::schedule::{even, generator, poisson};
use crate::verdict::Check;
use crate::wait::eventually;

/// A stretch of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its name, of letters and digits; the documents' ids and the samples' phases have it.
    pub name: String,
    /// Documents a second.
    pub rate: f64,
    /// Seconds.
    pub seconds: f64,
    /// Whether every second has as many documents as the next; else they come as a Poisson process.
    #[serde(default)]
    pub even: bool,
}

impl Stretch {
    /// A stretch of a load.
    pub fn new(name: impl Into<String>, rate: f64, seconds: f64) -> Self {
        Self {
            name: name.into(),
            rate,
            seconds,
            even: false,
        }
    }

    /// The same with as many documents in every second.
    pub fn even(self) -> Self {
        Self { even: true, ..self }
    }
}

/// A load and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// The scenario, or the part of it, that loaded.
    pub name: String,
    /// What the documents' ids begin with.
    pub prefix: String,
    /// What was played, and when.
    pub stretches: Vec<(Stretch, Window)>,
    /// Every start.
    pub starts: Vec<Start>,
    /// Acknowledged documents that were not stored when the wait for them was over.
    pub left: u64,
    /// Workflows by status.
    pub statuses: BTreeMap<String, u64>,
    /// What the oracle found.
    pub oracle: Vec<Check>,
}

impl Loaded {
    /// Begins a load under `name`, which is the first part of its samples' phases.
    pub fn begin(context: &Context, name: &str) -> (Self, Load) {
        let load = context.begin_load(&name.replace('/', "-"));
        let loaded = Self {
            name: name.to_owned(),
            prefix: load.prefix.clone(),
            ..Self::default()
        };
        (loaded, load)
    }

    /// Plays stretches one after the other. Documents and times follow from the seed, `purpose` and the stretch's name alone, so
    /// that two loads of one purpose are the same load.
    pub async fn play(&mut self, context: &Context, load: &Load, purpose: &str, stretches: &[Stretch]) {
        for stretch in stretches {
            let what = format!("{:.1} documents/s for {:.0} s", stretch.rate, stretch.seconds);
            context.enter(&format!("{}/{}", self.name, stretch.name), &what);
            let mut rng = generator(context.seed, &format!("{purpose}/{}", stretch.name));
            let length = Duration::from_secs_f64(stretch.seconds);
            let draw = if stretch.even { even } else { poisson };
            let schedule = draw(stretch.rate, length, load.documents.len(), &mut rng);
            let from = context.clock.now();
            let window = Window {
                from,
                to: from + stretch.seconds,
            };
            self.stretches.push((stretch.clone(), window));
            load.run(&stretch.name, &schedule, &mut self.starts).await;
            sleep_until(context.clock.instant(window.to)).await;
        }
    }

    /// Waits until everything that was acknowledged is stored, then asks the oracle.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub async fn end(&mut self, context: &Context, patience: f64) -> Result<()> {
        context.enter(&format!("{}/drain", self.name), "no load: the queues drain");
        let acknowledged = ends::acknowledged(&self.starts);
        let patience = Duration::from_secs_f64(patience);
        let drained = eventually("every document stored", patience, async || {
            stored(context, &self.prefix, acknowledged).await
        });
        tell(context, "every document is stored", drained.await);
        let stored = rows::count_stored(&context.fixture.postgres, &self.prefix).await?;
        self.left = acknowledged.saturating_sub(stored);
        let end = ends::reckon(context, &self.prefix, &mut self.starts).await?;
        (self.statuses, self.oracle) = (end.statuses, end.checks);
        Ok(())
    }

    /// When a stretch was played.
    pub fn window(&self, name: &str) -> Option<Window> {
        let found = self.stretches.iter().find(|(stretch, _)| stretch.name == name);
        found.map(|(_, window)| *window)
    }

    /// From the begin of the first stretch to the end of the last.
    pub fn whole(&self) -> Option<Window> {
        let (first, last) = (self.stretches.first()?, self.stretches.last()?);
        Some(Window {
            from: first.1.from,
            to: last.1.to,
        })
    }

    /// That the load was the one that was planned, and that nothing of it was lost.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = vec![super::step_judge::kept_schedule(&self.starts)];
        checks.extend(ended(&self.starts, &self.statuses, &self.oracle));
        checks
    }
}

/// That every document of a load that was reckoned with was completed and stored, as the oracle has it.
pub(super) fn ended(starts: &[Start], statuses: &BTreeMap<String, u64>, oracle: &[Check]) -> Vec<Check> {
    let mut checks = Vec::new();
    if !oracle.is_empty() {
        checks.push(oracle::all_completed(ends::acknowledged(starts), statuses));
        checks.extend(oracle.iter().cloned());
    }
    checks.push(super::step_judge::no_errors(starts));
    checks
}
