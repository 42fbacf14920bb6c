//! The HTTP port: /metrics, /livez (the process answers) and /readyz (it does what it is for).
//!
//! Live is tied to nothing outside the process: an outage of Temporal or Postgres must not restart a fleet.

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

/// A question whether a process that starts is ready waits so long for a better answer than no: a kubelet asks again a whole
/// second later, and a start takes a fraction of one. Shorter than the second that a kubelet waits by default.
const PATIENCE: Duration = Duration::from_millis(800);

/// How far the process has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It waits for something, named here.
    Waiting(String),
    /// All queues are polled; by a process that only watches, all were read.
    Ready,
    /// It was asked to leave.
    Leaving,
}

/// The phase, shared between the lifecycle that sets it and the port that shows it.
#[derive(Debug, Clone)]
pub struct Health(watch::Sender<Phase>);

impl Default for Health {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Waiting("starting".into())))
    }
}

impl Health {
    /// Enters a phase. Nothing follows [`Phase::Leaving`].
    pub fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let enters = *current != Phase::Leaving;
            if enters {
                *current = phase;
            }
            enters
        });
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.0.borrow().clone()
    }

    /// The phase as soon as the process no longer waits, and after `patience` in any case.
    async fn settled(&self, patience: Duration) -> Phase {
        let mut phases = self.0.subscribe();
        let settled = phases.wait_for(|phase| !matches!(phase, Phase::Waiting(_)));
        // Either way the phase is told, and the sender is this.
        let _in_time = timeout(patience, settled).await.is_ok();
        self.phase()
    }
}

/// What the port shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The phase.
    pub health: Health,
    /// The metrics.
    pub metrics: Metrics,
    /// Read when metrics are asked for, where there is one.
    pub cpu: Option<CpuPool>,
    /// Read when metrics are asked for.
    pub database: Database,
}

/// Takes the port.
///
/// # Errors
/// The address is taken or not ours.
pub async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    let address: SocketAddr = address
        .parse()
        .with_context(|| format!("reading the address {address:?}"))?;
    let hint =
        || format!("listening on {address}: is another worker running? METRICS_ADDRESS sets the address");
    TcpListener::bind(address).await.with_context(hint)
}

/// Serves the port until the process ends.
///
/// # Errors
/// The port is lost.
pub async fn serve(listener: TcpListener, shown: Shown) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "live\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shown);
    axum::serve(listener, router)
        .await
        .context("serving metrics and health")
}

async fn ready(State(shown): State<Shown>) -> (StatusCode, String) {
    match shown.health.settled(PATIENCE).await {
        Phase::Ready => (StatusCode::OK, "ready\n".into()),
        Phase::Waiting(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {what}\n")),
        Phase::Leaving => (StatusCode::SERVICE_UNAVAILABLE, "not ready: leaving\n".into()),
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    if let Some(cpu) = &shown.cpu {
        shown.metrics.set_threads(cpu.busy(), cpu.threads());
    }
    shown.metrics.set_connections(shown.database.connections());
    match shown.metrics.exposition() {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_leaves_is_never_ready_again() {
        let health = Health::default();
        assert_eq!(health.phase(), Phase::Waiting("starting".into()));
        health.enter(Phase::Ready);
        assert_eq!(health.phase(), Phase::Ready);
        health.enter(Phase::Leaving);
        health.enter(Phase::Ready);
        assert_eq!(health.phase(), Phase::Leaving);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_at_the_start_waits_for_the_answer_but_not_for_long() {
        let health = Health::default();
        let waiting = Phase::Waiting("starting".into());
        assert_eq!(health.settled(PATIENCE).await, waiting);
        let asked = tokio::spawn({
            let health = health.clone();
            async move { health.settled(PATIENCE).await }
        });
        for phase in [Phase::Waiting("Temporal".into()), Phase::Ready] {
            tokio::task::yield_now().await;
            health.enter(phase);
        }
        assert_eq!(asked.await.unwrap(), Phase::Ready);
        health.enter(Phase::Leaving);
        assert_eq!(health.settled(PATIENCE).await, Phase::Leaving);
    }
}
