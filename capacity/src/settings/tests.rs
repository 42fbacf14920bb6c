use super::*;
use crate::manifests::Text;

const WORKER: &str = "
kind: Deployment
metadata: {name: w}
spec:
  strategy: {rollingUpdate: {maxSurge: 1}}
  template:
    metadata: {annotations: {kubectl.kubernetes.io/default-container: main}}
    spec:
      containers:
      - {name: sidecar, env: [{name: DB_POOL_SIZE, value: '99'}]}
      - name: main
        env:
        - {name: TEMPORAL_IO_ACTIVITY_CONCURRENCY, value: '8'}
        - {name: DB_POOL_SIZE, value: ''}
        resources: {requests: {memory: 64Mi}, limits: {memory: 1Gi}}
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
spec: {template: {spec: {containers: [{name: s, env: [{name: SCALER_UTILIZATION, value: '0.75'}]}]}}}
";

/// Manifests without any optional field.
const BARE: &str = "
kind: Deployment
metadata: {name: w}
spec: {template: {spec: {containers: [{name: w, envFrom: [{}]}]}}}
---
kind: ScaledObject
metadata: {name: s}
spec: {scaleTargetRef: {name: w}}
";

fn read(yaml: &str, environment: &[(&str, &str)]) -> Result<Settings> {
    let text = Text { name: "-".into(), text: yaml.into() };
    let value = |name: &str| {
        let (_, value) = environment.iter().find(|(known, _)| *known == name)?;
        Some((*value).to_owned())
    };
    Settings::read(&Manifests::parse(&[text])?, &value)
}

fn refused(yaml: &str, environment: &[(&str, &str)]) -> String {
    format!("{:#}", read(yaml, environment).unwrap_err())
}

#[test]
fn a_value_comes_from_the_environment_else_the_deployment_else_the_guide() {
    let settings =
        read(WORKER, &[("TEMPORAL_CPU_ACTIVITY_CONCURRENCY", " 4 "), ("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "")])
            .unwrap();
    let found = settings.variables().map(|it| (it.name, it.value, it.from));
    assert_eq!(
        found,
        [
            ("TEMPORAL_WORKFLOW_CONCURRENCY", 3, Origin::Default),
            ("TEMPORAL_IO_ACTIVITY_CONCURRENCY", 8, Origin::Deployment),
            ("TEMPORAL_CPU_ACTIVITY_CONCURRENCY", 4, Origin::Environment),
            ("TEMPORAL_IO_THREAD_POOL_SIZE", 10, Origin::Default),
            ("TEMPORAL_CPU_THREAD_POOL_SIZE", 4, Origin::Default),
            ("DB_POOL_SIZE", 20, Origin::Default),
            ("DB_MAX_OVERFLOW", 30, Origin::Default),
        ]
    );
    assert_eq!(settings.memory_request, Some(64 << 20));
    assert_eq!(settings.memory_limit, Some(1 << 30));
    assert_eq!((settings.min, settings.max, settings.surge), (3, 20, Surge::Workers(1)));
}

#[test]
fn the_target_is_the_share_that_temporal_scaler_is_given_else_70_percent() {
    let settings = read(WORKER, &[]).unwrap();
    assert_eq!((settings.io.target, settings.cpu.target, settings.assumed), (6.0, 1.5, false));
    assert_eq!(read(WORKER, &[("SCALER_UTILIZATION", "0.5")]).unwrap().io.target, 4.0);
    let settings = read(BARE, &[]).unwrap();
    assert_eq!((settings.io.target, settings.utilisation, settings.assumed), (3.5, 0.7, true));
}

#[test]
fn an_invalid_value_is_named_with_its_minimum() {
    for (name, value, minimum) in [
        ("TEMPORAL_WORKFLOW_CONCURRENCY", "1", "at least 2"),
        ("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "0", "at least 1"),
        ("TEMPORAL_CPU_ACTIVITY_CONCURRENCY", "-1", "at least 1"),
        ("TEMPORAL_IO_THREAD_POOL_SIZE", "ten", "at least 1"),
        ("TEMPORAL_CPU_THREAD_POOL_SIZE", "2.5", "at least 1"),
        ("DB_POOL_SIZE", "4294967296", "at least 0"),
        ("DB_MAX_OVERFLOW", "30 ,", "at least 0"),
    ] {
        let error = refused(WORKER, &[(name, value)]);
        assert!(error.contains(&format!("{name} is {value:?}")), "{error}");
        assert!(error.contains(minimum), "{error}");
    }
    assert!(read(WORKER, &[("TEMPORAL_WORKFLOW_CONCURRENCY", "2")]).is_ok());
    assert!(read(WORKER, &[("DB_MAX_OVERFLOW", "0")]).is_ok());
}

#[test]
fn unusable_manifests_are_refused_with_the_reason() {
    for (was, is, expected) in [
        ("name: main", "name: other", "Deployment w has no container main"),
        ("minReplicaCount: 3", "minReplicaCount: 21", "minReplicaCount is 21"),
        ("maxReplicaCount: 20", "maxReplicaCount: 0", "maxReplicaCount is 0"),
        ("'0.75'", "'0'", "SCALER_UTILIZATION is \"0\""),
        ("'0.75'", "'70'", "SCALER_UTILIZATION is \"70\""),
        ("'0.75'", "many", "SCALER_UTILIZATION is \"many\""),
        ("maxSurge: 1", "maxSurge: some", "maxSurge is \"some\""),
        ("1Gi", "much", "\"much\" is no amount of memory"),
        ("value: '8'", "valueFrom: {}", "comes from a Secret or a ConfigMap"),
    ] {
        assert!(WORKER.contains(was), "{was}");
        let error = refused(&WORKER.replace(was, is), &[]);
        assert!(error.contains(expected), "{error}");
    }
    let empty = BARE.replace("containers: [{name: w, envFrom: [{}]}]", "");
    assert!(refused(&empty, &[]).contains("Deployment w has no container"));
}

#[test]
fn missing_fields_have_the_defaults_of_kubernetes_and_keda() {
    let settings = read(BARE, &[]).unwrap();
    assert_eq!((settings.min, settings.max), (0, 100));
    assert_eq!(settings.peak(), 125);
    assert_eq!((settings.memory_request, settings.memory_limit), (None, None));
    assert!(settings.env_from);
    let recreated = BARE.replace("spec: {template", "spec: {strategy: {type: Recreate}, template");
    assert_eq!(read(&recreated, &[]).unwrap().peak(), 100);
}

#[test]
fn a_surge_is_rounded_up() {
    for (surge, workers, expected) in [
        (Surge::Percent(25), 20, 5),
        (Surge::Percent(25), 21, 6),
        (Surge::Percent(25), 1, 1),
        (Surge::Percent(0), 20, 0),
        (Surge::Workers(2), 20, 2),
    ] {
        assert_eq!(surge.of(workers), expected, "{surge:?} of {workers}");
    }
}

#[test]
fn connections_are_one_more_than_the_io_slots_and_at_most_those_allowed() {
    for (slots, pool, overflow, expected) in [
        ("5", "20", "30", 6),
        ("49", "20", "30", 50),
        ("50", "20", "30", 50),
        ("5", "5", "0", 5),
        ("5", "5", "1", 6),
        ("5", "5", "2", 6),
    ] {
        let settings = read(
            WORKER,
            &[("TEMPORAL_IO_ACTIVITY_CONCURRENCY", slots), ("DB_POOL_SIZE", pool), ("DB_MAX_OVERFLOW", overflow)],
        )
        .unwrap();
        assert_eq!(settings.connections(), expected, "{slots} slots, {pool} + {overflow}");
    }
}
