//! The simulator: discrete events, the HPA's algorithm and ways to scale, among them the very code of
//! [`Scaler`](crate::Scaler). `cargo xtask simulate` runs it; docs/simulator.md describes it.

mod host;
pub mod hpa;
mod load;
mod outcome;
mod page;
mod prometheus;
mod random;
mod scenario;
mod sweep;
mod table;
mod temporal;
mod ways;
mod world;

use crate::Tuning;

pub use load::{BadTrace, Load};
pub use outcome::{Moment, Outcome};
pub use page::page;
pub use scenario::{Fault, Fleet, Outage, Queue, Scenario, Step, all};
pub use sweep::sweep;
pub use table::table;
pub use ways::Way;

/// What is around the fleet, and the seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setup {
    /// Seconds between two syncs of the HPA.
    pub hpa: f64,
    /// Seconds between two scrapes of Prometheus.
    pub scrape: f64,
    /// Seconds for which Temporal answers from its cache.
    pub backlog_cache: f64,
    /// Seed of arrivals and times.
    pub seed: u64,
    /// The first sync of the HPA, as a part of its period. None: by the seed.
    pub phase: Option<f64>,
    /// Constants of the decision.
    pub tuning: Tuning,
}

impl Setup {
    /// The lags of a usual cluster: with the HPA's default period Prometheus scrapes every 15 s, and Temporal caches
    /// its answer for 5 s. An HPA that syncs every second is that of the kind overlay.
    pub fn usual(hpa: f64, seed: u64) -> Self {
        let (scrape, backlog_cache) = if hpa < 5.0 { (0.5, 0.2) } else { (hpa, 5.0) };
        Self { hpa, scrape, backlog_cache, seed, phase: None, tuning: Tuning::default() }
    }
}

/// Plays a scenario with a way to scale.
pub fn simulate(scenario: &Scenario, way: Way, setup: &Setup) -> Outcome {
    world::World::new(scenario, way, setup).run()
}

/// The scenario of a name.
///
/// # Errors
/// There is none of that name; the error has the names that there are.
pub fn find(name: &str) -> Result<Scenario, String> {
    let all = all();
    match all.iter().find(|scenario| scenario.name == name) {
        Some(found) => Ok(found.clone()),
        None => Err(ways::unknown("scenario", name, all.iter().map(|scenario| scenario.name.as_str()))),
    }
}

/// A scenario of the user's own load on the guide's fleet.
pub fn of_trace(name: &str, load: Load) -> Scenario {
    let fleet = Fleet::guide();
    let workers = fleet.workers(load.rate(0.0), 1.0, fleet.utilization);
    Scenario {
        name: name.into(),
        about: format!("{:.0} s of arrivals from {name}", load.end),
        fleet,
        load,
        outages: Vec::new(),
        workers,
        step: None,
        recovers: None,
        tail: 300.0,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
