//! The connection pool of Postgres: its size, its timeouts and its metrics. It knows no table.
//!
//! Up to `DB_POOL_SIZE` connections stay open once opened. Up to `DB_MAX_OVERFLOW` more are opened under load and
//! closed when idle. The total never exceeds what the slots can use.

use std::{
    future::Future,
    io,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use sqlx::{
    ConnectOptions as _, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    config::DatabaseConfig,
    metrics::{Metrics, PoolState},
};

/// Extra time for the server's own "statement timeout" to arrive before the connection counts as dead.
const ANSWER: Duration = Duration::from_secs(5);

/// Interval of the check for idle overflow connections. SQLAlchemy closes a connection that is returned to a full
/// pool, unless a caller waits. sqlx cannot tell whether a caller waits, and under load would open a connection for
/// every use.
const OVERFLOW_CHECK: Duration = Duration::from_secs(1);

/// Settings of the pool that depend on the kind of process.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// Application name in `pg_stat_activity`.
    pub application: &'static str,
    /// Number of tasks that each need a connection for their whole duration. The pool allows one more for short
    /// statements.
    pub slots: usize,
}

/// A pool of connections with metrics.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    inner: PgPool,
    server: PgConnectOptions,
    waiters: Arc<AtomicUsize>,
    limit: Option<Duration>,
    connect_timeout: Duration,
    metrics: Metrics,
    _overflow: Arc<AbortOnDropHandle<()>>,
}

impl Pool {
    /// Prepares the pool; connections open on first use.
    ///
    /// # Errors
    /// The URL is invalid.
    pub(super) fn open(config: &DatabaseConfig, settings: PoolSettings, metrics: Metrics) -> anyhow::Result<Self> {
        let server = connect_options(config.url.expose(), settings.application)?;
        let limit = config.statement_timeout();
        let inner = PgPoolOptions::new()
            .max_connections(config.connections(settings.slots))
            .acquire_timeout(config.acquire_timeout())
            // Connections that are kept close at their maximum age, not when idle.
            .idle_timeout(None)
            .connect_lazy_with(with_server_timeouts(server.clone(), limit));
        let overflow = close_overflow(inner.clone(), config.connections_kept(settings.slots));
        Ok(Self {
            inner,
            server,
            waiters: Arc::default(),
            limit: limit.map(|limit| limit + ANSWER),
            connect_timeout: config.acquire_timeout(),
            metrics,
            _overflow: Arc::new(AbortOnDropHandle::new(tokio::spawn(overflow))),
        })
    }

    /// Takes a connection out of the pool, waiting if all are in use.
    ///
    /// # Errors
    /// No connection became free in time, or the database is unreachable.
    pub(super) async fn acquire(&self) -> sqlx::Result<PooledConnection> {
        let waiting = WaiterCount::new(&self.waiters);
        let started = Instant::now();
        let acquired = self.inner.acquire().await;
        drop(waiting);
        let outcome = match &acquired {
            Ok(_) => "acquired",
            Err(sqlx::Error::PoolTimedOut) => "timed_out",
            Err(_) => "failed",
        };
        self.metrics.observe_acquire(outcome, started.elapsed());
        acquired.map(|connection| PooledConnection { connection, reusable: false })
    }

    /// Limits the wait for the database's answer, because a server that vanished sends none.
    ///
    /// # Errors
    /// The error of the work, or a timeout.
    pub(super) async fn with_timeout<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let Some(limit) = self.limit else {
            return work.await;
        };
        timeout(limit, work).await.unwrap_or_else(|_| {
            let error = format!("no answer within {} s", limit.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, error).into())
        })
    }

    /// A connection outside the pool, without a statement timeout.
    ///
    /// # Errors
    /// The database is unreachable.
    pub(super) async fn connect(&self) -> anyhow::Result<PgConnection> {
        let seconds = self.connect_timeout.as_secs();
        timeout(self.connect_timeout, self.server.connect())
            .await
            .with_context(|| format!("no answer within {seconds} s"))?
            .map_err(Into::into)
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        self.inner.close().await;
    }

    /// Number of open connections and of callers that wait for one.
    pub(super) fn state(&self) -> PoolState {
        let idle = self.inner.num_idle();
        let open = usize::try_from(self.inner.size()).unwrap_or(usize::MAX);
        PoolState { in_use: open.saturating_sub(idle), idle, waiters: self.waiters.load(Ordering::Relaxed) }
    }
}

/// A connection that is in use. Dropping it without a release closes it, which happens if its caller is cancelled
/// or gets no answer. Such a connection may be in the middle of a statement, and a dead server must not occupy a
/// place in the pool.
#[derive(Debug)]
pub(super) struct PooledConnection {
    connection: PoolConnection<Postgres>,
    reusable: bool,
}

impl PooledConnection {
    /// Returns the connection to the pool, with the result of its use.
    ///
    /// # Errors
    /// The error of the use.
    pub(super) fn release<T>(mut self, used: sqlx::Result<T>) -> sqlx::Result<T> {
        self.reusable = !matches!(used, Err(sqlx::Error::Io(_)));
        used
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if !self.reusable {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for PooledConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// Counts a caller as waiting until it is dropped.
struct WaiterCount<'a>(&'a AtomicUsize);

impl<'a> WaiterCount<'a> {
    fn new(waiters: &'a AtomicUsize) -> Self {
        waiters.fetch_add(1, Ordering::Relaxed);
        Self(waiters)
    }
}

impl Drop for WaiterCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connect options of a URL. An application name in the URL takes precedence.
fn connect_options(url: &str, application: &str) -> anyhow::Result<PgConnectOptions> {
    let server: PgConnectOptions = url.parse().context("reading database.url")?;
    Ok(match server.get_application_name() {
        Some(_) => server,
        None => server.application_name(application),
    })
}

/// Sets the server's own timeouts: on a statement, and on an idle transaction, which would keep its rows locked.
fn with_server_timeouts(server: PgConnectOptions, limit: Option<Duration>) -> PgConnectOptions {
    let Some(limit) = limit else { return server };
    let limit = format!("{}s", limit.as_secs());
    server.options([("statement_timeout", &limit), ("idle_in_transaction_session_timeout", &limit)])
}

/// Closes idle overflow connections until the pool is closed.
async fn close_overflow(pool: PgPool, kept: u32) {
    let mut checks = interval(OVERFLOW_CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !pool.is_closed() {
        checks.tick().await;
        while pool.size() > kept {
            let Some(surplus) = pool.try_acquire() else { break };
            // The place in the pool is free again even if closing timed out.
            let _ = timeout(ANSWER, surplus.close()).await;
        }
    }
}

#[cfg(test)]
mod tests;
