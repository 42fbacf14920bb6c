//! The process of a server: its start, its output, and the wait for its first answer.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

use super::super::{
    reaper::Reaper,
    wait::{Probe, eventually},
};

/// Timeout for a server's first answer. Two seconds are usual; a machine that also compiles takes longer.
const START: Duration = Duration::from_secs(60);

/// Number of last lines of a server's output in an error.
const TAIL: usize = 20;

/// A server's process, with its output in a file.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    process: Child,
    output: PathBuf,
}

impl Server {
    pub(super) fn start(reaper: &Reaper, name: &'static str, mut command: Command) -> Result<Self> {
        let output = reaper.folder().join(format!("{name}.log"));
        let file = File::create(&output).with_context(|| format!("creating {}", output.display()))?;
        let process = command
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        Ok(Self { name, process, output })
    }

    /// Waits for an answer.
    pub(super) async fn answers<T>(&mut self, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let name = self.name;
        let what = format!("{name} answers");
        let process = &mut self.process;
        let answer = eventually(&what, START, async || match process.try_wait() {
            Ok(Some(ended)) => Probe::Failed(anyhow!("{name} ended with {ended}")),
            _ => probe().await.into(),
        });
        answer.await.with_context(|| format!("the end of {name}'s output:\n{}", self.tail()))
    }

    fn tail(&self) -> String {
        let output = fs::read(&self.output).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}
