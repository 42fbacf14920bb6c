//! Checks of the manifests that need no cluster. They render, they match Kubernetes' schemas, and every image is one of
//! `bundle/images.toml`. Prometheus can read its configuration. The autoscaler's queries and the alerts pass their
//! cases.

mod rights;
mod scaler;
mod schemas;
pub mod supply;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize as _;
use serde_json::Value;
use support::command::Cmd;

use crate::parts::Parts;
use crate::workspace::Workspace;

/// The components whose programs the checks run, or whose files they read.
pub const COMPONENTS: [&str; 4] = ["keda", "kubeconform", "kubernetes", "prometheus"];

/// The kustomizations that are rendered and checked, below `manifests/`.
const KUSTOMIZATIONS: [&str; 8] = [
    "base",
    "overlays/kind/network-policies",
    "overlays/kind/services",
    "overlays/scalers/guide",
    "overlays/scalers/no-prometheus",
    "overlays/scalers/no-temporal-scaler",
    "overlays/scalers/temporal",
    "services/migration",
];
/// The files that are applied as they are or that the node image contains, below `manifests/`.
const FILES: [&str; 4] = [
    "base/temporal-worker-deployment.yaml",
    "base/temporal-scaler.yaml",
    "base/keda-scaledobject.yaml",
    "services/storage/storage.yaml",
];
/// The folder of Prometheus' files, and promtool's cases for the alerts, below `manifests/`.
const PROMETHEUS: &str = "services/prometheus";
const ALERT_CASES: &str = "tests/alerts.yaml";
/// The start of every image's name, because every image comes from the node image.
const IMAGES: &str = "slipway.local/";

/// Renders and checks the manifests of a checkout.
///
/// # Errors
/// When a check fails. The error has the output of its program.
pub fn manifests(workspace: &Workspace, parts: &Parts) -> Result<()> {
    let manifests = workspace.manifests();
    crate::manifests::stage(parts, &manifests)?;
    let work = tempfile::tempdir().context("make a temporary folder")?;
    let mut rendered = Vec::new();
    for name in KUSTOMIZATIONS {
        let text = Cmd::new(parts.program("kubernetes", "kubectl")?)
            .arg("kustomize")
            .arg(manifests.join(name))
            .run()
            .with_context(|| format!("render manifests/{name}"))?
            .stdout;
        rendered.push((name.replace('/', "-"), text));
    }
    for name in FILES {
        let path = manifests.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        rendered.push((name.replace('/', "-"), text));
    }
    let mut objects = Vec::new();
    for (name, text) in &rendered {
        let parsed = parse(text).with_context(|| format!("parse manifests {name}"))?;
        check_images(name, &parsed)?;
        check_no_secrets(name, &parsed)?;
        objects.extend(parsed);
    }
    rights::check(&objects, &manifests)?;
    check_schemas(parts, &objects, &rendered, work.path())?;
    let promtool = parts.program("prometheus", "promtool")?;
    check_prometheus(&promtool, &manifests)?;
    scaler::check(&promtool, &manifests, work.path())
}

/// The objects of a file below `manifests/`.
fn read(manifests: &Path, name: &str) -> Result<Vec<Value>> {
    let path = manifests.join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("parse manifests/{name}"))
}

pub(crate) fn parse(text: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let object = Value::deserialize(document)?;
        if !object.is_null() {
            objects.push(object);
        }
    }
    Ok(objects)
}

/// Checks every `image:` in the objects, at any depth.
fn check_images(name: &str, objects: &[Value]) -> Result<()> {
    for image in objects.iter().flat_map(images) {
        ensure!(
            image.starts_with(IMAGES),
            "manifests/{name} names the image {image}: use one of bundle/images.toml, whose names start with {IMAGES}"
        );
    }
    Ok(())
}

/// Checks that no manifest has a password or key: `bundle::cluster` makes them for each cluster.
fn check_no_secrets(name: &str, objects: &[Value]) -> Result<()> {
    if let Some(object) = objects.iter().find(|object| object["kind"] == "Secret") {
        let secret = object["metadata"]["name"].as_str().unwrap_or_default();
        bail!("manifests/{name} has the Secret {secret}: a manifest only names Secrets, and has none");
    }
    Ok(())
}

/// Every `image:` in an object, at any depth, but not in the schema of a resource definition.
pub(crate) fn images(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) if fields.get("kind").is_some_and(|kind| kind == "CustomResourceDefinition") => {
            Vec::new()
        }
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value {
                Value::String(image) if key == "image" => vec![image.as_str()],
                other => images(other),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(images).collect(),
        _ => Vec::new(),
    }
}

fn check_schemas(parts: &Parts, objects: &[Value], rendered: &[(String, String)], work: &Path) -> Result<()> {
    let swagger = parts.module_dir("kubernetes", "k8s.io/kubernetes")?.join("api/openapi-spec/swagger.json");
    let text = fs::read_to_string(&swagger).with_context(|| format!("read {}", swagger.display()))?;
    let swagger: Value = serde_json::from_str(&text).context("parse Kubernetes' API description")?;
    let folder = work.join("schemas");
    schemas::write(&swagger, objects, &folder)?;
    let files = work.join("rendered");
    fs::create_dir_all(&files).context("create a folder for the rendered manifests")?;
    for (name, text) in rendered {
        fs::write(files.join(format!("{name}.yaml")), text).context("write a rendered manifest")?;
    }
    Cmd::new(parts.program("kubeconform", "kubeconform")?)
        .args(["-strict", "-summary", "-schema-location"])
        .arg(folder.join(schemas::TEMPLATE))
        .arg(&files)
        .run()
        .context("check the manifests against Kubernetes' schemas")?;
    Ok(())
}

/// Checks that Prometheus can read its configuration and its alerts, and that the alerts pass their cases.
fn check_prometheus(promtool: &Path, manifests: &Path) -> Result<()> {
    let folder = manifests.join(PROMETHEUS);
    let run = |args: &[&str], file: &Path| Cmd::new(promtool).args(args).arg(file).run();
    run(&["check", "config", "--syntax-only"], &folder.join("prometheus.yml"))
        .context("check Prometheus' configuration")?;
    run(&["check", "rules"], &folder.join("alerts.yml")).context("check Prometheus' alerts")?;
    run(&["test", "rules"], &manifests.join(ALERT_CASES))
        .with_context(|| format!("test Prometheus' alerts with manifests/{ALERT_CASES}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_image_is_refused_at_any_depth() {
        let objects = parse("kind: Pod\nspec:\n  initContainers:\n  - image: elsewhere.example/x:1\n").unwrap();
        let error = check_images("base", &objects).unwrap_err().to_string();
        assert!(error.contains("elsewhere.example/x:1"), "{error}");
    }

    #[test]
    fn a_secret_in_a_manifest_is_refused() {
        let error = check_no_secrets("x", &parse("kind: Secret\nmetadata: {name: s3}\n").unwrap()).unwrap_err();
        assert!(error.to_string().contains("has the Secret s3"), "{error}");
        check_no_secrets("x", &parse("kind: ConfigMap\n").unwrap()).unwrap();
    }

    #[test]
    fn only_the_address_of_the_database_must_be_in_the_workers_secret() {
        let text = include_str!("../../../manifests/base/temporal-worker-deployment.yaml");
        let objects = parse(text).unwrap();
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
        let secrets = variables.iter().map(|variable| &variable["valueFrom"]["secretKeyRef"]);
        let required: Vec<_> = secrets.filter(|secret| !secret.is_null() && secret["optional"] != true).collect();
        assert_eq!(required.iter().map(|secret| &secret["key"]).collect::<Vec<_>>(), ["DATABASE_URL"]);
    }

    #[test]
    fn definitions_may_describe_a_field_named_image() {
        let text = "kind: CustomResourceDefinition\nspec:\n  image: x\n";
        check_images("base", &parse(text).unwrap()).unwrap();
    }
}
