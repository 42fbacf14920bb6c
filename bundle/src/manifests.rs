//! The manifests of KEDA and metrics-server. They are read from the Go modules, and not copied into the repository.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cache::files_below;
use crate::parts::Parts;

/// The folder below `manifests/` that the upstream manifests are copied to.
const STAGED: &str = "upstream";
/// Name, component, module and folder in it. The folder becomes `manifests/upstream/<name>/`.
const UPSTREAM: [(&str, &str, &str, &str); 2] = [
    ("keda", "keda", "github.com/kedacore/keda/v2", "config"),
    ("metrics-server", "kubernetes", "sigs.k8s.io/metrics-server", "manifests"),
];

/// The components that [`stage`] reads from.
pub const COMPONENTS: [&str; 2] = ["keda", "kubernetes"];

/// Copies the upstream manifests to `manifests/upstream/`, where the kustomizations expect them and git ignores them.
///
/// # Errors
/// When a module's folder cannot be read or the copy cannot be written.
pub fn stage(parts: &Parts, manifests: &Path) -> Result<()> {
    for (name, component, module, folder) in UPSTREAM {
        let from = parts.module_dir(component, module)?.join(folder);
        let to = manifests.join(STAGED).join(name);
        if to.exists() {
            fs::remove_dir_all(&to).with_context(|| format!("clear {}", to.display()))?;
        }
        copy_tree(&from, &to)?;
    }
    Ok(())
}

/// Copies the manifests of a checkout and the upstream ones to another folder. What another command does to
/// `manifests/upstream/` meanwhile has no effect on the copy.
///
/// # Errors
/// When a folder cannot be read or the copy cannot be written.
pub(crate) fn copy(parts: &Parts, manifests: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(manifests).with_context(|| format!("list {}", manifests.display()))? {
        let entry = entry.with_context(|| format!("list {}", manifests.display()))?;
        if entry.path().is_dir() && entry.file_name() != STAGED {
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    stage(parts, to)
}

/// Copies the files below a folder, and makes them writable: Go's module cache is read-only.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for file in files_below(from)? {
        let target = to.join(file.strip_prefix(from).unwrap_or(&file));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        let content = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        fs::write(&target, content).with_context(|| format!("write {}", target.display()))?;
    }
    Ok(())
}
