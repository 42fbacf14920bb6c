//! The manifests of a fleet: which of their texts a plan reads, and the objects in them.
//!
//! Kustomizations are not rendered here; one that changes what it names is refused with the way out, because a plan of
//! the unchanged files would be a plan of another fleet.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_norway::Value;

use crate::objects::{Deployment, ScaledObject};

/// Postgres' configuration, as a file or as an entry of a ConfigMap.
const POSTGRES: &str = "postgresql.conf";
/// Temporal's.
const TEMPORAL: &str = "config.yaml";
/// What a kustomization may have and still leave its files as they are.
const HARMLESS: [&str; 7] = [
    "apiVersion",
    "kind",
    "metadata",
    "namespace",
    "labels",
    "resources",
    "configMapGenerator",
];

/// A text and where it is from.
#[derive(Debug, Clone)]
pub struct Text {
    /// Its path; the last part of it says what it is.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What a plan reads.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    deployments: Vec<Deployment>,
    scaled_objects: Vec<ScaledObject>,
    postgres: Vec<String>,
    temporal: Vec<String>,
}

/// Reads files, the YAML and `postgresql.conf` of folders (not of folders within), and standard input for `-`.
///
/// # Errors
/// One is not there, or is not what it seems to be.
pub fn read(paths: &[PathBuf]) -> Result<Manifests> {
    let mut texts = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("read standard input")?;
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

/// A file itself; of a folder, the files that may matter.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("read the folder {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry
            .with_context(|| format!("read the folder {}", path.display()))?
            .path();
        let yaml = file
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if file.is_file() && (yaml || file.ends_with(POSTGRES)) {
            files.push(file);
        }
    }
    ensure!(!files.is_empty(), "{} has no YAML in it", path.display());
    files.sort();
    Ok(files)
}

impl Manifests {
    /// Takes texts apart.
    ///
    /// # Errors
    /// One is no YAML, an object lacks what every object of its kind has, or a kustomization would have to be rendered.
    pub fn parse(texts: &[Text]) -> Result<Self> {
        let mut manifests = Self::default();
        for Text { name, text } in texts {
            manifests
                .add_file(name, text)
                .with_context(|| format!("read {name}"))?;
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
                // Others have a config.yaml, too.
                let temporal = entry(TEMPORAL).filter(|text| text.contains("\npersistence:"));
                self.temporal.extend(temporal);
            }
            Some("List") => {
                for item in object
                    .get("items")
                    .and_then(Value::as_sequence)
                    .into_iter()
                    .flatten()
                {
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
                bail!("no ScaledObject among the manifests: the fewest and the most workers are read from it")
            }
            several => bail!(
                "{} ScaledObjects among the manifests ({}): a plan is of one",
                several.len(),
                several
                    .iter()
                    .map(|object| object.metadata.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
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
            "several Deployments {name} among the manifests: give what is applied, \
             `kubectl kustomize FOLDER | cargo xtask plan --manifests -`"
        );
        Ok(found)
    }

    /// Postgres' configuration, where there is one.
    pub(crate) fn postgres(&self) -> Result<Option<&str>> {
        only(&self.postgres, POSTGRES)
    }

    /// Temporal's configuration, where there is one.
    pub(crate) fn temporal(&self) -> Result<Option<&str>> {
        only(&self.temporal, TEMPORAL)
    }
}

fn only<'a>(found: &'a [String], what: &str) -> Result<Option<&'a str>> {
    ensure!(
        found.len() < 2,
        "several {what} among the manifests: a plan is of one"
    );
    Ok(found.first().map(String::as_str))
}

fn typed<T: DeserializeOwned>(object: Value) -> Result<T> {
    let kind = object
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or("object")
        .to_owned();
    serde_norway::from_value(object).with_context(|| format!("read the {kind}"))
}

/// Refuses a kustomization whose result differs from the files beside it.
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
        let text = |(name, text): &(&str, &str)| Text {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        };
        Manifests::parse(&texts.iter().map(text).collect::<Vec<_>>())
    }

    const DEPLOYMENT: &str =
        "kind: Deployment\nmetadata: {name: w}\nspec: {template: {spec: {containers: [{name: w}]}}}\n";
    const SCALED: &str = "kind: ScaledObject\nmetadata: {name: s}\nspec: {scaleTargetRef: {name: w}}\n";

    #[test]
    fn objects_are_found_in_files_streams_and_lists() {
        let list = "kind: List\nitems:\n- kind: ScaledObject\n  metadata: {name: s}\n  spec: {scaleTargetRef: {name: w}}\n";
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
        let map = "kind: ConfigMap\ndata:\n  postgresql.conf: |\n    max_connections = 7\n  config.yaml: |\n    log: {}\n    persistence: {}\n";
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
    fn what_is_missing_or_there_twice_is_named() {
        let none = parse(&[("a.yaml", DEPLOYMENT)]).unwrap();
        let error = none.scaled_object().unwrap_err().to_string();
        assert!(error.starts_with("no ScaledObject"), "{error}");
        let error = none.deployment("other").unwrap_err().to_string();
        assert!(error.starts_with("no Deployment other"), "{error}");
        let twice = parse(&[("a", DEPLOYMENT), ("b", DEPLOYMENT), ("c", SCALED), ("d", SCALED)]).unwrap();
        let error = twice.scaled_object().unwrap_err().to_string();
        assert!(
            error.starts_with("2 ScaledObjects among the manifests (s, s)"),
            "{error}"
        );
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
            assert!(
                error.contains(&format!("with {named} has to be rendered")),
                "{error}"
            );
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
