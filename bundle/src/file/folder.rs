//! Writes the worker's manifests as a folder for `kubectl apply -k`, kustomize and Helm: complete under its name, or
//! not at all.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{chart, render, save, verify};

/// The permissions of the folder, from which the user's umask takes its part.
const MODE: u32 = 0o777;
/// The manifests as a base of overlays.
const KUSTOMIZATION: &str = "\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - worker.yaml
";

/// Checks that a folder can get this name: its parent exists, and nothing but an empty folder has the name.
///
/// # Errors
/// When it cannot.
pub fn check_folder(folder: &Path) -> Result<()> {
    let name = folder.display();
    ensure!(folder.file_name().is_some(), "{name} is not a folder name: name a new folder");
    let parent = save::folder(folder);
    ensure!(parent.is_dir(), "there is no folder {}: make it first", parent.display());
    match fs::read_dir(folder) {
        Ok(mut entries) => ensure!(entries.next().is_none(), "the folder {name} is not empty: name a new one"),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{name} cannot be used: name a new folder")),
    }
    Ok(())
}

/// Writes the worker's manifests of a bundle for a cluster that pulls from this repository: as one file, as a
/// kustomization, and as a Helm chart. Answers the files.
///
/// # Errors
/// When the bundle has faults, the folder has files, or a write fails. Nothing is left behind then.
pub fn folder_for_registry(file: &Path, repository: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let verified = verify::verify(file)?;
    let worker = render::in_registry(&verified.worker, &verified.about.images, repository);
    let chart = chart::files(&worker, &verified.about.version)?;
    let chart = chart.map(|(name, text)| (format!("chart/{name}"), text));
    let mut files =
        vec![("kustomization.yaml".to_owned(), KUSTOMIZATION.to_owned()), ("worker.yaml".to_owned(), worker)];
    files.extend(chart);
    write(&files, folder).with_context(|| format!("write the folder {}", folder.display()))
}

/// Writes the files beside the folder and renames them to it.
fn write(files: &[(String, String)], folder: &Path) -> Result<Vec<PathBuf>> {
    check_folder(folder)?;
    let place = tempfile::Builder::new()
        .prefix(".slipway-render-")
        .permissions(Permissions::from_mode(MODE))
        .tempdir_in(save::folder(folder))?;
    for (name, text) in files {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(place.path()))?;
        fs::write(path, text)?;
    }
    fs::rename(place.path(), folder)?;
    Ok(files.iter().map(|(name, _)| folder.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::verify::tests::bundle;

    #[test]
    fn folder_has_the_manifests_the_kustomization_and_the_chart() {
        let (dir, bundle) = bundle("x");
        let (file, folder) = (dir.path().join("b.tar"), dir.path().join("out"));
        save::save(&bundle, &file).unwrap();
        let written = folder_for_registry(&file, "r.example/x", &folder).unwrap();
        let names: Vec<_> = written.iter().map(|path| path.strip_prefix(&folder).unwrap().to_str().unwrap()).collect();
        let expected = [
            "kustomization.yaml",
            "worker.yaml",
            "chart/Chart.yaml",
            "chart/values.yaml",
            "chart/templates/worker.yaml",
        ];
        assert_eq!(names, expected);
        let worker = fs::read_to_string(folder.join("worker.yaml")).unwrap();
        assert_eq!(worker, render::for_registry(&file, "r.example/x").unwrap());
        assert!(fs::read_to_string(folder.join("chart/Chart.yaml")).unwrap().contains("\nversion: \"0.1.0\"\n"));
    }

    #[test]
    fn folder_with_a_file_keeps_it_and_nothing_is_left_beside() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("out");
        let files = [("a/b".to_owned(), "x".to_owned())];
        fs::create_dir(&folder).unwrap();
        write(&files, &folder).unwrap();
        let error = write(&files, &folder).unwrap_err().to_string();
        assert_eq!(error, format!("the folder {} is not empty: name a new one", folder.display()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(folder.join("a/b")).unwrap(), "x");
    }

    #[test]
    fn name_that_cannot_be_a_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for (name, fault) in [
            ("file", "file cannot be used: name a new folder"),
            ("none/out", "none: make it first"),
            ("..", "is not a folder name"),
        ] {
            let error = check_folder(&dir.path().join(name)).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }
}
