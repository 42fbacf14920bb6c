//! The one place where this crate runs another program: argument arrays, a time limit, all output
//! kept, and an error that names the program, its arguments, the status and the last lines.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;

/// Lines of output that an error repeats.
const LAST_LINES: usize = 5;

/// A program to run.
#[derive(Debug)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Option<String>,
    limit: Duration,
}

/// What a program that ended left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Command {
    /// `program` without arguments, with 30 s to end.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            input: None,
            limit: Duration::from_secs(30),
        }
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Writes `input` to its standard input, which is otherwise empty.
    pub fn input(mut self, input: impl Into<String>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Ends it after `limit`.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The command as one line, for people.
    pub fn line(&self) -> String {
        let parts = std::iter::once(&self.program).chain(&self.arguments);
        parts
            .map(|part| part.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs it and returns what it left behind, whatever its status.
    ///
    /// # Errors
    /// It could not be started, or did not end in time (it is killed then).
    pub async fn output(&self) -> Result<Output> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdin(if self.input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {}", self.line()))?;
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), &self.input) {
            // A program that ends before it has read everything breaks the pipe: its status tells.
            let _ = pipe.write_all(input.as_bytes()).await;
        }
        let ended = tokio::time::timeout(self.limit, child.wait_with_output()).await;
        let Ok(output) = ended else {
            bail!("{} did not end within {:.0?}", self.line(), self.limit)
        };
        let output = output.with_context(|| format!("running {}", self.line()))?;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs it and returns its standard output.
    ///
    /// # Errors
    /// As [`Self::output`], and where its status is not 0.
    pub async fn stdout(&self) -> Result<String> {
        let output = self.output().await?;
        if output.code != Some(0) {
            bail!("{}: {}", self.line(), output.failure());
        }
        Ok(output.stdout)
    }
}

impl Output {
    /// The status and the last lines, for an error.
    pub fn failure(&self) -> String {
        let status = self.code.map_or_else(
            || "ended by a signal".to_owned(),
            |code| format!("exit code {code}"),
        );
        let told = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let lines: Vec<&str> = told.trim().lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" / ");
        if last.is_empty() {
            status
        } else {
            format!("{status}: {last}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        Command::new("sh").args(["-c", script])
    }

    #[tokio::test]
    async fn output_status_and_input_are_kept_apart() {
        let output = shell("cat; echo err >&2; exit 3")
            .input("in")
            .output()
            .await
            .unwrap();
        assert_eq!(
            output,
            Output {
                code: Some(3),
                stdout: "in".to_owned(),
                stderr: "err\n".to_owned()
            }
        );
    }

    #[tokio::test]
    async fn an_error_names_program_status_and_last_lines() {
        let error = shell("seq 1 9 >&2; exit 4")
            .stdout()
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(error, "sh -c seq 1 9 >&2; exit 4: exit code 4: 5 / 6 / 7 / 8 / 9");
    }

    #[tokio::test]
    async fn what_hangs_is_ended() {
        let error = shell("exec tail -f /dev/null")
            .limit(Duration::from_millis(50))
            .output()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("did not end within 50ms"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = Command::new("no-such-program")
            .args(["-x"])
            .output()
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "starting no-such-program -x");
    }
}
