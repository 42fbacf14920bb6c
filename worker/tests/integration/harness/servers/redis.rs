//! Redis, without persistence.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    super::{ports, programs, reaper::Reaper, tls::Authority},
    Server,
};

/// A Redis server.
#[derive(Debug)]
pub(crate) struct Redis {
    /// Its port.
    pub(crate) port: u16,
    /// Its port for TLS.
    pub(crate) tls_port: u16,
    _server: Server,
}

impl Redis {
    pub(super) async fn start(reaper: &Reaper, authority: &Authority) -> Result<Self> {
        let tls_port = ports::free();
        let identity = authority.identity()?;
        let (certificate, key) = (reaper.folder().join("redis.crt"), reaper.folder().join("redis.key"));
        fs::write(&certificate, &identity.certificate).context("writing the certificate of Redis")?;
        fs::write(&key, &identity.key).context("writing the key of Redis")?;
        let mut command = reaper.command(&programs::installed("redis-server")?);
        command.args(["--tls-port", &tls_port.to_string(), "--tls-auth-clients", "no"]);
        command.arg("--tls-cert-file").arg(&certificate).arg("--tls-key-file").arg(&key);
        let authority = authority.write(reaper.folder(), "redis-ca.crt")?;
        command.arg("--tls-ca-cert-file").arg(authority);
        Self::run(reaper, "redis-server", command, tls_port).await
    }

    /// Starts a server of its own that is a node of a cluster.
    pub(crate) async fn cluster_node(reaper: &Reaper) -> Result<Self> {
        let mut command = reaper.command(&programs::installed("redis-server")?);
        command.args(["--cluster-enabled", "yes", "--cluster-config-file", "redis-nodes.conf"]);
        Self::run(reaper, "redis-cluster", command, 0).await
    }

    async fn run(reaper: &Reaper, name: &'static str, mut command: Command, tls_port: u16) -> Result<Self> {
        let port = ports::free();
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--save", "", "--appendonly", "no"]);
        let mut server = Server::start(reaper, name, command)?;
        server.answers(async || call(port, "PING", "+PONG").await).await?;
        Ok(Self { port, tls_port, _server: server })
    }

    /// Creates a user that may read and write keys, and nothing else.
    pub(crate) async fn create_user(&self, name: &str, password: &str) -> Result<()> {
        let command = format!("ACL SETUSER {name} on >{password} ~* -@all +@read +@write +@connection");
        call(self.port, &command, "+OK").await
    }
}

/// Sends a command and expects an answer.
async fn call(port: u16, command: &str, expected: &str) -> Result<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    connection.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut answer = vec![0; expected.len()];
    connection.read_exact(&mut answer).await.with_context(|| format!("reading the answer to {command}"))?;
    ensure!(answer == expected.as_bytes(), "answered {:?} to {command}", String::from_utf8_lossy(&answer));
    Ok(())
}
