//! Workers in Python. Their packages come from PyPI once, into the folder of this crate's test files. A machine without
//! python3, pip or a package index fails these tests: it cannot show what they show.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::OnceCell,
};

use super::{ports, programs, world::World};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/python");

static PACKAGES: OnceCell<PathBuf> = OnceCell::const_new();

/// A worker in Python. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct PythonWorker {
    /// The port of its metrics.
    pub(crate) port: u16,
    _process: Child,
}

impl PythonWorker {
    /// Starts a worker of a world's namespace, of a version or of none, and waits until it polls.
    pub(crate) async fn start(world: &World, version: &[&str]) -> Result<Self> {
        let packages = PACKAGES.get_or_try_init(install).await?;
        let port = ports::free();
        let mut command = world.command(&programs::installed("python3")?);
        command
            .arg(Path::new(FOLDER).join("worker.py"))
            .args([&world.temporal_address(), &world.name, &format!("127.0.0.1:{port}")])
            .args(version)
            .env("PYTHONPATH", packages)
            .stdout(Stdio::piped());
        let mut process = Command::from(command).kill_on_drop(true).spawn().context("starting a worker in Python")?;
        let mut lines = BufReader::new(process.stdout.take().context("it has no output")?).lines();
        let first = lines.next_line().await.context("reading a Python worker's output")?;
        ensure!(first.as_deref() == Some("polls"), "the worker in Python did not start: {first:?}");
        Ok(Self { port, _process: process })
    }
}

/// Installs the packages, unless this or an earlier run has.
async fn install() -> Result<PathBuf> {
    let wanted = Path::new(FOLDER).join("requirements.txt");
    let text = fs::read_to_string(&wanted).context("reading requirements.txt")?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-packages");
    let mark = folder.join("requirements.txt");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == text) {
        return Ok(folder);
    }
    // An earlier list, or an installation that was interrupted. There may be nothing to remove.
    let _ = fs::remove_dir_all(&folder);
    let mut pip = Command::new(programs::installed("python3")?);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"]);
    let output = pip.arg(&wanted).arg("--target").arg(&folder).stdin(Stdio::null()).output().await;
    let output = output.context("running pip")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pip cannot install {} ({}): {errors}", wanted.display(), output.status);
    fs::write(mark, text).context("marking the packages as installed")?;
    Ok(folder)
}
