//! The scenarios: what each is called, what it needs, and how it is run and judged. One file each.

pub mod comparison;
pub mod ends;
pub mod fleet;
mod fleet_judge;
pub mod isolation;
mod leaving;
pub mod loads;
pub mod monitoring;
pub mod oscillation;
pub mod outage;
mod parts;
mod probes;
pub mod step;
pub(crate) mod step_judge;
pub mod table;

pub use parts::{Part, Step};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::board::Board;
use crate::clock::Clock;
use crate::controller;
use crate::corpus::Document;
use crate::facts::ScenarioFacts;
use crate::fixture::Fixture;
use crate::load::Load;
use crate::observe::sample::Sample;
use crate::plan::carried_by;
use crate::progress::say;
use crate::settings;
use crate::sizing::Sizing;
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
    /// [`comparison`].
    Comparison,
    /// [`oscillation`].
    Oscillation,
    /// [`table`].
    Table,
    /// [`isolation`].
    Isolation,
    /// [`outage`].
    Outage,
}

/// Every scenario, in the order in which a suite runs them.
pub const ALL: [Scenario; 8] = [
    Scenario::Step,
    Scenario::Fleet,
    Scenario::Monitoring,
    Scenario::Comparison,
    Scenario::Oscillation,
    Scenario::Table,
    Scenario::Isolation,
    Scenario::Outage,
];

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
            Self::Comparison => "comparison",
            Self::Oscillation => "oscillation",
            Self::Table => "table",
            Self::Isolation => "isolation",
            Self::Outage => "outage",
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
    /// Of [`comparison`].
    Comparison(Box<comparison::Facts>),
    /// Of [`oscillation`].
    Oscillation(Box<oscillation::Facts>),
    /// Of [`table`].
    Table(Box<table::Facts>),
    /// Of [`isolation`].
    Isolation(Box<isolation::Facts>),
    /// Of [`outage`].
    Outage(Box<outage::Facts>),
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

/// Uploads the documents, reads what a load is sized by, and puts latency on the way to S3: `service` seconds, or more where the
/// host does not carry `workers` workers' worth of such documents.
async fn prepare(context: &Context, phase: &str, service: f64, workers: f64) -> Result<Sizing> {
    context.enter(phase, "reading how the cluster scales, uploading documents");
    settings::upload(&context.fixture, &context.documents).await?;
    let sizing = settings::sizing(&context.fixture, service, context.cores).await?;
    let sizing = sizing.on_host(workers, carried_by(context.cores));
    say(context.clock, &sizing.told());
    let toxiproxy = &context.fixture.toxiproxy;
    toxiproxy.clear().await?;
    toxiproxy
        .delay_answers(Duration::from_secs_f64(sizing.service))
        .await?;
    Ok(sizing)
}

/// Takes away what a scenario put on the cluster, whatever it left: the latency, the workers set by hand, another way to scale, an
/// outage.
pub async fn clear(context: &Context) {
    let told = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            say(context.clock, &format!("{what}: {error:#}"));
        }
    };
    told(
        "what an outage took away may still be away",
        outage::clear(context).await,
    );
    told("the fleet may still be set by hand", fleet::clear(context).await);
    told(
        "the fleet may still be scaled another way",
        comparison::clear(context).await,
    );
    let hpa_sync = context.fixture.cluster.hpa_sync;
    told(
        "the HPA may still look at another period",
        controller::set_hpa_sync(&context.fixture, hpa_sync).await,
    );
    let cleared = context.fixture.toxiproxy.clear().await;
    told("the latency on the way to S3 may still be there", cleared);
}

/// Facts of a scenario that has not found anything yet.
pub fn empty(scenario: Scenario, began: f64) -> ScenarioFacts {
    let detail = match scenario {
        Scenario::Step => Detail::Step(Box::default()),
        Scenario::Fleet => Detail::Fleet(Box::default()),
        Scenario::Monitoring => Detail::Monitoring(monitoring::Facts::default()),
        Scenario::Comparison => Detail::Comparison(Box::default()),
        Scenario::Oscillation => Detail::Oscillation(Box::default()),
        Scenario::Table => Detail::Table(Box::default()),
        Scenario::Isolation => Detail::Isolation(Box::default()),
        Scenario::Outage => Detail::Outage(Box::default()),
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
        Detail::Comparison(facts) => comparison::run(context, facts).await,
        Detail::Oscillation(facts) => oscillation::run(context, facts).await,
        Detail::Table(facts) => table::run(context, facts).await,
        Detail::Isolation(facts) => isolation::run(context, facts).await,
        Detail::Outage(facts) => outage::run(context, facts).await,
    }
}

/// The checks that a scenario's facts and the samples allow. Pure.
pub fn judge(facts: &ScenarioFacts, samples: &[Sample]) -> Vec<Check> {
    match &facts.detail {
        Detail::Step(step) => step_judge::judge(step, samples),
        Detail::Fleet(fleet) => fleet_judge::judge(fleet, samples),
        Detail::Monitoring(monitoring) => monitoring::judge(monitoring),
        Detail::Comparison(comparison) => comparison::judge(comparison, samples),
        Detail::Oscillation(oscillation) => oscillation::judge(oscillation, samples),
        Detail::Table(table) => table::judge(table, samples),
        Detail::Isolation(isolation) => isolation::judge(isolation, samples),
        Detail::Outage(outage) => outage::judge(outage, samples),
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
