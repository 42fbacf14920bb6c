//! Postgres: a new cluster in a new folder. It refuses to run as root, so root runs it as nobody.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{
    super::{ports, programs, reaper::Reaper, tls::Authority},
    Server,
};

/// User and group id of nobody on the supported Linux systems.
pub(super) const NOBODY: u32 = 65_534;

/// The superuser. Any client on the loopback address may be any user.
const SUPERUSER: &str = "slipway";

/// The role whose members need a password.
pub(crate) const WITH_PASSWORD: &str = "with_password";

/// The only database. Each test has a user with a schema of the same name, because a database per test would take
/// 300 files.
const DATABASE: &str = "postgres";

/// A Postgres server.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// Its port.
    pub(crate) port: u16,
    _server: Server,
}

impl Postgres {
    pub(super) async fn start(reaper: &Reaper, authority: &Authority) -> Result<Self> {
        let data = reaper.folder().join("postgres");
        fs::create_dir(&data).context("creating the folder of Postgres")?;
        if rustix::process::geteuid().is_root() {
            chown(&data, Some(NOBODY), Some(NOBODY)).context("giving nobody the folder of Postgres")?;
        }
        initialise(reaper, &data).await?;
        let identity = authority.identity()?;
        write(&data.join("server.crt"), &identity.certificate)?;
        write(&data.join("server.key"), &identity.key)?;
        let hba = data.join("pg_hba.conf");
        let trust = fs::read_to_string(&hba).context("reading pg_hba.conf")?;
        write(&hba, &format!("host all +{WITH_PASSWORD} all scram-sha-256\n{trust}"))?;
        let port = ports::free();
        let mut command = command(reaper, "postgres")?;
        command.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-k", "", "-p", &port.to_string()]);
        // Settings for crash safety cost time and protect nothing here.
        for setting in ["fsync=off", "full_page_writes=off", "max_connections=300", "ssl=on"] {
            command.args(["-c", setting]);
        }
        let mut server = Server::start(reaper, "postgres", command)?;
        let mut connection = server.answers(async || Ok(PgConnection::connect(&url(port, SUPERUSER)).await?)).await?;
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE ROLE {WITH_PASSWORD}"))).await?;
        connection.close().await?;
        Ok(Self { port, _server: server })
    }

    /// Creates a user with an empty schema.
    pub(crate) async fn create(&self, user: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&url(self.port, SUPERUSER)).await?;
        let statements = format!("CREATE ROLE {user} LOGIN; CREATE SCHEMA {user} AUTHORIZATION {user}");
        let made = connection.execute(sqlx::AssertSqlSafe(statements)).await;
        made.with_context(|| format!("creating the user {user} of Postgres"))?;
        Ok(connection.close().await?)
    }

    /// Creates a database of the encoding LATIN1 for a user, and returns its name.
    pub(crate) async fn create_latin1(&self, user: &str) -> Result<String> {
        let name = format!("{user}_latin1");
        let mut connection = PgConnection::connect(&url(self.port, SUPERUSER)).await?;
        let statement = format!(
            "CREATE DATABASE {name} OWNER {user} TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        let made = connection.execute(sqlx::AssertSqlSafe(statement)).await;
        made.with_context(|| format!("creating the database {name}"))?;
        connection.close().await?;
        Ok(name)
    }
}

/// The URL of the database at a port, for a user. TLS would only cost time.
pub(crate) fn url(port: u16, user: &str) -> String {
    format!("postgres://{user}@127.0.0.1:{port}/{DATABASE}?sslmode=disable")
}

/// The URL of the database at a port, for the superuser in a schema.
pub(crate) fn superuser_url(port: u16, schema: &str) -> String {
    format!("{}&options=-csearch_path%3D{schema}", url(port, SUPERUSER))
}

/// Writes a file that only the user of Postgres may read.
fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

async fn initialise(reaper: &Reaper, data: &Path) -> Result<()> {
    let mut command = command(reaper, "initdb")?;
    command.arg("--pgdata").arg(data).args([
        "--username",
        SUPERUSER,
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    let ended = tokio::process::Command::from(command).output().await.context("starting initdb")?;
    ensure!(
        ended.status.success(),
        "initdb ended with {}: {}{}",
        ended.status,
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}

/// One of its programs, run as a user that it accepts.
fn command(reaper: &Reaper, program: &str) -> Result<Command> {
    let mut command = reaper.command(&programs::installed(program)?);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(command)
}
