//! A proxy to Temporal that denies the polls of one queue, as Temporal does when a right was withdrawn. It also records
//! the questions about queues.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
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

/// The end of the name of the method that asks for a queue.
const DESCRIBE: &str = "/DescribeTaskQueue";

/// The proxy. Dropping it closes its port.
#[derive(Debug)]
pub(crate) struct GrpcProxy {
    /// Its port.
    pub(crate) port: u16,
    shared: Shared,
    _server: JoinSet<()>,
}

type Shared = Arc<Mutex<State>>;

#[derive(Debug, Default)]
struct State {
    /// The queue whose polls are denied.
    denied: Option<String>,
    /// The questions about queues, and when each came in.
    questions: Vec<(Instant, Bytes)>,
}

type Upstream = Client<HttpConnector, Full<Bytes>>;
type Body = BoxBody<Bytes, hyper::Error>;

impl GrpcProxy {
    /// Starts a proxy to a port.
    pub(crate) async fn start(upstream: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("taking a port for a gRPC proxy")?;
        let port = listener.local_addr()?.port();
        let shared = Shared::default();
        let client: Upstream = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let mut server = JoinSet::new();
        let state = shared.clone();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (client, state) = (client.clone(), state.clone());
                let service = service_fn(move |request| answer(request, client.clone(), state.clone(), upstream));
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                connections.spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self { port, shared, _server: server })
    }

    /// Denies new polls of a queue.
    pub(crate) fn deny_polls(&self, queue: &str) {
        lock(&self.shared).denied = Some(queue.to_owned());
    }

    /// When the questions about a queue came in.
    pub(crate) fn questions(&self, queue: &str) -> Vec<Instant> {
        let state = lock(&self.shared);
        state.questions.iter().filter(|(_, body)| names(body, queue)).map(|(at, _)| *at).collect()
    }
}

/// Passes a request on, unless it polls the denied queue. The request names its queue in plain text.
async fn answer(
    request: Request<Incoming>,
    client: Upstream,
    state: Shared,
    upstream: u16,
) -> Result<Response<Body>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let denied = lock(&state).denied.clone();
    if parts.uri.path().contains(POLL) && denied.is_some_and(|queue| names(&body, &queue)) {
        return Ok(refusal(PERMISSION_DENIED));
    }
    if parts.uri.path().ends_with(DESCRIBE) {
        lock(&state).questions.push((Instant::now(), body.clone()));
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

/// Whether a request names a queue.
fn names(body: &Bytes, queue: &str) -> bool {
    body.windows(queue.len()).any(|part| part == queue.as_bytes())
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
