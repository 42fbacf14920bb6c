//! A fleet to plan with in tests: the guide's, with demand triggers, on a database of 300 connections.

use crate::database::Database;
use crate::demand::Load;
use crate::manifests::{Manifests, Text};
use crate::plan::Inputs;
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
  triggers:
  - {name: workflow_demand, metadata: {threshold: '2.1'}}
  - {name: io_demand, metadata: {threshold: '3.5'}}
  - {name: cpu_demand, metadata: {threshold: '1.4'}}
";

/// These manifests under these variables, at the guide's load.
pub(crate) fn inputs_of(manifests: &str, environment: &[(&str, u32)]) -> Inputs {
    let text = Text {
        name: "-".into(),
        text: manifests.into(),
    };
    let value = |name: &str| {
        let (_, value) = environment.iter().find(|(known, _)| *known == name)?;
        Some(value.to_string())
    };
    Inputs {
        settings: Settings::read(&Manifests::parse(&[text]).unwrap(), &value).unwrap(),
        database: Database {
            max_connections: 300,
            reserved: 3,
            others: 120,
        },
        memory: None,
        load: Load::GUIDE,
    }
}

/// The fleet as it is.
pub(crate) fn inputs() -> Inputs {
    inputs_of(MANIFESTS, &[])
}
