//! The plan: calculates the capacity table, the workers needed, the limits, the faults and the notes of its inputs.

use anyhow::{Result, ensure};
use serde::{Serialize, Serializer};

use crate::demand::{Demand, FLOOR};
use crate::faults::{self, Fault};
pub use crate::inputs::Inputs;
use crate::limits::{self, Limit, memory_per_worker};
use crate::rounding::at_most;
use crate::settings::{ASSUMED_UTILISATION, Origin, Settings, UTILISATION};
use crate::table::Fleet;

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The inputs that the plan was calculated from.
    pub inputs: Inputs,
    /// The capacity table: one worker, a fleet of the size that the caller chose, the largest fleet, and that fleet
    /// during a rollout.
    pub table: [Fleet; 4],
    /// The workers that the load needs.
    pub demand: Demand,
    /// The limit of each resource, the lowest rate first.
    pub limits: Vec<Limit>,
    /// The rules that the plan breaks. A plan with a fault does not hold.
    #[serde(serialize_with = "with_messages")]
    pub faults: Vec<Fault>,
    /// Facts worth knowing that are no reason to reject the plan.
    pub notes: Vec<String>,
}

impl Plan {
    /// Calculates a plan. `workers` is the size of the second fleet in the table.
    ///
    /// # Errors
    /// The memory of the nodes is given, and the container has neither a memory limit nor a request.
    pub fn new(inputs: Inputs, workers: u32) -> Result<Self> {
        let Inputs { settings, load, .. } = &inputs;
        ensure!(
            inputs.memory.is_none() || memory_per_worker(settings).is_some(),
            "the worker's container has neither a memory limit nor a request, so a plan cannot calculate how many \
             workers fit on the nodes: set one, or leave out --memory"
        );
        let demand = Demand::of(settings, load);
        Ok(Self {
            table: [1, workers, settings.max, settings.peak()].map(|size| Fleet::of(settings, size)),
            limits: limits::limits(&inputs),
            faults: faults::faults(&inputs),
            notes: notes(&inputs, &demand),
            demand,
            inputs,
        })
    }

    /// Whether the plan has no fault.
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Serializes each fault with its values and its message.
fn with_messages<S: Serializer>(faults: &[Fault], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct WithMessage {
        #[serde(flatten)]
        fault: Fault,
        message: String,
    }
    serializer.collect_seq(faults.iter().map(|fault| WithMessage { fault: *fault, message: fault.to_string() }))
}

fn notes(inputs: &Inputs, demand: &Demand) -> Vec<String> {
    let settings = &inputs.settings;
    let mut notes = Vec::new();
    if demand.wanted > settings.max {
        notes.push(format!(
            "the load needs {} workers and maxReplicaCount is {}: more slots are in use than the target",
            demand.wanted, settings.max
        ));
    }
    notes.extend(utilisation(settings));
    if settings.env_from && settings.variables().iter().any(|it| it.from == Origin::Default) {
        notes.push(
            "the container has envFrom, which a plan cannot read: a variable shown as a default may be set there"
                .to_owned(),
        );
    }
    notes.extend(draining(inputs));
    notes
}

/// A note on a share of slots in use that nothing says, or that is so low that the fleet has idle workers.
fn utilisation(settings: &Settings) -> Option<String> {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    if settings.assumed {
        let assumed = percent(ASSUMED_UTILISATION);
        return Some(format!(
            "no Deployment has {UTILISATION}: the plan assumes that {assumed} of the slots are in use"
        ));
    }
    (!at_most(FLOOR, settings.utilisation)).then(|| {
        let (share, least) = (settings.utilisation, percent(FLOOR));
        format!("{UTILISATION} is {share}: below {least} of the slots in use the fleet has idle workers")
    })
}

/// A note on a rollout in which all old workers still drain when all new ones run. A Deployment does not count pods
/// that terminate, so `maxSurge` does not prevent this.
fn draining(inputs: &Inputs) -> Option<String> {
    let Inputs { settings, database, .. } = inputs;
    let budget = database.for_workers();
    let connections = Fleet::of(settings, settings.max.saturating_mul(2)).connections;
    (settings.surge.of(settings.max) > 0 && connections > u64::from(budget)).then(|| {
        format!(
            "if all {} old workers of a rollout still drain when all new ones are Ready, they need {connections} \
             connections of {budget}",
            settings.max
        )
    })
}

#[cfg(test)]
mod tests;
