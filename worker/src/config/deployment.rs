//! Which version of the worker this is, for Temporal's Worker Deployment versioning.

use serde::{Deserialize, Serialize};

use super::Faults;

/// What Temporal puts between name and build id, and so refuses in a name.
const SEPARATORS: [char; 2] = [':', '.'];

/// The `[deployment]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentConfig {
    /// Name of the Worker Deployment that the fleet belongs to. Unset, workers are not versioned and any of them continues any
    /// workflow. Set, a version gets new workflows once it is made the current one
    /// (`temporal worker deployment set-current-version`), and keeps its own until they are done.
    pub name: Option<String>,
    /// Version of this worker. Temporal shows it also where no name is set.
    pub build_id: String,
}

impl Default for DeploymentConfig {
    fn default() -> Self {
        Self {
            name: None,
            build_id: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

impl DeploymentConfig {
    pub(super) fn validate(&self, faults: &mut Faults) {
        faults.require_text("deployment.build_id", &self.build_id);
        if let Some(name) = &self.name {
            faults.require_text("deployment.name", name);
            if name.contains(SEPARATORS) {
                faults.add(format!(
                    "deployment.name (TEMPORAL_DEPLOYMENT_NAME) is {name:?}: Temporal refuses names with a dot or a colon"
                ));
            }
        }
    }
}
