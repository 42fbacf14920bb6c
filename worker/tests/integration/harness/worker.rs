//! The program under test as a child process: its environment, its signals, its port, its output.

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
    keeper::Keeper,
    metrics::Exposition,
    ports,
    wait::{Probe, eventually, when},
};

/// The program. `SLIPWAY_WORKER` names another one: the one that an image ships, for a benchmark.
fn program() -> PathBuf {
    std::env::var_os("SLIPWAY_WORKER")
        .map_or_else(|| env!("CARGO_BIN_EXE_temporal-worker").into(), PathBuf::from)
}

/// Time from start to ready. A second is usual, also for a debug build; on two cores up to eight tests start theirs at once.
const READY: Duration = Duration::from_secs(30);

/// A worker to be: its environment is what is set here and nothing of the tests' own.
#[derive(Debug)]
pub(crate) struct WorkerBuilder<'a> {
    pub(super) keeper: &'a Keeper,
    pub(super) arguments: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) output: PathBuf,
}

impl WorkerBuilder<'_> {
    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds arguments.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(self) -> Result<Worker> {
        let mut worker = self.spawn()?;
        worker.is_ready().await?;
        Ok(worker)
    }

    /// Starts it.
    pub(crate) fn spawn(mut self) -> Result<Worker> {
        let port = ports::free();
        let address = format!("127.0.0.1:{port}");
        self.environment
            .entry("METRICS_ADDRESS".to_owned())
            .or_insert_with(|| address.clone());
        let file = File::create(&self.output).with_context(|| format!("making {}", self.output.display()))?;
        let mut command = self.keeper.command(&program());
        command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            .stdout(file.try_clone()?)
            .stderr(file)
            .stdin(Stdio::null());
        let process = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .context("starting the worker")?;
        let id = process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Ok(Worker {
            process,
            id: id.context("the worker has no process id")?,
            base: format!("http://{address}"),
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(5))
                .no_proxy()
                .build()?,
            output: self.output,
        })
    }
}

/// A running worker; dropping it kills it.
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
    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.id, signal).with_context(|| format!("sending {signal:?} to the worker"))
    }

    /// Kills it: nothing that it holds is handed back.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.process.kill().await.context("killing the worker")
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> Result<bool> {
        Ok(self
            .process
            .try_wait()
            .context("looking at the worker")?
            .is_none())
    }

    /// Memory that is its own, in kB.
    pub(crate) fn memory(&self) -> Result<u64> {
        self.status("RssAnon")
    }

    /// Threads that it has.
    pub(crate) fn threads(&self) -> Result<u64> {
        self.status("Threads")
    }

    /// A number that the kernel keeps of it.
    fn status(&self, name: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id.as_raw_nonzero());
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        number.with_context(|| format!("{path} tells no {name}"))
    }

    /// Waits for its end; the answer is its exit code, or 128 and the signal that ended it.
    pub(crate) async fn exit_code(&mut self, deadline: Duration) -> Result<i32> {
        let ended = timeout(deadline, self.process.wait()).await;
        let status: ExitStatus = ended
            .with_context(|| format!("the worker did not end within {deadline:?}"))?
            .context("waiting for the worker")?;
        Ok(status.code().unwrap_or(128 + status.signal().unwrap_or_default()))
    }

    /// What a path of its port says.
    pub(crate) async fn get(&self, path: &str) -> Result<(StatusCode, String)> {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await;
        let answer = answer.with_context(|| format!("asking the worker for {path}"))?;
        Ok((
            answer.status(),
            answer.text().await.with_context(|| format!("reading {path}"))?,
        ))
    }

    /// Its metrics now.
    pub(crate) async fn metrics(&self) -> Result<Exposition> {
        Ok(Exposition(self.get("/metrics").await?.1))
    }

    /// Waits until it is ready.
    pub(crate) async fn is_ready(&mut self) -> Result<()> {
        self.readiness("ready", READY).await
    }

    /// Waits until /readyz says so.
    pub(crate) async fn readiness(&mut self, says: &str, deadline: Duration) -> Result<()> {
        let what = format!("/readyz says {says:?}");
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

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        read(&self.output)
    }
}

/// A worker's output.
pub(crate) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
