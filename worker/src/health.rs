//! The HTTP port: /metrics, /livez (the process answers) and /readyz (it polls its queues).
//!
//! Liveness depends on nothing outside the process: an outage of Temporal or Postgres must not restart a fleet.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tracing::info;

use crate::{cpu::CpuPool, metrics::Metrics, store::Database};

/// How long /readyz waits for a starting process to become ready before it answers no. Without the wait, a kubelet
/// would notice a start that takes a fraction of a second only at its next probe. The value must stay below a
/// kubelet's default probe timeout of 1 s.
const READY_WAIT: Duration = Duration::from_millis(800);

/// Length of the queue of connections that are not accepted yet.
const BACKLOG: i32 = 128;

/// The phase of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The process waits for the dependency or step that is named here.
    Waiting(String),
    /// The worker polls all queues.
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
    /// The CPU threads, read at each scrape.
    pub cpu: CpuPool,
    /// The database, whose connections are counted at each scrape.
    pub database: Database,
}

/// Binds the port. `[::]` also takes IPv4, and becomes `0.0.0.0` on a host without IPv6.
///
/// # Errors
/// The address is invalid, in use, or not one of this host's.
pub fn bind(address: &str) -> anyhow::Result<TcpListener> {
    let address: SocketAddr = address.parse().with_context(|| format!("reading the address {address:?}"))?;
    let hint = || format!("listening on {address}: is another worker running? METRICS_ADDRESS sets the address");
    let listening = listen(address).or_else(|error| match address.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) if is_without_ipv6(&error) => {
            info!(%error, "this host has no IPv6: listening on IPv4 only");
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        _ => Err(error),
    });
    listening.with_context(hint)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // The default is a setting of the host.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether IPv6 is missing from the kernel or from its network.
fn is_without_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
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
    state.metrics.set_threads(state.cpu.busy(), state.cpu.threads());
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

    #[tokio::test]
    async fn every_address_of_the_host_includes_ipv4() {
        for address in ["[::]:0", "0.0.0.0:0"] {
            let listener = bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(), "{address}");
        }
        let listener = bind("127.0.0.1:0").unwrap();
        let error = bind(&listener.local_addr().unwrap().to_string()).unwrap_err().to_string();
        assert!(error.contains("is another worker running?"), "{error}");
    }

    #[test]
    fn only_a_host_without_ipv6_is_served_on_ipv4_instead() {
        assert!(is_without_ipv6(&io::Error::from_raw_os_error(97)));
        assert!(is_without_ipv6(&io::ErrorKind::AddrNotAvailable.into()));
        assert!(!is_without_ipv6(&io::ErrorKind::AddrInUse.into()));
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
