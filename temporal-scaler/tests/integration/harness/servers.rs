//! The real servers: Temporal, as the worker's tests start it.

#[path = "../../../../worker/tests/integration/harness/servers/server.rs"]
mod server;
#[path = "../../../../worker/tests/integration/harness/servers/temporal.rs"]
mod temporal;

use anyhow::Result;

use super::reaper::Reaper;
use server::Server;

pub(crate) use temporal::Temporal;

/// All servers.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) temporal: Temporal,
    /// Dropped last, because its drop ends the servers.
    pub(crate) reaper: Reaper,
}

impl Servers {
    /// Starts the servers and waits for an answer.
    pub(crate) async fn start() -> Result<Self> {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let reaper = Reaper::start()?;
        Ok(Self { temporal: Temporal::start(&reaper).await?, reaper })
    }
}
