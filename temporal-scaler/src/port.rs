//! The HTTP ports: /metrics, /healthz (the process answers) and /readyz (it has something to answer with) on one, and
//! /scale there, too, or on one with TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use scaler::Unknown;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{metrics, state::Shared, tls::Door};

/// Binds a port, whose address is the setting `name`. `[::]` also takes IPv4, and becomes `0.0.0.0` on a host without
/// IPv6.
///
/// # Errors
/// The address is in use, or is not one of this host's.
pub(crate) async fn bind(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listening = match TcpListener::bind(address).await {
        Err(_) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        listening => listening,
    };
    listening.with_context(|| format!("listening on {address}: is it in use? {name} sets the address"))
}

/// Serves the ports until the shutdown. With `door`, /scale is there and nowhere else.
///
/// # Errors
/// A listener failed.
pub(crate) async fn serve(
    listener: TcpListener,
    door: Option<Door>,
    shared: Shared,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let scale = Router::new().route("/scale", get(scale));
    let rest = Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(async || "live\n"))
        .route("/readyz", get(ready));
    let end = shutdown.clone().cancelled_owned();
    let served = match door {
        None => axum::serve(listener, rest.merge(scale).with_state(shared)).with_graceful_shutdown(end).await,
        Some(door) => {
            let scale =
                axum::serve(door, scale.with_state(shared.clone())).with_graceful_shutdown(shutdown.cancelled_owned());
            let rest = axum::serve(listener, rest.with_state(shared)).with_graceful_shutdown(end);
            tokio::try_join!(async { scale.await }, async { rest.await }).map(drop)
        }
    };
    served.context("serving a port")
}

/// The answer with its parts, or the reason why there is none. An answer without a number has a status that KEDA takes
/// for an error.
async fn scale(State(shared): State<Shared>) -> Response {
    let (status, body) = answer(&shared);
    let text = format!("{body:#}\n");
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

fn answer(shared: &Shared) -> (StatusCode, Value) {
    let state = shared.state();
    let conditions = state.conditions.last();
    let known = state.answer().and_then(|answer| {
        let (_, reading) = state.reading.as_ref().ok_or_else(|| Unknown("no reading yet".into()))?;
        Ok((answer, reading))
    });
    let (answer, reading) = match known {
        Ok(known) => known,
        Err(unknown) => {
            let body = json!({"error": unknown.to_string(), "conditions": conditions});
            return (StatusCode::SERVICE_UNAVAILABLE, body);
        }
    };
    let queues = answer.queues.iter().zip(&reading.queues).map(|(part, read)| {
        json!({
            "queue": part.queue, "workers": part.workers, "demand": part.demand,
            "backlog": read.backlog, "used": read.used, "slots": read.slots,
            "add_rate": read.add_rate, "dispatch_rate": read.dispatch_rate, "failure_rate": read.failure_rate,
        })
    });
    let body = json!({
        "workers": answer.workers,
        "reason": answer.reason,
        "partly": answer.partly,
        "bottleneck": answer.bottleneck,
        "queues": queues.collect::<Vec<_>>(),
        "pods": {"workers": reading.workers, "read": reading.read, "unread": reading.unread},
        "age_seconds": state.age().map(|age| age.as_secs_f64()),
        "conditions": conditions,
    });
    (StatusCode::OK, body)
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    match shared.waits_for() {
        None => (StatusCode::OK, "ready\n".into()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

async fn scrape(State(shared): State<Shared>) -> Response {
    match metrics::exposition(&shared) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}
