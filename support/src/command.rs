//! The one runner of child processes: argument arrays, never shell strings.
//!
//! The output of every command is kept in memory, and appended to a log if one is set. An error names the program, its
//! arguments, the status and the last lines, so that nobody has to run it again to learn what it said.

#[cfg(feature = "async")]
mod asynchronous;

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::{interrupt, progress};

/// How many of the last lines of a failed command its error shows.
const TAIL_LINES: usize = 15;

/// How many of the last lines [`Output::failure`] shows.
const FAILURE_LINES: usize = 5;

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
    /// The program did not end within its limit and was killed.
    #[error("`{command}` did not end within {limit:.0?}{}{}", log_hint(.log.as_deref()), indent(.tail))]
    TimedOut {
        /// Program and arguments, as one line.
        command: String,
        /// The limit.
        limit: Duration,
        /// Where the whole output is, if it was logged.
        log: Option<PathBuf>,
        /// The last lines of standard output and standard error, as they came.
        tail: String,
    },
    /// While the program ran, the user asked to stop, or work that ran beside it failed.
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
    /// Standard error, lossily decoded.
    pub stderr: String,
    /// Standard output and standard error in order of arrival, lossily decoded.
    pub all: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Output {
    /// Status and last lines as one line, for a report. The lines are those of standard error if it has any.
    pub fn failure(&self) -> String {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let last = last_lines(said.trim(), FAILURE_LINES).join(" / ");
        if last.is_empty() { self.status.to_string() } else { format!("{}: {last}", self.status) }
    }
}

/// Why a command's watchdog stops.
enum Stop {
    /// The command ended.
    Ended,
    /// Nobody waits for the command any more.
    #[cfg(feature = "async")]
    Abandoned,
}

/// A command: built up, then run once or more.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    alone: bool,
    cwd: Option<PathBuf>,
    log: Option<PathBuf>,
    stdin: Vec<u8>,
    limit: Duration,
    quiet: bool,
}

impl Cmd {
    /// A command for `program`, found by PATH unless it has a slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            alone: false,
            cwd: None,
            log: None,
            stdin: Vec::new(),
            limit: Duration::MAX,
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
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable for the child.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes an inherited environment variable for the child.
    #[must_use]
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), None));
        self
    }

    /// Gives the child only the variables that are set with [`Cmd::env`], and none of this process.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.alone = true;
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

    /// Kills the command if it has not ended within `limit`. Without it there is no limit. [`Cmd::passthrough`] and
    /// [`Cmd::daemon`] have none.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Does not print the command line, for probes that run many times.
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
    /// As [`Cmd::run_any`], and [`CommandError::Failed`].
    pub fn run(&self) -> Result<Output, CommandError> {
        self.expect_success(self.run_any()?)
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
    /// [`CommandError::Start`], [`CommandError::TimedOut`], or [`CommandError::Interrupted`] after Ctrl-C.
    pub fn run_any(&self) -> Result<Output, CommandError> {
        self.execute(|stdin| self.feed_input(stdin), mpsc::channel())
    }

    /// Runs to the end while `feed` writes its standard input; anything but exit code 0 is an error.
    ///
    /// # Errors
    /// As [`Cmd::run`]. If the program succeeded, the error of `feed`.
    pub fn run_fed(&self, feed: impl FnOnce(&mut dyn Write) -> anyhow::Result<()> + Send) -> anyhow::Result<Output> {
        let mut fed = Ok(());
        let output = self.execute(|mut stdin| fed = feed(&mut stdin), mpsc::channel())?;
        let output = self.expect_success(output)?;
        fed.map(|()| output)
    }

    fn feed_input(&self, mut stdin: ChildStdin) {
        // A child may end without reading its input: the broken pipe is not our error.
        let _ = stdin.write_all(&self.stdin);
    }

    fn expect_success(&self, output: Output) -> Result<Output, CommandError> {
        if output.status.success() {
            return Ok(output);
        }
        Err(CommandError::Failed {
            command: self.line(),
            status: output.status,
            log: self.log.clone(),
            tail: last_lines(&output.all, TAIL_LINES).join("\n"),
        })
    }

    /// Runs the command to its end, which its watchdog brings about at the limit or at [`Stop::Abandoned`].
    fn execute(
        &self,
        feed: impl FnOnce(ChildStdin) + Send,
        (stop, stopped): (Sender<Stop>, Receiver<Stop>),
    ) -> Result<Output, CommandError> {
        self.announce();
        let mut log = self.open_log();
        if let Some(log) = &mut log {
            let _ = writeln!(log, "$ {}", self.line());
        }
        let mut child = self.spawn_piped()?;
        let group = child.id();
        let _watched = interrupt::Watched::new(group);
        let pipes = Pipes::collect(&mut child, log, self.quiet);
        let (ended, timed_out) = thread::scope(|scope| {
            let stdin = child.stdin.take();
            scope.spawn(|| stdin.map(feed));
            let watchdog = scope.spawn(move || watch(group, self.limit, &stopped));
            let status = child.wait();
            let ended = status.map(|status| pipes.finish(status));
            let _ = stop.send(Stop::Ended);
            (ended, watchdog.join().unwrap_or(false))
        });
        let output = ended.map_err(|source| self.start_error(source))?;
        if !output.status.success() && interrupt::check().is_err() {
            return Err(CommandError::Interrupted { command: self.line() });
        }
        if timed_out {
            return Err(CommandError::TimedOut {
                command: self.line(),
                limit: self.limit,
                log: self.log.clone(),
                tail: last_lines(&output.all, TAIL_LINES).join("\n"),
            });
        }
        Ok(output)
    }

    fn announce(&self) {
        if !self.quiet {
            progress::detail(&self.line());
        }
    }

    /// Runs to the end with inherited output, for programs that talk to the user. Ctrl-C reaches the program as it
    /// reaches every child: as a SIGTERM from us.
    ///
    /// # Errors
    /// [`CommandError::Start`].
    pub fn passthrough(&self) -> Result<ExitStatus, CommandError> {
        use std::os::unix::process::CommandExt as _;
        progress::detail(&self.line());
        let mut child =
            self.prepared().process_group(0).stdin(Stdio::null()).spawn().map_err(|source| self.start_error(source))?;
        let _watched = interrupt::Watched::new(child.id());
        child.wait().map_err(|source| self.start_error(source))
    }

    /// Starts the program in the background, in its own process group. Its output goes to the log, if there is one.
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
        if self.alone {
            command.env_clear();
        }
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
        CommandError::Start { command: self.line(), source }
    }
}

/// Kills a process group when its limit passes or nobody waits for it any more. Returns whether the limit passed.
fn watch(group: u32, limit: Duration, stopped: &Receiver<Stop>) -> bool {
    let timed_out = match stopped.recv_timeout(limit) {
        Ok(Stop::Ended) => return false,
        #[cfg(feature = "async")]
        Ok(Stop::Abandoned) => false,
        Err(_) => true,
    };
    interrupt::signal_group(group, Signal::KILL);
    timed_out
}

/// What two pipes brought, in order of arrival, and the log that gets a copy.
type Kept = Arc<Mutex<(Vec<u8>, Option<File>)>>;

/// A child's two output pipes, each read to its end on a thread of its own.
struct Pipes {
    kept: Kept,
    stdout: Option<thread::JoinHandle<Vec<u8>>>,
    stderr: Option<thread::JoinHandle<Vec<u8>>>,
}

impl Pipes {
    fn collect(child: &mut Child, log: Option<File>, quiet: bool) -> Self {
        let kept = Arc::new(Mutex::new((Vec::new(), log)));
        // The output of a probe is for us, not for the user.
        let line = if quiet { progress::Line::default() } else { progress::Line::current() };
        let stdout = child.stdout.take();
        let stdout = stdout.map(|pipe| collect(pipe, Arc::clone(&kept), line.clone()));
        let stderr = child.stderr.take();
        let stderr = stderr.map(|pipe| collect(pipe, Arc::clone(&kept), line));
        Self { kept, stdout, stderr }
    }

    /// Waits for the end of both pipes.
    fn finish(self, status: ExitStatus) -> Output {
        let joined = |thread: Option<thread::JoinHandle<Vec<u8>>>| {
            thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
        };
        let (stdout, stderr) = (joined(self.stdout), joined(self.stderr));
        let all = self.kept.lock().map(|mut kept| std::mem::take(&mut kept.0)).unwrap_or_default();
        Output { stdout: lossy(&stdout), stderr: lossy(&stderr), all: lossy(&all), status }
    }
}

/// Reads one pipe to its end on a thread of its own and returns its bytes. They also go to `kept`, and their last line
/// to the running step.
fn collect(mut pipe: impl Read + Send + 'static, kept: Kept, line: progress::Line) -> thread::JoinHandle<Vec<u8>> {
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

fn last_lines(text: &str, count: usize) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_program_arguments_status_and_last_lines() {
        let error = Cmd::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]).run().unwrap_err().to_string();
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

    #[test]
    fn cleared_environment_has_only_what_was_set() {
        let env = Cmd::new("/usr/bin/env").env("A", "1").env_clear().read().unwrap();
        assert_eq!(env, "A=1");
    }

    #[test]
    fn output_and_status_are_kept_apart() {
        let shell = Cmd::new("sh").args(["-c", "cat; echo err >&2; exit 3"]);
        let output = shell.stdin("in").run_any().unwrap();
        assert_eq!((&*output.stdout, &*output.stderr, output.status.code()), ("in", "err\n", Some(3)));
        assert_eq!(output.failure(), "exit status: 3: err");
    }

    #[test]
    fn failure_has_the_last_lines_in_one() {
        let shell = Cmd::new("sh").args(["-c", "echo out; seq 1 9 >&2; exit 4"]);
        let failure = shell.run_any().unwrap().failure();
        assert_eq!(failure, "exit status: 4: 5 / 6 / 7 / 8 / 9");
        assert_eq!(Cmd::new("false").run_any().unwrap().failure(), "exit status: 1");
    }

    #[test]
    fn program_that_hangs_is_killed_at_its_limit_with_what_it_started() {
        for script in ["exec tail -f /dev/null", "echo begun; tail -f /dev/null & wait"] {
            let shell = Cmd::new("sh").args(["-c", script]);
            let error = shell.limit(Duration::from_millis(100)).run().unwrap_err();
            assert!(error.to_string().contains("did not end within 100ms"), "{error}");
            assert!(!script.contains("begun") || error.to_string().contains("\n    begun"), "{error}");
        }
    }
}
