//! The default corpus: the HTML, Markdown and text files of the pinned Go modules, which the build downloads anyway.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::action::Action;
use crate::cache::{Cache, files_below};
use crate::parts::Parts;
use crate::pins::Pins;

/// The minimum size of a document in bytes. Smaller files are badges and stubs.
const SMALLEST: u64 = 512;
/// The maximum size of a document in bytes. Larger ones travel as claim checks, which changes their service time.
const LARGEST: u64 = 32 << 10;
/// The size of the corpus. Its documents are spread evenly over those found.
const DOCUMENTS: usize = 240;

/// The folder of the default corpus. It is created from the modules of `parts` if the cache does not have it.
///
/// # Errors
/// When a module cannot be read, or the modules hold too few documents.
pub fn default_corpus(pins: &Pins, parts: &Parts, cache: &Cache) -> Result<PathBuf> {
    let action = pins.built().fold(Action::new("corpus").code(&[include_str!("corpus.rs")]), |action, (_, it)| {
        action.input(&it.module, &it.version)
    });
    cache.get_or_build("corpus", "documents", &action, |place| {
        let mut found = Vec::new();
        for (name, component) in pins.built() {
            let dir = parts.module_dir(name, &component.module)?;
            found.extend(documents(&dir)?.into_iter().map(|file| (name.clone(), dir.clone(), file)));
        }
        ensure!(found.len() >= DOCUMENTS / 4, "only {} documents in the pinned modules", found.len());
        let step = (found.len() / DOCUMENTS).max(1);
        for (name, dir, file) in found.iter().step_by(step).take(DOCUMENTS) {
            let target = place.join(name).join(file.strip_prefix(dir).unwrap_or(file));
            let parent = target.parent().unwrap_or(place);
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
            let content = fs::read(file).with_context(|| format!("read {}", file.display()))?;
            fs::write(&target, content).with_context(|| format!("write {}", target.display()))?;
        }
        Ok(())
    })
}

/// Checks a corpus that the user gave, before anything is changed.
///
/// # Errors
/// When the folder does not exist or holds no document.
pub fn check(dir: &Path) -> Result<()> {
    ensure!(dir.is_dir(), "corpus {}: no such folder", dir.display());
    let count = files_below(dir)?.iter().filter(|file| is_document(file)).count();
    ensure!(count > 0, "corpus {}: no document in it; documents are .html, .htm, .md and .txt files", dir.display());
    Ok(())
}

fn documents(module: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in files_below(module)? {
        let size = file.symlink_metadata().with_context(|| format!("look at {}", file.display()))?.len();
        let text = is_document(&file) && (SMALLEST..=LARGEST).contains(&size);
        if text && fs::read(&file).is_ok_and(|bytes| String::from_utf8(bytes).is_ok()) {
            found.push(file);
        }
    }
    Ok(found)
}

fn is_document(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["html", "htm", "md", "txt"].contains(&extension.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_documents_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x.png"), "").unwrap();
        assert!(check(dir.path()).unwrap_err().to_string().contains("no document"));
        fs::write(dir.path().join("x.md"), "# x").unwrap();
        check(dir.path()).unwrap();
        assert!(check(Path::new("/no/such")).unwrap_err().to_string().contains("/no/such"));
    }
}
