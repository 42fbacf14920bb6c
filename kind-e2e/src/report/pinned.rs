//! What `run.json` says about pins, host, adaptations, images and stages. It is written by another
//! crate: whatever has another shape than expected is shown as it is, and a missing file is named, too.

use std::path::Path;

use serde_json::Value;

/// The parts of `run.json` that a report tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pinned {
    /// Names and versions.
    pub pins: Vec<(String, String)>,
    /// What the host is.
    pub host: Vec<(String, String)>,
    /// How the run adapted to it, and why.
    pub adaptations: Vec<String>,
    /// How inputs and outputs differ from the bundle's locks.
    pub unlocked: Vec<String>,
    /// Images by name, with digest and size where they are known.
    pub images: Vec<(String, String)>,
    /// What came before the scenarios, with the seconds that it took.
    pub stages: Vec<(String, f64)>,
    /// Why there is nothing, if there is not.
    pub missing: Option<String>,
}

impl Pinned {
    /// Reads `run.json`; a report without it is still a report.
    pub fn read(path: &Path) -> Self {
        let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
        match read.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string())) {
            Ok(value) => Self::of(&value),
            Err(error) => Self { missing: Some(format!("{}: {error}", path.display())), ..Self::default() },
        }
    }

    /// Takes what is there.
    pub fn of(run: &Value) -> Self {
        Self {
            pins: named(&run["pins"]),
            host: named(&run["host"]),
            adaptations: lines(&run["adaptations"]),
            unlocked: lines(&run["unlocked"]),
            images: named(&run["images"]),
            stages: stages(&run["stages"]),
            missing: None,
        }
    }
}

/// Pairs from an object, or from a list of objects that have a name.
fn named(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        Value::Array(list) => list
            .iter()
            .map(|item| match item["name"].as_str().or(item["component"].as_str()) {
                Some(name) => (name.to_owned(), without_name(item)),
                None => (plain(item), String::new()),
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn without_name(item: &Value) -> String {
    let Value::Object(map) = item else {
        return plain(item);
    };
    let rest = map.iter().filter(|(key, value)| !matches!(key.as_str(), "name" | "component") && !value.is_null());
    let rest: Vec<String> = match rest.clone().count() {
        1 => rest.map(|(_, value)| plain(value)).collect(),
        _ => rest.map(|(key, value)| format!("{key} {}", plain(value))).collect(),
    };
    rest.join(", ")
}

fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list
            .iter()
            .map(|item| match item {
                Value::Object(map) => map.values().map(plain).collect::<Vec<_>>().join(": "),
                other => plain(other),
            })
            .collect(),
        Value::Object(map) => map.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect(),
        _ => Vec::new(),
    }
}

fn stages(value: &Value) -> Vec<(String, f64)> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|item| Some((item["stage"].as_str()?.to_owned(), item["seconds"].as_f64()?))).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key} {}", plain(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn either_shape_is_read() {
        let run = json!({
            "pins": {"kind": "v0.33.0", "keda": {"version": "v2.21.0"}},
            "host": {"cores": 2, "cgroup": "v1"},
            "adaptations": ["one", {"what": "two", "why": "because"}],
            "unlocked": ["Debian packages of node: bash 1 → 2"],
            "images": [{"name": "worker:1", "digest": "sha256:aa", "size": 5}, {"name": "x", "digest": "sha256:bb"}],
            "stages": [{"stage": "parts", "seconds": 12.5}, {"stage": "broken"}],
        });
        let read = Pinned::of(&run);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert!(read.pins.contains(&pair("kind", "v0.33.0")) && read.pins.contains(&pair("keda", "version v2.21.0")));
        assert!(read.host.contains(&pair("cores", "2")));
        assert_eq!(read.adaptations[0], "one");
        assert_eq!(read.unlocked, ["Debian packages of node: bash 1 → 2"]);
        assert_eq!(read.images, [pair("worker:1", "digest sha256:aa, size 5"), pair("x", "sha256:bb")]);
        assert_eq!(read.stages, [("parts".to_owned(), 12.5)]);
    }

    #[test]
    fn a_missing_file_is_named() {
        assert!(Pinned::read(Path::new("no/run.json")).missing.unwrap().starts_with("no/run.json: "));
        assert_eq!(Pinned::of(&json!({})), Pinned::default());
    }
}
