//! The settings of a fleet: the worker's variables, what Kubernetes gives a worker, and how many workers there may be.
//!
//! A variable has its value from the environment of whoever asks, else from the Deployment, else it is the worker's own
//! default, which is the guide's. Names, defaults and least values are those of `worker/src/config/` (`environment.rs`,
//! `concurrency.rs`, `pools.rs`, `database.rs`).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_norway::Value;

use crate::manifests::Manifests;
use crate::objects::{Container, Deployment, ScaledObject, Strategy, Trigger, text};
use crate::quantity;

/// Slots in use, of all, that a fleet is held at where its ScaledObject does not say: the middle of the guide's 60 to 80 %.
pub const ASSUMED_UTILISATION: f64 = 0.7;
/// `maxSurge` of a Deployment that has none (Kubernetes' default).
const SURGE: Surge = Surge::Percent(25);
/// Which container is meant, for kubectl and so for us; without it the first.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// What KEDA takes where a ScaledObject has no `minReplicaCount` and no `maxReplicaCount`.
const KEDA_REPLICAS: (u32, u32) = (0, 100);

/// A queue of the worker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Queue {
    /// Workflow tasks.
    Workflow,
    /// IO activities.
    Io,
    /// CPU activities.
    Cpu,
}

impl Queue {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Workflow, Self::Io, Self::Cpu];

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Io => "IO",
            Self::Cpu => "CPU",
        }
    }

    /// The variable that sets how many slots a worker has for it.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Workflow => "TEMPORAL_WORKFLOW_CONCURRENCY",
            Self::Io => "TEMPORAL_IO_ACTIVITY_CONCURRENCY",
            Self::Cpu => "TEMPORAL_CPU_ACTIVITY_CONCURRENCY",
        }
    }

    /// The trigger of the ScaledObject that asks for workers by the slots in use.
    pub fn trigger(self) -> &'static str {
        match self {
            Self::Workflow => "workflow_demand",
            Self::Io => "io_demand",
            Self::Cpu => "cpu_demand",
        }
    }
}

/// Where a value is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The worker's own default, which is the guide's.
    Default,
    /// `env` of the Deployment's container.
    Deployment,
    /// The environment of this command.
    Environment,
}

/// The value of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The variable's name.
    pub name: &'static str,
    /// Its value.
    pub value: u32,
    /// Where it is from.
    pub from: Origin,
}

/// The slots of one worker for a queue, and how many of them are meant to be in use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Slots {
    /// How many.
    pub count: Setting,
    /// Slots in use, on average, for each of which groups one more worker is asked for.
    pub target: f64,
    /// Whether the target is assumed, [`ASSUMED_UTILISATION`], because the ScaledObject has no such trigger.
    pub assumed: bool,
}

impl Slots {
    /// The share of the slots that is meant to be in use.
    pub fn utilisation(&self) -> f64 {
        self.target / f64::from(self.count.value)
    }
}

/// How many workers a rollout may have beyond the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Surge {
    /// So many.
    Workers(u32),
    /// So many percent of the fleet, rounded up.
    Percent(u32),
}

impl Surge {
    /// For a fleet of so many.
    pub fn of(self, workers: u32) -> u32 {
        match self {
            Self::Workers(more) => more,
            Self::Percent(percent) => {
                let more = (u64::from(workers) * u64::from(percent)).div_ceil(100);
                u32::try_from(more).unwrap_or(u32::MAX)
            }
        }
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Slots for workflow tasks.
    pub workflow: Slots,
    /// Slots for IO activities.
    pub io: Slots,
    /// Slots for CPU activities.
    pub cpu: Slots,
    /// Threads that may block.
    pub io_threads: Setting,
    /// Threads that compute.
    pub cpu_threads: Setting,
    /// Connections that are kept.
    pub pool_size: Setting,
    /// Connections on top of these.
    pub max_overflow: Setting,
    /// Bytes of memory that the scheduler sets aside for a worker.
    pub memory_request: Option<u64>,
    /// Bytes of memory at which a worker is killed.
    pub memory_limit: Option<u64>,
    /// Fewest workers.
    pub min: u32,
    /// Most workers.
    pub max: u32,
    /// Workers of a rollout beyond the others.
    pub surge: Surge,
    /// Whether the container has variables from elsewhere (`envFrom`), which a plan cannot see.
    pub env_from: bool,
}

impl Settings {
    /// Reads the settings of the Deployment that the one ScaledObject scales; `environment` gives the value of a variable.
    ///
    /// # Errors
    /// An object or its container is missing, or a value is none.
    pub fn read(manifests: &Manifests, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let scaled = manifests.scaled_object()?;
        let (min, max) = replicas(scaled)?;
        let deployment = manifests.deployment(&scaled.spec.scale_target_ref.name)?;
        let container = container(deployment)?;
        let number = |name, default, least| {
            setting(name, default, least, container, environment)
                .with_context(|| format!("read the settings of Deployment {}", deployment.metadata.name))
        };
        let slots = |queue: Queue, default, least| {
            slots(
                queue,
                number(queue.variable(), default, least)?,
                &scaled.spec.triggers,
            )
        };
        Ok(Self {
            // Two: the SDK keeps a sticky and a normal poller for workflow tasks.
            workflow: slots(Queue::Workflow, 3, 2)?,
            io: slots(Queue::Io, 5, 1)?,
            cpu: slots(Queue::Cpu, 2, 1)?,
            io_threads: number("TEMPORAL_IO_THREAD_POOL_SIZE", 10, 1)?,
            cpu_threads: number("TEMPORAL_CPU_THREAD_POOL_SIZE", 4, 1)?,
            pool_size: number("DB_POOL_SIZE", 20, 0)?,
            max_overflow: number("DB_MAX_OVERFLOW", 30, 0)?,
            memory_request: memory(&container.resources.requests)?,
            memory_limit: memory(&container.resources.limits)?,
            min,
            max,
            surge: surge(&deployment.spec.strategy)?,
            env_from: !container.env_from.is_empty(),
        })
    }

    /// The slots for a queue.
    pub fn slots(&self, queue: Queue) -> &Slots {
        match queue {
            Queue::Workflow => &self.workflow,
            Queue::Io => &self.io,
            Queue::Cpu => &self.cpu,
        }
    }

    /// The variables, in the guide's order.
    pub fn variables(&self) -> [Setting; 7] {
        [
            self.workflow.count,
            self.io.count,
            self.cpu.count,
            self.io_threads,
            self.cpu_threads,
            self.pool_size,
            self.max_overflow,
        ]
    }

    /// Connections that a worker is allowed: what the guide's two variables mean to SQLAlchemy.
    pub fn connections_allowed(&self) -> u32 {
        self.pool_size.value.saturating_add(self.max_overflow.value)
    }

    /// Connections that a worker opens at most: those allowed, but no more than its IO slots can use and one beside them for
    /// the notes of the CPU slots. Mirrors `DatabaseConfig::connections` (`worker/src/config/database.rs`), which is the size
    /// of the worker's pool (`worker/src/store/pool.rs`).
    pub fn connections(&self) -> u32 {
        self.connections_allowed()
            .min(self.io.count.value.saturating_add(1))
    }

    /// Workers that may run at a time: all, and a rollout's beside them.
    pub fn peak(&self) -> u32 {
        self.max.saturating_add(self.surge.of(self.max))
    }
}

fn replicas(scaled: &ScaledObject) -> Result<(u32, u32)> {
    let name = &scaled.metadata.name;
    let min = scaled.spec.min_replica_count.unwrap_or(KEDA_REPLICAS.0);
    let max = scaled.spec.max_replica_count.unwrap_or(KEDA_REPLICAS.1);
    ensure!(
        max > 0,
        "ScaledObject {name}: maxReplicaCount is 0: no worker would ever run"
    );
    ensure!(
        min <= max,
        "ScaledObject {name}: minReplicaCount is {min}, above maxReplicaCount, {max}: KEDA refuses that"
    );
    Ok((min, max))
}

fn container(deployment: &Deployment) -> Result<&Container> {
    let name = &deployment.metadata.name;
    let template = &deployment.spec.template;
    let annotations = [&template.metadata.annotations, &deployment.metadata.annotations];
    let meant = annotations.into_iter().find_map(|all| all.get(DEFAULT_CONTAINER));
    let mut containers = template.spec.containers.iter();
    match meant {
        Some(meant) => containers.find(|it| it.name == *meant).with_context(|| {
            format!(
                "Deployment {name} has no container {meant}, which its annotation {DEFAULT_CONTAINER} names"
            )
        }),
        None => containers
            .next()
            .with_context(|| format!("Deployment {name} has no container")),
    }
}

/// As in the worker, a variable of the environment that is set but empty counts as unset.
fn setting(
    name: &'static str,
    default: u32,
    least: u32,
    container: &Container,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Setting> {
    let (raw, from) = if let Some(raw) = environment(name).filter(|raw| !raw.is_empty()) {
        (raw, Origin::Environment)
    } else if let Some(variable) = container.env.iter().rfind(|it| it.name == name) {
        if variable.value_from.is_some() {
            bail!(
                "{name} comes from a Secret or a ConfigMap, which a plan cannot read: set it in this command's environment"
            );
        }
        match variable.value.clone().filter(|raw| !raw.is_empty()) {
            Some(raw) => (raw, Origin::Deployment),
            None => (default.to_string(), Origin::Default),
        }
    } else {
        (default.to_string(), Origin::Default)
    };
    let value = raw
        .trim()
        .parse()
        .ok()
        .filter(|value| *value >= least)
        .with_context(|| format!("{name} is {raw:?}: it must be a whole number, {least} or more"))?;
    Ok(Setting { name, value, from })
}

fn slots(queue: Queue, count: Setting, triggers: &[Trigger]) -> Result<Slots> {
    let name = queue.trigger();
    let Some(trigger) = triggers.iter().find(|it| it.name.as_deref() == Some(name)) else {
        return Ok(Slots {
            count,
            target: ASSUMED_UTILISATION * f64::from(count.value),
            assumed: true,
        });
    };
    let threshold = trigger
        .metadata
        .get("threshold")
        .and_then(text)
        .unwrap_or_default();
    let target = threshold
        .parse::<f64>()
        .ok()
        .filter(|target| target.is_finite() && *target > 0.0)
        .with_context(|| {
            format!("the trigger {name} has the threshold {threshold:?}: it must be a number above 0, slots of a worker")
        })?;
    Ok(Slots {
        count,
        target,
        assumed: false,
    })
}

fn surge(strategy: &Strategy) -> Result<Surge> {
    if strategy.r#type.as_deref() == Some("Recreate") {
        return Ok(Surge::Workers(0));
    }
    let Some(given) = strategy.rolling_update.max_surge.as_ref().and_then(text) else {
        return Ok(SURGE);
    };
    let surge = match given.strip_suffix('%') {
        Some(percent) => percent.parse().map(Surge::Percent),
        None => given.parse().map(Surge::Workers),
    };
    surge.with_context(|| format!("maxSurge is {given:?}: it must be a number of workers or a percentage"))
}

fn memory(resources: &BTreeMap<String, Value>) -> Result<Option<u64>> {
    let amount = resources.get("memory").and_then(text);
    amount.as_deref().map(quantity::bytes).transpose()
}

#[cfg(test)]
mod tests;
