//! A store that answers as S3 does where the real server of the tests cannot: with given errors, for given keys. It
//! keeps what is written, and records every request.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use tokio::{net::TcpListener, task::JoinSet};

/// An error of S3.
#[derive(Debug, Clone)]
pub(crate) struct S3Error {
    status: StatusCode,
    code: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    /// How often it is given.
    times: u32,
}

impl S3Error {
    /// An error with this status and code, at each read.
    pub(crate) fn new(status: StatusCode, code: &'static str) -> Self {
        Self { status, code, headers: Vec::new(), times: u32::MAX }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Is given so often, and then the object.
    pub(crate) fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }
}

/// A request that was made.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The path as it was sent.
    pub(crate) path: String,
    /// The header `Authorization`.
    pub(crate) authorization: String,
}

/// The store. Dropping it closes its port.
#[derive(Debug)]
pub(crate) struct S3Stub {
    /// Value for `AWS_ENDPOINT_URL`.
    pub(crate) url: String,
    shared: Shared,
    _server: JoinSet<()>,
}

#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    /// Bodies and errors by the path as it is sent.
    objects: BTreeMap<String, Vec<u8>>,
    errors: BTreeMap<String, S3Error>,
    asked: Vec<Asked>,
}

impl S3Stub {
    /// Starts the store.
    pub(crate) async fn start() -> Result<Self> {
        let shared = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.context("taking a port for S3")?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, shared, _server: server })
    }

    /// Puts an object at a path, as it is sent: `/bucket/key`, percent-encoded.
    pub(crate) fn put(&self, path: &str, body: &str) {
        self.shared.content().objects.insert(path.to_owned(), body.into());
    }

    /// Gives an error for each read of a path.
    pub(crate) fn fail(&self, path: &str, error: S3Error) {
        self.shared.content().errors.insert(path.to_owned(), error);
    }

    /// Gives no errors any more.
    pub(crate) fn heal(&self) {
        self.shared.content().errors.clear();
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.content().asked.clone()
    }
}

impl Shared {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut content = shared.content();
    content.asked.push(Asked { path: path.clone(), authorization: authorization.to_owned() });
    if method == Method::GET
        && let Some(error) = content.errors.get_mut(&path)
    {
        let given = error.clone();
        if error.times > 0 {
            error.times -= 1;
            return refuse(&given);
        }
    }
    if method == Method::PUT {
        content.objects.insert(path, body.into());
        return [("etag", "\"1\"")].into_response();
    }
    match content.objects.get(&path) {
        Some(body) => {
            let head = [("etag", "\"1\""), ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT")];
            (head, body.clone()).into_response()
        }
        None => refuse(&S3Error::new(StatusCode::NOT_FOUND, "NoSuchKey")),
    }
}

fn refuse(error: &S3Error) -> Response {
    let code = error.code;
    let body = match code {
        "" => String::new(),
        code => format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code></Error>"),
    };
    let mut response = (error.status, body).into_response();
    for (name, value) in &error.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}
