//! Ends whatever the tests started, however they end: at the last test, at a panic, at Ctrl-C, at SIGKILL.
//!
//! The keeper is this program again, as a process of its own. It reads from a pipe that only the tests hold; when the pipe
//! closes, the tests are over or dead. Then it ends every process of its group, which all servers and workers join when they
//! are started, and removes their folder. There is no other clean-up, so this one is tried out by every run.

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

/// First argument of a keeper.
const CALLED: &str = "--keep-folder";

/// Time for the servers to end by themselves. Postgres uses it to give back its shared memory; who needs longer is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// The keeper of one run of the tests. Dropping it ends all processes and removes the folder.
#[derive(Debug)]
pub(crate) struct Keeper {
    process: Child,
    folder: PathBuf,
}

impl Keeper {
    /// Starts the keeper of a new, empty folder, which any user may read: Postgres runs as another one.
    pub(crate) fn start() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("worker-tests-")
            .tempdir()
            .context("making a folder")?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).context("opening the folder")?;
        let process = Command::new(std::env::current_exe().context("finding this program")?)
            .arg(CALLED)
            .arg(folder.path())
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("starting the keeper")?;
        Ok(Self {
            process,
            folder: folder.keep(),
        })
    }

    /// Where everything is kept.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command whose process ends with the tests.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let group = i32::try_from(self.process.id()).unwrap_or_default();
        command
            .process_group(group)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        match self.process.wait() {
            Ok(status) if status.success() => {}
            ended => eprintln!(
                "the keeper of {} did not end well: {ended:?}",
                self.folder.display()
            ),
        }
    }
}

/// Does a keeper's work where this program was called as one.
pub(crate) fn called() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != CALLED {
        return None;
    }
    let folder = PathBuf::from(arguments.next()?);
    Some(match keep(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cleaning up {}: {error:#}", folder.display());
            ExitCode::FAILURE
        }
    })
}

fn keep(folder: &Path) -> Result<()> {
    // An error says as much as the end: nobody writes any more.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(end_group())?;
    fs::remove_dir_all(folder).context("removing the folder")
}

/// Asks every other process of this group to end, then kills those that have not.
async fn end_group() -> Result<()> {
    for signal in [Signal::INT, Signal::KILL] {
        let left = others()?;
        for process in &left {
            // It may have ended since.
            let _ = kill_process(*process, signal);
        }
        let gone = eventually("all processes end", PATIENCE, async || match others() {
            Ok(left) => when(left.is_empty(), || format!("{left:?} run")),
            Err(error) => Probe::Failed(error),
        });
        if gone.await.is_ok() {
            return Ok(());
        }
    }
    anyhow::bail!("{:?} run after SIGKILL", others()?)
}

/// The processes of this group that run, without this one.
fn others() -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("listing /proc")? {
        let name = entry?.file_name();
        let Some(process) = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        // A process that ended meanwhile has no file any more.
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
        if process != getpid() && runs_in(&stat, getpid().as_raw_nonzero().get()) {
            found.push(process);
        }
    }
    Ok(found)
}

/// Whether a line of /proc/<pid>/stat is of a process that runs in a group. A zombie does not run.
fn runs_in(stat: &str, group: i32) -> bool {
    // The name, in brackets, may hold anything; state, parent and group follow the last bracket.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_name.split_whitespace();
    let state = fields.next();
    state.is_some_and(|state| state != "Z")
        && fields.nth(1).and_then(|field| field.parse().ok()) == Some(group)
}
