//! The settings of a fleet: the worker's variables, the resources of a worker, and the limits on the number of workers.
//!
//! The value of a variable comes from the caller's environment, else from the Deployment, else it is the worker's
//! default, which is the guide's. The names, defaults and minimums are those of `worker/src/config/`
//! (`environment.rs`, `concurrency.rs`, `pools.rs`, `database.rs`).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_norway::Value;

use crate::manifests::Manifests;
use crate::objects::{Container, Deployment, ScaledObject, Strategy, text};
use crate::quantity;

/// The share of its slots that a fleet is meant to have in use where no `temporal-scaler` says so: the middle of the
/// guide's 60 to 80 %.
pub const ASSUMED_UTILISATION: f64 = 0.7;
/// The variable of `temporal-scaler` with that share.
pub const UTILISATION: &str = "SCALER_UTILIZATION";
/// The default `maxSurge` of a Deployment.
const SURGE: Surge = Surge::Percent(25);
/// The annotation that names the worker's container. kubectl reads it too. Without it, the first container is the
/// worker's.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// KEDA's defaults for `minReplicaCount` and `maxReplicaCount`.
const KEDA_REPLICAS: (u32, u32) = (0, 100);

/// A task queue of the worker.
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
    /// All queues.
    pub const ALL: [Self; 3] = [Self::Workflow, Self::Io, Self::Cpu];

    /// The name of the queue, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Io => "IO",
            Self::Cpu => "CPU",
        }
    }

    /// The variable that sets the number of slots of a worker for this queue.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Workflow => "TEMPORAL_WORKFLOW_CONCURRENCY",
            Self::Io => "TEMPORAL_IO_ACTIVITY_CONCURRENCY",
            Self::Cpu => "TEMPORAL_CPU_ACTIVITY_CONCURRENCY",
        }
    }
}

/// The source of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The worker's default, which is the guide's.
    Default,
    /// The `env` of the container in the Deployment.
    Deployment,
    /// The environment of the caller.
    Environment,
}

/// The value of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The name of the variable.
    pub name: &'static str,
    /// The value.
    pub value: u32,
    /// The source of the value.
    pub from: Origin,
}

/// The slots of one worker for a queue, and how many of them are meant to be in use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Slots {
    /// The number of slots.
    pub count: Setting,
    /// The mean number of slots that a worker is meant to have in use.
    pub target: f64,
}

/// The number of workers that a rollout adds (`maxSurge`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Surge {
    /// This number of workers.
    Workers(u32),
    /// This percentage of the fleet, rounded up.
    Percent(u32),
}

impl Surge {
    /// The number of workers that a rollout adds to a fleet of `workers`.
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

/// The settings of a fleet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Slots for workflow tasks.
    pub workflow: Slots,
    /// Slots for IO activities.
    pub io: Slots,
    /// Slots for CPU activities.
    pub cpu: Slots,
    /// The share of its slots that the fleet is meant to have in use: [`UTILISATION`] of `temporal-scaler`.
    pub utilisation: f64,
    /// Whether that is [`ASSUMED_UTILISATION`], because no Deployment says it.
    pub assumed: bool,
    /// Threads of a worker for blocking IO.
    pub io_threads: Setting,
    /// Threads of a worker for text extraction.
    pub cpu_threads: Setting,
    /// Database connections that a worker keeps open (`DB_POOL_SIZE`).
    pub pool_size: Setting,
    /// Database connections that a worker may open beyond these (`DB_MAX_OVERFLOW`).
    pub max_overflow: Setting,
    /// Bytes of memory that a worker requests; `None` if the manifest sets no request.
    pub memory_request: Option<u64>,
    /// Bytes of memory at which a worker is killed; `None` if the manifest sets no limit.
    pub memory_limit: Option<u64>,
    /// Minimum number of workers.
    pub min: u32,
    /// Maximum number of workers.
    pub max: u32,
    /// Workers that a rollout adds.
    pub surge: Surge,
    /// Whether the container has `envFrom`, whose variables a plan cannot read.
    pub env_from: bool,
}

impl Settings {
    /// Reads the settings of the Deployment that the ScaledObject scales. `environment` returns the value of a variable
    /// in the caller's environment.
    ///
    /// # Errors
    /// An object or its container is missing, or a value is invalid.
    pub fn read(manifests: &Manifests, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let scaled = manifests.scaled_object()?;
        let (min, max) = replicas(scaled)?;
        let deployment = manifests.deployment(&scaled.spec.scale_target_ref.name)?;
        let container = container(deployment)?;
        let number = |name, default, minimum| {
            setting(name, default, minimum, container, environment)
                .with_context(|| format!("read the settings of Deployment {}", deployment.metadata.name))
        };
        let given = utilisation(manifests, environment)?;
        let utilisation = given.unwrap_or(ASSUMED_UTILISATION);
        let slots = |queue: Queue, default, minimum| {
            let count = number(queue.variable(), default, minimum)?;
            anyhow::Ok(Slots { count, target: utilisation * f64::from(count.value) })
        };
        Ok(Self {
            // The minimum is 2: the SDK keeps a sticky and a normal poller for workflow tasks.
            workflow: slots(Queue::Workflow, 3, 2)?,
            io: slots(Queue::Io, 5, 1)?,
            cpu: slots(Queue::Cpu, 2, 1)?,
            utilisation,
            assumed: given.is_none(),
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

    /// The slots of a worker for a queue.
    pub fn slots(&self, queue: Queue) -> &Slots {
        match queue {
            Queue::Workflow => &self.workflow,
            Queue::Io => &self.io,
            Queue::Cpu => &self.cpu,
        }
    }

    /// All variables, in the order of the guide.
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

    /// Connections that a worker is allowed: the sum of `DB_POOL_SIZE` and `DB_MAX_OVERFLOW`, as in SQLAlchemy.
    pub fn connections_allowed(&self) -> u32 {
        self.pool_size.value.saturating_add(self.max_overflow.value)
    }

    /// Maximum number of connections that a worker opens: those that it is allowed, and at most one for each IO slot
    /// and one for the short writes of CPU activities. Mirrors `DatabaseConfig::connections`
    /// (`worker/src/config/database.rs`), which is the size of the worker's pool (`worker/src/store/pool.rs`).
    pub fn connections(&self) -> u32 {
        self.connections_allowed().min(self.io.count.value.saturating_add(1))
    }

    /// Maximum number of workers during a rollout, without those that terminate.
    pub fn peak(&self) -> u32 {
        self.max.saturating_add(self.surge.of(self.max))
    }
}

fn replicas(scaled: &ScaledObject) -> Result<(u32, u32)> {
    let name = &scaled.metadata.name;
    let min = scaled.spec.min_replica_count.unwrap_or(KEDA_REPLICAS.0);
    let max = scaled.spec.max_replica_count.unwrap_or(KEDA_REPLICAS.1);
    ensure!(max > 0, "ScaledObject {name}: maxReplicaCount is 0: no worker would ever run");
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
            format!("Deployment {name} has no container {meant}, which its annotation {DEFAULT_CONTAINER} names")
        }),
        None => containers.next().with_context(|| format!("Deployment {name} has no container")),
    }
}

/// Reads a variable. As in the worker, an empty value counts as unset.
fn setting(
    name: &'static str,
    default: u32,
    minimum: u32,
    container: &Container,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Setting> {
    let (raw, from) = if let Some(raw) = environment(name).filter(|raw| !raw.is_empty()) {
        (raw, Origin::Environment)
    } else if let Some(variable) = container.env.iter().rfind(|it| it.name == name) {
        if variable.value_from.is_some() {
            bail!(
                "{name} comes from a Secret or a ConfigMap, which a plan cannot read: set it in the environment of \
                 this command"
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
        .filter(|value| *value >= minimum)
        .with_context(|| format!("{name} is {raw:?}: it must be a whole number, at least {minimum}"))?;
    Ok(Setting { name, value, from })
}

/// The share of the slots that is meant to be in use; none where nothing says it.
fn utilisation(manifests: &Manifests, environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<f64>> {
    let given = environment(UTILISATION).or_else(|| manifests.variable(UTILISATION));
    let Some(given) = given.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let share = given.trim().parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.with_context(|| format!("{UTILISATION} is {given:?}: it must be above 0 and at most 1")).map(Some)
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
