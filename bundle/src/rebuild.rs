//! Builds again in another place, and compares. The place differs in whatever must not matter: a copy of the checkout in
//! another folder, an empty cache, empty caches of Go, another user, home, umask, locale, time zone and number of jobs,
//! and settings that would change every program if a build read them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use support::command::Cmd;
use support::progress;
use tempfile::TempDir;
use toml::Table;

use crate::cache::{Cache, unchanged};
use crate::difference::first_difference;
use crate::images::BuiltImage;
use crate::outputs::{OUTPUTS_FILE, Outputs};
use crate::steps::Step;
use crate::workspace::{CACHE_VARIABLE, Workspace};

/// Variables of a host on which every build would give other bytes, if it read them.
const HOSTILE: [(&str, &str); 18] = [
    ("CARGO_BUILD_JOBS", "3"),
    ("CARGO_BUILD_RUSTFLAGS", "-Copt-level=0"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CC", "/bin/false"),
    ("CFLAGS", "-O0"),
    ("CGO_CFLAGS", "-O0"),
    ("GOAMD64", "v3"),
    ("GOFLAGS", "-tags=hostile"),
    ("GOMAXPROCS", "3"),
    ("LANG", "tr_TR.UTF-8"),
    ("LC_ALL", "tr_TR.UTF-8"),
    ("LDFLAGS", "-Wl,--build-id"),
    ("MAKEFLAGS", "-j3"),
    ("RUSTC_WORKSPACE_WRAPPER", "/bin/false"),
    ("RUSTC_WRAPPER", "/bin/false"),
    ("RUSTFLAGS", "-Copt-level=0"),
    ("SOURCE_DATE_EPOCH", "1"),
    ("TZ", "Pacific/Chatham"),
];
/// Starts a program as another user, who still owns the files of this one.
const OTHER_USER: [&str; 5] = ["unshare", "--user", "--map-user=4711", "--map-group=4711", "--"];
/// Settings of Go that would change every program.
const HOSTILE_GO: &str = "\nGOAMD64=v3\nGOFLAGS=-tags=hostile\nCGO_CFLAGS=-O0\nCC=/bin/false\n";
/// Settings of cargo that would change every program.
const HOSTILE_CARGO: &str = "
[build]
rustflags = ['-Copt-level=0']
rustc-wrapper = '/bin/false'
[profile.release]
opt-level = 0
[target.x86_64-unknown-linux-gnu]
linker = '/bin/false'
";

/// Another place on this machine, which is removed in the end.
#[derive(Debug)]
pub struct Elsewhere {
    folder: TempDir,
    /// Variables of a process there.
    variables: BTreeMap<&'static str, String>,
}

impl Elsewhere {
    /// Copies a checkout, with the changes that are not committed yet, to a new folder below `parent`.
    ///
    /// # Errors
    /// When the checkout is not one of git, or the copy cannot be written.
    pub fn make(workspace: &Workspace, parent: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rebuild-").tempdir_in(parent).context("make a folder")?;
        let place = |name: &str| folder.path().join(name);
        copy(&workspace.root, &place("another-checkout"), &place("checkout.tar"))?;
        let home = std::env::var_os("HOME").map(PathBuf::from).context("find the home: HOME is not set")?;
        hostile_home(&home, &place("home"))?;
        let go = |name: &str| Cmd::new("go").args(["env", name]).env("GOTOOLCHAIN", "local").quiet().read();
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        // Modules that this host has are taken as they were fetched, and their hashes are checked again.
        let modules = format!("file://{}/cache/download,{}", go("GOMODCACHE")?, go("GOPROXY")?);
        let mut variables = BTreeMap::from([
            (CACHE_VARIABLE, text(place("cache"))),
            ("GOCACHE", text(place("go-build"))),
            ("GOMODCACHE", text(place("modules"))),
            ("GOPROXY", modules),
            ("HOME", text(place("home"))),
        ]);
        if std::env::var_os("RUSTUP_HOME").is_none() && home.join(".rustup").is_dir() {
            variables.insert("RUSTUP_HOME", text(home.join(".rustup")));
        }
        Ok(Self { folder, variables })
    }

    /// The copy of the checkout.
    pub fn workspace(&self) -> Workspace {
        Workspace::at(self.folder.path().join("another-checkout"))
    }

    /// The cache there, which is empty at first.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn cache(&self) -> Result<Cache> {
        Cache::open(self.folder.path().join("cache"))
    }

    /// Runs a program there, and answers whether it succeeded. With `other_user`, its user and group are others, if this
    /// host allows user namespaces.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn run(&self, program: &Path, args: &[String], other_user: bool) -> Result<bool> {
        let unshare = Cmd::new(OTHER_USER[0]).args(&OTHER_USER[1..]);
        let plain = if !other_user {
            Cmd::new(program)
        } else if unshare.clone().arg("true").quiet().run().is_ok() {
            unshare.arg(program)
        } else {
            progress::note("the rebuild runs as the same user: this host has no user namespaces");
            Cmd::new(program)
        };
        let hostile = HOSTILE.into_iter().fold(plain.args(args), |run, (name, value)| run.env(name, value));
        let inherited = ["CARGO_HOME", "GOENV", "GOPATH", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"];
        let hostile = inherited.into_iter().fold(hostile, |run, name| run.env_remove(name));
        let run = self.variables.iter().fold(hostile, |run, (name, value)| run.env(name, value));
        // The child gets the umask of this process.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let ended = run.passthrough();
        rustix::process::umask(before);
        Ok(ended?.success())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Go makes the folders of modules read-only, so that only Go can remove them.
        let modules = self.folder.path().join("modules");
        let _ = Cmd::new("go").args(["clean", "-modcache"]).env("GOMODCACHE", modules).quiet().run_any();
    }
}

/// Copies what git knows of a checkout.
fn copy(root: &Path, to: &Path, tar: &Path) -> Result<()> {
    let who = ["-c", "user.name=slipway", "-c", "user.email=slipway@localhost"];
    let git = |args: &[&str]| Cmd::new("git").arg("-C").arg(root).args(who).args(args).quiet();
    // A commit of the changes that are not committed. It is in no branch, and changes nothing.
    let changed = git(&["stash", "create"]).read().context("ask git for the changes of the checkout")?;
    let commit = if changed.is_empty() { "HEAD" } else { &changed };
    git(&["archive", "--format=tar", commit, "--output"]).arg(tar).run().context("copy the checkout")?;
    let file = fs::File::open(tar).with_context(|| format!("open {}", tar.display()))?;
    tar::Archive::new(file).unpack(to).with_context(|| format!("write {}", to.display()))
}

/// A home with the settings of this user and with hostile ones.
fn hostile_home(home: &Path, to: &Path) -> Result<()> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let mut cargo: Table = read(&home.join(".cargo/config.toml")).parse().unwrap_or_default();
    cargo.extend(HOSTILE_CARGO.parse::<Table>().context("parse settings")?);
    let go = read(&home.join(".config/go/env")) + HOSTILE_GO;
    for (path, text) in [(".cargo/config.toml", cargo.to_string()), (".config/go/env", go)] {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap_or(to)).with_context(|| format!("make {}", path.display()))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let crates = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from).join("registry");
    if crates.is_dir() {
        let link = to.join(".cargo/registry");
        std::os::unix::fs::symlink(crates, &link).with_context(|| format!("make {}", link.display()))?;
    }
    Ok(())
}

/// What was compared, and what differs.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The number of files that are the same.
    pub same: usize,
    /// One line for each difference.
    pub differences: Vec<String>,
    /// What there was nothing to compare with.
    pub alone: Vec<String>,
}

impl Comparison {
    /// Compares an entry of the cache with what it was built as, and with the lock of the outputs. A damaged entry is
    /// removed, so that the next build makes it again.
    ///
    /// # Errors
    /// When a damaged entry cannot be removed.
    pub fn entry(&mut self, step: &Step, cache: &Cache, lock: &Outputs) -> Result<()> {
        let entry = step.place(cache);
        if !entry.is_dir() {
            self.alone.push(step.name.clone());
            return Ok(());
        }
        let seal = match unchanged(&entry) {
            Ok(seal) => seal,
            Err(fault) => {
                self.differences.push(format!("{} is damaged and was removed: {fault}", entry.display()));
                return cache.discard(&entry);
            }
        };
        for (file, sealed) in &seal.files {
            let (name, locked) = step.locked(file, lock);
            let digest = format!("sha256:{}", sealed.sha256);
            match locked.filter(|locked| **locked != digest) {
                Some(locked) => {
                    self.differences.push(format!("{name} is {digest}, and {OUTPUTS_FILE} has {locked}"));
                }
                None => self.same += 1,
            }
        }
        Ok(())
    }

    /// Compares an entry that was built again with the lock of the outputs, and with this checkout's own entry.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn step(&mut self, ours: (&Step, &Cache), rebuilt: (&Step, &Cache), lock: &Outputs) -> Result<()> {
        let (step, cache) = rebuilt;
        let inputs = ours.0.action.differences(&step.action);
        if !inputs.is_empty() {
            self.differences.push(format!("{} was built from something else: {}", step.name, inputs.join(", ")));
        }
        let entry = step.place(cache);
        let seal = unchanged(&entry).map_err(|fault| anyhow::anyhow!("{}: {fault}", entry.display()))?;
        let ours = ours.0.place(ours.1);
        if !ours.is_dir() && !seal.files.keys().any(|file| step.locked(file, lock).1.is_some()) {
            self.alone.push(step.name.clone());
            return Ok(());
        }
        for (file, sealed) in &seal.files {
            let (name, locked) = step.locked(file, lock);
            let digest = format!("sha256:{}", sealed.sha256);
            let present = Some(ours.join(file)).filter(|path| path.is_file());
            let mut difference = None;
            if let Some(present) = &present {
                let first = first_difference(present, &entry.join(file))?;
                difference =
                    first.map(|first| format!("{name}: {} and the rebuilt one differ: {first}", present.display()));
            }
            if let Some(locked) = locked.filter(|locked| **locked != digest) {
                let more = difference.map(|it| format!("; {it}")).unwrap_or_default();
                difference = Some(format!("{name} is {digest}, and {OUTPUTS_FILE} has {locked}{more}"));
            }
            match difference {
                Some(difference) => self.differences.push(difference),
                None if present.is_none() && locked.is_none() => self.alone.push(name),
                None => self.same += 1,
            }
        }
        Ok(())
    }

    /// Compares images that were built again with this checkout's own, down to a file of a layer.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn images(&mut self, ours: &[BuiltImage], rebuilt: &[BuiltImage]) -> Result<()> {
        let ours: BTreeMap<&str, &BuiltImage> = ours.iter().map(|image| (image.name.as_str(), image)).collect();
        for rebuilt in rebuilt {
            match ours.get(rebuilt.name.as_str()) {
                None => self.alone.push(rebuilt.name.clone()),
                Some(ours) if ours.digest == rebuilt.digest => self.same += 1,
                Some(ours) => self.differences.push(format!("image {}: {}", rebuilt.name, in_images(ours, rebuilt)?)),
            }
        }
        Ok(())
    }
}

/// The first difference between two images.
fn in_images(one: &BuiltImage, other: &BuiltImage) -> Result<String> {
    let work = tempfile::tempdir().context("make a folder")?;
    let pairs = one.image.layers.iter().zip(&other.image.layers);
    let mut differing = pairs.enumerate().filter(|(_, (one, other))| one.digest() != other.digest());
    let Some((number, (one, other))) = differing.next() else {
        return Ok("their configurations differ".to_owned());
    };
    let paths = ["one", "other"].map(|name| work.path().join(name));
    for (layer, path) in [one, other].into_iter().zip(&paths) {
        let mut file = fs::File::create(path).with_context(|| format!("make {}", path.display()))?;
        layer.write(&mut file)?;
    }
    let first = first_difference(&paths[0], &paths[1])?.unwrap_or_default();
    Ok(format!("layer {} ({}): {first}", number + 1, one.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;
    use crate::images::ImageSet;
    use crate::oci::{Config, Image, Layer, Tree};

    fn built(content: &str, input: &str) -> (TempDir, Cache, Step) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let action = Action::new("go").input("go.sum", input);
        let step = Step { kind: "parts", name: "cni".into(), action, files: vec!["ptp".into()] };
        let make = |place: &Path| Ok(fs::write(place.join("ptp"), content)?);
        cache.get_or_build(step.kind, &step.name, &step.action, make).unwrap();
        (dir, cache, step)
    }

    fn compare(ours: &(TempDir, Cache, Step), rebuilt: &(TempDir, Cache, Step), locked: Option<&str>) -> Comparison {
        let digest = locked.map(|content| {
            let (_dir, cache, step) = built(content, "x");
            ("cni/ptp".to_owned(), format!("sha256:{}", unchanged(&step.place(&cache)).unwrap().files["ptp"].sha256))
        });
        let lock = Outputs { programs: digest.into_iter().collect(), ..Outputs::default() };
        let mut found = Comparison::default();
        found.step((&ours.2, &ours.1), (&rebuilt.2, &rebuilt.1), &lock).unwrap();
        found
    }

    #[test]
    fn program_that_is_rebuilt_with_another_byte_is_named() {
        let ours = built("good", "a");
        let same = compare(&ours, &built("good", "a"), Some("good"));
        assert_eq!((same.same, same.differences.len(), same.alone.len()), (1, 0, 0));
        for locked in [None, Some("good"), Some("g0od")] {
            let found = compare(&ours, &built("g0od", "a"), locked).differences;
            assert!(found.len() == 1 && found[0].contains("cni/ptp"), "{found:?}");
            assert!(found[0].contains("byte 1 is 0x6f and 0x30"), "{found:?}");
            assert_eq!(found[0].contains(OUTPUTS_FILE), locked == Some("good"), "{found:?}");
        }
    }

    #[test]
    fn changed_input_is_named_and_what_nothing_is_known_of_is_told() {
        let ours = built("good", "a");
        let found = compare(&ours, &built("good", "b"), None);
        assert_eq!(found.differences, ["cni was built from something else: input go.sum"]);
        ours.1.discard(&ours.2.place(&ours.1)).unwrap();
        let found = compare(&ours, &built("good", "a"), None);
        assert_eq!((found.differences.len(), found.alone), (0, vec!["cni".to_owned()]));
    }

    #[test]
    fn damaged_entry_is_named_and_removed_and_one_that_differs_from_the_lock_stays() {
        let (_dir, cache, step) = built("good", "a");
        let entry = step.place(&cache);
        let check = |locked: Option<&str>| {
            let locked = locked.map(|digest| ("cni/ptp".to_owned(), digest.to_owned()));
            let lock = Outputs { programs: locked.into_iter().collect(), ..Outputs::default() };
            let mut found = Comparison::default();
            found.entry(&step, &cache, &lock).unwrap();
            found
        };
        assert_eq!((check(None).same, check(None).differences.len()), (1, 0));
        let found = check(Some("sha256:aa")).differences;
        assert!(found.len() == 1 && found[0].contains("cni/ptp is sha256:") && entry.is_dir(), "{found:?}");
        fs::write(entry.join("ptp"), "g0od").unwrap();
        let found = check(None).differences;
        assert!(found.len() == 1 && found[0].contains("SHA-256 of ptp") && !entry.exists(), "{found:?}");
        assert_eq!(check(None).alone, ["cni"]);
    }

    #[test]
    fn file_of_an_image_is_named() {
        let image = |text: &str| {
            let mut tree = Tree::default();
            tree.file("/etc/x", 0o644, text.into()).unwrap();
            let layers = vec![std::sync::Arc::new(Layer::new("files", tree).unwrap())];
            let image = Image::new("x:1", &Config::default(), layers);
            BuiltImage { name: "x:1".into(), digest: image.digest(), size_bytes: 0, set: ImageSet::Services, image }
        };
        let mut found = Comparison::default();
        found.images(&[image("one")], &[image("one")]).unwrap();
        assert_eq!((found.same, found.differences.len()), (1, 0));
        found.images(&[image("one")], &[image("two")]).unwrap();
        assert_eq!(found.differences, ["image x:1: layer 1 (files): in etc/x, byte 0 is 0x6f and 0x74"]);
    }

    #[test]
    fn copy_has_the_changes_that_are_not_committed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, to) = (dir.path().join("root"), dir.path().join("to"));
        fs::create_dir(&root).unwrap();
        fs::write(root.join("pins.toml"), "1").unwrap();
        for args in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "one"]] {
            let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
            Cmd::new("git").arg("-C").arg(&root).args(who).args(args).run().unwrap();
        }
        fs::write(root.join("pins.toml"), "2").unwrap();
        copy(&root, &to, &dir.path().join("tar")).unwrap();
        assert_eq!(fs::read_to_string(to.join("pins.toml")).unwrap(), "2");
        assert_eq!(fs::read_to_string(root.join("pins.toml")).unwrap(), "2", "nothing is stashed away");
    }

    #[test]
    fn hostile_home_keeps_where_crates_and_modules_come_from() {
        let dir = tempfile::tempdir().unwrap();
        let (home, to) = (dir.path().join("home"), dir.path().join("to"));
        fs::create_dir_all(home.join(".cargo")).unwrap();
        let mirror = "[source.crates-io]\nreplace-with = 'mirror'\n[build]\njobs = 1";
        fs::write(home.join(".cargo/config.toml"), mirror).unwrap();
        hostile_home(&home, &to).unwrap();
        let cargo: Table = fs::read_to_string(to.join(".cargo/config.toml")).unwrap().parse().unwrap();
        assert_eq!(cargo["source"]["crates-io"]["replace-with"].as_str(), Some("mirror"));
        assert_eq!(cargo["build"]["rustc-wrapper"].as_str(), Some("/bin/false"));
        assert!(fs::read_to_string(to.join(".config/go/env")).unwrap().contains("GOAMD64=v3"));
    }
}
