//! SIGTERM and SIGINT: the first asks the process to leave, the second makes it leave at once.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Exit code of a process that a signal ended: 128 + the signal's number.
const BY_SIGNAL: i32 = 128;

/// Cancels the token at the first signal, and ends the process at the second (exit code 143 or 130).
///
/// # Errors
/// The system refuses a handler.
pub fn listen() -> anyhow::Result<CancellationToken> {
    let asked = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let token = asked.clone();
    tokio::spawn(async move {
        let (name, _) = next(&mut terminate, &mut interrupt).await;
        info!(
            signal = name,
            "leaving: no new work, finishing what is in flight; a second signal leaves at once"
        );
        token.cancel();
        let (name, number) = next(&mut terminate, &mut interrupt).await;
        warn!(
            signal = name,
            "leaving at once; work in flight is retried by another worker"
        );
        std::process::exit(BY_SIGNAL + number);
    });
    Ok(asked)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
        _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
    }
}
