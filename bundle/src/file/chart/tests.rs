//! The chart of the manifests in this checkout, by the real helm. `cargo xtask test` passes its path. Plain `cargo
//! test` ignores the tests that need it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use support::command::Cmd;
use tempfile::TempDir;

use super::*;

const MANIFESTS: [&str; 4] = [
    include_str!("../../../../manifests/base/temporal-worker-deployment.yaml"),
    include_str!("../../../../manifests/base/temporal-scaler.yaml"),
    include_str!("../../../../manifests/base/keda-scaledobject.yaml"),
    "{apiVersion: v1, kind: ConfigMap, metadata: {name: braces}, data: {text: '{{ $labels.pod }} of {{ x }}'}}\n",
];
/// The namespace of the manifests, as helm gets it.
const DOCUMENTS: [&str; 2] = ["--namespace", "documents"];

/// Each field that is no object or list, by its path. Items with a name have it in the path.
type Fields = BTreeMap<String, Value>;

#[test]
fn only_urls_and_queries_get_the_namespace_of_the_release_and_text_with_braces_stays_text() {
    for (text, expected) in [
        ("{{ $labels.pod }}", "'{{ \"{{\" }} $labels.pod }}'"),
        ("http://a.documents.svc:1/x", "http://a.{{ .Release.Namespace }}.svc:1/x"),
        ("max(x{namespace=\"documents\"})", "max(x{namespace=\"{{ .Release.Namespace }}\"})"),
        ("s3://documents", "s3://documents"),
    ] {
        let [.., (_, template)] = files(&json!({"kind": "X", "data": text}).to_string(), "1.0.0").unwrap();
        assert!(template.contains(expected), "{template}");
    }
}

#[test]
fn template_of_the_workers_manifests_names_no_namespace_image_or_value() {
    let [.., (_, template)] = files(&MANIFESTS.join("\n---\n"), "1.0.0").unwrap();
    for word in [WORD, COLUMN, "slipway.local", "namespace: documents", ".documents.", "\"documents\""] {
        assert!(!template.contains(word), "{word}: {template}");
    }
}

#[test]
#[ignore = "needs helm"]
fn defaults_give_exactly_the_manifests_and_lint_finds_nothing() {
    let chart = chart();
    helm(&["lint", "--strict"], &chart, &DOCUMENTS);
    let sorted = |manifests: &str| {
        let mut objects = checks::parse(manifests).unwrap();
        objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
        objects
    };
    let found = sorted(&helm(&["template", "release"], &chart, &DOCUMENTS));
    assert_eq!(found, sorted(&MANIFESTS.join("\n---\n")));
}

#[test]
#[ignore = "needs helm"]
fn a_value_changes_its_field_and_no_other() {
    let chart = chart();
    let before = rendered(&chart, &DOCUMENTS);
    let cases: [(&str, &[&str]); 13] = [
        (
            "images.temporal-worker=r/x@sha256:aa",
            &[r#"worker/image: "slipway.local/temporal-worker:0.1.0" -> "r/x@sha256:aa""#],
        ),
        ("minReplicaCount=4", &["scaled/minReplicaCount: 3 -> 4"]),
        ("maxReplicaCount=30", &["scaled/maxReplicaCount: 20 -> 30"]),
        ("env.temporal-worker.DB_POOL_SIZE=7", &[r#"worker/env/DB_POOL_SIZE/value: "20" -> "7""#]),
        ("env.temporal-scaler.SCALER_UTILIZATION=0.5", &[r#"scaler/env/SCALER_UTILIZATION/value: "0.7" -> "0.5""#]),
        ("env.temporal-worker.AWS_REGION=", &[r#"worker/env/AWS_REGION/value: "us-east-1" -> """#]),
        (
            "env.temporal-worker.AWS_REGION=null",
            &[
                r#"worker/env/AWS_REGION/name: "AWS_REGION" -> null"#,
                r#"worker/env/AWS_REGION/value: "us-east-1" -> null"#,
            ],
        ),
        (
            "env.temporal-worker.LLM_MODEL=m",
            &[r#"worker/env/LLM_MODEL/name: null -> "LLM_MODEL""#, r#"worker/env/LLM_MODEL/value: null -> "m""#],
        ),
        (
            "env.temporal-worker.DATABASE_URL=postgres://x",
            &[
                r#"worker/env/DATABASE_URL/value: null -> "postgres://x""#,
                r#"worker/env/DATABASE_URL/valueFrom/secretKeyRef/key: "DATABASE_URL" -> null"#,
                r#"worker/env/DATABASE_URL/valueFrom/secretKeyRef/name: "temporal-worker" -> null"#,
            ],
        ),
        (
            "env.temporal-worker.DATABASE_URL=null",
            &[
                r#"worker/env/DATABASE_URL/name: "DATABASE_URL" -> null"#,
                r#"worker/env/DATABASE_URL/valueFrom/secretKeyRef/key: "DATABASE_URL" -> null"#,
                r#"worker/env/DATABASE_URL/valueFrom/secretKeyRef/name: "temporal-worker" -> null"#,
            ],
        ),
        ("resources.temporal-worker.limits.memory=1Gi", &[r#"worker/resources/limits/memory: "300Mi" -> "1Gi""#]),
        (
            "existingSecrets.temporal-scaler-tls=mine",
            &[r#"scaler-pod/volumes/tls/secret/secretName: "temporal-scaler-tls" -> "mine""#],
        ),
        (
            "existingSecrets.keda-prometheus-tls=mine",
            &[
                r#"prometheus/secretTargetRef/ca.crt/name: "keda-prometheus-tls" -> "mine""#,
                r#"prometheus/secretTargetRef/tls.crt/name: "keda-prometheus-tls" -> "mine""#,
                r#"prometheus/secretTargetRef/tls.key/name: "keda-prometheus-tls" -> "mine""#,
            ],
        ),
    ];
    for (set, expected) in cases {
        let after = rendered(&chart, &[&DOCUMENTS[..], &["--set", set]].concat());
        assert_eq!(changes(&before, &after), expected, "{set}");
    }
}

#[test]
#[ignore = "needs helm"]
fn another_namespace_is_written_wherever_the_manifests_name_theirs() {
    let chart = chart();
    // A name that YAML would take for a number.
    let (before, after) = (rendered(&chart, &DOCUMENTS), rendered(&chart, &["--namespace", "123"]));
    let changes = changes(&before, &after);
    let paths: Vec<&str> = changes.iter().filter_map(|change| Some(change.split_once(": ")?.0)).collect();
    assert_eq!(
        paths,
        [
            "RoleBinding/temporal-scaler/subjects/temporal-scaler/namespace",
            "scaled/triggers/temporal_activity_queue_depth/metadata/query",
            "scaled/triggers/temporal_cpu_activity_queue_depth/metadata/query",
            "scaled/triggers/temporal_scaler/metadata/url",
            "scaled/triggers/temporal_workflow_queue_depth/metadata/query",
        ]
    );
    for path in paths {
        let expected = before[path].as_str().unwrap().replace("\"documents\"", "\"123\"");
        let expected = expected.replace(".documents.", ".123.");
        assert_eq!(after[path], if expected == "documents" { "123".into() } else { expected }, "{path}");
    }
}

/// The folder of the chart.
fn chart() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("templates")).unwrap();
    for (name, text) in files(&MANIFESTS.join("\n---\n"), "0.1.0").unwrap() {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn helm(command: &[&str], chart: &TempDir, args: &[&str]) -> String {
    let helm = std::env::var_os("SLIPWAY_HELM").expect("SLIPWAY_HELM is not set: run `cargo xtask test`");
    Cmd::new(helm).args(command).arg(chart.path()).args(args).run().unwrap().stdout
}

fn rendered(chart: &TempDir, args: &[&str]) -> Fields {
    fields(&helm(&["template", "release"], chart, args))
}

/// The fields of all objects.
fn fields(manifests: &str) -> Fields {
    let mut fields = Fields::new();
    for object in checks::parse(manifests).unwrap() {
        let name = |value: &Value| value.as_str().unwrap().to_owned();
        collect(&format!("{}/{}", name(&object["kind"]), name(&object["metadata"]["name"])), &object, &mut fields);
    }
    fields
}

fn collect(path: &str, value: &Value, fields: &mut Fields) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            entries.iter().for_each(|(name, value)| collect(&format!("{path}/{name}"), value, fields));
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                // Secrets of a trigger have keys of their own, and may have one name.
                let name = ["key", "name"].iter().find_map(|field| item[field].as_str());
                let name = name.map_or_else(|| index.to_string(), str::to_owned);
                collect(&format!("{path}/{name}"), item, fields);
            }
        }
        value => {
            let path = ["worker", "scaler"].iter().fold(path.to_owned(), |path, name| {
                let pod = format!("Deployment/temporal-{name}/spec/template/spec/");
                path.replace(&format!("{pod}containers/temporal-{name}"), name).replace(&pod, &format!("{name}-pod/"))
            });
            let path = path.replace("ScaledObject/temporal-worker-scaler/spec", "scaled");
            let path = path.replace("TriggerAuthentication/prometheus/spec", "prometheus");
            assert_eq!(fields.insert(path.clone(), value.clone()), None, "{path}");
        }
    }
}

/// What differs, in order of path.
fn changes(before: &Fields, after: &Fields) -> Vec<String> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |fields: &Fields, path: &str| fields.get(path).cloned().unwrap_or_default();
    let changes = paths.into_iter().map(|path| (path, value(before, path), value(after, path)));
    changes
        .filter(|(_, before, after)| before != after)
        .map(|(path, before, after)| format!("{path}: {before} -> {after}"))
        .collect()
}
