//! SIGTERM and SIGINT: the first starts a graceful shutdown, the second exits at once.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Base of the exit code of a process that a signal ended: 128 + the signal's number.
const BY_SIGNAL: i32 = 128;

/// Cancels the token at the first signal, and exits at the second with code 143 or 130.
///
/// # Errors
/// The system refuses a signal handler.
pub fn listen() -> anyhow::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let token = shutdown.clone();
    tokio::spawn(async move {
        let (name, _) = next(&mut terminate, &mut interrupt).await;
        info!(
            signal = name,
            "graceful shutdown: polling stops and tasks in flight finish; a second signal exits at once"
        );
        token.cancel();
        let (name, number) = next(&mut terminate, &mut interrupt).await;
        warn!(signal = name, "exiting at once; Temporal retries the tasks in flight on another worker");
        std::process::exit(BY_SIGNAL + number);
    });
    Ok(shutdown)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
        _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
    }
}
