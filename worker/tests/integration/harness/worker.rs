//! The program under test as a child process: its environment, signals, port and output.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{process::Child, time::timeout};

use super::{
    metrics::Exposition,
    ports,
    reaper::Reaper,
    wait::{Probe, eventually, when},
};

/// The path of the program. A benchmark sets `SLIPWAY_WORKER` to the program of an image.
fn program() -> PathBuf {
    std::env::var_os("SLIPWAY_WORKER").map_or_else(|| env!("CARGO_BIN_EXE_temporal-worker").into(), PathBuf::from)
}

/// Timeout from start to ready. One second is usual, even for a debug build, but up to eight tests start workers at
/// once on two cores.
const READY: Duration = Duration::from_secs(30);

/// A worker that is not started yet. Its environment has only what is set here, nothing of the tests' own.
#[derive(Debug)]
pub(crate) struct WorkerBuilder<'a> {
    pub(super) reaper: &'a Reaper,
    pub(super) arguments: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) unset: Vec<String>,
    pub(super) output: PathBuf,
}

impl WorkerBuilder<'_> {
    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Leaves a variable to its default.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.unset.push(name.to_owned());
        self
    }

    /// Adds arguments.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Starts the worker and waits until it is ready.
    pub(crate) async fn start(self) -> Result<Worker> {
        let mut worker = self.spawn()?;
        worker.is_ready().await?;
        Ok(worker)
    }

    /// Starts the worker.
    pub(crate) fn spawn(mut self) -> Result<Worker> {
        let port = ports::free();
        let address = format!("127.0.0.1:{port}");
        self.environment.entry("METRICS_ADDRESS".to_owned()).or_insert_with(|| address.clone());
        self.unset.iter().for_each(|name| drop(self.environment.remove(name)));
        let file = File::create(&self.output).with_context(|| format!("creating {}", self.output.display()))?;
        let mut command = self.reaper.command(&program());
        command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            .stdout(file.try_clone()?)
            .stderr(file)
            .stdin(Stdio::null());
        let process =
            tokio::process::Command::from(command).kill_on_drop(true).spawn().context("starting the worker")?;
        let id = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Worker {
            process,
            id: id.context("the worker has no process id")?,
            base: format!("http://{address}"),
            http: reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?,
            output: self.output,
        })
    }
}

/// A running worker. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Worker {
    process: Child,
    /// Its process id.
    pub(crate) id: Pid,
    base: String,
    http: reqwest::Client,
    output: PathBuf,
}

impl Worker {
    /// Asks another address of its port from now on.
    pub(crate) fn moved_to(&mut self, base: &str) {
        base.clone_into(&mut self.base);
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.id, signal).with_context(|| format!("sending {signal:?} to the worker"))
    }

    /// Kills the worker without a graceful shutdown.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.process.kill().await.context("killing the worker")
    }

    /// Whether the worker still runs.
    pub(crate) fn runs(&mut self) -> Result<bool> {
        Ok(self.process.try_wait().context("looking at the worker")?.is_none())
    }

    /// The largest resident memory so far, in kB.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        self.status("VmHWM")
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> Result<u64> {
        self.status("Threads")
    }

    /// A number from /proc/<pid>/status.
    fn status(&self, name: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id.as_raw_nonzero());
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        number.with_context(|| format!("{path} has no {name}"))
    }

    /// Waits for the exit. Returns the exit code, or 128 plus the signal that ended the process.
    pub(crate) async fn exit_code(&mut self, deadline: Duration) -> Result<i32> {
        let ended = timeout(deadline, self.process.wait()).await;
        let status: ExitStatus = ended
            .with_context(|| format!("the worker did not end within {deadline:?}"))?
            .context("waiting for the worker")?;
        Ok(status.code().unwrap_or(128 + status.signal().unwrap_or_default()))
    }

    /// Status and body of a path on its port.
    pub(crate) async fn get(&self, path: &str) -> Result<(StatusCode, String)> {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await;
        let answer = answer.with_context(|| format!("asking the worker for {path}"))?;
        Ok((answer.status(), answer.text().await.with_context(|| format!("reading {path}"))?))
    }

    /// The current metrics.
    pub(crate) async fn metrics(&self) -> Result<Exposition> {
        Ok(Exposition(self.get("/metrics").await?.1))
    }

    /// Waits until the worker is ready.
    pub(crate) async fn is_ready(&mut self) -> Result<()> {
        self.readiness("ready", READY).await
    }

    /// Waits until the body of /readyz starts with this text.
    pub(crate) async fn readiness(&mut self, says: &str, deadline: Duration) -> Result<()> {
        let what = format!("/readyz answers {says:?}");
        eventually(&what, deadline, async || {
            if let Ok(Some(ended)) = self.process.try_wait() {
                return Probe::Failed(anyhow!("the worker ended with {ended}"));
            }
            match self.get("/readyz").await {
                Ok((_, text)) => when(text.starts_with(says), || text.clone()),
                Err(error) => Probe::NotYet(format!("{error:#}")),
            }
        })
        .await
    }

    /// The output so far.
    pub(crate) fn output(&self) -> String {
        read(&self.output)
    }
}

/// The content of an output file.
pub(crate) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
