//! The rustc of this host: whether it is the pinned one, and whether its files are those of the lock.
//!
//! rustc is the one compiler that is not fetched by its hash: rustup, a distribution or a user installs it. So a host
//! with another one is told, and `--locked` refuses it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::action::Action;
use crate::cache::Cache;
use crate::oci::{Content, Layer, Tree};
use crate::outputs::{OUTPUTS_FILE, Outputs};
use crate::pins::{self, Pins};

/// The components of a toolchain whose files decide about programs: the compiler, and the standard library.
const COMPONENTS: [&str; 2] = ["rustc", "rust-std"];
/// The name of their files in the lock of the outputs.
pub(crate) const FILES: &str = "rustc-files";

/// What `rustc -vV` says.
pub(crate) fn about() -> Result<String> {
    Action::new("rustc").arg("-vV").command().quiet().read().context("find rustc")
}

/// The target triple of this machine.
pub(crate) fn host_triple() -> Result<String> {
    let about = about()?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("find the host in the output of `rustc -vV`")?.to_owned())
}

/// Why what this host's rustc compiles may differ from what other hosts have. None if it is the one of pins and lock.
///
/// # Errors
/// When there is no rustc, or its files cannot be read.
pub fn difference(pins: &Pins, lock: Option<&Outputs>, cache: &Cache) -> Result<Option<String>> {
    let about = about()?;
    let version = about.lines().next().unwrap_or_default().trim_start_matches("rustc ");
    if let Some(another) = another(&pins.toolchain.rust, version) {
        return Ok(Some(another));
    }
    let locked = lock.and_then(|lock| lock.tools.get(FILES));
    Ok(match (files(cache)?, locked) {
        (Some(found), Some(locked)) if found != *locked => Some(altered(&pins.toolchain.rust, &found, locked)),
        _ => None,
    })
}

fn another(pinned: &str, found: &str) -> Option<String> {
    (found != pinned).then(|| {
        format!(
            "this host has rustc {found}, and {} has {pinned}: the worker, the scaler and their images get other digests \
             than elsewhere; with rustup, `cargo +{} xtask …` uses that one",
            pins::FILE,
            release(pinned)
        )
    })
}

fn altered(pinned: &str, found: &str, locked: &str) -> String {
    let release = release(pinned);
    format!(
        "rustc {release} of this host is altered: its files have the hash {found}, and {OUTPUTS_FILE} has {locked}; \
         `rustup toolchain uninstall {release}` and `rustup toolchain install {release}` give the right ones"
    )
}

/// The version alone, such as 1.95.0.
fn release(pinned: &str) -> &str {
    pinned.split(' ').next().unwrap_or(pinned)
}

/// One hash of all files of the compiler and the standard library, wherever they are. None if the toolchain has no list
/// of its files, as those of distributions.
///
/// # Errors
/// When a listed file cannot be read.
pub(crate) fn files(cache: &Cache) -> Result<Option<String>> {
    let root = Action::new("rustc").args(["--print", "sysroot"]).command().quiet().read().context("find rustc")?;
    files_of(cache, Path::new(&root), &host_triple()?)
}

fn files_of(cache: &Cache, root: &Path, triple: &str) -> Result<Option<String>> {
    let mut tree = Tree::default();
    for component in COMPONENTS {
        let list = root.join(format!("lib/rustlib/manifest-{component}-{triple}"));
        let Ok(list) = fs::read_to_string(&list) else { return Ok(None) };
        for file in list.lines().filter_map(|line| line.strip_prefix("file:")) {
            if ["bin/", "lib/"].iter().any(|folder| file.starts_with(folder)) {
                let path: PathBuf = root.join(file);
                let content = Content::whole(path).context("rustc is not complete: install it again")?;
                tree.file(&format!("/rust/{file}"), 0o755, content)?;
            }
        }
    }
    // Hashed once, and again if a file's size, time or inode changes.
    Ok(Some(Layer::cached(cache, "rustc", tree)?.digest().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustc_of_another_version_or_build_is_told() {
        let pinned = "1.95.0 (59807616e 2026-04-14)";
        assert_eq!(another(pinned, pinned), None);
        for found in ["1.96.0 (aaaaaaaaa 2026-06-01)", "1.95.0 (59807616e 2026-04-14) (built from a source tarball)"] {
            let text = another(pinned, found).unwrap();
            assert!(text.contains(found) && text.contains(pinned) && text.contains("cargo +1.95.0 xtask"), "{text}");
        }
    }

    #[test]
    fn one_byte_of_the_compiler_or_the_standard_library_changes_the_hash() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join("rust").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let hash = || files_of(&cache, &dir.path().join("rust"), "x86");
        assert_eq!(hash().unwrap(), None, "a toolchain without lists");
        write("lib/rustlib/manifest-rustc-x86", "file:bin/rustc\nfile:share/doc/x\n");
        write("lib/rustlib/manifest-rust-std-x86", "file:lib/std.rlib\n");
        write("bin/rustc", "compiler");
        assert!(format!("{:#}", hash().unwrap_err()).contains("lib/std.rlib"), "a file is missing");
        write("lib/std.rlib", "library");
        let before = hash().unwrap();
        for (file, altered, good) in [("lib/std.rlib", "librarx", "library"), ("bin/rustc", "compilex", "compiler")] {
            write(file, altered);
            assert_ne!(hash().unwrap(), before, "{file}");
            write(file, good);
            assert_eq!(hash().unwrap(), before);
        }
    }
}
