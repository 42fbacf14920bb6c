//! Writes a bundle file: complete under its name, or not at all.

use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use support::{interrupt, progress};

use super::Bundle;

/// The permissions of the file, from which the user's umask takes its part.
const MODE: u32 = 0o666;
/// How many bytes are written at once.
const CHUNK: usize = 1 << 20;

/// A written bundle file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// Checks that a bundle can get this name: its folder exists, and nothing but a file has the name.
///
/// # Errors
/// When it cannot.
pub fn check_target(file: &Path) -> Result<()> {
    if let Ok(found) = file.metadata() {
        ensure!(found.is_file(), "{} is not a file: name a file for the bundle", file.display());
    }
    ensure!(file.file_name().is_some(), "{} is not a file name", file.display());
    let folder = folder(file);
    ensure!(folder.is_dir(), "there is no folder {}: make it first", folder.display());
    Ok(())
}

/// Writes a bundle beside its name and renames it, so that a reader sees the old file or the whole new one.
///
/// # Errors
/// When there is too little space, or a write fails. Nothing is left behind then.
pub fn save(bundle: &Bundle, file: &Path) -> Result<Saved> {
    let folder = folder(file);
    let needed = bundle.size();
    let free = || statvfs(&folder).map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize));
    check_space(file, needed, free())?;
    let place = tempfile::Builder::new()
        .prefix(".slipway-bundle-")
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(&folder)
        .with_context(|| format!("make a file in {}", folder.display()))?;
    // Reserves the blocks, so that no other program can take them meanwhile. Not every filesystem can.
    if fallocate(place.as_file(), FallocateFlags::empty(), 0, needed) == Err(Errno::NOSPC) {
        return Err(no_space(file, needed, free()));
    }
    let mut out = BufWriter::with_capacity(CHUNK, Progress::of(place.as_file(), needed));
    let written = bundle.write(&mut out).and_then(|()| Ok(out.flush()?));
    if let Err(error) = written {
        let full = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
        let full = full.map(io::Error::kind).any(|kind| kind == io::ErrorKind::StorageFull);
        return Err(if full { no_space(file, needed, free()) } else { error });
    }
    let progress = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    let saved = Saved { bytes: progress.written, sha256: hex::encode(progress.hash.finalize()) };
    ensure!(saved.bytes == needed, "{} bytes were written instead of {needed}", saved.bytes);
    place.as_file().sync_all().with_context(|| format!("write {}", file.display()))?;
    place.persist(file).with_context(|| format!("rename the finished bundle to {}", file.display()))?;
    Ok(saved)
}

/// The folder that a file or folder of this name is in.
pub(super) fn folder(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

fn check_space(file: &Path, needed: u64, free: u64) -> Result<()> {
    if needed > free {
        return Err(no_space(file, needed, free));
    }
    Ok(())
}

fn no_space(file: &Path, needed: u64, free: u64) -> anyhow::Error {
    let folder = folder(file);
    anyhow::anyhow!(
        "no space for {}: it needs {needed} bytes, and {free} bytes are free in {}",
        file.display(),
        folder.display()
    )
}

/// Counts and hashes what is written, says how much is left, and stops after Ctrl-C.
struct Progress<W> {
    out: W,
    total: u64,
    written: u64,
    hash: Sha256,
}

impl<W> Progress<W> {
    fn of(out: W, total: u64) -> Self {
        Self { out, total, written: 0, hash: Sha256::new() }
    }
}

impl<W: Write> Write for Progress<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        interrupt::check().map_err(io::Error::other)?;
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.written += count as u64;
        let left = self.total.saturating_sub(self.written) / 1_000_000;
        progress::waiting_for(&format!("{left} of {} MB", self.total / 1_000_000));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::verify::tests::bundle;

    #[test]
    fn too_little_space_names_needed_and_free_bytes() {
        let error = check_space(Path::new("/srv/x.tar"), 1001, 1000).unwrap_err().to_string();
        assert_eq!(error, "no space for /srv/x.tar: it needs 1001 bytes, and 1000 bytes are free in /srv");
        check_space(Path::new("x.tar"), 1000, 1000).unwrap();
    }

    #[test]
    fn only_the_name_of_a_file_is_a_target() {
        let dir = tempfile::tempdir().unwrap();
        for (file, word) in [("", "not a file"), ("none/x.tar", "no folder"), ("/dev/null", "not a file")] {
            let error = check_target(&dir.path().join(file)).unwrap_err().to_string();
            assert!(error.contains(word), "{file}: {error}");
        }
        check_target(&dir.path().join("x.tar")).unwrap();
        check_target(Path::new("x.tar")).unwrap();
    }

    #[test]
    fn an_older_file_is_replaced_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.tar");
        std::fs::write(&file, "older").unwrap();
        let (_sources, bundle) = bundle("x");
        let saved = save(&bundle, &file).unwrap();
        assert_eq!(saved.sha256, crate::cache::sha256_file(&file).unwrap());
        assert_eq!(saved.bytes, bundle.size());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn failed_save_keeps_the_older_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.tar");
        std::fs::write(&file, "older").unwrap();
        let (sources, bundle) = bundle("x");
        std::fs::write(sources.path().join("one"), "another content").unwrap();
        let error = format!("{:#}", save(&bundle, &file).unwrap_err());
        assert!(error.contains("changed"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "older");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_saves_at_once_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let file = &dir.path().join("x.tar");
        let ((_one, first), (_two, second)) = (bundle("one"), bundle("two"));
        let bundles = [first, second];
        let sums = std::thread::scope(|scope| {
            let saves = bundles.each_ref().map(|bundle| scope.spawn(move || save(bundle, file).unwrap().sha256));
            saves.map(|save| save.join().unwrap())
        });
        assert_ne!(sums[0], sums[1]);
        assert!(sums.contains(&crate::cache::sha256_file(file).unwrap()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
