//! The parts of Kubernetes and KEDA objects that a plan reads. Other fields are ignored.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_norway::Value;

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) metadata: Metadata,
    pub(crate) spec: DeploymentSpec,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DeploymentSpec {
    #[serde(default)]
    pub(crate) strategy: Strategy,
    pub(crate) template: PodTemplate,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Strategy {
    pub(crate) r#type: Option<String>,
    #[serde(default)]
    pub(crate) rolling_update: RollingUpdate,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RollingUpdate {
    pub(crate) max_surge: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PodTemplate {
    #[serde(default)]
    pub(crate) metadata: TemplateMetadata,
    pub(crate) spec: PodSpec,
}

/// The metadata of a pod template, which has no name.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct TemplateMetadata {
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PodSpec {
    #[serde(default)]
    pub(crate) containers: Vec<Container>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) env: Vec<EnvVar>,
    #[serde(default)]
    pub(crate) env_from: Vec<Value>,
    #[serde(default)]
    pub(crate) resources: Resources,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnvVar {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) value_from: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Resources {
    #[serde(default)]
    pub(crate) requests: BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) limits: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ScaledObject {
    pub(crate) metadata: Metadata,
    pub(crate) spec: ScaledObjectSpec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScaledObjectSpec {
    pub(crate) scale_target_ref: ScaleTarget,
    pub(crate) min_replica_count: Option<u32>,
    pub(crate) max_replica_count: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ScaleTarget {
    pub(crate) name: String,
}

/// The text of a scalar, quoted or not. `None` for anything else.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
