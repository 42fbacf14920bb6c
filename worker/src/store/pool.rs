//! The connection pool of Postgres: its size, its timeouts and its metrics. It knows no table.
//!
//! Each use of a connection is one transaction with unnamed statements and with timeouts of its own. So it works
//! through a PgBouncer in transaction mode, which may give each transaction another connection of the server: nothing
//! may remain on a connection between two transactions.
//!
//! Up to `DB_POOL_SIZE` connections stay open once opened. Up to `DB_MAX_OVERFLOW` more are opened under load and
//! closed when idle. The total never exceeds what the slots can use.

use std::{
    future::Future,
    io,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool, Postgres, SqlSafeStr,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions},
    query::Query,
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{
    info,
    subscriber::{NoSubscriber, with_default},
    warn,
};

use crate::{
    config::{DatabaseConfig, SecretUrl},
    external::{Blame, CallError, Fault, Guard, Guards, Service},
    metrics::{Metrics, PoolState},
};

/// Extra time for the server's own "statement timeout" to arrive before the connection counts as dead.
const ANSWER: Duration = Duration::from_secs(5);

/// Interval of the check for idle overflow connections. SQLAlchemy closes a connection that is returned to a full
/// pool, unless a caller waits. sqlx cannot tell whether a caller waits, and under load would open a connection for
/// every use.
const OVERFLOW_CHECK: Duration = Duration::from_secs(1);

/// Timeout of the connection that finds out why the pool could open none.
const PROBE: Duration = Duration::from_secs(2);

/// SQLSTATE of a write on a server that is read-only, such as a primary that became a replica.
const READ_ONLY: &str = "25006";

/// A statement without a name, which leaves nothing on the server. A name would belong to the server's connection,
/// and the next transaction may run on another.
pub(super) fn query(sql: impl SqlSafeStr) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(sql).persistent(false)
}

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
    /// Its circuit opens while no connection can be had. Else each document that waits for the database would hold a
    /// slot for the timeout, again and again.
    guard: Guard,
    config: Arc<DatabaseConfig>,
    application: &'static str,
    /// The URL that new connections use.
    url: Arc<Mutex<SecretUrl>>,
    waiters: Arc<AtomicUsize>,
    /// Connections that a caller has.
    used: Arc<AtomicUsize>,
    /// The statement that begins a transaction with the server's own timeouts.
    begin: Arc<str>,
    limit: Option<Duration>,
    metrics: Metrics,
    _overflow: Arc<AbortOnDropHandle<()>>,
}

impl Pool {
    /// Prepares the pool; connections open on first use.
    ///
    /// # Errors
    /// The URL is invalid, or its file cannot be read.
    pub(super) fn open(
        config: &DatabaseConfig,
        settings: PoolSettings,
        metrics: Metrics,
        guards: &Guards,
    ) -> anyhow::Result<Self> {
        let url = config.current_url()?;
        let server = connect_options(url.expose(), settings.application)?;
        let limit = config.statement_timeout();
        let inner = PgPoolOptions::new()
            .max_connections(config.connections(settings.slots))
            .acquire_timeout(config.acquire_timeout())
            // Connections that are kept close at their maximum age, not when idle.
            .idle_timeout(None)
            .connect_lazy_with(server);
        let overflow = close_overflow(inner.clone(), config.connections_kept(settings.slots));
        // It may connect again with another URL, and then ask for the cause.
        let longest = 2 * config.acquire_timeout() + PROBE + ANSWER;
        Ok(Self {
            inner,
            guard: guards.of(Service::Postgres, longest),
            config: Arc::new(config.clone()),
            application: settings.application,
            url: Arc::new(Mutex::new(url)),
            waiters: Arc::default(),
            used: Arc::default(),
            begin: begin_statement(limit).into(),
            limit: limit.map(|limit| limit + ANSWER),
            metrics,
            _overflow: Arc::new(AbortOnDropHandle::new(tokio::spawn(overflow))),
        })
    }

    /// Begins a transaction on a connection out of the pool, waiting if all are in use. [`PooledConnection::end`]
    /// ends it.
    ///
    /// # Errors
    /// No connection became free in time, or the database is unreachable.
    pub(super) async fn begin(&self) -> sqlx::Result<PooledConnection> {
        let mut connection = self.acquire().await?;
        let begun = connection.execute(AssertSqlSafe(Arc::clone(&self.begin)));
        match self.with_timeout(begun).await {
            Ok(_) => Ok(connection),
            Err(error) => connection.release(Err(error)),
        }
    }

    /// Takes a connection out of the pool, waiting if all are in use.
    ///
    /// # Errors
    /// No connection became free in time, or the database is unreachable, or was so a moment ago.
    async fn acquire(&self) -> sqlx::Result<PooledConnection> {
        let acquired = self.guard.call("connect", || self.acquire_now()).await;
        acquired.map_err(|error| match error {
            CallError::Service(error) => error,
            // sqlx has no error of its own for this.
            unserved => io::Error::other(unserved).into(),
        })
    }

    async fn acquire_now(&self) -> sqlx::Result<PooledConnection> {
        let waiting = Count::new(&self.waiters);
        let started = Instant::now();
        let acquired = self.with_current_url(|| self.inner.acquire()).await;
        let acquired = match acquired {
            Err(sqlx::Error::PoolTimedOut) => Err(self.cause_of_timeout().await),
            acquired => acquired,
        };
        drop(waiting);
        let outcome = match &acquired {
            Ok(_) => "acquired",
            Err(sqlx::Error::PoolTimedOut) => "timed_out",
            Err(_) => "failed",
        };
        self.metrics.observe_acquire(outcome, started.elapsed());
        let used = Count::new(&self.used);
        acquired.map(|connection| PooledConnection {
            connection,
            pool: self.inner.clone(),
            limit: self.limit,
            reusable: false,
            _used: used,
        })
    }

    /// Connects, and again with the URL of the file if the database refused the user or the password and the file has
    /// changed.
    async fn with_current_url<T, F>(&self, connect: impl Fn() -> F) -> sqlx::Result<T>
    where
        F: Future<Output = sqlx::Result<T>>,
    {
        let before = self.url();
        match connect().await {
            Err(error) if is_refused(&error) && self.read_url_again(&before) => connect().await,
            result => result,
        }
    }

    fn url(&self) -> SecretUrl {
        self.url.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the URL from its file for new connections. Returns whether it differs from the one before, which another
    /// caller may have found out first.
    fn read_url_again(&self, before: &SecretUrl) -> bool {
        let read = self.config.current_url().and_then(|url| {
            let server = connect_options(url.expose(), self.application)?;
            Ok((url, server))
        });
        match read {
            Ok((url, server)) => {
                let changed = url != *before;
                if changed {
                    info!("the database refused the user or the password: its URL has changed, and was read again");
                    self.inner.set_connect_options(server);
                    *self.url.lock().unwrap_or_else(PoisonError::into_inner) = url;
                }
                changed
            }
            Err(error) => {
                warn!(error = format!("{error:#}"), "the URL of the database cannot be read again");
                false
            }
        }
    }

    /// Why no connection could be acquired in time. While it waits, the pool hides that the server refuses
    /// connections, or has too many clients. If the pool's connections are not all in use, a connection outside the
    /// pool finds out.
    async fn cause_of_timeout(&self) -> sqlx::Error {
        let most = usize::try_from(self.inner.options().get_max_connections()).unwrap_or(usize::MAX);
        if self.used.load(Ordering::Relaxed) >= most {
            return sqlx::Error::PoolTimedOut;
        }
        match timeout(PROBE, self.inner.connect_options().connect()).await {
            Ok(Ok(connection)) => {
                drop(connection);
                sqlx::Error::PoolTimedOut
            }
            Ok(Err(error)) => error,
            Err(_) => no_answer(PROBE),
        }
    }

    /// Limits the wait for the database's answer, because a server that vanished sends none.
    ///
    /// # Errors
    /// The error of the work, or a timeout.
    pub(super) async fn with_timeout<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        with_timeout(self.limit, work).await
    }

    /// A connection outside the pool, without a statement timeout.
    ///
    /// # Errors
    /// The database is unreachable.
    pub(super) async fn connect(&self) -> sqlx::Result<PgConnection> {
        let limit = self.config.acquire_timeout();
        let connect = || async {
            let server = self.inner.connect_options();
            with_timeout(Some(limit), server.connect()).await
        };
        self.with_current_url(connect).await
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

/// A connection that is in use. Dropping it without an end closes it, which happens if its caller is cancelled or gets
/// no answer. Such a connection may be in the middle of a statement, and a dead server must not occupy a
/// place in the pool.
#[derive(Debug)]
pub(super) struct PooledConnection {
    connection: PoolConnection<Postgres>,
    pool: PgPool,
    limit: Option<Duration>,
    reusable: bool,
    _used: Count,
}

impl PooledConnection {
    /// Ends the transaction with the result of its work: commits it, or rolls it back after an error. Then it returns
    /// the connection to the pool.
    ///
    /// # Errors
    /// The error of the work or of the commit.
    pub(super) async fn end<T>(mut self, worked: sqlx::Result<T>) -> sqlx::Result<T> {
        let end = match &worked {
            Ok(_) => "COMMIT",
            Err(sqlx::Error::Io(_)) => return self.release(worked),
            Err(_) => "ROLLBACK",
        };
        let ended = with_timeout(self.limit, self.execute(end)).await;
        match (worked, ended) {
            (Ok(worked), Ok(_)) => self.release(Ok(worked)),
            (Ok(_), Err(error)) => self.release(Err(error)),
            // The connection may be in the middle of the transaction.
            (worked, Err(_)) => worked,
            (worked, Ok(_)) => self.release(worked),
        }
    }

    /// Returns the connection to the pool, with the result of its use.
    ///
    /// # Errors
    /// The error of the use.
    fn release<T>(mut self, used: sqlx::Result<T>) -> sqlx::Result<T> {
        self.reusable = match &used {
            Err(sqlx::Error::Io(_)) => false,
            // The address may lead to a new primary by now. Idle connections are as old as this one.
            Err(error) if code(error).as_deref() == Some(READ_ONLY) => {
                warn!("the database is read-only: its connections are closed, because another may be primary now");
                while let Some(mut idle) = self.pool.try_acquire() {
                    idle.close_on_drop();
                }
                false
            }
            _ => true,
        };
        // A connection would keep as much memory as its largest statement has taken.
        self.connection.shrink_buffers();
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

/// Counts one until it is dropped.
#[derive(Debug)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The SQLSTATE of an error that the database sent.
fn code(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error()?.code()
}

impl Fault for sqlx::Error {
    fn blame(&self) -> Blame {
        match self {
            // The worker's own connections are all in use, or the server works and wants other credentials.
            Self::PoolTimedOut | Self::PoolClosed => Blame::Request,
            error if is_refused(error) => Blame::Request,
            _ => Blame::Service,
        }
    }
}

/// How long the circuit stays open, if that is the error.
pub(crate) fn blocked_for(error: &sqlx::Error) -> Option<Duration> {
    let sqlx::Error::Io(error) = error else { return None };
    match error.get_ref()?.downcast_ref::<CallError<sqlx::Error>>()? {
        CallError::CircuitOpen { blocked_for, .. } => Some(*blocked_for),
        CallError::TimedOut { .. } | CallError::Service(_) => None,
    }
}

/// Whether the server refused the user or the password: class 28, or 08P01 of a PgBouncer.
fn is_refused(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code.starts_with("28") || code == "08P01")
}

fn no_answer(limit: Duration) -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs())).into()
}

/// The connect options of a URL. An application name in the URL takes precedence.
fn connect_options(url: &str, application: &str) -> anyhow::Result<PgConnectOptions> {
    // sqlx logs a parameter that it does not know with its value, which may be a secret.
    let parsed = with_default(NoSubscriber::default(), || url.parse::<PgConnectOptions>());
    let server = parsed.context("reading database.url")?;
    // A PgBouncer rejects this startup parameter. It is of use for numbers as text, and these are binary.
    let server = server.extra_float_digits(None);
    Ok(match server.get_application_name() {
        Some(_) => server,
        None => server.application_name(application),
    })
}

/// The statement that begins a transaction and sets the server's own timeouts: on a statement, and on an idle
/// transaction, which would keep its rows locked. They end with the transaction.
fn begin_statement(limit: Option<Duration>) -> String {
    let Some(limit) = limit else { return "BEGIN".into() };
    let limit = format!("'{}s'", limit.as_secs());
    format!("BEGIN; SET LOCAL statement_timeout = {limit}; SET LOCAL idle_in_transaction_session_timeout = {limit}")
}

async fn with_timeout<T>(limit: Option<Duration>, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let Some(limit) = limit else {
        return work.await;
    };
    timeout(limit, work).await.unwrap_or_else(|_| Err(no_answer(limit)))
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
