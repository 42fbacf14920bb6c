//! The version of this worker for Temporal's Worker Deployment versioning.

use serde::{Deserialize, Serialize};

use super::Faults;

/// Separators between name and build id, which Temporal rejects in a name.
const SEPARATORS: [char; 2] = [':', '.'];

/// The `[deployment]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentConfig {
    /// Name of the Worker Deployment that the fleet belongs to. If unset, workers are not versioned, and any of
    /// them continues any workflow. If set, a version gets new workflows once `temporal worker deployment
    /// set-current-version` makes it current, and finishes the workflows that it started.
    pub name: Option<String>,
    /// Version of this worker. Temporal shows it even if no name is set.
    pub build_id: String,
}

impl Default for DeploymentConfig {
    fn default() -> Self {
        Self { name: None, build_id: env!("CARGO_PKG_VERSION").into() }
    }
}

impl DeploymentConfig {
    pub(super) fn validate(&self, faults: &mut Faults) {
        faults.require_text("deployment.build_id", &self.build_id);
        if let Some(name) = &self.name {
            faults.require_text("deployment.name", name);
            if name.contains(SEPARATORS) {
                faults.add(format!(
                    "deployment.name (TEMPORAL_DEPLOYMENT_NAME) is {name:?}: Temporal rejects names with a dot or \
                     a colon"
                ));
            }
        }
    }
}
