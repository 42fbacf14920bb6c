//! A fleet for tests: the guide's settings, scaled to 70 % of its slots.

use crate::manifests::{Manifests, Text};
use crate::settings::Settings;

pub(crate) const MANIFESTS: &str = "
kind: Deployment
metadata: {name: w}
spec:
  strategy: {rollingUpdate: {maxSurge: 25%}}
  template:
    spec:
      containers:
      - name: w
        resources: {requests: {memory: 64Mi}, limits: {memory: 300Mi}}
---
kind: ScaledObject
metadata: {name: s}
spec:
  scaleTargetRef: {name: w}
  minReplicaCount: 3
  maxReplicaCount: 20
---
kind: Deployment
metadata: {name: temporal-scaler}
spec: {template: {spec: {containers: [{name: s, env: [{name: SCALER_UTILIZATION, value: '0.7'}]}]}}}
";

/// The settings of these manifests, with these environment variables.
pub(crate) fn settings_of(manifests: &str, environment: &[(&str, u32)]) -> Settings {
    let text = Text { name: "-".into(), text: manifests.into() };
    let value = |name: &str| {
        let (_, value) = environment.iter().find(|(known, _)| *known == name)?;
        Some(value.to_string())
    };
    Settings::read(&Manifests::parse(&[text]).unwrap(), &value).unwrap()
}

/// The settings of [`MANIFESTS`].
pub(crate) fn settings() -> Settings {
    settings_of(MANIFESTS, &[])
}
