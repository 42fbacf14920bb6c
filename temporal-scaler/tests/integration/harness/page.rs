//! The /metrics page of a worker, played.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;
use axum::{Router, extract::State, routing::get};
use tokio::net::TcpListener;

/// The lines of a queue's slots, as the SDKs write them.
pub(crate) fn slots(kind: &str, queue: &str, used: u32, available: u32) -> String {
    let labels = format!("{{service_name=\"temporal-core-sdk\",task_queue=\"{queue}\",worker_type=\"{kind}\"}}");
    format!(
        "temporal_worker_task_slots_used{labels} {used}\ntemporal_worker_task_slots_available{labels} {available}\n"
    )
}

/// A worker's page.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// Its port.
    pub(crate) port: u16,
    text: Arc<Mutex<String>>,
    reads: Arc<Reads>,
}

/// The reads of a page.
#[derive(Debug, Default)]
struct Reads {
    all: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Page {
    /// Serves a text.
    pub(crate) async fn start(text: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let page = Self { port, text: Arc::new(Mutex::new(text.to_owned())), reads: Arc::default() };
        let router = Router::new().route("/metrics", get(serve)).with_state(page.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(page)
    }

    /// Serves another text from now on.
    pub(crate) fn set(&self, text: &str) {
        text.clone_into(&mut self.text.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The reads so far, and the most at one time.
    pub(crate) fn reads(&self) -> (usize, usize) {
        (self.reads.all.load(Ordering::SeqCst), self.reads.most.load(Ordering::SeqCst))
    }
}

async fn serve(State(page): State<Page>) -> String {
    let read = Read::begin(&page.reads);
    // So that reads that are under way at once are seen to be.
    tokio::task::yield_now().await;
    drop(read);
    page.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A read under way. It ends where it is dropped: a client that goes away takes its request with it.
struct Read<'a>(&'a Reads);

impl<'a> Read<'a> {
    fn begin(reads: &'a Reads) -> Self {
        reads.all.fetch_add(1, Ordering::SeqCst);
        let now = reads.now.fetch_add(1, Ordering::SeqCst) + 1;
        reads.most.fetch_max(now, Ordering::SeqCst);
        Self(reads)
    }
}

impl Drop for Read<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}
