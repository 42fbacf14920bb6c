//! JSON schemas for kubeconform, generated from Kubernetes' API description and from the CRDs among the manifests. So
//! the check needs no network and uses the versions that run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// The file name of a schema, for kubeconform: kind in lower case, group, version. The core group is its version.
pub(super) const TEMPLATE: &str = "{{.ResourceKind}}_{{.Group}}_{{.ResourceAPIVersion}}.json";

const DEFINITIONS: &str = "#/definitions/";
/// Types that the API description calls strings and for which Kubernetes also accepts numbers.
const STRING_OR_NUMBER: [&str; 2] =
    ["io.k8s.apimachinery.pkg.api.resource.Quantity", "io.k8s.apimachinery.pkg.util.intstr.IntOrString"];

/// Writes a schema for the kind of every object, and for every kind that a CRD among the objects defines.
///
/// # Errors
/// When a schema cannot be written. kubeconform reports a kind without a schema.
pub(super) fn write(swagger: &Value, objects: &[Value], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let definitions = swagger["definitions"].as_object().context("find the definitions in the API description")?;
    let wanted: BTreeSet<(String, String)> = objects.iter().filter_map(kind_of).collect();
    for (name, definition) in definitions {
        for gvk in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let (version, kind) = api_version(gvk);
            if wanted.contains(&(version.clone(), kind.clone())) {
                save(folder, &version, &kind, &schema(definitions, name))?;
            }
        }
    }
    for crd in objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition") {
        let spec = &crd["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for version in spec["versions"].as_array().into_iter().flatten() {
            let api_version = format!("{}/{}", text(&spec["group"]), text(&version["name"]));
            let mut schema = version["schema"]["openAPIV3Schema"].clone();
            restrict(&mut schema, true);
            save(folder, &api_version, &text(&spec["names"]["kind"]), &schema)?;
        }
    }
    Ok(())
}

fn kind_of(object: &Value) -> Option<(String, String)> {
    Some((object["apiVersion"].as_str()?.to_owned(), object["kind"].as_str()?.to_owned()))
}

fn api_version(gvk: &Value) -> (String, String) {
    let text = |key: &str| gvk[key].as_str().unwrap_or_default();
    let version = if text("group").is_empty() {
        text("version").to_owned()
    } else {
        format!("{}/{}", text("group"), text("version"))
    };
    (version, text("kind").to_owned())
}

fn save(folder: &Path, api_version: &str, kind: &str, schema: &Value) -> Result<()> {
    let (group, version) = api_version.split_once('/').unwrap_or((api_version, api_version));
    let path = folder.join(format!("{}_{group}_{version}.json", kind.to_lowercase()));
    fs::write(&path, schema.to_string()).with_context(|| format!("write {}", path.display()))
}

/// A definition with all definitions that it refers to.
fn schema(definitions: &Map<String, Value>, name: &str) -> Value {
    let mut needed = Map::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        let Some(definition) = definitions.get(&name).filter(|_| !needed.contains_key(&name)) else {
            continue;
        };
        references(definition, &mut open);
        let mut definition = definition.clone();
        if STRING_OR_NUMBER.contains(&name.as_str()) {
            definition = json!({"type": ["string", "number"]});
        }
        restrict(&mut definition, false);
        needed.insert(name, definition);
    }
    json!({"$ref": format!("{DEFINITIONS}{name}"), "definitions": needed})
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(name) =
                fields.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix(DEFINITIONS))
            {
                found.push(name.to_owned());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// Makes a schema refuse fields that it does not list, and removes formats that only Kubernetes has. `root` is the top
/// of a CRD's schema, to which the API server adds apiVersion, kind and metadata.
fn restrict(schema: &mut Value, root: bool) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    fields.remove("format");
    let open = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if fields.contains_key("properties") && !open && !fields.contains_key("additionalProperties") {
        fields.insert("additionalProperties".into(), Value::Bool(false));
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        if root {
            for known in ["apiVersion", "kind", "metadata"] {
                properties.insert(known.into(), json!({}));
            }
        }
        properties.values_mut().for_each(|property| restrict(property, false));
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(nested) = fields.get_mut(nested) {
            restrict(nested, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_carries_what_it_refers_to_and_nothing_else() {
        let definitions = json!({
            "a": {"properties": {"b": {"$ref": "#/definitions/b"}}, "type": "object"},
            "b": {"properties": {"n": {"type": "integer", "format": "int32"}}},
            "c": {},
        });
        let schema = schema(definitions.as_object().unwrap(), "a");
        assert_eq!(schema["definitions"].as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(schema["definitions"]["b"]["additionalProperties"], false);
        assert_eq!(schema["definitions"]["b"]["properties"]["n"].get("format"), None);
    }

    #[test]
    fn a_map_stays_open_and_a_list_of_objects_does_not() {
        let mut schema = json!({"properties": {
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"x": {}}}},
        }});
        restrict(&mut schema, false);
        assert_eq!(schema["properties"]["labels"]["additionalProperties"], json!({"type": "string"}));
        assert_eq!(schema["properties"]["list"]["items"]["additionalProperties"], false);
    }
}
