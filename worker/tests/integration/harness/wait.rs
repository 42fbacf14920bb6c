//! The two waits of the tests: those of `support`, with a shorter polling interval. Nothing else here sleeps.

use std::time::Duration;

use anyhow::Result;
use support::wait::Every;
pub(crate) use support::wait::{Probe, when};

/// The polling interval. Waiting adds little to a test, and the cores are left to the worker.
const POLL: Every = Every(Duration::from_millis(100));

/// Asks until the probe is ready, for at most `deadline`. A probe that hangs is cut off at the deadline, too.
///
/// # Errors
/// The probe failed, or the deadline passed: then the error carries the last reason.
pub(crate) async fn eventually<T>(what: &str, deadline: Duration, probe: impl AsyncFnMut() -> Probe<T>) -> Result<T> {
    Ok(POLL.eventually(what, deadline, probe).await?)
}

/// Asks for the whole of `window`; every answer must be ready.
///
/// # Errors
/// The first answer that is not ready, with its reason.
pub(crate) async fn consistently<T>(what: &str, window: Duration, probe: impl AsyncFnMut() -> Probe<T>) -> Result<()> {
    Ok(POLL.consistently(what, window, probe).await?)
}
