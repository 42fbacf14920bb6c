//! The configuration in force as a TOML file, with the origin of each value and masked secrets.

use std::fmt::Write as _;

use figment::Figment;
use serde_json::Value;

use super::{
    Config, TEMPORAL_TOML,
    environment::{ENVIRONMENT, FLAG, VARIABLES, variable_of},
    secret::MASK,
};

/// Renders sections and keys with their values; `# …` gives each origin.
///
/// Unset and masked values are comments: a mask that is read back would become the secret.
pub fn render(config: &Config, figment: &Figment) -> String {
    let values = serde_json::to_value(config).unwrap_or_default();
    let mut out = String::new();
    let mut current = "";
    for variable in VARIABLES {
        let (section, key) = variable.section_and_key();
        if section != current {
            let _ = writeln!(out, "{}[{section}]", if out.is_empty() { "" } else { "\n" });
            current = section;
        }
        let origin = origin(figment, variable.key);
        let _ = writeln!(out, "{}  # {origin}", line(key, &values[section][key]));
    }
    out
}

fn line(key: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("# {key} is unset"),
        Value::String(text) if text.contains(MASK) => format!("# {key} = {}", toml(value)),
        value => format!("{key} = {}", toml(value)),
    }
}

/// JSON's numbers, booleans and strings are valid TOML, except for one character.
fn toml(value: &Value) -> String {
    value.to_string().replace('\u{7f}', "\\u007F")
}

/// The origin of a key's value: `default`, `temporal.toml`, `file …`, `environment NAME` or `flag`.
pub(super) fn origin(figment: &Figment, path: &str) -> String {
    let Some(metadata) = figment.find_metadata(path) else {
        return "default".into();
    };
    match (metadata.name.as_ref(), &metadata.source) {
        (ENVIRONMENT, _) => {
            let name = variable_of(path).map_or("", |variable| variable.name);
            format!("{ENVIRONMENT} {name}")
        }
        (layer @ (FLAG | TEMPORAL_TOML), _) => layer.into(),
        (_, Some(source)) => format!("file {source}"),
        (layer, None) => layer.into(),
    }
}
