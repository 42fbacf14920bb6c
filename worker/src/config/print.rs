//! The configuration in force as text: TOML that can be used as a file, with the origin of each value and secrets masked.

use std::fmt::Write as _;

use figment::Figment;
use serde_json::Value;

use super::{Config, environment::variable_of};

/// Sections and keys with their values; `# …` says where a value that is not the default came from.
pub fn render(config: &Config, figment: &Figment) -> String {
    let Ok(Value::Object(sections)) = serde_json::to_value(config) else {
        return String::new();
    };
    let mut out = String::new();
    for (section, values) in &sections {
        let Value::Object(values) = values else { continue };
        let _ = writeln!(out, "{}[{section}]", if out.is_empty() { "" } else { "\n" });
        for (key, value) in values {
            let path = format!("{section}.{key}");
            let origin = origin(figment, &path);
            let line = match value {
                Value::Null => format!("# {key} is unset"),
                value => format!("{key} = {value}"),
            };
            let _ = writeln!(
                out,
                "{line}{}",
                origin.map_or(String::new(), |origin| format!("  # {origin}"))
            );
        }
    }
    out
}

fn origin(figment: &Figment, path: &str) -> Option<String> {
    let metadata = figment.find_metadata(path)?;
    match metadata.name.as_ref() {
        "environment" => Some(format!("environment {}", variable_of(path).unwrap_or_default())),
        "flag" => Some("flag".into()),
        name if name.contains("TOML") => Some(
            metadata
                .source
                .as_ref()
                .map_or_else(|| "file".into(), |source| format!("file {source}")),
        ),
        _ => None,
    }
}
