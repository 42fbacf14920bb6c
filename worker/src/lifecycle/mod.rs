//! Start and shutdown of a worker ([`run()`]), and the migration of the schema ([`migrate()`]). This file holds what
//! surrounds the work: the port, the connections, readiness and depths.
//!
//! Start: first the HTTP port (live, not ready), then Postgres, then Temporal. Each connection is retried without
//! limit, with a log line at each try, so an outage is a wait and not a crash loop.
//!
//! Shutdown: the process is not ready from then on.

mod migrate;
mod polls;
mod run;

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
    external::Guards,
    health::{self, Health, HttpState, Phase},
    metrics::{Metrics, Queue},
    signals,
    store::{Database, PoolSettings},
    temporal, tls,
};

pub use migrate::migrate;
pub use run::run;

/// Timeout of a migration, including the wait for another worker's. The connection has a timeout of its own.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// Timeout of Temporal's first answer on a new connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout of closing connections, which end with the process in any case.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval of the checks whether all queues are polled.
const READY_CHECK: Duration = Duration::from_millis(50);

/// What surrounds the work.
#[derive(Debug)]
struct Process {
    config: Config,
    /// Name of this process for Temporal and in the table `attempts`: process id and host name. In a cluster the host
    /// name is the pod's.
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
        let metrics = Metrics::new(config.service.depth_lifetime())?;
        let guards = Guards::new(&config.external, metrics.external());
        Ok(Self {
            database: Database::open(&config.database, pool, metrics.clone(), &guards)?,
            identity: identity(),
            health: Health::default(),
            background: JoinSet::new(),
            metrics,
            shutdown,
            config,
        })
    }

    /// Opens the HTTP port. The process is live from now on.
    async fn open_port(&mut self, cpu: CpuPool) -> anyhow::Result<()> {
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

    /// Sets the process ready as soon as every queue is polled. From then on it reads the depths, and readiness follows
    /// the polls.
    fn follow_queues(&mut self, client: &Client) {
        let (metrics, health, queues) = (self.metrics.clone(), self.health.clone(), self.queues());
        let depths = depth::Depths {
            client: client.clone(),
            shown: metrics.depths().clone(),
            queues: queues.to_vec(),
            least: self.config.service.depth_interval(),
        };
        self.background.spawn(async move {
            health.enter(Phase::Waiting("starting to poll".into()));
            let mut checks = interval(READY_CHECK);
            let mut unpolled: Vec<_> = queues.iter().collect();
            while !unpolled.is_empty() {
                checks.tick().await;
                // Later, a queue without polls only means that all its slots are in use.
                unpolled.retain(|queue| !metrics.sdk().polls(&queue.name));
            }
            health.enter(Phase::Ready);
            let names = queues.each_ref().map(|queue| queue.name.as_str()).join(",");
            info!(queues = names, "ready");
            // A worker that has polled is among the pollers that the answers list.
            tokio::join!(depths.run(), polls::follow(metrics, health, queues));
        });
    }

    /// Closes the connections.
    async fn shut_down(mut self) {
        self.health.enter(Phase::ShuttingDown);
        self.background.shutdown().await;
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
