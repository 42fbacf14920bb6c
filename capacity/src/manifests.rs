//! Finds the objects and configurations that a plan needs in manifests.
//!
//! Kustomizations are not rendered here. A kustomization that changes its resources is refused with the way out.
//! A plan of the unchanged files would be a plan of another fleet.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_norway::Value;

use crate::objects::{Deployment, ScaledObject};

/// The configuration of Postgres: the name of a file, or of an entry in a ConfigMap.
const POSTGRES: &str = "postgresql.conf";
/// The configuration of Temporal: the name of a file, or of an entry in a ConfigMap.
const TEMPORAL: &str = "config.yaml";
/// The fields of a kustomization that leave its resources as they are.
const HARMLESS: [&str; 7] =
    ["apiVersion", "kind", "metadata", "namespace", "labels", "resources", "configMapGenerator"];

/// The text of a file.
#[derive(Debug, Clone)]
pub struct Text {
    /// The path of the file. The file name decides how the text is read.
    pub name: String,
    /// The content of the file.
    pub text: String,
}

/// The objects and configurations that a plan needs.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    deployments: Vec<Deployment>,
    scaled_objects: Vec<ScaledObject>,
    postgres: Vec<String>,
    temporal: Vec<String>,
}

/// Reads each path: a file, the YAML files and `postgresql.conf` directly in a folder, or standard input for `-`.
///
/// # Errors
/// A path does not exist, or its content is invalid.
pub fn read(paths: &[PathBuf]) -> Result<Manifests> {
    let mut texts = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("read standard input")?;
            let name = "standard input".to_owned();
            texts.push(Text { name, text });
            continue;
        }
        for file in files(path)? {
            let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            let name = file.display().to_string();
            texts.push(Text { name, text });
        }
    }
    Manifests::parse(&texts)
}

/// The path itself if it is a file; the files of a folder that may matter to a plan.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("read the folder {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.with_context(|| format!("read the folder {}", path.display()))?.path();
        let yaml = file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if file.is_file() && (yaml || file.ends_with(POSTGRES)) {
            files.push(file);
        }
    }
    ensure!(!files.is_empty(), "{} has no YAML in it", path.display());
    files.sort();
    Ok(files)
}

impl Manifests {
    /// Parses the texts of manifests.
    ///
    /// # Errors
    /// A text is not YAML, an object lacks a required field, or a kustomization has to be rendered.
    pub fn parse(texts: &[Text]) -> Result<Self> {
        let mut manifests = Self::default();
        for Text { name, text } in texts {
            manifests.add_file(name, text).with_context(|| format!("read {name}"))?;
        }
        Ok(manifests)
    }

    fn add_file(&mut self, name: &str, text: &str) -> Result<()> {
        match Path::new(name).file_name().and_then(|name| name.to_str()) {
            Some(POSTGRES) => self.postgres.push(text.to_owned()),
            Some(TEMPORAL) => self.temporal.push(text.to_owned()),
            _ => {
                for document in serde_norway::Deserializer::from_str(text) {
                    self.add_object(Value::deserialize(document)?)?;
                }
            }
        }
        Ok(())
    }

    fn add_object(&mut self, object: Value) -> Result<()> {
        match object.get("kind").and_then(Value::as_str) {
            Some("Deployment") => self.deployments.push(typed(object)?),
            Some("ScaledObject") => self.scaled_objects.push(typed(object)?),
            Some("Kustomization") => refuse_changes(&object)?,
            Some("ConfigMap") => {
                let entry = |name| Some(object.get("data")?.get(name)?.as_str()?.to_owned());
                self.postgres.extend(entry(POSTGRES));
                // A config.yaml may belong to another program. Only Temporal's has `persistence`.
                let temporal = entry(TEMPORAL).filter(|text| text.contains("\npersistence:"));
                self.temporal.extend(temporal);
            }
            Some("List") => {
                for item in object.get("items").and_then(Value::as_sequence).into_iter().flatten() {
                    self.add_object(item.clone())?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn scaled_object(&self) -> Result<&ScaledObject> {
        match self.scaled_objects.as_slice() {
            [one] => Ok(one),
            [] => {
                bail!("no ScaledObject among the manifests: a plan reads the limits of the fleet from it")
            }
            several => bail!(
                "{} ScaledObjects among the manifests ({}): a plan reads exactly one",
                several.len(),
                several.iter().map(|object| object.metadata.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        }
    }

    pub(crate) fn deployment(&self, name: &str) -> Result<&Deployment> {
        let mut named = self.deployments.iter().filter(|it| it.metadata.name == name);
        let found = named.next().with_context(|| {
            format!("no Deployment {name} among the manifests, which is what the ScaledObject scales")
        })?;
        ensure!(
            named.next().is_none(),
            "several Deployments {name} among the manifests: render them, \
             `kubectl kustomize FOLDER | cargo xtask plan --manifests -`"
        );
        Ok(found)
    }

    /// The value of a variable of any Deployment's container.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let containers = self.deployments.iter().flat_map(|it| &it.spec.template.spec.containers);
        let mut variables = containers.flat_map(|container| &container.env);
        variables.find(|it| it.name == name).and_then(|it| it.value.clone())
    }

    /// The configuration of Postgres, if the manifests have one.
    pub(crate) fn postgres(&self) -> Result<Option<&str>> {
        only(&self.postgres, POSTGRES)
    }

    /// The configuration of Temporal, if the manifests have one.
    pub(crate) fn temporal(&self) -> Result<Option<&str>> {
        only(&self.temporal, TEMPORAL)
    }
}

fn only<'a>(found: &'a [String], what: &str) -> Result<Option<&'a str>> {
    ensure!(found.len() < 2, "several {what} among the manifests: a plan reads at most one");
    Ok(found.first().map(String::as_str))
}

fn typed<T: DeserializeOwned>(object: Value) -> Result<T> {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or("object").to_owned();
    serde_norway::from_value(object).with_context(|| format!("read the {kind}"))
}

/// Refuses a kustomization whose output differs from its resources.
fn refuse_changes(kustomization: &Value) -> Result<()> {
    let changes = kustomization
        .as_mapping()
        .into_iter()
        .flat_map(|fields| fields.keys())
        .filter_map(Value::as_str)
        .find(|field| !HARMLESS.contains(field));
    let elsewhere = kustomization
        .get("resources")
        .and_then(Value::as_sequence)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find(|resource| resource.contains('/') || !resource.ends_with("yaml"));
    if let Some(what) = changes.or(elsewhere) {
        bail!(
            "a kustomization with {what} has to be rendered: \
             `kubectl kustomize FOLDER | cargo xtask plan --manifests -`"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[(&str, &str)]) -> Result<Manifests> {
        let text = |(name, text): &(&str, &str)| Text { name: (*name).to_owned(), text: (*text).to_owned() };
        Manifests::parse(&texts.iter().map(text).collect::<Vec<_>>())
    }

    const DEPLOYMENT: &str =
        "kind: Deployment\nmetadata: {name: w}\nspec: {template: {spec: {containers: [{name: w}]}}}\n";
    const SCALED: &str = "kind: ScaledObject\nmetadata: {name: s}\nspec: {scaleTargetRef: {name: w}}\n";

    #[test]
    fn objects_are_found_in_files_streams_and_lists() {
        let list = "
kind: List
items:
- kind: ScaledObject
  metadata: {name: s}
  spec: {scaleTargetRef: {name: w}}
";
        let stream = format!("{DEPLOYMENT}---\nkind: Service\n---\n{SCALED}");
        for texts in [
            vec![("a.yaml", DEPLOYMENT), ("b.yaml", SCALED)],
            vec![("-", stream.as_str())],
            vec![("a.yaml", DEPLOYMENT), ("b.yaml", list)],
        ] {
            let manifests = parse(&texts).unwrap();
            let target = &manifests.scaled_object().unwrap().spec.scale_target_ref.name;
            assert_eq!(manifests.deployment(target).unwrap().metadata.name, "w");
        }
    }

    #[test]
    fn configurations_are_found_as_files_and_in_config_maps() {
        let map = "
kind: ConfigMap
data:
  postgresql.conf: |
    max_connections = 7
  config.yaml: |
    log: {}
    persistence: {}
";
        let in_map = parse(&[("-", map)]).unwrap();
        assert_eq!(in_map.postgres().unwrap(), Some("max_connections = 7\n"));
        assert!(in_map.temporal().unwrap().is_some());
        let other = map.replace("persistence", "retention");
        assert_eq!(parse(&[("-", &other)]).unwrap().temporal().unwrap(), None);
        let files = parse(&[("a/postgresql.conf", "x"), ("b/config.yaml", "{{ not yaml")]).unwrap();
        assert_eq!(files.postgres().unwrap(), Some("x"));
        assert_eq!(files.temporal().unwrap(), Some("{{ not yaml"));
    }

    #[test]
    fn a_missing_or_duplicate_object_is_named() {
        let none = parse(&[("a.yaml", DEPLOYMENT)]).unwrap();
        let error = none.scaled_object().unwrap_err().to_string();
        assert!(error.starts_with("no ScaledObject"), "{error}");
        let error = none.deployment("other").unwrap_err().to_string();
        assert!(error.starts_with("no Deployment other"), "{error}");
        let twice = parse(&[("a", DEPLOYMENT), ("b", DEPLOYMENT), ("c", SCALED), ("d", SCALED)]).unwrap();
        let error = twice.scaled_object().unwrap_err().to_string();
        assert!(error.starts_with("2 ScaledObjects among the manifests (s, s)"), "{error}");
        assert!(twice.deployment("w").is_err());
        let error = parse(&[("bad.yaml", "a: [")]).unwrap_err().to_string();
        assert_eq!(error, "read bad.yaml");
    }

    #[test]
    fn a_kustomization_that_changes_its_files_has_to_be_rendered() {
        let kustomization = |more: &str| {
            let text = format!("kind: Kustomization\nresources: [worker.yaml]\n{more}");
            parse(&[("kustomization.yaml", &text)])
        };
        kustomization("").unwrap();
        for (more, named) in [("patches: []", "patches"), ("images: []", "images")] {
            let error = format!("{:#}", kustomization(more).unwrap_err());
            assert!(error.contains(&format!("with {named} has to be rendered")), "{error}");
        }
        let base = parse(&[("k.yaml", "kind: Kustomization\nresources: [../base]\n")]);
        assert!(format!("{:#}", base.unwrap_err()).contains("with ../base has to"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = read(&[PathBuf::from("no/such/folder")]).unwrap_err().to_string();
        assert_eq!(error, "read no/such/folder");
    }
}
