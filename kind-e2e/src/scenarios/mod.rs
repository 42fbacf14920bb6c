//! The scenarios: what each is called, what it needs, and how it is run and judged. One file each.

pub mod ends;
pub mod fleet;
mod fleet_judge;
pub mod monitoring;
mod probes;
pub mod step;
pub(crate) mod step_judge;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::board::Board;
use crate::clock::Clock;
use crate::corpus::Document;
use crate::facts::ScenarioFacts;
use crate::fixture::Fixture;
use crate::load::{Load, Start};
use crate::observe::sample::Sample;
use crate::progress::say;
use crate::table::Table;
use crate::verdict::Check;

/// A scenario by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// [`step`].
    Step,
    /// [`fleet`].
    Fleet,
    /// [`monitoring`].
    Monitoring,
}

/// Every scenario, in the order in which a suite runs them.
pub const ALL: [Scenario; 3] = [Scenario::Step, Scenario::Fleet, Scenario::Monitoring];

/// The suite that a plain run runs.
pub const CORE: &str = "core";

/// The list that `cargo xtask` reads, too, to know names before anything is built.
static LIST: LazyLock<BTreeMap<String, Entry>> = LazyLock::new(|| {
    toml::from_str(include_str!("../../scenarios.toml")).expect("scenarios.toml is compiled in, and tested")
});

/// What the list says of a scenario.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    suite: String,
    about: String,
}

impl Scenario {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Fleet => "fleet",
            Self::Monitoring => "monitoring",
        }
    }

    /// The suite that it belongs to.
    pub fn suite(self) -> &'static str {
        &self.entry().suite
    }

    /// What it shows.
    pub fn about(self) -> &'static str {
        &self.entry().about
    }

    fn entry(self) -> &'static Entry {
        LIST.get(self.name())
            .expect("every scenario is in scenarios.toml, which a test holds")
    }
}

/// What a scenario found. Kept beside the samples; everything that is judged or told is in one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Of [`step`].
    Step(Box<step::Facts>),
    /// Of [`fleet`].
    Fleet(Box<fleet::Facts>),
    /// Of [`monitoring`].
    Monitoring(monitoring::Facts),
}

impl Detail {
    /// Every start of its load, none where it loads nothing.
    pub fn starts(&self) -> &[Start] {
        match self {
            Self::Step(step) => &step.starts,
            Self::Fleet(fleet) => &fleet.starts,
            Self::Monitoring(_) => &[],
        }
    }

    /// When its load stepped up, in seconds since the run began, in order.
    pub fn steps(&self) -> Vec<f64> {
        match self {
            Self::Step(step) => step.out.iter().map(|window| window.from).collect(),
            Self::Fleet(_) | Self::Monitoring(_) => Vec::new(),
        }
    }

    /// IO slots of a worker, where it asked for them.
    pub fn io_slots(&self) -> Option<u32> {
        match self {
            Self::Step(step) => step.plan.as_ref().map(|plan| plan.slots),
            Self::Fleet(_) | Self::Monitoring(_) => None,
        }
    }

    /// What it has to tell beside its checks.
    pub fn tables(&self) -> Vec<Table> {
        match self {
            Self::Fleet(fleet) => fleet.tables(),
            Self::Step(_) | Self::Monitoring(_) => Vec::new(),
        }
    }
}

/// What a scenario is given.
#[derive(Clone)]
pub struct Context {
    /// The cluster.
    pub fixture: Fixture,
    /// What is going on.
    pub board: Arc<Board>,
    /// The run's clock.
    pub clock: Clock,
    /// The run's seed.
    pub seed: u64,
    /// The run's id.
    pub run: String,
    /// The host's cores.
    pub cores: usize,
    /// The run's documents.
    pub documents: Arc<Vec<Document>>,
    /// The run's folder.
    pub folder: PathBuf,
}

impl Context {
    /// Begins the load of a scenario: its documents' ids are of this run and scenario only.
    pub fn begin_load(&self, scenario: &str) -> Load {
        let prefix = format!("{}-{scenario}-", self.run);
        self.board.begin_load(&prefix);
        Load {
            fixture: self.fixture.clone(),
            board: self.board.clone(),
            clock: self.clock,
            documents: self.documents.clone(),
            prefix,
        }
    }

    /// Begins a phase: labels the samples and says so.
    pub fn enter(&self, phase: &str, what: &str) {
        self.board.enter(phase);
        say(self.clock, &format!("{phase}: {what}"));
    }
}

/// Facts of a scenario that has not found anything yet.
pub fn empty(scenario: Scenario, began: f64) -> ScenarioFacts {
    let detail = match scenario {
        Scenario::Step => Detail::Step(Box::default()),
        Scenario::Fleet => Detail::Fleet(Box::default()),
        Scenario::Monitoring => Detail::Monitoring(monitoring::Facts::default()),
    };
    ScenarioFacts {
        name: scenario.name().to_owned(),
        began,
        ended: began,
        error: None,
        detail,
    }
}

/// Runs a scenario, filling in `detail` as it goes: what was found stays where the run is ended.
///
/// # Errors
/// The scenario could not be carried out. What it found out about the cluster is never an error.
pub async fn run(context: &Context, detail: &mut Detail) -> Result<()> {
    match detail {
        Detail::Step(facts) => step::run(context, facts).await,
        Detail::Fleet(facts) => fleet::run(context, facts).await,
        Detail::Monitoring(facts) => monitoring::run(context, facts).await,
    }
}

/// The checks that a scenario's facts and the samples allow. Pure.
pub fn judge(facts: &ScenarioFacts, samples: &[Sample]) -> Vec<Check> {
    match &facts.detail {
        Detail::Step(step) => step_judge::judge(step, samples),
        Detail::Fleet(fleet) => fleet_judge::judge(fleet),
        Detail::Monitoring(monitoring) => monitoring::judge(monitoring),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_and_the_code_name_the_same_scenarios() {
        let mut names: Vec<&str> = ALL.iter().map(|scenario| scenario.name()).collect();
        names.sort_unstable();
        assert_eq!(LIST.keys().map(String::as_str).collect::<Vec<_>>(), names);
        assert!(
            ALL.iter()
                .all(|scenario| !scenario.about().is_empty() && !scenario.suite().is_empty())
        );
    }
}
