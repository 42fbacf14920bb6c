//! The scenarios: one trait, one registry. A scenario is its own facts: what it found is what it is judged by.
//!
//! To add one: an entry in `scenarios.toml`, a line in [`REGISTRY`], and a file or folder with `run` and `judge`.

pub mod comparison;
pub mod default_period;
pub mod faults;
pub mod fleet;
pub mod isolation;
pub mod loaded;
pub mod monitoring;
pub mod mutation;
pub mod oscillation;
pub mod outage;
pub mod overload;
pub mod pause;
pub mod security;
pub mod soak;
pub mod step;
pub mod table;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::{hpa_sync, scalers, switches};
use crate::judge::part::Part;
use crate::judge::simulation::Simulated;
use crate::judge::table::Table;
use crate::judge::verdict::Check;
use crate::load::context::Context;
use crate::load::sizing::{Peak, Sizing};
use crate::observe::sample::Sample;

/// A scenario and what it found.
pub trait Scenario: Send + Sync {
    /// Carries it out, keeping in itself what it finds. What it found stays where this future is dropped.
    ///
    /// An error is of the harness or the host: it makes the scenario Inconclusive. What the product did wrong is never
    /// an error.
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>>;

    /// The checks that its facts and the samples allow. Pure.
    fn judge(&self, samples: &[Sample]) -> Vec<Check>;

    /// Its loads, each with charts and figures of its own.
    fn loads(&self) -> Vec<Part<'_>> {
        Vec::new()
    }

    /// What the simulator makes of one of its loads, for the chart of that load.
    fn simulated(&self, load: &str, samples: &[Sample]) -> Vec<Simulated> {
        let _ = (load, samples);
        Vec::new()
    }

    /// The beginnings of `namespace/pod` of the pods that it restarts on purpose.
    fn restarts(&self) -> &'static [&'static str] {
        &[]
    }

    /// The images that it lets the cluster pull on purpose.
    fn pulls(&self) -> &'static [&'static str] {
        &[]
    }

    /// What it tells the report beside its checks.
    fn tables(&self, samples: &[Sample]) -> Vec<Table> {
        let _ = samples;
        Vec::new()
    }
}

/// A scenario whose facts can be written down. Every scenario that can be serialized is one.
pub trait Recorded: Scenario {
    /// Its facts.
    ///
    /// # Errors
    /// They cannot be written as JSON.
    fn facts(&self) -> Result<Value>;
}

impl<T: Scenario + Serialize> Recorded for T {
    fn facts(&self) -> Result<Value> {
        serde_json::to_value(self).context("writing the facts of a scenario")
    }
}

/// A scenario by name.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// Whether it loads, and so needs to know what the host carries.
    pub loads: bool,
    /// Makes it from its facts; `Value::Null` for one that has found nothing yet.
    restore: fn(Value) -> Result<Box<dyn Recorded>>,
}

/// Every scenario, in the order in which a suite runs them.
pub const REGISTRY: [Entry; 14] = [
    Entry::of::<fleet::Fleet>("fleet", true),
    Entry::of::<step::Step>("step", true),
    Entry::of::<monitoring::Monitoring>("monitoring", false),
    Entry::of::<security::Security>("security", false),
    Entry::of::<comparison::Comparison>("comparison", true),
    Entry::of::<oscillation::Oscillation>("oscillation", true),
    Entry::of::<default_period::DefaultPeriod>("default-period", true),
    Entry::of::<table::LoadTable>("table", true),
    Entry::of::<isolation::Isolation>("isolation", true),
    Entry::of::<outage::Outages>("outage", true),
    Entry::of::<pause::Pause>("pause", false),
    Entry::of::<overload::Overload>("overload", true),
    Entry::of::<faults::Faults>(faults::NAME, true),
    Entry::of::<soak::Soak>("soak", true),
];

/// The suite of a plain run.
pub const CORE: &str = "core";

/// `scenarios.toml`, which `cargo xtask` reads too, to know the names before anything is built.
static LIST: LazyLock<BTreeMap<String, Described>> = LazyLock::new(|| {
    toml::from_str(include_str!("../../scenarios.toml")).expect("scenarios.toml is compiled in, and tested")
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    suite: String,
    about: String,
}

impl Entry {
    const fn of<T: Scenario + Default + Serialize + DeserializeOwned + 'static>(
        name: &'static str,
        loads: bool,
    ) -> Self {
        Self { name, loads, restore: restore::<T> }
    }

    /// The scenario, before it has found anything.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn begin(&self) -> Result<Box<dyn Recorded>> {
        (self.restore)(Value::Null)
    }

    /// The suite that it belongs to.
    pub fn suite(&self) -> &'static str {
        &self.described().suite
    }

    /// What it shows, in a line.
    pub fn about(&self) -> &'static str {
        &self.described().about
    }

    fn described(&self) -> &'static Described {
        LIST.get(self.name).expect("every scenario is in scenarios.toml, which a test holds")
    }
}

fn restore<T: Scenario + Default + Serialize + DeserializeOwned + 'static>(facts: Value) -> Result<Box<dyn Recorded>> {
    match facts {
        Value::Null => Ok(Box::new(T::default())),
        facts => Ok(Box::new(serde_json::from_value::<T>(facts)?)),
    }
}

/// The scenario called `name`, with its facts.
///
/// # Errors
/// There is no such scenario, or its facts are of another version.
pub fn recorded(name: &str, facts: Value) -> Result<Box<dyn Recorded>> {
    let entry = REGISTRY.iter().find(|entry| entry.name == name);
    let entry = entry.with_context(|| format!("no scenario is called {name}"))?;
    (entry.restore)(facts).with_context(|| format!("understanding the facts of {name}"))
}

/// Puts latency on the way to S3 for a load with this peak, with documents of `service` seconds, or of more where this
/// host carries fewer documents.
async fn prepare(context: &Context, phase: &str, peak: Peak, service: f64) -> Result<Sizing> {
    context.enter(phase, "putting latency on the way to S3");
    let slots = context.settings.io.count.value;
    let sizing = Sizing::fit(&context.autoscaling, slots, context.calibration()?, peak, service)?;
    context.say(&sizing.rule());
    delay(context, sizing.service).await?;
    Ok(sizing)
}

/// Sets the latency on the way to S3, in seconds; a mutation may add to it.
async fn delay(context: &Context, seconds: f64) -> Result<()> {
    let toxiproxy = &context.fixture.toxiproxy;
    toxiproxy.clear().await?;
    toxiproxy.delay_answers(Duration::from_secs_f64(seconds + context.later)).await
}

/// Undoes what a scenario did to the cluster, whatever it left: an outage, a fixed number of workers, another way to
/// scale, another HPA period, latency. What cannot be undone is printed.
pub async fn restore_cluster(context: &Context) {
    let fixture = &context.fixture;
    let tell = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            context.say(&format!("{what}: {error:#}"));
        }
    };
    tell("a fault may still be in force", faults::restore(context).await);
    tell("what an outage took away may still be away", outage::restore(context).await);
    tell("the number of workers may still be fixed", switches::pause(fixture, None).await);
    tell("another way to scale may still be in force", comparison::restore(context).await);
    tell("the HPA may not follow its scaledobject", scalers::taken_over(fixture).await.map(drop));
    // The control plane of others is never changed.
    if !fixture.cluster.nodes.is_empty() {
        let period = fixture.cluster.hpa_sync;
        tell("the HPA may still have another period", hpa_sync::set_hpa_sync(fixture, period).await);
    }
    tell("latency may still be on the way to S3", fixture.toxiproxy.clear().await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_and_the_registry_name_the_same_scenarios() {
        let mut names: Vec<&str> = REGISTRY.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        assert_eq!(LIST.keys().map(String::as_str).collect::<Vec<_>>(), names);
        assert!(REGISTRY.iter().all(|entry| !entry.about().is_empty() && !entry.suite().is_empty()));
    }

    #[test]
    fn a_scenario_survives_its_facts() {
        for entry in REGISTRY {
            let facts = entry.begin().unwrap().facts().unwrap();
            assert_eq!(recorded(entry.name, facts.clone()).unwrap().facts().unwrap(), facts);
        }
        assert!(recorded("no", Value::Null).is_err());
    }
}
