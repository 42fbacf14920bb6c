//! The plan: settings and a load in; a table, the workers, the limits and what does not hold out.

use anyhow::{Result, ensure};
use serde::{Serialize, Serializer};

use crate::at_most;
use crate::database::Database;
use crate::demand::{Demand, FLOOR, Load};
use crate::faults::{self, Fault};
use crate::limits::{self, Limit, memory_of_one};
use crate::settings::{ASSUMED_UTILISATION, Origin, Queue, Settings};
use crate::table::Fleet;

/// What a plan is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inputs {
    /// The fleet's settings.
    pub settings: Settings,
    /// The connections of its database.
    pub database: Database,
    /// Bytes of memory that the nodes have for workers, where that is known.
    pub memory: Option<u64>,
    /// What is asked of the fleet.
    pub load: Load,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What it was made of.
    pub inputs: Inputs,
    /// The capacity table: one worker, the fleet that was asked for, the largest, and that in a rollout.
    pub table: [Fleet; 4],
    /// What the load asks for.
    pub demand: Demand,
    /// What gives out, first to last.
    pub limits: Vec<Limit>,
    /// What does not hold.
    #[serde(serialize_with = "with_words")]
    pub faults: Vec<Fault>,
    /// What is worth knowing and no reason to refuse.
    pub notes: Vec<String>,
}

impl Plan {
    /// Plans; `workers` is the size of the table's second fleet.
    ///
    /// # Errors
    /// The nodes' memory is given, and nothing says how much a worker takes.
    pub fn new(inputs: Inputs, workers: u32) -> Result<Self> {
        let Inputs { settings, load, .. } = &inputs;
        ensure!(
            inputs.memory.is_none() || memory_of_one(settings).is_some(),
            "the worker's container has no memory limit and no request: how many fit into the nodes' memory cannot be told"
        );
        let demand = Demand::of(settings, load);
        Ok(Self {
            table: [1, workers, settings.max, settings.peak()].map(|size| Fleet::of(settings, size)),
            limits: limits::limits(settings, load, &inputs.database, inputs.memory),
            faults: faults::faults(&inputs),
            notes: notes(&inputs, &demand),
            demand,
            inputs,
        })
    }

    /// Whether nothing speaks against it.
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Each fault with its values and in words.
fn with_words<S: Serializer>(faults: &[Fault], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct InWords {
        #[serde(flatten)]
        fault: Fault,
        message: String,
    }
    serializer.collect_seq(faults.iter().map(|fault| InWords {
        fault: *fault,
        message: fault.to_string(),
    }))
}

fn notes(inputs: &Inputs, demand: &Demand) -> Vec<String> {
    let settings = &inputs.settings;
    let mut notes = Vec::new();
    if demand.wanted > settings.max {
        notes.push(format!(
            "the load asks for {} workers and {} is the most: more of their slots are in use than their target",
            demand.wanted, settings.max
        ));
    }
    notes.extend(assumed(settings));
    notes.extend(Queue::ALL.into_iter().filter_map(|queue| idle(settings, queue)));
    if settings.env_from && settings.variables().iter().any(|it| it.from == Origin::Default) {
        notes.push(
            "the container has envFrom, which a plan cannot see: what is a default here may be set there"
                .to_owned(),
        );
    }
    notes.extend(draining(inputs));
    notes
}

/// The queues whose target the ScaledObject does not tell.
fn assumed(settings: &Settings) -> Option<String> {
    let missing: Vec<&str> = Queue::ALL
        .into_iter()
        .filter(|queue| settings.slots(*queue).assumed)
        .map(Queue::trigger)
        .collect();
    (!missing.is_empty()).then(|| {
        format!(
            "the ScaledObject has no trigger {}: its target is taken to be {:.0} % of a worker's slots",
            missing.join(", "),
            ASSUMED_UTILISATION * 100.0
        )
    })
}

/// A target so low that workers stand idle.
fn idle(settings: &Settings, queue: Queue) -> Option<String> {
    let slots = settings.slots(queue);
    (!at_most(FLOOR, slots.utilisation())).then(|| {
        format!(
            "the trigger {} asks for a worker for every {} slots in use, {:.0} % of a worker's: below {:.0} % it pays for \
             idle ones",
            queue.trigger(),
            slots.target,
            slots.utilisation() * 100.0,
            FLOOR * 100.0
        )
    })
}

/// A Deployment does not count the pods that leave, so that in a rollout all old workers may drain beside all new ones.
fn draining(inputs: &Inputs) -> Option<String> {
    let Inputs {
        settings, database, ..
    } = inputs;
    let budget = database.for_workers();
    let connections = Fleet::of(settings, settings.max.saturating_mul(2)).connections;
    (settings.surge.of(settings.max) > 0 && connections > u64::from(budget)).then(|| {
        format!(
            "a Deployment does not wait for workers that drain: were all {} old ones of a rollout still draining when the \
             last new one is Ready, {connections} connections would be wanted, of {budget}",
            settings.max
        )
    })
}

#[cfg(test)]
mod tests;
