//! Redis, without persistence.

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    super::{ports, programs, reaper::Reaper},
    Server,
};

/// A Redis server.
#[derive(Debug)]
pub(crate) struct Redis {
    /// Its port.
    pub(crate) port: u16,
    _server: Server,
}

impl Redis {
    pub(super) async fn start(reaper: &Reaper) -> Result<Self> {
        let port = ports::free();
        let mut command = reaper.command(&programs::installed("redis-server")?);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--save", "", "--appendonly", "no"]);
        let mut server = Server::start(reaper, "redis-server", command)?;
        server.answers(async || ping(port).await).await?;
        Ok(Self { port, _server: server })
    }
}

async fn ping(port: u16) -> Result<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    connection.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    connection.read_exact(&mut answer).await.context("reading the answer to PING")?;
    ensure!(&answer == b"+PONG\r\n", "answered {:?} to PING", String::from_utf8_lossy(&answer));
    Ok(())
}
