//! The real servers. They start once and in parallel for all tests, on free ports of 127.0.0.1 and in the reaper's
//! folder.

mod pgbouncer;
mod postgres;
mod redis;
mod s3;
mod server;
mod temporal;
mod toxiproxy;

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{reaper::Reaper, tls::Authority};
use server::Server;

pub(crate) use pgbouncer::PgBouncer;
pub(crate) use postgres::{Postgres, WITH_PASSWORD, superuser_url, url as postgres_url};
pub(crate) use redis::Redis;
pub(crate) use s3::{REGION, S3, SECRET};
pub(crate) use temporal::Temporal;
pub(crate) use toxiproxy::{Proxy, Toxiproxy};

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
