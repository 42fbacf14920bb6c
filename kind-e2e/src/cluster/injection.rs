//! Temporal's own fault injector: its store does what it is asked, and answers that it had no time for it.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::switches::restart;
use super::{Fixture, TEMPORAL};

/// Temporal's Deployment.
const DEPLOYMENT: &str = "temporal";
/// The file of its ConfigMap that has the settings of the store.
const CONFIG: &str = "config.yaml";
/// The line before which the injector is set: the first store is that of workflows and tasks.
const BEFORE: &str = "\n      sql:";
/// The injector's line. Each of these methods has its own generator of random numbers.
const INJECTED: &str = "\n      faultInjection: {targets: {dataStores: {\
    ExecutionStore: {methods: {\
    CreateWorkflowExecution: {seed: 1, errors: {ExecuteAndTimeout: 0.05}}, \
    UpdateWorkflowExecution: {seed: 2, errors: {ExecuteAndTimeout: 0.05}}}}, \
    TaskStore: {methods: {CreateTasks: {seed: 3, errors: {ExecuteAndTimeout: 0.05}}}}}}}";

/// Sets the injector, or takes it away, and starts Temporal anew with that. Nothing happens if it is so already.
///
/// # Errors
/// The settings have no store, the cluster refuses to change them, or Temporal does not start in time.
pub async fn inject(fixture: &Fixture, lies: bool) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(fixture.kube.clone(), TEMPORAL);
    let deployment = deployments.get(DEPLOYMENT).await.context("reading Temporal's Deployment")?;
    let volumes = deployment.spec.template.spec.iter().flat_map(|pod| pod.volumes.iter().flatten());
    let mut maps = volumes.filter_map(|volume| volume.config_map.as_ref());
    let name = &maps.next().context("Temporal's Deployment mounts no ConfigMap")?.name;
    let settings: Api<ConfigMap> = Api::namespaced(fixture.kube.clone(), TEMPORAL);
    let found = settings.get(name).await.with_context(|| format!("configmap {name}"))?;
    let text =
        found.data.iter().find_map(|data| data.get(CONFIG)).with_context(|| format!("{name} has no {CONFIG}"))?;
    let wanted = with_injector(text, lies)?;
    if wanted == *text {
        return Ok(());
    }
    let patch = Patch::Merge(json!({"data": {CONFIG: wanted}}));
    settings.patch(name, &PatchParams::default(), &patch).await.with_context(|| format!("changing {name}"))?;
    restart(fixture, (TEMPORAL, DEPLOYMENT)).await
}

/// The settings with the injector or without it.
fn with_injector(settings: &str, lies: bool) -> Result<String> {
    let honest = settings.replacen(INJECTED, "", 1);
    let at = honest.find(BEFORE);
    ensure!(at.is_some(), "the settings of Temporal have no store in SQL");
    Ok(match at {
        Some(at) if lies => format!("{}{INJECTED}{}", &honest[..at], &honest[at..]),
        _ => honest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_injector_is_set_in_the_store_of_workflows_and_taken_away_again() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/services/temporal/config.yaml");
        let settings = std::fs::read_to_string(path).unwrap();
        let lying = with_injector(&settings, true).unwrap();
        assert!(lying.contains("    default:\n      faultInjection: {targets"), "{lying}");
        assert_eq!(with_injector(&lying, true).unwrap(), lying);
        assert_eq!(with_injector(&lying, false).unwrap(), settings);
        assert_eq!(with_injector(&settings, false).unwrap(), settings);
        assert!(with_injector("persistence: {}", true).is_err());
    }
}
