//! PgBouncer in transaction mode, in front of the tests' Postgres. A test that needs one starts its own.

use std::{fs, os::unix::process::CommandExt as _};

use anyhow::{Context as _, Result};
use sqlx::{Connection as _, PgConnection};

use super::{
    super::{ports, programs, reaper::Reaper},
    Server,
    postgres::{NOBODY, url},
};

/// Connections to Postgres that all its clients share.
const POOL_SIZE: i64 = 5;

/// A PgBouncer.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    /// Its port.
    pub(crate) port: u16,
    /// Maximum number of its connections to Postgres.
    pub(crate) pool_size: i64,
    _server: Server,
}

impl PgBouncer {
    /// Starts a PgBouncer whose clients are one user of Postgres. Everything else is its default.
    pub(crate) async fn start(reaper: &Reaper, postgres: u16, user: &str) -> Result<Self> {
        let port = ports::free();
        let settings = reaper.folder().join(format!("pgbouncer-{user}.ini"));
        let text = format!(
            "\
[databases]
* = host=127.0.0.1 port={postgres} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {POOL_SIZE}
max_client_conn = 400
"
        );
        fs::write(&settings, text).context("writing the settings of PgBouncer")?;
        let mut command = reaper.command(&programs::installed("pgbouncer")?);
        command.arg(&settings);
        // It refuses to run as root.
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut server = Server::start(reaper, "pgbouncer", command)?;
        // Without this parameter, which the worker does not send either.
        let options = url(port, user).parse::<sqlx::postgres::PgConnectOptions>()?.extra_float_digits(None);
        server.answers(async || Ok(PgConnection::connect_with(&options).await?.close().await?)).await?;
        Ok(Self { port, pool_size: POOL_SIZE, _server: server })
    }
}
