//! Redis: in memory alone.

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    super::{keeper::Keeper, ports, programs},
    Server,
};

/// A Redis server.
#[derive(Debug)]
pub(crate) struct Redis {
    /// Where it listens.
    pub(crate) port: u16,
    _server: Server,
}

impl Redis {
    pub(super) async fn start(keeper: &Keeper) -> Result<Self> {
        let port = ports::free();
        let mut command = keeper.command(&programs::installed("redis-server")?);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--save", "", "--appendonly", "no"]);
        let mut server = Server::start(keeper, "redis-server", command)?;
        server.answers(async || ping(port).await).await?;
        Ok(Self {
            port,
            _server: server,
        })
    }
}

async fn ping(port: u16) -> Result<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    connection.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    connection
        .read_exact(&mut answer)
        .await
        .context("reading the answer to PING")?;
    ensure!(
        &answer == b"+PONG\r\n",
        "answered {:?} to PING",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}
