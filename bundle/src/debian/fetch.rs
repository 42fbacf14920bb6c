//! Packages by hash: in the cache, or fetched into it and verified. What has another hash than its lock says is never
//! used.
//!
//! apt's own downloader fetches them, so that the host's proxies and passwords work as they do for apt. It gets no
//! hashes: they are checked here, on the way into the cache and again at each use.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};
use support::command::{Cmd, CommandError};
use support::{interrupt, progress};

use super::mirrors::{Archive, Mirror, decode};
use super::{LOCK_FILE, NotLocked, Package, cut};
use crate::cache::{Cache, persist, remove_folder};

/// The folder of the packages in the cache, and the name of its lock.
const FOLDER: &str = "packages";
/// The program that fetches files as apt does.
const HELPER: &str = "/usr/lib/apt/apt-helper";
/// How often apt asks a mirror again that did not answer.
const RETRIES: &str = "Acquire::Retries=1";
/// A mirror on this machine is not behind the host's proxy.
const NO_PROXY: &str = "Acquire::http::Proxy::127.0.0.1=DIRECT";

/// Why a file is not the package.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Absent,
    Altered(String),
}

/// Puts the packages that are missing or damaged in the cache into it.
///
/// # Errors
/// [`NotLocked::Missing`] if no mirror has a package, and another error if a mirror has it with other bytes.
pub(super) fn ensure(cache: &Cache, mirrors: &[Mirror], packages: &[Package]) -> Result<()> {
    let folder = cache.root().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let _lock = cache.lock(FOLDER)?;
    let mut missing = Vec::new();
    for package in packages {
        let place = place(cache, package);
        match fault(&place, package)? {
            None => continue,
            Some(Fault::Absent) => {}
            Some(Fault::Altered(why)) => {
                progress::note(&format!("{} is damaged and fetched again: package {package}, {why}", place.display()));
                fs::remove_file(&place).with_context(|| format!("remove {}", place.display()))?;
            }
        }
        missing.push(package);
    }
    if missing.is_empty() {
        return Ok(());
    }
    if mirrors.is_empty() {
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        return Err(NotLocked::Offline { packages: cut(&names) }.into());
    }
    let bytes: u64 = missing.iter().map(|package| package.size).sum();
    let what = format!("fetch {} Debian packages, {} MB", missing.len(), bytes.div_ceil(1_000_000));
    progress::step(&what, || {
        // The holder of the lock owns the work folder. A killed run may have left files in it.
        let work = folder.join(".fetching");
        remove_folder(&work)?;
        fs::create_dir(&work).with_context(|| format!("make {}", work.display()))?;
        let fetched = fetch(cache, mirrors, missing, &work);
        let fetched = fetched.map_err(|error| cache.explain_full("Debian packages", error));
        remove_folder(&work)?;
        fetched
    })
}

/// Copies a package out of the cache, and checks the copied bytes.
///
/// # Errors
/// When the cache does not have the package as its hash says.
pub(crate) fn copy(cache: &Cache, package: &Package, to: &Path) -> Result<()> {
    let place = place(cache, package);
    fs::copy(&place, to).with_context(|| format!("copy package {package} from {}", place.display()))?;
    match fault(to, package)? {
        None => Ok(()),
        Some(_) => bail!("{} changed while it was used: run the command again", place.display()),
    }
}

/// The place of a package in the cache, whether it is there or not.
pub(crate) fn place(cache: &Cache, package: &Package) -> PathBuf {
    cache.root().join(FOLDER).join(format!("{}.deb", package.sha256))
}

fn fault(file: &Path, package: &Package) -> Result<Option<Fault>> {
    let mut open = match File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some(Fault::Absent)),
        open => open.with_context(|| format!("open {}", file.display()))?,
    };
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).with_context(|| format!("read {}", file.display()))?;
    if bytes.len() as u64 != package.size {
        return Ok(Some(Fault::Altered(format!("it has {} bytes, expected {}", bytes.len(), package.size))));
    }
    let found = hex::encode(Sha256::digest(&bytes));
    let altered = || Fault::Altered(format!("its SHA-256 is {found}, expected {}", package.sha256));
    Ok((found != package.sha256).then(altered))
}

/// What a mirror did not give.
struct Refusal {
    package: String,
    altered: bool,
    why: String,
}

fn fetch(cache: &Cache, mirrors: &[Mirror], mut left: Vec<&Package>, work: &Path) -> Result<()> {
    let mut refusals: Vec<Refusal> = Vec::new();
    for mirror in mirrors {
        let (here, elsewhere): (Vec<&Package>, Vec<&Package>) =
            left.into_iter().partition(|package| Archive::of(&package.path) == mirror.archive);
        left = elsewhere;
        if here.is_empty() {
            continue;
        }
        let said = download(mirror, &here, work)?;
        for package in here {
            let file = work.join(&package.sha256);
            let (altered, why) = match fault(&file, package)? {
                None => {
                    persist(&file, &place(cache, package))?;
                    continue;
                }
                Some(Fault::Absent) => (false, reason(&said, &mirror.url(&package.path))),
                Some(Fault::Altered(why)) => {
                    fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
                    progress::note(&format!("{} has an altered package {package}: {why}", mirror.base));
                    (true, why)
                }
            };
            refusals.push(Refusal { package: package.to_string(), altered, why: format!("{}: {why}", mirror.base) });
            left.push(package);
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    refusals.retain(|refusal| left.iter().any(|package| package.to_string() == refusal.package));
    if let Some(Refusal { package, why, .. }) = refusals.iter().find(|refusal| refusal.altered) {
        bail!("package {package} differs from {LOCK_FILE}, and no mirror has the right one; {why}");
    }
    let names: Vec<String> = left.iter().map(ToString::to_string).collect();
    // The reasons for one package stand for those of the others.
    let reasons: Vec<&str> =
        refusals.iter().filter(|it| Some(&it.package) == names.first()).map(|it| it.why.as_str()).collect();
    Err(NotLocked::Missing { packages: cut(&names), reasons: reasons.join("; ") }.into())
}

/// Downloads what the mirror has to files that are named by hash. Answers what apt said of the rest.
fn download(mirror: &Mirror, packages: &[&Package], work: &Path) -> Result<String> {
    interrupt::check()?;
    let auth = work.join("auth.conf");
    write_secret(&auth, &mirror.auth())?;
    let mut helper = Cmd::new(HELPER)
        .args(["-o", "APT::Sandbox::User=root", "-o", RETRIES, "-o", NO_PROXY, "-o"])
        .arg(format!("Dir::Etc::netrc={}", auth.display()))
        .arg("download-file");
    for package in packages {
        helper = helper.arg(mirror.url(&package.path)).arg(work.join(&package.sha256)).arg("");
    }
    match helper.run_any() {
        Ok(ended) => Ok(ended.stderr),
        Err(error @ CommandError::Start { .. }) => Err(error).context("fetch packages: install apt"),
        Err(error) => Err(error.into()),
    }
}

/// Writes a file that only this user can read.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = File::options().create(true).write(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| format!("write {}", path.display()))
}

/// What apt said about a URL. apt writes it with more bytes percent-encoded than it was given.
fn reason(said: &str, url: &str) -> String {
    let mut failures = said.lines().filter_map(|line| line.strip_prefix("E: Failed to fetch ")?.split_once("  "));
    let found = failures.find(|(failed, _)| decode(failed) == url);
    found.map_or("apt does not say why", |(_, why)| why.trim()).to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::thread;

    use super::super::lock::tests::package as named;
    use super::*;

    /// A mirror on this machine. It serves these files by path until the test ends.
    pub(in crate::debian) struct Server {
        port: u16,
        files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
        requests: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        pub(in crate::debian) fn start(files: &[(&Package, &str)]) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let served = files.iter().map(|(package, bytes)| (format!("/{}", package.path), bytes.as_bytes().to_vec()));
            let files = Arc::new(Mutex::new(served.collect()));
            let requests = Arc::new(Mutex::new(Vec::new()));
            let (known, seen) = (Arc::clone(&files), Arc::clone(&requests));
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (known, seen) = (Arc::clone(&known), Arc::clone(&seen));
                    thread::spawn(move || answer(&stream, &known, &seen));
                }
            });
            Self { port, files, requests }
        }

        pub(in crate::debian) fn mirror(&self) -> Mirror {
            Mirror::new(Archive::Main, &format!("http://127.0.0.1:{}", self.port))
        }

        /// What was asked for, with the password.
        pub(in crate::debian) fn requests(&self) -> Vec<String> {
            self.requests.lock().unwrap().clone()
        }
    }

    fn answer(stream: &TcpStream, files: &Mutex<BTreeMap<String, Vec<u8>>>, requests: &Mutex<Vec<String>>) {
        let mut lines = BufReader::new(stream).lines();
        while let Some(Ok(request)) = lines.next() {
            let mut seen = request.clone();
            for header in lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                if header.starts_with("Authorization:") {
                    seen = format!("{seen} {header}");
                }
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            let file = files.lock().unwrap().get(path).cloned();
            let status = if file.is_some() { "200 OK" } else { "404 Not Found" };
            let body = file.unwrap_or_default();
            requests.lock().unwrap().push(seen);
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            let mut out = stream;
            if out.write_all(head.as_bytes()).and_then(|()| out.write_all(&body)).is_err() {
                return;
            }
        }
    }

    /// A package whose file has these bytes.
    pub(in crate::debian) fn package(name: &str, bytes: &str) -> Package {
        let sha256 = hex::encode(Sha256::digest(bytes.as_bytes()));
        Package { size: bytes.len() as u64, sha256, ..named(name) }
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        (dir, cache)
    }

    fn bytes(cache: &Cache, package: &Package) -> String {
        fs::read_to_string(place(cache, package)).unwrap()
    }

    #[test]
    fn packages_are_fetched_once_and_by_hash() {
        let (a, b) = (package("a=1", "bytes of a"), package("b=1:2", "bytes of b"));
        let server = Server::start(&[(&a, "bytes of a"), (&b, "bytes of b")]);
        let (_dir, cache) = cache();
        for _ in 0..2 {
            ensure(&cache, &[server.mirror()], &[a.clone(), b.clone()]).unwrap();
        }
        assert_eq!((bytes(&cache, &a).as_str(), bytes(&cache, &b).as_str()), ("bytes of a", "bytes of b"));
        assert_eq!(server.requests().len(), 2, "{:?}", server.requests());
        assert!(!cache.root().join(FOLDER).join(".fetching").exists());
    }

    #[test]
    fn damaged_file_in_the_cache_is_healed() {
        let a = package("a=1", "bytes of a");
        let server = Server::start(&[(&a, "bytes of a")]);
        let (_dir, cache) = cache();
        // Nothing, as after a power loss; too little; as much as before, but altered.
        for damaged in ["", "bytes", "bytes_of_a"] {
            ensure(&cache, &[server.mirror()], std::slice::from_ref(&a)).unwrap();
            fs::write(place(&cache, &a), damaged).unwrap();
            let copied = cache.root().join("copy");
            assert!(copy(&cache, &a, &copied).is_err(), "{damaged:?} is never used");
            ensure(&cache, &[server.mirror()], std::slice::from_ref(&a)).unwrap();
            copy(&cache, &a, &copied).unwrap();
            assert_eq!(bytes(&cache, &a), "bytes of a");
        }
    }

    #[test]
    fn altered_package_is_refused_with_both_hashes() {
        let a = package("a=1", "bytes of a");
        let server = Server::start(&[(&a, "bytes_of_a")]);
        let (_dir, cache) = cache();
        let error = ensure(&cache, &[server.mirror()], std::slice::from_ref(&a)).unwrap_err();
        assert!(!error.is::<NotLocked>(), "altered bytes are no reason to choose other versions");
        let (error, found) = (format!("{error:#}"), package("a=1", "bytes_of_a").sha256);
        for part in ["a=1", a.sha256.as_str(), found.as_str(), "http://127.0.0.1:"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        assert!(!place(&cache, &a).exists());
        // Another mirror has the right bytes.
        let other = Server::start(&[(&a, "bytes of a")]);
        ensure(&cache, &[server.mirror(), other.mirror()], std::slice::from_ref(&a)).unwrap();
        assert_eq!(bytes(&cache, &a), "bytes of a");
    }

    #[test]
    fn version_that_is_nowhere_is_named_with_what_the_mirrors_said() {
        let (a, b) = (package("a=1", "bytes of a"), package("b=2+x~1", "bytes of b"));
        let (one, other) = (Server::start(&[(&a, "bytes of a")]), Server::start(&[]));
        let (_dir, cache) = cache();
        let error = ensure(&cache, &[one.mirror(), other.mirror()], &[a.clone(), b]).unwrap_err();
        assert!(error.is::<NotLocked>());
        let error = format!("{error:#}");
        assert!(error.contains("b=2+x~1") && !error.contains("a=1") && error.contains("--update-lock"), "{error}");
        assert_eq!(error.matches("404").count(), 2, "{error}");
        assert_eq!(bytes(&cache, &a), "bytes of a", "what was there is kept");
    }

    #[test]
    fn two_runs_at_once_fetch_once() {
        let a = package("a=1", "bytes of a");
        let server = Server::start(&[(&a, "bytes of a")]);
        let (_dir, cache) = cache();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| ensure(&cache, &[server.mirror()], std::slice::from_ref(&a)).unwrap());
            }
        });
        assert_eq!(server.requests().len(), 1, "{:?}", server.requests());
    }

    #[test]
    fn leftovers_of_a_killed_run_are_not_used() {
        let a = package("a=1", "bytes of a");
        let server = Server::start(&[(&a, "bytes of a")]);
        let (_dir, cache) = cache();
        let work = cache.root().join(FOLDER).join(".fetching");
        fs::create_dir_all(&work).unwrap();
        fs::write(work.join(&a.sha256), "half").unwrap();
        ensure(&cache, &[server.mirror()], std::slice::from_ref(&a)).unwrap();
        assert_eq!(bytes(&cache, &a), "bytes of a");
    }

    #[test]
    fn password_reaches_the_mirror_and_nothing_else() {
        let a = package("a=1", "bytes of a");
        let server = Server::start(&[]);
        let (_dir, cache) = cache();
        let mirror = Mirror::new(Archive::Main, &format!("http://anna:geheim@127.0.0.1:{}", server.port));
        let error = ensure(&cache, &[mirror], std::slice::from_ref(&a)).unwrap_err();
        let error = format!("{error:#} {error:?}");
        assert!(!error.contains("geheim") && !error.contains("anna"), "{error}");
        // anna:geheim in base64
        assert!(server.requests()[0].contains("Basic YW5uYTpnZWhlaW0="), "{:?}", server.requests());
    }

    #[test]
    fn without_a_mirror_the_error_says_how_to_fetch() {
        let (_dir, cache) = cache();
        let error = ensure(&cache, &[], &[package("a=1", "x")]).unwrap_err().to_string();
        assert!(error.contains("a=1") && error.contains("`cargo xtask fetch`"), "{error}");
    }

    /// The file appears during the test: a mirror that lacked a package has it at the next run.
    #[test]
    fn next_run_goes_on() {
        let a = package("a=1", "bytes of a");
        let server = Server::start(&[]);
        let (_dir, cache) = cache();
        assert!(ensure(&cache, &[server.mirror()], std::slice::from_ref(&a)).is_err());
        server.files.lock().unwrap().insert(format!("/{}", a.path), b"bytes of a".to_vec());
        ensure(&cache, &[server.mirror()], std::slice::from_ref(&a)).unwrap();
    }
}
