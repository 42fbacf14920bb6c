//! The pins: the module and version that each program is built from. Parses and checks them, and builds nothing.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The file with the pins.
pub const FILE: &str = "bundle/pins.toml";

/// All pins, as written in [`FILE`].
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// The tools that build the components.
    pub toolchain: Toolchain,
    /// Crates whose programs only checks run, by name.
    #[serde(default)]
    pub tools: BTreeMap<String, Tool>,
    /// The packages of the root filesystems.
    pub debian: Debian,
    /// The components by name. The name is also that of the folder of the component's Go module.
    pub components: BTreeMap<String, Component>,
}

/// The versions of the build tools.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// The Go that builds every component, as `major.minor.patch`.
    pub go: String,
    /// The rustc that compiles the programs of this workspace, as `rustc --version` says it.
    pub rust: String,
}

/// A crate with a program that a check runs.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its version.
    pub version: String,
    /// The SHA-256 of the crate in hexadecimal digits.
    pub sha256: String,
}

/// Debian, of which the root filesystems are made.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// The name of the release. `bundle/debian.lock` has the versions of the packages.
    pub suite: String,
}

/// One upstream project and the programs built from it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its purpose, in one line.
    pub about: String,
    /// Go module path.
    pub module: String,
    /// Go module version, as in go.mod (`v1.2.3`).
    pub version: String,
    /// The SPDX expression of its licences.
    pub license: String,
    /// Whether only some commands of the host need it. Such a component is in no image and no lock of the outputs, and
    /// is built where a command needs it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tool: bool,
    /// Whether the programs are built with cgo.
    #[serde(default)]
    pub cgo: bool,
    /// Whether a program with cgo is linked statically.
    #[serde(default, rename = "static")]
    pub link_static: bool,
    /// Go build tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Linker flags after `-s -w -buildid=`. They set the versions that the programs report.
    #[serde(default)]
    pub ldflags: Vec<String>,
    /// The programs that are built.
    pub programs: Vec<Program>,
    /// Further pinned modules whose programs this component builds.
    #[serde(default)]
    pub also: Vec<Module>,
}

/// A program and the Go package that it is built from.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Full import path of the main package.
    pub package: String,
    /// Name of the program.
    pub name: String,
}

/// A module and its version.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Go module path.
    pub module: String,
    /// Go module version.
    pub version: String,
}

/// A pin that does not agree with the component's Go module.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "component {component}: {FILE} pins {module} {expected}, bundle/components/{component}/go.mod has {found}; \
     change the pin, or run `go get -tool {module}@{expected} && go mod tidy` in that folder"
)]
pub struct Mismatch {
    component: String,
    module: String,
    expected: String,
    found: String,
}

impl Pins {
    /// Reads the pins of a checkout and compares them with the components' go.mod files.
    ///
    /// # Errors
    /// When a file is missing or malformed, or with the first [`Mismatch`].
    pub fn load(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let pins = Self::parse(&text)?;
        for (name, component) in &pins.components {
            let path = root.join("bundle/components").join(name).join("go.mod");
            let go_mod =
                std::fs::read_to_string(&path).with_context(|| format!("component {name}: read {}", path.display()))?;
            component.check(name, &go_mod)?;
        }
        Ok(pins)
    }

    /// The components without tools: those that every build needs.
    pub fn built(&self) -> impl Iterator<Item = (&String, &Component)> {
        self.components.iter().filter(|(_, component)| !component.tool)
    }

    /// Parses the text of [`FILE`].
    ///
    /// # Errors
    /// When the TOML is malformed, or a field is unknown or missing. The message names line and field.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).with_context(|| format!("parse {FILE}"))
    }

    /// The component with this name.
    ///
    /// # Errors
    /// When there is none. The error lists the components.
    pub fn component(&self, name: &str) -> Result<&Component> {
        self.components.get(name).with_context(|| {
            let known: Vec<&str> = self.components.keys().map(String::as_str).collect();
            format!("{FILE} has no component {name} (it has {})", known.join(", "))
        })
    }
}

impl Component {
    /// All modules that this component pins, with its main module first.
    pub fn modules(&self) -> impl Iterator<Item = (&str, &str)> {
        std::iter::once((self.module.as_str(), self.version.as_str()))
            .chain(self.also.iter().map(|also| (also.module.as_str(), also.version.as_str())))
    }

    fn check(&self, component: &str, go_mod: &str) -> Result<(), Mismatch> {
        for (module, expected) in self.modules() {
            let found = required_version(go_mod, module).unwrap_or("no such requirement");
            if found != expected {
                return Err(Mismatch {
                    component: component.to_owned(),
                    module: module.to_owned(),
                    expected: expected.to_owned(),
                    found: found.to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// The version that a go.mod requires of a module.
fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.split_whitespace().filter(|word| *word != "require");
        (words.next() == Some(module)).then(|| words.next()).flatten().filter(|word| word.starts_with('v'))
    })
}

/// Compares dotted versions by number, so that 1.26.10 is above 1.26.8.
pub fn at_least(found: &str, wanted: &str) -> bool {
    let numbers = |version: &str| -> Vec<u64> {
        version
            .split('.')
            .map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>())
            .map(|digits| digits.parse().unwrap_or(0))
            .collect()
    };
    numbers(found) >= numbers(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"
        [toolchain]
        go = "1.26.8"
        rust = "1.95.0 (x)"
        [debian]
        suite = "bookworm"
        [components.x]
        about = "a test"
        module = "example.com/x"
        version = "v1.2.3"
        license = "MIT"
        programs = [{ package = "example.com/x/cmd", name = "x" }]
    "#;

    #[test]
    fn unknown_field_is_refused_by_name() {
        let error = format!("{:#}", Pins::parse(&format!("{ONE}\ncolour = 1")).unwrap_err());
        assert!(error.contains("colour"), "{error}");
    }

    #[test]
    fn wrong_pin_names_component_expected_and_found() {
        let pins = Pins::parse(ONE).unwrap();
        let error = pins.components["x"].check("x", "require (\n\texample.com/x v1.2.4\n)").unwrap_err().to_string();
        for part in ["component x", "v1.2.3", "v1.2.4"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn single_line_requirement_is_read() {
        assert_eq!(required_version("require example.com/x v1.2.3 // indirect", "example.com/x"), Some("v1.2.3"));
        assert_eq!(required_version("tool example.com/x", "example.com/x"), None);
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(at_least("1.26.10", "1.26.8"));
        assert!(!at_least("1.26", "1.26.8"));
        assert!(at_least("1.27", "1.26.8"));
    }

    #[test]
    fn the_pins_of_this_checkout_agree_with_their_modules() {
        Pins::load(&crate::workspace::Workspace::here().root).unwrap();
    }
}
