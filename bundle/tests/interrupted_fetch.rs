//! Ctrl-C while a package is fetched: nothing half is left, and the next run goes on. A program of its own, because a
//! signal interrupts everything in a process.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use bundle::cache::{Cache, sha256_file};
use bundle::debian::{Archive, Debian, Lock, Mirror, Recipe};
use rustix::process::{Signal, getpid, kill_process};
use support::interrupt;

const BYTES: &str = "the bytes of a package";
/// Where the cache keeps packages.
const FOLDER: &str = "packages";

/// A mirror with one file. It sends `BYTES` up to a byte, tells that a request came, and keeps the connection.
fn mirror(sent: usize, requests: Sender<TcpStream>) -> Mirror {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BYTES.len());
            let _ = stream.write_all(format!("{head}{}", &BYTES[..sent]).as_bytes());
            if requests.send(stream).is_err() {
                return;
            }
        }
    });
    Mirror::new(Archive::Main, &base)
}

fn lock(recipe: &Recipe, sha256: &str) -> Lock {
    let identity = recipe.identity();
    Lock::parse(&format!(
        "suite = 'bookworm'\narchitecture = 'amd64'\nsnapshot = '20261127T080000Z'\n\
         [rootfs.x]\nrecipe = '{identity}'\npackages = ['a']\n\
         [[package]]\nname = 'a'\nversion = '1'\narchitecture = 'all'\npath = 'pool/main/a/a_1_all.deb'\n\
         size = {}\nsha256 = '{sha256}'\n",
        BYTES.len()
    ))
    .unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn interrupted_fetch_leaves_nothing_and_the_next_run_goes_on() {
    interrupt::listen().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    let file = dir.path().join("a.deb");
    std::fs::write(&file, BYTES).unwrap();
    let sha256 = sha256_file(&file).unwrap();
    let recipe: Recipe = toml::from_str("about = ''\nway = 'install'\npackages = ['a']").unwrap();
    let debian = |mirror| {
        let mut debian = Debian::of_host(lock(&recipe, &sha256), true, dir.path());
        debian.mirrors = vec![mirror];
        debian
    };

    let (tell, requests): (_, Receiver<TcpStream>) = mpsc::channel();
    let slow = debian(mirror(BYTES.len() - 1, tell));
    let error = thread::scope(|scope| {
        let run = scope.spawn(|| slow.rootfs(&cache, "x", &recipe).unwrap_err());
        let _connection = requests.recv().unwrap();
        kill_process(getpid(), Signal::INT).unwrap();
        run.join().unwrap()
    });
    assert!(format!("{error:#}").starts_with("interrupted"), "{error:#}");
    assert_eq!(files(&cache.root().join(FOLDER)), Vec::<String>::new());

    // In this process commands run again only for the clean-up. What was fetched is no package, and so no more is made.
    interrupt::start_cleaning();
    let (tell, _requests) = mpsc::channel();
    let error = debian(mirror(BYTES.len(), tell)).rootfs(&cache, "x", &recipe).unwrap_err();
    assert_eq!(files(&cache.root().join(FOLDER)), [format!("{sha256}.deb")], "{error:#}");
}
