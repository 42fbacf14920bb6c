//! Connections to Postgres: how many, for how long, and what a caller waits for. It knows no table.
//!
//! `DB_POOL_SIZE` connections are kept once they are open, up to `DB_MAX_OVERFLOW` more are opened under need and closed when
//! nobody uses them, and all together are never more than the slots can use.

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

/// Time that the server's own "statement timeout" has to arrive before its connection is given up as dead.
const ANSWER: Duration = Duration::from_secs(5);

/// How often idle connections beyond those that are kept are looked for. SQLAlchemy closes one when it is given back to a
/// pool that is full, but hands it on where a caller waits; sqlx cannot tell, and under load would open one for every use.
const OVERFLOW_SEEN: Duration = Duration::from_secs(1);

/// Who holds the connections.
#[derive(Debug, Clone, Copy)]
pub struct Holder {
    /// As `pg_stat_activity` shows it.
    pub application: &'static str,
    /// What it does at a time that needs a connection throughout; there is one more for what needs one for a moment.
    pub slots: usize,
}

/// A pool of connections, each use of which is measured.
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
    /// Prepares the pool; connections are opened when they are needed.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub(super) fn open(config: &DatabaseConfig, holder: Holder, metrics: Metrics) -> anyhow::Result<Self> {
        let server = server(config.url.expose(), holder.application)?;
        let limit = config.statement_timeout();
        let inner = PgPoolOptions::new()
            .max_connections(config.connections(holder.slots))
            .acquire_timeout(config.acquire_timeout())
            // One that is kept is kept: it is closed when it is old, not when it is idle.
            .idle_timeout(None)
            .connect_lazy_with(limited(server.clone(), limit));
        let overflow = close_overflow(inner.clone(), config.connections_kept(holder.slots));
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

    /// Lends a connection; waits for one where all are lent.
    ///
    /// # Errors
    /// None was free in time, or the database cannot be reached.
    pub(super) async fn acquire(&self) -> sqlx::Result<Loan> {
        let waiting = Waiting::new(&self.waiters);
        let started = Instant::now();
        let acquired = self.inner.acquire().await;
        drop(waiting);
        let outcome = match &acquired {
            Ok(_) => "acquired",
            Err(sqlx::Error::PoolTimedOut) => "timed_out",
            Err(_) => "failed",
        };
        self.metrics.observe_acquire(outcome, started.elapsed());
        acquired.map(|connection| Loan {
            connection,
            sound: false,
        })
    }

    /// Waits for the database's answer, but not for ever: a server that is gone without a word gives none.
    ///
    /// # Errors
    /// Those of the work, or none came in time.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let Some(limit) = self.limit else {
            return work.await;
        };
        timeout(limit, work).await.unwrap_or_else(|_| {
            let error = format!("no answer within {} s", limit.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, error).into())
        })
    }

    /// A connection beside the pool, without a limit on its statements.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub(super) async fn connect(&self) -> anyhow::Result<PgConnection> {
        let seconds = self.connect_timeout.as_secs();
        timeout(self.connect_timeout, self.server.connect())
            .await
            .with_context(|| format!("no answer within {seconds} s"))?
            .map_err(Into::into)
    }

    /// Closes every connection.
    pub(super) async fn close(&self) {
        self.inner.close().await;
    }

    /// The connections that are open, and who waits for one.
    pub(super) fn state(&self) -> PoolState {
        let idle = self.inner.num_idle();
        let open = usize::try_from(self.inner.size()).unwrap_or(usize::MAX);
        PoolState {
            in_use: open.saturating_sub(idle),
            idle,
            waiters: self.waiters.load(Ordering::Relaxed),
        }
    }
}

/// A connection that is lent. One that is not given back, because its caller was cancelled or got no answer, is closed: nobody
/// knows what it is in the middle of, and a server that is gone must not hold its place in the pool.
#[derive(Debug)]
pub(super) struct Loan {
    connection: PoolConnection<Postgres>,
    sound: bool,
}

impl Loan {
    /// Gives the connection back, with what came of its use.
    ///
    /// # Errors
    /// Those of the use.
    pub(super) fn give_back<T>(mut self, used: sqlx::Result<T>) -> sqlx::Result<T> {
        self.sound = !matches!(used, Err(sqlx::Error::Io(_)));
        used
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if !self.sound {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for Loan {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// Counts a caller for as long as it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiters: &'a AtomicUsize) -> Self {
        waiters.fetch_add(1, Ordering::Relaxed);
        Self(waiters)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where to connect; what the URL says of the application's name stays.
fn server(url: &str, application: &str) -> anyhow::Result<PgConnectOptions> {
    let server: PgConnectOptions = url.parse().context("reading database.url")?;
    Ok(match server.get_application_name() {
        Some(_) => server,
        None => server.application_name(application),
    })
}

/// The server's own limits: on a statement, and on a transaction whose worker is gone, which would keep its rows locked.
fn limited(server: PgConnectOptions, limit: Option<Duration>) -> PgConnectOptions {
    let Some(limit) = limit else { return server };
    let limit = format!("{}s", limit.as_secs());
    server.options([
        ("statement_timeout", &limit),
        ("idle_in_transaction_session_timeout", &limit),
    ])
}

/// Closes idle connections beyond those that are kept, until the pool is closed.
async fn close_overflow(pool: PgPool, kept: u32) {
    let mut looks = interval(OVERFLOW_SEEN);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !pool.is_closed() {
        looks.tick().await;
        while pool.size() > kept {
            let Some(surplus) = pool.try_acquire() else { break };
            // Its place is free again, closed or given up.
            let _ = timeout(ANSWER, surplus.close()).await;
        }
    }
}

#[cfg(test)]
mod tests;
