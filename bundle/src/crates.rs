//! The workspace's own crates: which there are, and which of them a program is compiled from.
//!
//! Reads Cargo.toml files and nothing else. It never runs cargo, so that a cache key costs no process.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use toml::{Table, Value};

/// The tables whose crates become part of a program. `dev-dependencies` become part of its tests alone.
const LINKED: [&str; 2] = ["dependencies", "build-dependencies"];

/// The names of the workspace's packages, in the order of `[workspace] members`.
///
/// # Errors
/// When a Cargo.toml cannot be read, or a member is a pattern: those are not expanded.
pub fn member_names(root: &Path) -> Result<Vec<String>> {
    let manifest = read_manifest(root)?;
    let members = manifest.get("workspace").and_then(|it| it.get("members"));
    let members = members
        .and_then(Value::as_array)
        .with_context(|| format!("find [workspace] members in {}", root.join("Cargo.toml").display()))?;
    members
        .iter()
        .filter_map(Value::as_str)
        .map(|member| {
            ensure!(
                !member.contains(['*', '?', '[']),
                "workspace member {member} is a pattern: list the folders in [workspace] members of Cargo.toml"
            );
            package_name(&root.join(member))
        })
        .collect()
}

/// The folders, relative to `root`, of a program's package and of every crate that it depends on by path.
///
/// Follows `path`, and `workspace = true` where `[workspace.dependencies]` has a `path`, in `[dependencies]`,
/// `[build-dependencies]` and their target-specific tables. Optional dependencies are followed whatever the features.
/// Files outside a package folder, such as those of an `include_str!("../../x")`, are not found. A build refuses them.
///
/// # Errors
/// When a Cargo.toml cannot be read or parsed; the error names the file.
pub fn path_closure(root: &Path, package: &str) -> Result<BTreeSet<PathBuf>> {
    let shared = read_manifest(root)?;
    let shared = shared.get("workspace").and_then(|it| it.get("dependencies"));
    let mut found = BTreeSet::new();
    let mut pending = vec![normalise(Path::new(package))];
    while let Some(folder) = pending.pop() {
        if found.contains(&folder) {
            continue;
        }
        let manifest = read_manifest(&root.join(&folder))?;
        for (name, dependency) in linked_dependencies(&manifest) {
            if let Some(path) = dependency.get("path").and_then(Value::as_str) {
                pending.push(normalise(&folder.join(path)));
            } else if dependency.get("workspace").and_then(Value::as_bool) == Some(true) {
                let path = shared.and_then(|it| it.get(name)?.get("path")?.as_str());
                pending.extend(path.map(|path| normalise(Path::new(path))));
            }
        }
        found.insert(folder);
    }
    Ok(found)
}

/// Name and value of each dependency that is compiled into a package, those of single targets included.
fn linked_dependencies(manifest: &Table) -> impl Iterator<Item = (&String, &Value)> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(Table::values);
    std::iter::once(manifest)
        .chain(targets.filter_map(Value::as_table))
        .flat_map(|table| LINKED.map(|kind| table.get(kind).and_then(Value::as_table)))
        .flatten()
        .flatten()
}

fn package_name(folder: &Path) -> Result<String> {
    let manifest = read_manifest(folder)?;
    let name = manifest.get("package").and_then(|it| it.get("name"));
    let name = name
        .and_then(Value::as_str)
        .with_context(|| format!("find the package's name in {}", folder.join("Cargo.toml").display()))?;
    Ok(name.to_owned())
}

fn read_manifest(folder: &Path) -> Result<Table> {
    let path = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    text.parse().with_context(|| format!("parse {}", path.display()))
}

/// The path without `.` and, where a folder precedes it, without `..`: one folder has one name.
fn normalise(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if normal.file_name().is_some() => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    /// Packages: the folder, and what its Cargo.toml has after the name.
    type Packages<'a> = &'a [(&'a str, &'a str)];

    fn workspace(packages: Packages<'_>) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let members: Vec<&str> = packages.iter().map(|(folder, _)| *folder).collect();
        let manifest = format!(
            "[workspace]\nmembers = {members:?}\n[workspace.dependencies]\nserde = \"1\"\n\
             shared = {{ path = \"lib/shared\" }}\n"
        );
        std::fs::write(root.path().join("Cargo.toml"), manifest).unwrap();
        for (folder, rest) in packages {
            let name = folder.replace('/', "-");
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
            let text = format!("[package]\nname = \"{name}\"\n{rest}");
            std::fs::write(root.path().join(folder).join("Cargo.toml"), text).unwrap();
        }
        root
    }

    fn closure(packages: Packages<'_>) -> Vec<String> {
        let root = workspace(packages);
        let found = path_closure(root.path(), "app").unwrap();
        found.into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn path_dependencies_are_followed() {
        let leaf = ("leaf", "");
        let cases: [(&str, Packages<'_>, &[&str]); 7] = [
            ("none", &[("app", "[dependencies]\nserde.workspace = true\nx = \"1\"")], &["app"]),
            ("direct", &[("app", "[dependencies]\nleaf = { path = \"../leaf\" }"), leaf], &["app", "leaf"]),
            (
                "transitive",
                &[
                    ("app", "[dependencies]\nmid = { path = \"../mid\" }"),
                    ("mid", "[dependencies]\nleaf = { path = \"./../leaf\" }"),
                    leaf,
                ],
                &["app", "leaf", "mid"],
            ),
            (
                "by the workspace",
                &[("app", "[dependencies]\nshared = { workspace = true, optional = true }"), ("lib/shared", "")],
                &["app", "lib/shared"],
            ),
            (
                "of the build script, of one target",
                &[
                    ("app", "[build-dependencies]\nmid = { path = \"../mid\" }"),
                    ("mid", "[target.'cfg(unix)'.dependencies]\nleaf = { path = \"../leaf\" }"),
                    leaf,
                ],
                &["app", "leaf", "mid"],
            ),
            ("of tests", &[("app", "[dev-dependencies]\nleaf = { path = \"../leaf\" }"), leaf], &["app"]),
            (
                "in a circle",
                &[
                    ("app", "[dependencies]\nmid = { path = \"../mid\" }"),
                    ("mid", "[dependencies]\napp = { path = \"../app\" }"),
                ],
                &["app", "mid"],
            ),
        ];
        for (case, packages, expected) in cases {
            assert_eq!(closure(packages), expected, "{case}");
        }
    }

    #[test]
    fn missing_manifest_is_named() {
        let root = workspace(&[("app", "[dependencies]\ngone = { path = \"../gone\" }")]);
        let error = path_closure(root.path(), "app").unwrap_err();
        assert!(format!("{error:#}").contains("gone/Cargo.toml"), "{error:#}");
    }

    #[test]
    fn members_are_named_by_their_packages_and_patterns_are_refused() {
        let root = workspace(&[("app", ""), ("lib/shared", "")]);
        assert_eq!(member_names(root.path()).unwrap(), ["app", "lib-shared"]);
        std::fs::write(root.path().join("Cargo.toml"), "[workspace]\nmembers = [\"lib/*\"]").unwrap();
        let error = member_names(root.path()).unwrap_err().to_string();
        assert!(error.contains("lib/*"), "{error}");
    }

    #[test]
    fn this_workspace_has_the_driver_compiled_from_the_plan_and_the_simulator() {
        let root = Workspace::here().root;
        let driver = path_closure(&root, "kind-e2e").unwrap();
        for linked in ["capacity", "scaler"] {
            assert!(driver.contains(Path::new(linked)), "{driver:?}");
        }
        let members = member_names(&root).unwrap();
        assert!(members.contains(&"worker".to_owned()), "{members:?}");
    }
}
