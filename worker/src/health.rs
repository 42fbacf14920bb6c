//! The HTTP port: /metrics, /livez (the process answers) and /readyz (it polls its queues, or reads their depths).
//!
//! Liveness depends on nothing outside the process: an outage of Temporal or Postgres must not restart a fleet.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch, time::timeout};

use crate::{cpu::CpuPool, metrics::Metrics, store::Database};

/// How long /readyz waits for a starting process to become ready before it answers no. Without the wait, a kubelet
/// would notice a start that takes a fraction of a second only at its next probe. The value must stay below a
/// kubelet's default probe timeout of 1 s.
const READY_WAIT: Duration = Duration::from_millis(800);

/// The phase of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The process waits for the dependency or step that is named here.
    Waiting(String),
    /// The worker polls all queues, or the watch has read all of them.
    Ready,
    /// The process is shutting down.
    ShuttingDown,
}

/// The phase, shared by the lifecycle that sets it and the port that serves it.
#[derive(Debug, Clone)]
pub struct Health(watch::Sender<Phase>);

impl Default for Health {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Waiting("starting".into())))
    }
}

impl Health {
    /// Enters a phase. [`Phase::ShuttingDown`] is final.
    pub fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let enters = *current != Phase::ShuttingDown;
            if enters {
                *current = phase;
            }
            enters
        });
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        self.0.borrow().clone()
    }

    /// The phase once the process no longer waits, or after `limit`.
    async fn started(&self, limit: Duration) -> Phase {
        let mut phases = self.0.subscribe();
        let started = phases.wait_for(|phase| !matches!(phase, Phase::Waiting(_)));
        // The result does not matter: the phase is returned in both cases.
        let _in_time = timeout(limit, started).await.is_ok();
        self.phase()
    }
}

/// What the port serves.
#[derive(Debug, Clone)]
pub struct HttpState {
    /// The phase.
    pub health: Health,
    /// The metrics.
    pub metrics: Metrics,
    /// The CPU threads, read at each scrape. `None` in a process without them.
    pub cpu: Option<CpuPool>,
    /// The database, whose connections are counted at each scrape.
    pub database: Database,
}

/// Binds the port.
///
/// # Errors
/// The address is invalid, in use, or not one of this host's.
pub async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    let address: SocketAddr = address.parse().with_context(|| format!("reading the address {address:?}"))?;
    let hint = || format!("listening on {address}: is another worker running? METRICS_ADDRESS sets the address");
    TcpListener::bind(address).await.with_context(hint)
}

/// Serves the port until the process exits.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, state: HttpState) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "live\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state);
    axum::serve(listener, router).await.context("serving metrics and health")
}

async fn ready(State(state): State<HttpState>) -> (StatusCode, String) {
    match state.health.started(READY_WAIT).await {
        Phase::Ready => (StatusCode::OK, "ready\n".into()),
        Phase::Waiting(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {what}\n")),
        Phase::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "not ready: shutting down\n".into()),
    }
}

async fn metrics(State(state): State<HttpState>) -> Response {
    if let Some(cpu) = &state.cpu {
        state.metrics.set_threads(cpu.busy(), cpu.threads());
    }
    state.metrics.set_connections(state.database.connections());
    match state.metrics.exposition() {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_shuts_down_is_never_ready_again() {
        let health = Health::default();
        assert_eq!(health.phase(), Phase::Waiting("starting".into()));
        health.enter(Phase::Ready);
        assert_eq!(health.phase(), Phase::Ready);
        health.enter(Phase::ShuttingDown);
        health.enter(Phase::Ready);
        assert_eq!(health.phase(), Phase::ShuttingDown);
    }

    #[tokio::test(start_paused = true)]
    async fn a_readiness_probe_at_the_start_waits_for_at_most_its_limit() {
        let health = Health::default();
        let waiting = Phase::Waiting("starting".into());
        assert_eq!(health.started(READY_WAIT).await, waiting);
        let asked = tokio::spawn({
            let health = health.clone();
            async move { health.started(READY_WAIT).await }
        });
        for phase in [Phase::Waiting("Temporal".into()), Phase::Ready] {
            tokio::task::yield_now().await;
            health.enter(phase);
        }
        assert_eq!(asked.await.unwrap(), Phase::Ready);
        health.enter(Phase::ShuttingDown);
        assert_eq!(health.started(READY_WAIT).await, Phase::ShuttingDown);
    }
}
