//! The program under test as a child process.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{process::Child, time::timeout};

use super::{
    ports,
    reaper::Reaper,
    wait::{Probe, eventually, when},
};

/// Timeout from start to ready, and for what a test waits for.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A scaler that is not started yet. Its environment has only what is set here.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    pub(super) reaper: &'a Reaper,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) output: PathBuf,
}

impl Builder<'_> {
    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts the scaler and waits until it is ready.
    pub(crate) async fn start(self) -> Result<Scaler> {
        let mut scaler = self.spawn(&[])?;
        scaler.readiness("ready").await?;
        Ok(scaler)
    }

    /// Starts the scaler with arguments.
    pub(crate) fn spawn(mut self, arguments: &[&str]) -> Result<Scaler> {
        let address = format!("127.0.0.1:{}", ports::free());
        self.environment.entry("SCALER_ADDRESS".to_owned()).or_insert_with(|| address.clone());
        let file = File::create(&self.output).with_context(|| format!("creating {}", self.output.display()))?;
        let mut command = self.reaper.command(env!("CARGO_BIN_EXE_temporal-scaler").as_ref());
        command
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .stdout(file.try_clone()?)
            .stderr(file)
            .stdin(Stdio::null());
        let process = tokio::process::Command::from(command).kill_on_drop(true).spawn().context("starting a scaler")?;
        Ok(Scaler {
            process,
            base: format!("http://{address}"),
            http: reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?,
            output: self.output,
        })
    }
}

/// A running scaler. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Scaler {
    process: Child,
    base: String,
    http: reqwest::Client,
    output: PathBuf,
}

impl Scaler {
    /// Status and body of a path on its port.
    pub(crate) async fn get(&self, path: &str) -> Result<(StatusCode, String)> {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await;
        let answer = answer.with_context(|| format!("asking the scaler for {path}"))?;
        Ok((answer.status(), answer.text().await.with_context(|| format!("reading {path}"))?))
    }

    /// Status and content of /scale.
    pub(crate) async fn scale(&self) -> Result<(StatusCode, Value)> {
        let (status, text) = self.get("/scale").await?;
        Ok((status, serde_json::from_str(&text).with_context(|| format!("parsing {text}"))?))
    }

    /// The answer of /scale.
    pub(crate) async fn answer(&self) -> Result<Value> {
        let (status, answer) = self.scale().await?;
        ensure!(status == StatusCode::OK, "{status}: {answer}");
        ensure!(answer["workers"].is_u64(), "no number: {answer}");
        Ok(answer)
    }

    /// Waits for an answer that meets a condition.
    pub(crate) async fn answers(&self, what: &str, is_met: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(what, SOON, async || match self.answer().await {
            Ok(answer) if is_met(&answer) => Probe::Ready(answer),
            Ok(answer) => Probe::NotYet(answer.to_string()),
            Err(error) => Probe::NotYet(format!("{error:#}")),
        })
        .await
    }

    /// Waits until a condition is in /scale (or is not), whatever its status, and checks that the metric agrees.
    pub(crate) async fn condition(&self, kind: &str, holds: bool) -> Result<String> {
        eventually(&format!("the condition {kind} is {holds}"), SOON, async || match self.shown(kind).await {
            Ok((text, count)) if text.is_some() == holds && (count > 0.0) == holds => {
                Probe::Ready(text.unwrap_or_default())
            }
            Ok(shown) => Probe::NotYet(format!("{shown:?}")),
            Err(error) => Probe::NotYet(format!("{error:#}")),
        })
        .await
    }

    async fn shown(&self, kind: &str) -> Result<(Option<String>, f64)> {
        let (_, body) = self.scale().await?;
        let conditions = body["conditions"].as_array().into_iter().flatten();
        let found = conditions.filter(|condition| condition["kind"] == kind).find_map(|found| found["text"].as_str());
        let count = self.metric(&format!("temporal_scaler_conditions{{kind=\"{kind}\"}}")).await?;
        Ok((found.map(str::to_owned), count.context("the metric is absent")?))
    }

    /// The value of a series, written as on the page.
    pub(crate) async fn metric(&self, series: &str) -> Result<Option<f64>> {
        let (status, text) = self.get("/metrics").await?;
        ensure!(status == StatusCode::OK, "{status}: {text}");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().with_context(|| format!("parsing {value}"))).transpose()
    }

    /// Waits until the body of /readyz starts with a text.
    pub(crate) async fn readiness(&mut self, says: &str) -> Result<()> {
        eventually(&format!("/readyz answers {says:?}"), SOON, async || {
            if let Ok(Some(ended)) = self.process.try_wait() {
                return Probe::Failed(anyhow!("the scaler ended with {ended}"));
            }
            match self.get("/readyz").await {
                Ok((_, text)) => when(text.starts_with(says), || text.clone()),
                Err(error) => Probe::NotYet(format!("{error:#}")),
            }
        })
        .await
    }

    /// The lines of the output that have a text.
    pub(crate) fn logged(&self, text: &str) -> usize {
        self.output().lines().filter(|line| line.contains(text)).count()
    }

    /// The output so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).context("sending a signal")
    }

    fn pid(&self) -> Result<Pid> {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        id.context("the scaler has ended")
    }

    /// Its peak resident memory in kB.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid()?.as_raw_nonzero());
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        number.with_context(|| format!("{path} has no VmHWM"))
    }

    /// Waits for the exit. Returns the exit code.
    pub(crate) async fn exit_code(&mut self) -> Result<i32> {
        let ended = timeout(SOON, self.process.wait()).await.context("the scaler does not end")??;
        match (ended.code(), ended.signal()) {
            (Some(code), _) => Ok(code),
            (None, signal) => bail!("it ended by the signal {signal:?}"),
        }
    }
}
