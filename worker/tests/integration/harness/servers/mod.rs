//! The real servers. They start once and in parallel for all tests, on free ports of 127.0.0.1 and in the reaper's
//! folder.

mod pgbouncer;
mod postgres;
mod redis;
mod s3;
mod temporal;
mod toxiproxy;

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

use super::{
    reaper::Reaper,
    tls::Authority,
    wait::{Probe, eventually},
};

pub(crate) use pgbouncer::PgBouncer;
pub(crate) use postgres::{Postgres, WITH_PASSWORD, superuser_url, url as postgres_url};
pub(crate) use redis::Redis;
pub(crate) use s3::{REGION, S3, SECRET};
pub(crate) use temporal::Temporal;
pub(crate) use toxiproxy::{Proxy, Toxiproxy};

/// Timeout for a server's first answer. Two seconds are usual; a machine that also compiles takes longer.
const START: Duration = Duration::from_secs(60);

/// Number of last lines of a server's output in an error.
const TAIL: usize = 20;

/// All servers.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) temporal: Temporal,
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) s3: S3,
    pub(crate) toxiproxy: Toxiproxy,
    /// Signs the servers' certificates.
    pub(crate) authority: Authority,
    /// Dropped last, because its drop ends the servers.
    pub(crate) reaper: Reaper,
}

impl Servers {
    /// Starts the servers and waits for an answer of each.
    ///
    /// # Errors
    /// A program is missing or does not answer. The error shows the end of its output.
    pub(crate) async fn start() -> Result<Self> {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let reaper = Reaper::start()?;
        let authority = Authority::new("the servers of the tests")?;
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .no_proxy()
            .build()
            .context("creating an HTTP client")?;
        let (temporal, postgres, redis, s3, toxiproxy) = futures::try_join!(
            Temporal::start(&reaper),
            Postgres::start(&reaper, &authority),
            Redis::start(&reaper, &authority),
            S3::start(&reaper, &http),
            Toxiproxy::start(&reaper, &http),
        )?;
        Ok(Self { temporal, postgres, redis, s3, toxiproxy, authority, reaper })
    }
}

/// A server's process, with its output in a file.
#[derive(Debug)]
struct Server {
    name: &'static str,
    process: Child,
    output: PathBuf,
}

impl Server {
    fn start(reaper: &Reaper, name: &'static str, mut command: Command) -> Result<Self> {
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
    async fn answers<T>(&mut self, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
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
