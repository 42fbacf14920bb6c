//! The Docker engine: the one that is running, or a private one that this crate starts.
//!
//! A private engine has its own data, state, socket and pid file, and does not touch another engine's. It outlives the
//! command that started it only if the user asked to keep the cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::command::Cmd;
use support::progress;
use support::wait::{Probe, blocking::eventually};

use crate::host::{Host, find_program};
use crate::oci_runtime;

/// How long a private engine may take to answer. It first restarts the containers that it had.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a private engine may take to stop. It gives containers 10 s, then kills them.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// Part of the name of every firewall chain that Docker creates.
const CHAIN: &str = "DOCKER";
/// The file with the firewall rules from before a private engine started.
const FIREWALL: &str = "iptables-before";

/// A Docker engine that answers.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Value for DOCKER_HOST. Absent for the engine that the user's environment selects.
    pub host: Option<String>,
    /// The engine's version.
    pub version: String,
}

impl Engine {
    /// The docker client for this engine.
    pub fn docker(&self) -> Cmd {
        self.point(Cmd::new("docker"))
    }

    /// Makes a command that uses Docker use this engine.
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
    /// The private engine of a cache folder.
    pub fn of(cache: &Path) -> Self {
        Self { root: cache.join("docker") }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The folder of the socket. It is in /run, because a socket's path has at most 108 bytes and the cache's may be
    /// longer. Its name is a hash of the cache's path.
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

    /// The process id of the running engine.
    fn pid(&self) -> Option<Pid> {
        process_of(&self.file("dockerd.pid"), &self.file("daemon.json"))
    }

    fn start(&self, host: &Host) -> Result<Engine> {
        let dockerd = find_program("dockerd").context("find dockerd: install the Docker engine (Debian: docker.io)")?;
        for dir in [&self.root, &self.run_dir()] {
            fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        }
        self.remember_firewall()?;
        // A killed engine leaves its pid file. If another process has that id now, the engine does not start. The same
        // holds for its containerd, unless that is still running: then the new engine uses it.
        let _ = fs::remove_file(self.file("dockerd.pid"));
        let containerd = self.run_dir().join("exec/containerd");
        let pid_file = containerd.join("containerd.pid");
        if process_of(&pid_file, &containerd).is_none() {
            let _ = fs::remove_file(pid_file);
        }
        let config = self.file("daemon.json");
        fs::write(&config, self.daemon_json(host)?).context("write the engine's configuration")?;
        let log = self.file("dockerd.log");
        let mut daemon = Cmd::new(&dockerd).arg("--config-file").arg(&config).log(&log).daemon()?;
        eventually("the private Docker engine answers", START_DEADLINE, || {
            if let Some(engine) = self.answers() {
                return Ok(Probe::Ready(engine));
            }
            if let Some(status) = daemon.try_wait().context("get the status of dockerd")? {
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
            // kind creates its own network. Without the default bridge no interface stays on the host.
            "bridge": "none",
            "log-level": "warn",
        });
        if !host.has_sys_resource() {
            let wrapper = self.file(oci_runtime::PROGRAM);
            let ourselves = std::env::current_exe().context("find the path of this program")?;
            // A copy, because a build may replace this program while the engine runs.
            let _ = fs::remove_file(&wrapper);
            fs::copy(&ourselves, &wrapper).context("copy the OCI runtime wrapper")?;
            config["runtimes"] = json!({"capped": {"path": wrapper}});
            config["default-runtime"] = json!("capped");
        }
        Ok(serde_json::to_string_pretty(&config)?)
    }

    /// Whether the engine of this folder was killed rather than stopped. Its containers may still run.
    pub fn was_killed(&self) -> bool {
        self.pid().is_none() && self.file(FIREWALL).exists()
    }

    /// Stops the private engine if it is running.
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
                    Some(_) => Probe::NotYet("it is still running".into()),
                })
            })?;
            // An engine bind-mounts its data folder, and leaves the mount if it is killed.
            let _ = Cmd::new("umount").arg(self.file("data")).quiet().run_any();
            let _ = fs::remove_dir_all(self.run_dir());
            self.restore_firewall()
        })
    }

    /// Saves the firewall rules, because Docker leaves its chains and a FORWARD policy of DROP. If a killed engine left
    /// such a file, that one is kept.
    fn remember_firewall(&self) -> Result<()> {
        let file = self.file(FIREWALL);
        if file.exists() {
            return Ok(());
        }
        let rules = Cmd::new("iptables-save").quiet().read().unwrap_or_default();
        fs::write(&file, rules).with_context(|| format!("write {}", file.display()))
    }

    fn restore_firewall(&self) -> Result<()> {
        let file = self.file(FIREWALL);
        let Ok(before) = fs::read_to_string(&file) else {
            return Ok(());
        };
        let now = Cmd::new("iptables-save").quiet().read().unwrap_or_default();
        if !before.contains(CHAIN) && now.contains(CHAIN) {
            let rules = without_docker(&now, forward_policy(&before));
            Cmd::new("iptables-restore")
                .stdin(rules)
                .quiet()
                .run()
                .context("remove Docker's rules from the firewall")?;
        }
        fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))
    }
}

/// The process that a pid file names, if its command line contains this path. Another process may have the id by now.
fn process_of(pid_file: &Path, path: &Path) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = String::from_utf8_lossy(&command).contains(&*path.to_string_lossy());
    ours.then(|| Pid::from_raw(pid)).flatten()
}

/// The policy of the chain FORWARD in the output of `iptables-save`. Without that chain it is the default, ACCEPT.
fn forward_policy(rules: &str) -> &str {
    let line = rules.lines().find_map(|line| line.strip_prefix(":FORWARD "));
    line.and_then(|line| line.split(' ').next()).unwrap_or("ACCEPT")
}

/// The rules without Docker's chains and the jumps to them, and with this policy for FORWARD.
fn without_docker(rules: &str, policy: &str) -> String {
    rules
        .lines()
        .filter(|line| line.starts_with('#') || !line.contains(CHAIN))
        .map(|line| match line.strip_prefix(":FORWARD ").and_then(|rest| rest.split_once(' ')) {
            Some((_, counters)) => format!(":FORWARD {policy} {counters}\n"),
            None => format!("{line}\n"),
        })
        .collect()
}

/// The engine that answers, if there is one: the private one or the user's.
pub fn running(cache: &Path) -> Option<Engine> {
    Private::of(cache).answers().or_else(|| crate::host::docker_server().map(|version| Engine { host: None, version }))
}

/// The engine that answers, or a private one that was killed. That one is started again, to remove what it left.
///
/// # Errors
/// When the private engine does not start.
pub fn running_or_restarted(host: &Host, cache: &Path) -> Result<Option<Engine>> {
    if Private::of(cache).was_killed() {
        return ensure(host, cache).map(Some);
    }
    Ok(running(cache))
}

/// The engine that answers. If there is none, starts a private one.
///
/// # Errors
/// When no engine answers and none can be started.
pub fn ensure(host: &Host, cache: &Path) -> Result<Engine> {
    if let Some(engine) = running(cache) {
        return Ok(engine);
    }
    if !host.root {
        bail!("no Docker engine answers: start Docker, or run as root, which starts a private engine");
    }
    progress::step("start a private Docker engine", || Private::of(cache).start(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dockers_rules_are_removed_from_the_firewall() {
        let rules = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [1:2]\n:DOCKER-USER - [0:0]\n\
                     -A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n";
        let kept = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [1:2]\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n";
        assert_eq!(without_docker(rules, forward_policy("")), kept);
        assert_eq!(forward_policy(rules), "DROP");
    }
}
