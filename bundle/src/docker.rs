//! The Docker engine: the one that runs, or a private one of our own.
//!
//! A private engine has its own data, state, socket and pid file below the cache and never touches another engine's.
//! It outlives the command that started it only where the user asked to keep the cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::command::Cmd;
use crate::host::{Host, find_program};
use crate::wait::{Probe, eventually};
use crate::{oci_runtime, progress};

/// How long a private engine may take to answer: it restarts the containers it had first.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long it may take to stop: it gives containers 10 s, then kills them.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// A Docker engine that answers.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Value for DOCKER_HOST; absent for the engine that the user's environment already points at.
    pub host: Option<String>,
    /// The engine's version.
    pub version: String,
}

impl Engine {
    /// The docker client, talking to this engine.
    pub fn docker(&self) -> Cmd {
        self.point(Cmd::new("docker"))
    }

    /// Points any command that uses Docker at this engine.
    pub fn point(&self, command: Cmd) -> Cmd {
        match &self.host {
            Some(host) => command.env("DOCKER_HOST", host).env_remove("DOCKER_CONTEXT"),
            None => command,
        }
    }
}

/// The private engine's files.
#[derive(Debug, Clone)]
pub struct Private {
    root: PathBuf,
}

impl Private {
    /// The private engine that belongs to a cache folder.
    pub fn of(cache: &Path) -> Self {
        Self { root: cache.join("docker") }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Unix sockets have short paths (108 bytes), cache folders may not: the socket is in /run, named by the cache.
    fn run_dir(&self) -> PathBuf {
        let id = crate::cache::Key::new("engine").field("root", self.root.as_os_str().as_encoded_bytes()).finish();
        Path::new("/run").join(format!("slipway-{}", &id[..8]))
    }

    fn host(&self) -> String {
        format!("unix://{}", self.run_dir().join("docker.sock").display())
    }

    fn answers(&self) -> Option<Engine> {
        let version = Cmd::new("docker")
            .args(["--host", &self.host(), "version", "--format", "{{.Server.Version}}"])
            .quiet()
            .read()
            .ok()?;
        (!version.is_empty()).then(|| Engine { host: Some(self.host()), version })
    }

    /// The process id of the running engine: the pid file's, if that process is an engine of this folder.
    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.file("dockerd.pid")).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = String::from_utf8_lossy(&command).contains(&*self.file("daemon.json").to_string_lossy());
        ours.then(|| Pid::from_raw(pid)).flatten()
    }

    fn start(&self, host: &Host) -> Result<Engine> {
        let dockerd = find_program("dockerd").context("find dockerd: install the Docker engine (Debian: docker.io)")?;
        for dir in [&self.root, &self.run_dir()] {
            fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        }
        // A pid file left by a killed engine stops the next one when its number is in use again.
        let _ = fs::remove_file(self.file("dockerd.pid"));
        let config = self.file("daemon.json");
        fs::write(&config, self.daemon_json(host)?).context("write the engine's configuration")?;
        let log = self.file("dockerd.log");
        let mut daemon = Cmd::new(&dockerd).arg("--config-file").arg(&config).log(&log).daemon()?;
        eventually("the private Docker engine answers", START_DEADLINE, || {
            if let Some(engine) = self.answers() {
                return Ok(Probe::Ready(engine));
            }
            if let Some(status) = daemon.try_wait().context("look at dockerd")? {
                bail!("dockerd ended with {status}; its log: {}", log.display());
            }
            Ok(Probe::NotYet(format!("no answer on {}; its log: {}", self.host(), log.display())))
        })
    }

    fn daemon_json(&self, host: &Host) -> Result<String> {
        let mut config = json!({
            "data-root": self.file("data"),
            "exec-root": self.run_dir().join("exec"),
            "pidfile": self.file("dockerd.pid"),
            "hosts": [self.host()],
            // kind makes a network of its own; without the default bridge nothing of ours stays on the host.
            "bridge": "none",
            "log-level": "warn",
        });
        if !host.has_sys_resource() {
            let wrapper = self.file(oci_runtime::PROGRAM);
            let ourselves = std::env::current_exe().context("find our own program")?;
            // A copy: the build may replace our own program while the engine runs.
            let _ = fs::remove_file(&wrapper);
            fs::copy(&ourselves, &wrapper).context("copy the OCI runtime wrapper")?;
            config["runtimes"] = json!({"capped": {"path": wrapper}});
            config["default-runtime"] = json!("capped");
        }
        Ok(serde_json::to_string_pretty(&config)?)
    }

    /// Stops the private engine, if it runs.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&self) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        progress::step("stop the private Docker engine", || {
            kill_process(pid, Signal::TERM).context("signal dockerd")?;
            eventually("dockerd ends", STOP_DEADLINE, || {
                Ok(match self.pid() {
                    None => Probe::Ready(()),
                    Some(_) => Probe::NotYet("it still runs".into()),
                })
            })?;
            let _ = fs::remove_dir_all(self.run_dir());
            Ok(())
        })
    }
}

/// The engine that answers already, ours or the user's, if there is one.
pub fn running(cache: &Path) -> Option<Engine> {
    Private::of(cache).answers().or_else(|| {
        crate::host::docker_server().map(|version| Engine { host: None, version })
    })
}

/// The engine that answers already, else a private one that is started now.
///
/// # Errors
/// When none runs and none can be started.
pub fn ensure(host: &Host, cache: &Path) -> Result<Engine> {
    if let Some(engine) = running(cache) {
        return Ok(engine);
    }
    if !host.root {
        bail!("no Docker engine answers and we are not root: start Docker, or run as root to have a private one started");
    }
    progress::step("start a private Docker engine", || Private::of(cache).start(host))
}
