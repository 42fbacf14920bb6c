//! A proxy to Temporal that denies the polls of one queue, as Temporal does when a right was withdrawn.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, task::JoinSet};

/// `grpc-status` of a denied permission.
const PERMISSION_DENIED: &str = "7";

/// Part of the names of the methods that poll.
const POLL: &str = "/Poll";

/// The proxy. Dropping it closes its port.
#[derive(Debug)]
pub(crate) struct GrpcProxy {
    /// Its port.
    pub(crate) port: u16,
    denied: Denied,
    _server: JoinSet<()>,
}

type Denied = Arc<Mutex<Option<String>>>;
type Upstream = Client<HttpConnector, Full<Bytes>>;
type Body = BoxBody<Bytes, hyper::Error>;

impl GrpcProxy {
    /// Starts a proxy to a port.
    pub(crate) async fn start(upstream: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("taking a port for a gRPC proxy")?;
        let port = listener.local_addr()?.port();
        let denied = Denied::default();
        let client: Upstream = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let mut server = JoinSet::new();
        let shared = denied.clone();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (client, denied) = (client.clone(), shared.clone());
                let service = service_fn(move |request| answer(request, client.clone(), denied.clone(), upstream));
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                connections.spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self { port, denied, _server: server })
    }

    /// Denies new polls of a queue.
    pub(crate) fn deny_polls(&self, queue: &str) {
        *lock(&self.denied) = Some(queue.to_owned());
    }
}

/// Passes a request on, unless it polls the denied queue. The request names its queue in plain text.
async fn answer(
    request: Request<Incoming>,
    client: Upstream,
    denied: Denied,
    upstream: u16,
) -> Result<Response<Body>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let denied = lock(&denied).clone();
    let names = |queue: &String| body.windows(queue.len()).any(|part| part == queue.as_bytes());
    if parts.uri.path().contains(POLL) && denied.as_ref().is_some_and(names) {
        return Ok(refusal(PERMISSION_DENIED));
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = format!("http://127.0.0.1:{upstream}{path}").parse::<Uri>().unwrap_or_default();
    match client.request(Request::from_parts(parts, Full::new(body))).await {
        Ok(response) => Ok(response.map(BodyExt::boxed)),
        Err(error) => {
            eprintln!("the gRPC proxy cannot pass on a request: {error}");
            Ok(refusal("14"))
        }
    }
}

fn refusal(status: &'static str) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    let headers = response.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", hyper::header::HeaderValue::from_static(status));
    headers.insert("grpc-message", hyper::header::HeaderValue::from_static("denied by the test"));
    response
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
