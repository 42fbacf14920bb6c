//! The one runner of child processes: argument arrays, never shell strings.
//!
//! Every command's output is kept: in memory, and appended to a log where one is set. An error names the program,
//! its arguments, the status and the last lines, so that nobody has to run it again to learn what it said.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::{interrupt, progress};

/// How many of the last lines of a failed command its error shows.
const TAIL_LINES: usize = 15;

/// Why a child process did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program could not be started at all.
    #[error("start `{command}`: {source}")]
    Start {
        /// Program and arguments, as one line.
        command: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The program ran and failed.
    #[error("`{command}` ended with {status}{}{}", log_hint(.log.as_deref()), indent(.tail))]
    Failed {
        /// Program and arguments, as one line.
        command: String,
        /// Exit code or signal.
        status: ExitStatus,
        /// Where the whole output is, if it was logged.
        log: Option<PathBuf>,
        /// The last lines of standard output and standard error, as they came.
        tail: String,
    },
    /// The user asked to stop, or what ran beside it failed, while the program ran.
    #[error("interrupted while `{command}` ran")]
    Interrupted {
        /// Program and arguments, as one line.
        command: String,
    },
}

fn log_hint(log: Option<&Path>) -> String {
    log.map_or_else(String::new, |log| format!(" (whole output: {})", log.display()))
}

fn indent(tail: &str) -> String {
    tail.lines().map(|line| format!("\n    {line}")).collect()
}

/// What a finished command printed.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output, lossily decoded.
    pub stdout: String,
    /// Standard output and standard error in order of arrival, lossily decoded.
    pub all: String,
    /// How it ended.
    pub status: ExitStatus,
}

/// A child process to be: built up, then run once or more.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    cwd: Option<PathBuf>,
    log: Option<PathBuf>,
    stdin: Vec<u8>,
    quiet: bool,
}

impl Cmd {
    /// A command for `program`, found by PATH unless it has a slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            log: None,
            stdin: Vec::new(),
            quiet: false,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments in order.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable for the child.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes an inherited environment variable for the child.
    #[must_use]
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), None));
        self
    }

    /// Runs the child in this folder.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.cwd = Some(dir.as_ref().to_owned());
        self
    }

    /// Appends all output, and the command line before it, to this file.
    #[must_use]
    pub fn log(mut self, file: impl AsRef<Path>) -> Self {
        self.log = Some(file.as_ref().to_owned());
        self
    }

    /// Feeds these bytes to standard input; without it, standard input is empty.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Does not print the command line (for probes that run many times).
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The command as one line, for people.
    pub fn line(&self) -> String {
        let mut line = self.program.to_string_lossy().into_owned();
        for arg in &self.args {
            let arg = arg.to_string_lossy();
            line.push(' ');
            if arg.is_empty() || arg.contains(char::is_whitespace) {
                line.push_str(&format!("'{arg}'"));
            } else {
                line.push_str(&arg);
            }
        }
        line
    }

    /// Runs to the end; anything but exit code 0 is an error.
    ///
    /// # Errors
    /// [`CommandError::Start`], [`CommandError::Failed`], or [`CommandError::Interrupted`] after Ctrl-C.
    pub fn run(&self) -> Result<Output, CommandError> {
        self.expect_success(self.run_any()?)
    }

    fn expect_success(&self, output: Output) -> Result<Output, CommandError> {
        if output.status.success() {
            return Ok(output);
        }
        let lines: Vec<&str> = output.all.lines().collect();
        Err(CommandError::Failed {
            command: self.line(),
            status: output.status,
            log: self.log.clone(),
            tail: lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"),
        })
    }

    /// Runs to the end and returns trimmed standard output.
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub fn read(&self) -> Result<String, CommandError> {
        Ok(self.run()?.stdout.trim().to_owned())
    }

    /// Runs to the end; the caller reads the status.
    ///
    /// # Errors
    /// [`CommandError::Start`], or [`CommandError::Interrupted`] after Ctrl-C.
    pub fn run_any(&self) -> Result<Output, CommandError> {
        // A child that does not read its input is allowed to: the broken pipe is not our error.
        self.execute(|mut stdin| drop(stdin.write_all(&self.stdin)))
    }

    /// Runs to the end while `feed` writes its standard input; anything but exit code 0 is an error.
    ///
    /// # Errors
    /// As [`Cmd::run`]; what `feed` returns, when the program itself was content.
    pub fn run_fed(
        &self,
        feed: impl FnOnce(&mut dyn Write) -> anyhow::Result<()> + Send,
    ) -> anyhow::Result<Output> {
        let mut fed = Ok(());
        let output = self.execute(|mut stdin| fed = feed(&mut stdin))?;
        let output = self.expect_success(output)?;
        fed.map(|()| output)
    }

    fn execute(&self, feed: impl FnOnce(ChildStdin) + Send) -> Result<Output, CommandError> {
        if !self.quiet {
            progress::detail(&self.line());
        }
        let mut log = self.open_log();
        if let Some(log) = &mut log {
            let _ = writeln!(log, "$ {}", self.line());
        }
        let mut child = self.spawn_piped()?;
        let _watched = interrupt::Watched::new(child.id());
        let stdin = child.stdin.take();
        let kept = Arc::new(Mutex::new((Vec::new(), log)));
        // What a probe prints is for us, not for the user.
        let line = || {
            if self.quiet {
                progress::Line::default()
            } else {
                progress::Line::current()
            }
        };
        let out = child
            .stdout
            .take()
            .map(|pipe| collect(pipe, Arc::clone(&kept), line()));
        let err = child
            .stderr
            .take()
            .map(|pipe| collect(pipe, Arc::clone(&kept), line()));
        let status = thread::scope(|scope| {
            scope.spawn(|| stdin.map(feed));
            child.wait()
        });
        let status = status.map_err(|source| self.start_error(source))?;
        let stdout = out.and_then(|thread| thread.join().ok()).unwrap_or_default();
        err.map(thread::JoinHandle::join);
        if !status.success() && interrupt::check().is_err() {
            return Err(CommandError::Interrupted { command: self.line() });
        }
        let all = kept.lock().map(|kept| kept.0.clone()).unwrap_or_default();
        Ok(Output {
            stdout: lossy(&stdout),
            all: lossy(&all),
            status,
        })
    }

    /// Runs to the end with inherited output (for programs that talk to the user). Ctrl-C reaches the program as any
    /// other child: through us, as SIGTERM.
    ///
    /// # Errors
    /// [`CommandError::Start`].
    pub fn passthrough(&self) -> Result<ExitStatus, CommandError> {
        use std::os::unix::process::CommandExt as _;
        progress::detail(&self.line());
        let mut child = self
            .prepared()
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|source| self.start_error(source))?;
        let _watched = interrupt::Watched::new(child.id());
        child.wait().map_err(|source| self.start_error(source))
    }

    /// Starts the program in the background, its output going to the log (or nowhere), in a process group of its own.
    ///
    /// # Errors
    /// [`CommandError::Start`].
    pub fn daemon(&self) -> Result<Child, CommandError> {
        use std::os::unix::process::CommandExt as _;
        progress::detail(&self.line());
        let mut command = self.prepared();
        command.stdin(Stdio::null()).process_group(0);
        match self.open_log().and_then(|log| Some((log.try_clone().ok()?, log))) {
            Some((out, err)) => command.stdout(out).stderr(err),
            None => command.stdout(Stdio::null()).stderr(Stdio::null()),
        };
        command.spawn().map_err(|source| self.start_error(source))
    }

    fn spawn_piped(&self) -> Result<Child, CommandError> {
        use std::os::unix::process::CommandExt as _;
        self.prepared()
            // A group of its own: Ctrl-C reaches us alone, and we pass it on (see `interrupt`).
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| self.start_error(source))
    }

    fn prepared(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        for (key, value) in &self.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command
    }

    fn open_log(&self) -> Option<File> {
        let path = self.log.as_ref()?;
        if let Some(parent) = path.parent() {
            let _ = std::fs::create_dir_all(parent);
        }
        OpenOptions::new().create(true).append(true).open(path).ok()
    }

    fn start_error(&self, source: std::io::Error) -> CommandError {
        CommandError::Start {
            command: self.line(),
            source,
        }
    }
}

/// Reads one pipe to its end on a thread of its own; returns what came through it, and keeps it in `kept` as well,
/// and shows its last line.
fn collect(
    mut pipe: impl Read + Send + 'static,
    kept: Arc<Mutex<(Vec<u8>, Option<File>)>>,
    line: progress::Line,
) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut own = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            own.extend_from_slice(&buffer[..count]);
            if let Ok(mut kept) = kept.lock() {
                kept.0.extend_from_slice(&buffer[..count]);
                if let Some(log) = &mut kept.1 {
                    let _ = log.write_all(&buffer[..count]);
                }
                line.output(&buffer[..count]);
            }
        }
        own
    })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_program_arguments_status_and_last_lines() {
        let error = Cmd::new("sh")
            .args(["-c", "echo one; echo two >&2; exit 3"])
            .run()
            .unwrap_err()
            .to_string();
        for part in ["sh -c", "exit status: 3", "one", "two"] {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }

    #[test]
    fn missing_program_is_named() {
        let error = Cmd::new("slipway-no-such-program").run().unwrap_err().to_string();
        assert!(error.contains("slipway-no-such-program"), "{error}");
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(Cmd::new("cat").stdin("hello").read().unwrap(), "hello");
    }
}
