//! Start and shutdown of a process that takes work ([`run()`]) and of one that only watches the queues
//! ([`watch()`]). This file holds what both share.
//!
//! Start: first the HTTP port (live, not ready), then Postgres, then Temporal. Each connection is retried without
//! limit, with a log line at each try, so an outage is a wait and not a crash loop.
//!
//! Shutdown: the process is not ready from then on, and releases its leases on queue readings, so that the next
//! process need not wait until they expire.

mod migrate;
mod polls;
mod run;
mod watch;

use std::{future::Future, time::Duration};

use anyhow::Context as _;
use temporalio_client::Client;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    config::Config,
    cpu::CpuPool,
    depth,
    health::{self, Health, HttpState, Phase},
    metrics::{Metrics, Queue},
    signals,
    store::{Database, PoolSettings},
    temporal, tls,
};

pub use migrate::migrate;
pub use run::run;
pub use watch::watch;

/// Timeout of a migration, including the wait for another worker's. The connection has a timeout of its own.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// Timeout of Temporal's first answer on a new connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout of releasing the leases, and again of closing connections. Both end with the process in any case.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval of the checks whether all queues are ready.
const READY_CHECK: Duration = Duration::from_millis(50);

/// What both kinds of process share.
#[derive(Debug)]
struct Process {
    config: Config,
    /// Name of this process for Temporal, in the table `attempts` and in the leases: process id and host name. In a
    /// cluster the host name is the pod's.
    identity: String,
    metrics: Metrics,
    database: Database,
    health: Health,
    /// Cancelled by the first signal.
    shutdown: CancellationToken,
    background: JoinSet<()>,
}

impl Process {
    /// Prepares the process without connecting to anything.
    fn new(config: Config, pool: PoolSettings) -> anyhow::Result<Self> {
        tls::install_provider();
        let shutdown = signals::listen()?;
        let metrics = Metrics::new(config.service.depth_interval() * depth::LIFETIME_INTERVALS)?;
        Ok(Self {
            database: Database::open(&config.database, pool, metrics.clone())?,
            identity: identity(),
            health: Health::default(),
            background: JoinSet::new(),
            metrics,
            shutdown,
            config,
        })
    }

    /// Opens the HTTP port. The process is live from now on.
    async fn open_port(&mut self, cpu: Option<CpuPool>) -> anyhow::Result<()> {
        let listener = health::bind(&self.config.service.metrics_address)?;
        let state = HttpState {
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            database: self.database.clone(),
            cpu,
        };
        self.background.spawn(async move {
            if let Err(error) = health::serve(listener, state).await {
                error!(error = format!("{error:#}"), "the port of metrics and health failed");
            }
        });
        info!(version = env!("CARGO_PKG_VERSION"), identity = self.identity, "started");
        Ok(())
    }

    /// Connects to Postgres and Temporal; `None` if a signal comes first.
    async fn connect(&self) -> Option<Client> {
        let pause = self.config.service.start_retry();
        let connecting = async {
            let migrate = self.config.database.migrate_at_start;
            retry_until_ok("Postgres", pause, &self.health, || {
                within(MIGRATION_TIMEOUT, self.database.prepare_schema(migrate))
            })
            .await;
            retry_until_ok("Temporal", pause, &self.health, || {
                let limit = self.config.temporal.connect_timeout() + ANSWER_TIMEOUT;
                let connected = temporal::connect(&self.config, &self.identity, self.metrics.sdk());
                within(limit, connected)
            })
            .await
        };
        self.shutdown.run_until_cancelled(connecting).await
    }

    fn queues(&self) -> [Queue; 3] {
        let [workflow, io, cpu] = self.config.temporal.queues();
        [Queue::workflow(workflow), Queue::activity(io), Queue::activity(cpu)]
    }

    /// Starts showing the queue depths, and reading them while this process holds the lease.
    fn watch_depths(&mut self, client: &Client) {
        let watch = depth::Watch {
            client: client.clone(),
            database: self.database.clone(),
            shown: self.metrics.depths().clone(),
            queues: self.queues().into(),
            reader: self.identity.clone(),
            every: self.config.service.depth_interval(),
        };
        self.background.spawn(watch.run());
    }

    /// Sets the process ready as soon as `seen` was true of every queue, and then runs `watch`.
    fn set_ready<F>(
        &mut self,
        waiting: &'static str,
        seen: impl Fn(&Metrics, &Queue) -> bool + Send + 'static,
        watch: impl FnOnce(Metrics, Health, [Queue; 3]) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let (metrics, health, queues) = (self.metrics.clone(), self.health.clone(), self.queues());
        self.background.spawn(async move {
            health.enter(Phase::Waiting(waiting.into()));
            let mut checks = interval(READY_CHECK);
            let mut unseen: Vec<_> = queues.iter().collect();
            while !unseen.is_empty() {
                checks.tick().await;
                unseen.retain(|queue| !seen(&metrics, queue));
            }
            health.enter(Phase::Ready);
            let names = queues.each_ref().map(|queue| queue.name.as_str()).join(",");
            info!(queues = names, "ready");
            watch(metrics, health, queues).await;
        });
    }

    /// Releases what other processes may wait for: the leases and the connections.
    async fn shut_down(mut self) {
        self.health.enter(Phase::ShuttingDown);
        self.background.shutdown().await;
        let leases = timeout(CLEANUP_TIMEOUT, self.database.release_leases(&self.identity)).await;
        if !matches!(leases, Ok(Ok(()))) {
            info!("the leases on the queue readings were not released; they will expire");
        }
        // A server that does not answer must not delay the exit.
        if timeout(CLEANUP_TIMEOUT, self.database.close()).await.is_err() {
            info!("the database connections were not closed; the process's exit closes them");
        }
        info!("stopped");
    }
}

fn identity() -> String {
    let named = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let host = named.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    format!("{}@{}", std::process::id(), host.as_deref().map_or("unknown", str::trim))
}

async fn within<T>(limit: Duration, attempt: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(limit, attempt).await.with_context(|| format!("no answer within {} s", limit.as_secs()))?
}

/// Retries until the attempt succeeds.
async fn retry_until_ok<T, F>(what: &str, pause: Duration, health: &Health, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = anyhow::Result<T>>,
{
    let mut tries = interval(pause);
    tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0_u64;
    loop {
        tries.tick().await;
        count += 1;
        let error = match attempt().await {
            Ok(reached) => {
                info!(what, tries = count, "reached");
                return reached;
            }
            Err(error) => format!("{error:#}"),
        };
        warn!(what, tries = count, error, "not reached; retrying in {} s", pause.as_secs());
        health.enter(Phase::Waiting(format!("waiting for {what}: {error}")));
    }
}
