//! A door before a server: open it passes connections on, shut it ends them and refuses new ones.

use anyhow::Result;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::ports;

/// A door.
#[derive(Debug)]
pub(crate) struct Door {
    /// Its own port.
    pub(crate) port: u16,
    open: watch::Sender<bool>,
}

impl Door {
    /// A door before a port of this host.
    pub(crate) fn before(server: u16, open: bool) -> Self {
        let port = ports::free();
        let door = Self { port, open: watch::Sender::new(open) };
        tokio::spawn(serve(port, server, door.open.subscribe()));
        door
    }

    /// Opens or shuts it.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn serve(port: u16, server: u16, mut open: watch::Receiver<bool>) -> Result<()> {
    loop {
        open.wait_for(|open| *open).await?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let mut shut = open.clone();
        tokio::select! {
            passed = pass(&listener, server, &open) => passed?,
            waited = shut.wait_for(|open| !open) => drop(waited?),
        }
    }
}

async fn pass(listener: &TcpListener, server: u16, open: &watch::Receiver<bool>) -> Result<()> {
    loop {
        let (mut client, _) = listener.accept().await?;
        let mut shut = open.clone();
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                _ = shut.wait_for(|open| !open) => {}
            }
        });
    }
}
