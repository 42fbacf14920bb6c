//! Reads the pages of a fleet: at most [`AT_A_TIME`] at once, within a limit on the whole round.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use crate::{
    page::{LARGEST_PAGE, PageReader, Slots},
    pods::Pod,
    queue::Queue,
    round::Page,
};

/// Pages that are read at once. Each is some sockets and kilobytes.
const AT_A_TIME: usize = 64;
/// Timeout of one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit on all pages of a round. Two rounds and an interval have to fit into the 10 s after which the decision takes
/// readings for none.
const ROUND_LIMIT: Duration = Duration::from_secs(3);

/// Reads pages.
#[derive(Debug)]
pub(crate) struct Pages {
    http: reqwest::Client,
    queues: Vec<Queue>,
    /// Temporal's namespace.
    namespace: String,
}

impl Pages {
    /// For these queues of a Temporal namespace.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(queues: &[Queue], namespace: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            // Pods are reached by their addresses, which a proxy cannot resolve.
            .no_proxy()
            .timeout(PAGE_TIMEOUT)
            // A connection to each of 10,000 pods would outlive its use.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { http, queues: queues.to_owned(), namespace: namespace.to_owned() })
    }

    /// The page of each pod, in their order.
    pub(crate) async fn read(&self, pods: &[Arc<Pod>]) -> Vec<Page> {
        let deadline = Instant::now() + ROUND_LIMIT;
        let asked = pods.iter().enumerate().filter_map(|(number, pod)| Some((number, pod.metrics?)));
        let reads = asked.map(|(number, address)| async move {
            let page = timeout_at(deadline, self.page(address)).await;
            let page = page.unwrap_or_else(|_| Err(format!("the round took longer than {ROUND_LIMIT:?}")));
            (number, page.map_or_else(Page::Unread, Page::Slots))
        });
        let mut pages = vec![Page::NotAsked; pods.len()];
        let mut reads = stream::iter(reads).buffer_unordered(AT_A_TIME);
        while let Some((number, page)) = reads.next().await {
            pages[number] = page;
        }
        drop(reads);
        pages
    }

    async fn page(&self, address: SocketAddr) -> Result<Vec<Option<Slots>>, String> {
        let url = format!("http://{address}/metrics");
        let failed = |error: reqwest::Error| format!("{url}: {}", cause(&error.without_url()));
        let answer = self.http.get(&url).send().await.and_then(reqwest::Response::error_for_status);
        let mut answer = answer.map_err(failed)?;
        let (mut reader, mut size) = (PageReader::new(&self.queues, &self.namespace), 0);
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            size += piece.len();
            if size > LARGEST_PAGE {
                return Err(format!("{url}: the page has more than {LARGEST_PAGE} bytes"));
            }
            reader.feed(&piece);
        }
        Ok(reader.finish())
    }
}

/// What the system said.
fn cause(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    if error.is_timeout() { format!("no answer within {PAGE_TIMEOUT:?}") } else { last.to_string() }
}
