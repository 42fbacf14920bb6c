//! Against the real registry, by way of a proxy that counts bytes and cuts connections. `cargo xtask test` passes the
//! paths of both programs. Plain `cargo test` ignores these tests.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use support::wait::{Probe, blocking::eventually};
use tempfile::TempDir;

use super::*;
use crate::cache::{files_below, sha256_file};
use crate::file::verify::tests::bundle;

/// Bytes of the largest layer. Everything else of the bundle together is much less.
pub(crate) const LARGE: usize = 4 << 20;
/// How long the registry may take to start.
const START: Duration = Duration::from_secs(30);

fn program(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`")).into()
}

pub(crate) fn crane() -> PathBuf {
    program("SLIPWAY_CRANE")
}

/// A registry with a folder of its own, and the proxy before it.
pub(crate) struct Registry {
    server: Child,
    folder: TempDir,
    pub(crate) proxy: Proxy,
}

impl Registry {
    pub(crate) fn start(readonly: bool) -> Self {
        Self::with(readonly, None)
    }

    /// A registry with a disk of so many bytes.
    fn small(bytes: usize) -> Self {
        Self::with(false, Some(bytes))
    }

    fn with(readonly: bool, disk: Option<usize>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = json!({
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {
                "filesystem": {"rootdirectory": folder.path().join("data")},
                "maintenance": {"readonly": {"enabled": readonly}},
            },
            "http": {"addr": address.to_string()},
        });
        let file = folder.path().join("config.yml");
        fs::write(&file, config.to_string()).unwrap();
        let server = match disk {
            None => Cmd::new(program("SLIPWAY_REGISTRY")),
            Some(bytes) => {
                const MOUNT: &str =
                    "mkdir \"$1\" && mount -t tmpfs -o size=\"$2\" tmpfs \"$1\" && shift 2 && exec \"$@\"";
                let unshare =
                    Cmd::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh"]);
                unshare.arg(folder.path().join("data")).arg(bytes.to_string()).arg(program("SLIPWAY_REGISTRY"))
            }
        };
        let server = server.arg("serve").arg(&file);
        let server = server.log(folder.path().join("log")).daemon().unwrap();
        eventually("the registry answers", START, || {
            Ok(TcpStream::connect(address).map_or_else(|error| Probe::NotYet(error.to_string()), |_| Probe::Ready(())))
        })
        .unwrap();
        Self { server, folder, proxy: Proxy::start(address) }
    }

    pub(crate) fn repository(&self) -> String {
        format!("{}/team/slipway", self.proxy.address)
    }

    /// The files of its blobs with so many bytes at least.
    pub(crate) fn blobs(&self, bytes: usize) -> Vec<PathBuf> {
        let files = files_below(&self.folder.path().join("data")).unwrap();
        files.into_iter().filter(|file| file.metadata().unwrap().len() >= bytes as u64).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Forwards connections. Counts the bytes of each direction, and cuts a connection at the limit of all together.
pub(crate) struct Proxy {
    address: SocketAddr,
    passed: Arc<Mutex<[Arc<AtomicU64>; 2]>>,
    limit: Arc<AtomicU64>,
}

impl Proxy {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            passed: Default::default(),
            limit: Arc::new(AtomicU64::new(u64::MAX)),
        };
        let (passed, limit) = (Arc::clone(&proxy.passed), Arc::clone(&proxy.limit));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(to) else { continue };
                let ends = [(&client, &server), (&server, &client)];
                let passed = passed.lock().unwrap().clone();
                for ((from, to), count) in ends.into_iter().zip(&passed) {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (count, limit) = (Arc::clone(count), Arc::clone(&limit));
                    thread::spawn(move || forward(from, to, &count, &limit));
                }
            }
        });
        proxy
    }

    /// What clients sent and received while `act` ran, over connections that they opened meanwhile. What is left in older
    /// ones, which a client may have closed in the middle, is not counted.
    pub(crate) fn during<T>(&self, act: impl FnOnce() -> T) -> (T, [u64; 2]) {
        let passed: [Arc<AtomicU64>; 2] = Default::default();
        self.passed.lock().unwrap().clone_from(&passed);
        let done = act();
        (done, passed.each_ref().map(|count| count.load(Ordering::SeqCst)))
    }

    pub(crate) fn limited<T>(&self, bytes: u64, act: impl FnOnce() -> T) -> T {
        self.limit.store(bytes, Ordering::SeqCst);
        let (done, _) = self.during(act);
        self.limit.store(u64::MAX, Ordering::SeqCst);
        done
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64, limit: &AtomicU64) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let passed = count.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
        if passed > limit.load(Ordering::SeqCst) {
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// A folder with a bundle `x.tar`, and a cache.
fn saved(text: &str) -> (TempDir, PathBuf, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.tar");
    save(&bundle(text).1, &file).unwrap_or_else(|error| panic!("{error:#}"));
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    (dir, file, cache)
}

/// An error of one line.
pub(crate) fn line<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = format!("{:#}", result.unwrap_err());
    assert!(!error.contains('\n'), "{error}");
    error
}

/// The layouts that the cache has.
fn layouts(cache: &Cache) -> usize {
    fs::read_dir(cache.root().join("layouts")).map_or(0, Iterator::count)
}

#[test]
fn references_are_taken_apart() {
    for (reference, name, tagged) in [
        ("r:5000/x", "r:5000/x", None),
        ("r:5000/x:1", "r:5000/x", Some("1")),
        ("r/x@sha256:ab", "r/x", Some("ab")),
        ("r/x:1@sha256:ab", "r/x", Some("ab")),
    ] {
        assert_eq!((repository(reference), tag(reference)), (name, tagged));
    }
}

#[test]
#[ignore = "needs the registry"]
fn bundle_comes_back_with_the_same_bytes_and_only_what_is_missing_is_sent() {
    let registry = Registry::start(false);
    let (dir, file, cache) = saved(&"x".repeat(LARGE));
    let (pushed, [sent, _]) = registry.proxy.during(|| push(&crane(), &cache, &file, &registry.repository()).unwrap());
    assert!(pushed.starts_with(&format!("{}@sha256:", registry.repository())), "{pushed}");
    assert!(sent > LARGE as u64, "{sent}");
    let (again, [sent, _]) = registry.proxy.during(|| push(&crane(), &cache, &file, &registry.repository()).unwrap());
    assert_eq!(again, pushed);
    assert!(sent < LARGE as u64 / 8, "{sent} bytes were sent again");

    let tagged = format!("{}:0.1.0-012345678901", registry.repository());
    for reference in [&pushed, &tagged] {
        let copy = dir.path().join("copy.tar");
        let saved = pull(&crane(), &cache, reference, &copy).unwrap();
        assert_eq!(saved.sha256, sha256_file(&file).unwrap(), "{reference}");
        assert_eq!(sha256_file(&copy).unwrap(), saved.sha256);
    }
    assert_eq!(layouts(&cache), 0, "nothing is left in the cache");
}

#[test]
#[ignore = "needs the registry"]
fn lost_connection_is_told_and_the_next_run_goes_on() {
    let registry = Registry::start(false);
    let (dir, file, cache) = saved(&"x".repeat(LARGE));
    let half = LARGE as u64 / 2;
    let push = || push(&crane(), &cache, &file, &registry.repository());
    let error = line(registry.proxy.limited(half, push));
    assert!(error.starts_with(&format!("push {}", registry.repository())), "{error}");
    let pushed = push().unwrap();

    let copy = dir.path().join("copy.tar");
    let pull = || pull(&crane(), &cache, &pushed, &copy);
    let error = line(registry.proxy.limited(half, pull));
    assert!(error.starts_with("pull "), "{error}");
    assert!(!copy.exists());
    assert_eq!(pull().unwrap().sha256, sha256_file(&file).unwrap());
    assert_eq!(layouts(&cache), 0);
}

#[test]
#[ignore = "needs the registry"]
fn full_registry_is_told_and_another_one_takes_the_bundle() {
    let registry = Registry::small(LARGE / 2);
    let (_dir, file, cache) = saved(&"x".repeat(LARGE));
    let error = line(push(&crane(), &cache, &file, &registry.repository()));
    assert!(error.starts_with(&format!("push {}", registry.repository())), "{error}");
    let larger = Registry::small(LARGE * 4);
    push(&crane(), &cache, &file, &larger.repository()).unwrap();
}

#[test]
#[ignore = "needs the registry"]
fn what_was_fetched_is_not_fetched_again() {
    // crane asks for a blob before it sees that it has it, and closes the connection then. The buffers of the sockets on
    // the way are full by that time: 4 MB each.
    const MUCH: usize = 4 * LARGE;
    let registry = Registry::start(false);
    let (dir, file, cache) = saved(&"x".repeat(MUCH));
    let pushed = push(&crane(), &cache, &file, &registry.repository()).unwrap();
    // The folder of the target is gone: everything is fetched, and nothing can be written.
    let nowhere = dir.path().join("none/x.tar");
    let (error, [_, received]) = registry.proxy.during(|| line(pull(&crane(), &cache, &pushed, &nowhere)));
    assert!(error.contains("none") && received > MUCH as u64, "{received}: {error}");
    let copy = dir.path().join("copy.tar");
    let (saved, [_, received]) = registry.proxy.during(|| pull(&crane(), &cache, &pushed, &copy).unwrap());
    assert_eq!(saved.sha256, sha256_file(&file).unwrap());
    assert!(received < MUCH as u64 * 3 / 4, "{received} bytes were fetched again");
}

#[test]
#[ignore = "needs the registry"]
fn other_bytes_than_the_digest_says_are_refused() {
    let registry = Registry::start(false);
    let (dir, file, cache) = saved(&"x".repeat(LARGE));
    let pushed = push(&crane(), &cache, &file, &registry.repository()).unwrap();
    let blobs = registry.blobs(LARGE);
    let [blob] = &blobs[..] else { panic!("one blob is large: {blobs:?}") };
    let mut bytes = fs::read(blob).unwrap();
    bytes[LARGE / 2] ^= 1;
    fs::write(blob, bytes).unwrap();
    let copy = dir.path().join("copy.tar");
    let error = line(pull(&crane(), &cache, &pushed, &copy));
    assert!(error.contains("sha256"), "{error}");
    assert!(!copy.exists());
}

#[test]
#[ignore = "needs the registry"]
fn registry_that_refuses_is_told() {
    let registry = Registry::start(true);
    let (dir, file, cache) = saved("x");
    let repository = registry.repository();
    let error = line(push(&crane(), &cache, &file, &repository));
    assert!(error.starts_with(&format!("push {repository}")), "{error}");
    let copy = dir.path().join("copy.tar");
    let error = line(pull(&crane(), &cache, &format!("{repository}:none"), &copy));
    assert!(error.starts_with(&format!("pull {repository}:none")), "{error}");
    drop(registry);
    let gone = line(pull(&crane(), &cache, "127.0.0.1:1/x:1", &copy));
    assert!(gone.contains("refused"), "{gone}");
    assert!(!copy.exists());
}
