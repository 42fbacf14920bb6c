//! A fake LLM endpoint: answers with given statuses, then with summaries, and records the requests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

/// The text of every summary.
pub(crate) const SUMMARY: &str = "A page about numbers.";

/// The fake endpoint. Dropping it closes its port.
#[derive(Debug)]
pub(crate) struct Llm {
    /// Value for `LLM_BASE_URL`.
    pub(crate) url: String,
    shared: Shared,
    _server: JoinSet<()>,
}

#[derive(Debug, Clone, Default)]
struct Shared {
    statuses: Arc<Mutex<VecDeque<StatusCode>>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Llm {
    /// Starts the endpoint. Its first answers have these statuses.
    pub(crate) async fn start(statuses: &[StatusCode]) -> Result<Self> {
        let shared = Shared::default();
        lock(&shared.statuses).extend(statuses);
        let listener = TcpListener::bind("127.0.0.1:0").await.context("taking a port for the LLM")?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let router = Router::new().route("/v1/chat/completions", post(complete)).with_state(shared.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, shared, _server: server })
    }

    /// The body of each request so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        lock(&self.shared.asked).clone()
    }
}

async fn complete(State(shared): State<Shared>, body: String) -> Response {
    let body = serde_json::from_str(&body).unwrap_or_else(|_| json!({"not JSON": body}));
    lock(&shared.asked).push(body);
    match lock(&shared.statuses).pop_front() {
        Some(status) => status.into_response(),
        None => json!({"choices": [{"message": {"content": SUMMARY}}]}).to_string().into_response(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
