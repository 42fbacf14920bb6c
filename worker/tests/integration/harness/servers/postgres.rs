//! Postgres: a cluster of its own in a new folder. It refuses to run as root, so there it runs as nobody.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{
    super::{keeper::Keeper, ports, programs},
    Server,
};

/// User and group of nobody, the same on every Linux that matters here.
const NOBODY: u32 = 65_534;

/// Its superuser; anybody on the loopback address may be any user.
const SUPERUSER: &str = "slipway";

/// The one database. Who shares it has a user and, by that name, a schema: a database each would be 300 files.
const DATABASE: &str = "postgres";

/// A Postgres server.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// Where it listens.
    pub(crate) port: u16,
    _server: Server,
}

impl Postgres {
    pub(super) async fn start(keeper: &Keeper) -> Result<Self> {
        let data = keeper.folder().join("postgres");
        fs::create_dir(&data).context("making the folder of Postgres")?;
        if rustix::process::geteuid().is_root() {
            chown(&data, Some(NOBODY), Some(NOBODY)).context("giving nobody the folder of Postgres")?;
        }
        initialise(keeper, &data).await?;
        let port = ports::free();
        let mut command = command(keeper, "postgres")?;
        command
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-k", "", "-p", &port.to_string()]);
        // What would make it survive a power cut costs time and protects nothing here.
        for setting in ["fsync=off", "full_page_writes=off", "max_connections=300"] {
            command.args(["-c", setting]);
        }
        let mut server = Server::start(keeper, "postgres", command)?;
        server
            .answers(async || Ok(PgConnection::connect(&url(port, SUPERUSER)).await?))
            .await?;
        Ok(Self {
            port,
            _server: server,
        })
    }

    /// Makes a user with an empty schema.
    pub(crate) async fn create(&self, user: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&url(self.port, SUPERUSER)).await?;
        let statements = format!("CREATE ROLE {user} LOGIN; CREATE SCHEMA {user} AUTHORIZATION {user}");
        let made = connection.execute(sqlx::AssertSqlSafe(statements)).await;
        made.with_context(|| format!("making the user {user} of Postgres"))?;
        Ok(connection.close().await?)
    }
}

/// The address of the database behind a port, for a user.
pub(crate) fn url(port: u16, user: &str) -> String {
    format!("postgres://{user}@127.0.0.1:{port}/{DATABASE}")
}

async fn initialise(keeper: &Keeper, data: &Path) -> Result<()> {
    let mut command = command(keeper, "initdb")?;
    command.arg("--pgdata").arg(data).args([
        "--username",
        SUPERUSER,
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    let ended = tokio::process::Command::from(command)
        .output()
        .await
        .context("starting initdb")?;
    ensure!(
        ended.status.success(),
        "initdb ended with {}: {}{}",
        ended.status,
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}

/// One of its programs, as a user that it does not refuse.
fn command(keeper: &Keeper, program: &str) -> Result<Command> {
    let mut command = keeper.command(&programs::installed(program)?);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(command)
}
