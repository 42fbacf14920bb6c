//! Mutations that are played for real: the cluster is broken on purpose, and a scenario must fail.
//!
//! `docs/mutations.md` says which check notices each. A run with a mutation is not a test of what ships: its exit code
//! is that of the verdict, so that it should be 1.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::control_plane::profile_scheduler;
use crate::cluster::scalers::{self, Scaler};
use crate::cluster::settings::TEMPORAL_SCALER;
use crate::cluster::switches::{Target, rolled_out};
use crate::cluster::{DEPLOYMENT, Fixture, NAMESPACE, SCALED_OBJECT};
use support::wait::{Probe, eventually, when};

/// What enforces the network policies.
const ENGINE: Target = ("kube-system", "kube-network-policies");
/// The engine's pods have gone, or are back, within this time.
const ENGINE_DEADLINE: Duration = Duration::from_secs(60);
/// Seconds that the mutation `latency` adds to the latency that a load is sized by.
const LATER: f64 = 3.0;

/// A mutation by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutation {
    /// Its name on the command line.
    pub name: &'static str,
    change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A field of the ScaledObject's specification.
    Scaler(&'static str, i64),
    /// The ScaledObject loses the triggers of these names.
    WithoutTriggers(&'static [&'static str]),
    /// A variable of the workers.
    Variable(&'static str, &'static str),
    /// S3 answers later than the load is sized by.
    Latency,
    /// Nothing enforces the network policies.
    NoPolicies,
    /// The scheduler answers with profiles.
    Profiling,
}

/// `mutations.toml`, which `cargo xtask` reads too, to know the names before anything is built.
static LIST: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    toml::from_str(include_str!("../../mutations.toml")).expect("mutations.toml is compiled in, and tested")
});

/// Every mutation.
pub const MUTATIONS: [Mutation; 6] = [
    Mutation { name: "maximum", change: Change::Scaler("maxReplicaCount", 5) },
    Mutation {
        name: "trigger",
        change: Change::WithoutTriggers(&[TEMPORAL_SCALER.0, "temporal_activity_queue_depth"]),
    },
    Mutation { name: "slots", change: Change::Variable("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "2") },
    Mutation { name: "latency", change: Change::Latency },
    Mutation { name: "policies", change: Change::NoPolicies },
    Mutation { name: "profiling", change: Change::Profiling },
];

impl Mutation {
    /// What it changes, in a line.
    pub fn about(&self) -> &'static str {
        LIST.get(self.name).expect("every mutation is in mutations.toml, which a test holds")
    }

    /// Seconds that it adds to the latency on the way to S3.
    pub fn later(&self) -> f64 {
        match self.change {
            Change::Latency => LATER,
            _ => 0.0,
        }
    }

    /// Breaks the cluster.
    ///
    /// # Errors
    /// An object cannot be changed, or the workers do not roll out.
    pub async fn apply(&self, fixture: &Fixture) -> Result<()> {
        match self.change {
            Change::Scaler(field, value) => patch_scaler(fixture, json!({"spec": {field: value}})).await,
            Change::WithoutTriggers(names) => {
                let mut triggers = scalers::triggers(fixture).await?;
                triggers.retain(|trigger| names.iter().all(|name| trigger["name"] != *name));
                patch_scaler(fixture, json!({"spec": {"triggers": triggers}})).await
            }
            Change::Variable(name, value) => {
                let deployments: Api<Deployment> = Api::namespaced(fixture.kube.clone(), NAMESPACE);
                let found = deployments.get(DEPLOYMENT).await.context("reading the workers' Deployment")?;
                let container = found.spec.template.spec.and_then(|spec| Some(spec.containers.first()?.name.clone()));
                let env = json!([{"name": name, "value": value}]);
                let containers = json!([{"name": container, "env": env}]);
                let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
                let patched = deployments.patch(DEPLOYMENT, &PatchParams::default(), &Patch::Strategic(patch)).await;
                patched.with_context(|| format!("setting {name} of the workers"))?;
                rolled_out(fixture).await
            }
            Change::Latency => Ok(()),
            Change::NoPolicies => run_engine(fixture, false).await,
            Change::Profiling => profile_scheduler(&fixture.cluster, true).await,
        }
    }

    /// Applies what ships again.
    ///
    /// # Errors
    /// kubectl refuses it, or the workers do not roll out.
    pub async fn revert(&self, fixture: &Fixture) -> Result<()> {
        match self.change {
            Change::NoPolicies => return run_engine(fixture, true).await,
            Change::Profiling => return profile_scheduler(&fixture.cluster, false).await,
            _ => {}
        }
        scalers::apply(fixture, Scaler::Slipway).await?;
        rolled_out(fixture).await
    }
}

/// Runs the engine of the network policies on every node, or on none.
async fn run_engine(fixture: &Fixture, runs: bool) -> Result<()> {
    let engines: Api<DaemonSet> = Api::namespaced(fixture.kube.clone(), ENGINE.0);
    let nowhere = if runs { Value::Null } else { json!("none") };
    let patch = json!({"spec": {"template": {"spec": {"nodeSelector": {"slipway.local/nowhere": nowhere}}}}});
    let patched = engines.patch(ENGINE.1, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.with_context(|| format!("changing daemonset {}", ENGINE.1))?;
    let pods: Api<Pod> = Api::namespaced(fixture.kube.clone(), ENGINE.0);
    let own = ListParams::default().labels(&format!("app={}", ENGINE.1));
    let due = if runs { fixture.cluster.nodes.len() } else { 0 };
    eventually("the engine of the network policies is there, or gone", ENGINE_DEADLINE, async || {
        match pods.list(&own).await {
            Ok(found) => when(found.items.len() == due && found.items.iter().all(runs_now), || {
                format!("{} pods, where {due} are due", found.items.len())
            }),
            Err(error) => Probe::NotYet(error.to_string()),
        }
    })
    .await?;
    Ok(())
}

fn runs_now(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"))
}

async fn patch_scaler(fixture: &Fixture, patch: Value) -> Result<()> {
    scalers::scaled_objects(fixture)
        .patch(SCALED_OBJECT, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .with_context(|| format!("changing scaledobject {SCALED_OBJECT}"))?;
    scalers::taken_over(fixture).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_and_the_code_name_the_same_mutations() {
        let mut names = MUTATIONS.map(|mutation| mutation.name);
        names.sort_unstable();
        assert!(LIST.keys().eq(names.iter()));
    }
}
