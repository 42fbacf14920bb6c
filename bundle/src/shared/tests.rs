//! Against the real registry, as the tests of `file/registry`.

use super::*;
use crate::action::Action;
use crate::file::registry::tests::{LARGE, Registry, crane, line};

/// A component `cni` with two programs, and a root filesystem, built in a cache; and their lock.
struct Built {
    _dir: tempfile::TempDir,
    cache: Cache,
    steps: Vec<Step>,
    lock: Outputs,
}

impl Built {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let step = |kind, name: &str, files: &[&str]| Step {
            kind,
            name: name.to_owned(),
            action: Action::new("x").arg(name),
            files: files.iter().map(|file| (*file).to_owned()).collect(),
        };
        let steps = vec![
            step("parts", "cni", &["bridge", "ptp"]),
            step("rootfs", "node", &["rootfs.tar"]),
            step("parts", "temporal-worker", &["temporal-worker"]),
        ];
        let mut lock = Outputs::default();
        for step in &steps {
            let build = |place: &Path| {
                step.files.iter().try_for_each(|file| Ok(fs::write(place.join(file), file.repeat(LARGE / file.len()))?))
            };
            let place = cache.get_or_build(step.kind, &step.name, &step.action, build).unwrap();
            for file in &step.files {
                let digest = format!("sha256:{}", sha256_file(&place.join(file)).unwrap());
                match step.kind {
                    "rootfs" => lock.rootfs.insert(step.name.clone(), digest),
                    _ if step.name == "cni" => lock.programs.insert(format!("cni/{file}"), digest),
                    _ => None, // the worker is not in the lock
                };
            }
        }
        Self { _dir: dir, cache, steps, lock }
    }

    fn publish(&self, registry: &Registry) -> Result<Vec<String>> {
        publish(&crane(), &self.cache, &self.steps, &self.lock, &registry.repository())
    }

    fn take(&self, cache: &Cache, registry: &Registry) -> Vec<String> {
        take(&crane(), cache, &self.steps, &self.lock, &registry.repository()).unwrap()
    }
}

fn empty() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    (dir, cache)
}

/// What the cache has beside locks.
fn entries(cache: &Cache) -> usize {
    let folders = ["parts", "rootfs", "layouts"].map(|kind| cache.root().join(kind));
    folders.iter().map(|folder| fs::read_dir(folder).map_or(0, Iterator::count)).sum()
}

#[test]
#[ignore = "needs the registry"]
fn what_one_host_has_built_another_takes_with_the_same_bytes() {
    let (registry, built) = (Registry::start(false), Built::new());
    assert_eq!(built.publish(&registry).unwrap(), ["cni", "node"], "what the lock has");
    let (again, [sent, _]) = registry.proxy.during(|| built.publish(&registry).unwrap());
    assert!(again.len() == 2 && sent < LARGE as u64 / 8, "{sent} bytes were sent again");
    let (_dir, cache) = empty();
    assert_eq!(built.take(&cache, &registry), ["cni", "node"]);
    for step in &built.steps[..2] {
        let (ours, theirs) = (step.place(&built.cache), step.place(&cache));
        for file in &step.files {
            assert_eq!(fs::read(ours.join(file)).unwrap(), fs::read(theirs.join(file)).unwrap(), "{file}");
        }
        assert_eq!(unchanged(&theirs).unwrap().action, step.action);
    }
    let mode = built.steps[0].place(&cache).join("ptp").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let (nothing, [_, received]) = registry.proxy.during(|| built.take(&cache, &registry));
    assert!(nothing.is_empty() && received == 0, "{received} bytes for what the cache has");
    assert_eq!(entries(&cache), 2);
}

#[test]
#[ignore = "needs the registry"]
fn what_is_not_as_locked_is_left_to_a_build() {
    let (registry, built) = (Registry::start(false), Built::new());
    built.publish(&registry).unwrap();
    // Of other inputs, and with another digest in the lock.
    let mut other = Built::new();
    other.steps[0].action = Action::new("y");
    other.lock.rootfs.insert("node".into(), format!("sha256:{}", "0".repeat(64)));
    let (_dir, cache) = empty();
    assert_eq!(other.take(&cache, &registry), [""; 0]);
    assert_eq!(entries(&cache), 0);
    let error = line(other.publish(&registry));
    assert!(error.contains("rootfs.tar of node is sha256:"), "{error}");
}

#[test]
#[ignore = "needs the registry"]
fn registry_with_other_bytes_or_a_lost_connection_installs_nothing() {
    let (registry, built) = (Registry::start(false), Built::new());
    built.publish(&registry).unwrap();
    let (_dir, cache) = empty();
    assert_eq!(registry.proxy.limited(LARGE as u64 / 2, || built.take(&cache, &registry)), [""; 0]);
    assert!(!built.steps[0].place(&cache).exists() && !built.steps[1].place(&cache).exists());
    for blob in registry.blobs(LARGE / 2) {
        let mut bytes = fs::read(&blob).unwrap();
        bytes[LARGE / 4] ^= 1;
        fs::write(blob, bytes).unwrap();
    }
    assert_eq!(built.take(&cache, &registry), [""; 0]);
    assert!(!built.steps[0].place(&cache).exists() && !built.steps[1].place(&cache).exists());
    let gone = take(&crane(), &cache, &built.steps, &built.lock, "127.0.0.1:1/x").unwrap();
    assert_eq!(gone, [""; 0], "what is missing is built");
}

#[test]
fn remembered_registry_is_that_of_every_command() {
    let (_dir, cache) = empty();
    assert_eq!(remembered(&cache), None);
    remember(&cache, "registry.example.com/slipway").unwrap();
    assert_eq!(remembered(&cache).as_deref(), Some("registry.example.com/slipway"));
    remember(&cache, "").unwrap();
    assert_eq!(remembered(&cache), None);
}
