//! A stand-in for an LLM's endpoint: gives the statuses it was told to, then summaries, and keeps what it was asked.

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

/// Every summary that it writes.
pub(crate) const SUMMARY: &str = "A page about numbers.";

/// The double; dropping it closes its port.
#[derive(Debug)]
pub(crate) struct Llm {
    /// What `LLM_BASE_URL` is set to.
    pub(crate) url: String,
    told: Told,
    _server: JoinSet<()>,
}

#[derive(Debug, Clone, Default)]
struct Told {
    statuses: Arc<Mutex<VecDeque<StatusCode>>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Llm {
    /// Starts it; its first answers have these statuses.
    pub(crate) async fn start(statuses: &[StatusCode]) -> Result<Self> {
        let told = Told::default();
        lock(&told.statuses).extend(statuses);
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("taking a port for the LLM")?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .with_state(told.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            url,
            told,
            _server: server,
        })
    }

    /// The body of each request so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        lock(&self.told.asked).clone()
    }
}

async fn complete(State(told): State<Told>, body: String) -> Response {
    let body = serde_json::from_str(&body).unwrap_or_else(|_| json!({"not JSON": body}));
    lock(&told.asked).push(body);
    match lock(&told.statuses).pop_front() {
        Some(status) => status.into_response(),
        None => json!({"choices": [{"message": {"content": SUMMARY}}]})
            .to_string()
            .into_response(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
