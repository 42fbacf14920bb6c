//! Ends all processes that the tests started, whether the tests end by success, panic, Ctrl-C or SIGKILL.
//!
//! The reaper is this program again, as a separate process. It reads from a pipe that only the tests hold open.
//! When the pipe closes, the tests have ended. Then it ends every process of its process group, which all servers
//! and workers join, and removes their folder. There is no other clean-up, so every run tests this one.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, getpid, kill_process};

use super::wait::{Probe, eventually, when};

/// First argument of a reaper.
const ARGUMENT: &str = "--reap-folder";

/// Timeout of a graceful end. Postgres uses it to release its shared memory; slower processes are killed.
const GRACEFUL_END: Duration = Duration::from_secs(3);

/// The reaper of one test run. Dropping it ends all processes and removes the folder.
#[derive(Debug)]
pub(crate) struct Reaper {
    process: Child,
    folder: PathBuf,
}

impl Reaper {
    /// Starts the reaper of a new, empty folder. Any user may read the folder, because Postgres runs as another
    /// user.
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("worker-tests-").tempdir().context("creating a folder")?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).context("opening the folder")?;
        let process = Command::new(std::env::current_exe().context("finding this program")?)
            .arg(ARGUMENT)
            .arg(folder.path())
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("starting the reaper")?;
        Ok(Self { process, folder: folder.keep() })
    }

    /// The folder of all files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command whose process ends with the tests.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let group = i32::try_from(self.process.id()).unwrap_or_default();
        command.process_group(group).current_dir(&self.folder).stdin(Stdio::null());
        command
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        match self.process.wait() {
            Ok(status) if status.success() => {}
            ended => eprintln!("the reaper of {} failed: {ended:?}", self.folder.display()),
        }
    }
}

/// Acts as the reaper if this program was started as one.
pub(crate) fn run_if_called() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let folder = PathBuf::from(arguments.next()?);
    Some(match reap(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cleaning up {}: {error:#}", folder.display());
            ExitCode::FAILURE
        }
    })
}

fn reap(folder: &Path) -> Result<()> {
    // An error means the same as the end of the pipe: the tests have ended.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(end_group())?;
    fs::remove_dir_all(folder).context("removing the folder")
}

/// Asks every other process of this group to end, then kills the remaining ones.
async fn end_group() -> Result<()> {
    for signal in [Signal::INT, Signal::KILL] {
        let left = others()?;
        for process in &left {
            // The process may have ended in between.
            let _ = kill_process(*process, signal);
        }
        let gone = eventually("all processes end", GRACEFUL_END, async || match others() {
            Ok(left) => when(left.is_empty(), || format!("{left:?} run")),
            Err(error) => Probe::Failed(error),
        });
        if gone.await.is_ok() {
            return Ok(());
        }
    }
    anyhow::bail!("{:?} run after SIGKILL", others()?)
}

/// The running processes of this group, except this one.
fn others() -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("listing /proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // A process that has ended has no such file.
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
        if process != getpid() && runs_in(&stat, getpid().as_raw_nonzero().get()) {
            found.push(process);
        }
    }
    Ok(found)
}

/// Whether a line of /proc/<pid>/stat belongs to a running process of a group. A zombie does not run.
fn runs_in(stat: &str, group: i32) -> bool {
    // The name in brackets may contain anything. State, parent and group follow the last bracket.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_name.split_whitespace();
    let state = fields.next();
    state.is_some_and(|state| state != "Z") && fields.nth(1).and_then(|field| field.parse().ok()) == Some(group)
}
