//! The number of open connections, tested against a listener that speaks just enough of the protocol to accept
//! them.

use std::sync::Mutex;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::config::SecretUrl;

/// Accepts every connection, and answers nothing but pings and simple statements.
#[derive(Debug, Clone, Default)]
struct Server {
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    startup: Arc<Mutex<String>>,
    simple: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self::default();
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                server.accepted.fetch_add(1, Ordering::SeqCst);
                server.open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    // The client may close the connection in the middle of a message.
                    let _ = server.serve(stream).await;
                    server.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        (server, format!("postgres://u@{address}/documents?sslmode=disable"))
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        const AUTHENTICATED: &[u8] = b"R\0\0\0\x08\0\0\0\0";
        const READY: &[u8] = b"Z\0\0\0\x05I";
        const DONE: &[u8] = b"C\0\0\0\x09DONE\0";
        let startup = body(&mut stream).await?;
        *self.startup.lock().unwrap() = String::from_utf8_lossy(&startup).into_owned();
        stream.write_all(AUTHENTICATED).await?;
        stream.write_all(READY).await?;
        loop {
            let kind = stream.read_u8().await?;
            let text = body(&mut stream).await?;
            match kind {
                // A query, which is never answered.
                b'P' => std::future::pending::<()>().await,
                b'Q' => {
                    let text = String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned();
                    self.simple.lock().unwrap().push(text);
                    stream.write_all(DONE).await?;
                    stream.write_all(READY).await?;
                }
                b'S' => stream.write_all(READY).await?,
                b'X' => return Ok(()),
                _ => {}
            }
        }
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// The rest of a message: its length, which counts itself, and its content.
async fn body(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

fn pool(url: &str, pool_size: u32, max_overflow: u32) -> Pool {
    let config = DatabaseConfig {
        url: SecretUrl::from(url),
        pool_size,
        max_overflow,
        acquire_timeout_seconds: 1,
        ..DatabaseConfig::default()
    };
    let metrics = Metrics::new(Duration::from_secs(15)).unwrap();
    let settings = PoolSettings { application: "a-name", slots: 5 };
    Pool::open(&config, settings, metrics, &Guards::for_tests()).unwrap()
}

/// Waits until the condition holds, for at most 5 s.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let mut checks = interval(Duration::from_millis(10));
    let condition = async {
        while !holds() {
            checks.tick().await;
        }
    };
    timeout(Duration::from_secs(5), condition).await.unwrap_or_else(|_| panic!("not within 5 s: {what}"));
}

async fn acquire(pool: &Pool, count: usize) -> Vec<PooledConnection> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(pool.acquire().await.unwrap());
    }
    connections
}

fn release(connections: Vec<PooledConnection>) {
    for connection in connections {
        connection.release(Ok(())).unwrap();
    }
}

#[tokio::test]
async fn connections_of_the_pool_size_stay_open_and_overflow_is_closed() {
    let (server, url) = Server::start().await;
    let pool = pool(&url, 2, 2);
    let connections = acquire(&pool, 4).await;
    assert_eq!((server.open(), pool.state().in_use), (4, 4));
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.unwrap().release(Ok(())) }
    });
    eventually("a fifth caller waits", || pool.state().waiters == 1).await;
    release(connections);
    waiting.await.unwrap().unwrap();
    assert_eq!(server.accepted(), 4, "the fifth caller gets one of the four");
    eventually("two are closed", || server.open() == 2 && pool.state().idle == 2).await;
    release(acquire(&pool, 2).await);
    assert_eq!(server.accepted(), 4, "the two that are kept are used again");
    assert_eq!(pool.state().waiters, 0);
    pool.close().await;
    eventually("all are closed", || server.open() == 0).await;
}

#[tokio::test]
async fn a_wait_that_times_out_is_measured_as_one() {
    let (_server, url) = Server::start().await;
    let pool = pool(&url, 1, 0);
    let connections = acquire(&pool, 1).await;
    let error = pool.acquire().await.unwrap_err();
    assert!(matches!(error, sqlx::Error::PoolTimedOut), "{error}");
    release(connections);
    let text = pool.metrics.exposition().unwrap();
    for line in [
        "document_database_acquire_seconds_count{outcome=\"acquired\"} 1",
        "document_database_acquire_seconds_count{outcome=\"timed_out\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is missing in:\n{text}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error_and_keeps_no_place_in_the_pool() {
    let (server, url) = Server::start().await;
    let mut pool = pool(&url, 1, 0);
    pool.limit = Some(Duration::from_millis(100));
    let mut connection = pool.acquire().await.unwrap();
    let used = pool.with_timeout(sqlx::query("SELECT 1").execute(&mut *connection)).await;
    let error = connection.release(used).unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
    release(acquire(&pool, 1).await);
    assert_eq!(server.accepted(), 2, "another connection takes the place");
}

#[tokio::test]
async fn a_connection_whose_caller_is_cancelled_is_closed() {
    let (server, url) = Server::start().await;
    let pool = pool(&url, 1, 0);
    drop(acquire(&pool, 1).await);
    eventually("it is closed", || server.open() == 0 && pool.state() == PoolState::default()).await;
}

#[tokio::test]
async fn connections_have_the_application_name_and_no_parameter_that_a_pgbouncer_rejects() {
    let (server, url) = Server::start().await;
    let pool = pool(&url, 1, 0);
    release(acquire(&pool, 1).await);
    let startup = server.startup.lock().unwrap().clone();
    assert!(startup.contains("application_name\0a-name\0"), "{startup:?}");
    for rejected in ["extra_float_digits", "options"] {
        assert!(!startup.contains(rejected), "{startup:?}");
    }
}

#[tokio::test]
async fn each_use_is_a_transaction_with_the_server_timeouts_that_its_result_ends() {
    let (server, url) = Server::start().await;
    let pool = pool(&url, 1, 0);
    pool.begin().await.unwrap().end(Ok(())).await.unwrap();
    let failed = pool.begin().await.unwrap().end::<()>(Err(sqlx::Error::RowNotFound)).await;
    assert!(matches!(failed, Err(sqlx::Error::RowNotFound)), "{failed:?}");
    const BEGIN: &str =
        "BEGIN; SET LOCAL statement_timeout = '30s'; SET LOCAL idle_in_transaction_session_timeout = '30s'";
    assert_eq!(*server.simple.lock().unwrap(), [BEGIN, "COMMIT", BEGIN, "ROLLBACK"]);
    assert_eq!(server.accepted(), 1, "the connection is used again");
}

#[tokio::test]
async fn a_wait_for_a_connection_that_cannot_be_opened_names_the_cause() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let pool = pool(&format!("postgres://u@{address}/documents?sslmode=disable"), 1, 0);
    let error = pool.acquire().await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

#[test]
fn a_name_in_the_url_stays_and_without_a_limit_no_timeout_is_set() {
    let named = connect_options("postgres://u@db/documents?application_name=reports", "a-name").unwrap();
    assert_eq!(named.get_application_name(), Some("reports"));
    assert_eq!(begin_statement(None), "BEGIN");
}
