//! From start to end, of a process that takes work ([`run()`]) and of one that only watches the queues ([`watch()`]). Here is
//! what both have in common.
//!
//! Start: the port first (live, not ready), then Postgres, then Temporal; each is tried again for as long as it takes, with a
//! line at each try, so that an outage is a wait and not a crash loop. End: not ready at once, and the leases on readings are
//! given up, so that who follows need not wait for them to run out.

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
    deletion_cost::DeletionCosts,
    depth,
    health::{self, Health, Phase, Shown},
    metrics::{Metrics, Queue},
    signals,
    store::{Database, Holder},
    temporal, tls,
};

pub use run::run;
pub use watch::watch;

/// The longest that a migration may take, the wait for another worker's included. Connecting has a limit of its own.
const MIGRATION: Duration = Duration::from_secs(600);

/// Time for Temporal's answer on a connection that is made.
const ANSWER: Duration = Duration::from_secs(5);

/// Time for giving up the leases on readings, and as much for closing connections: work is done by then, and both end anyway.
const LEASES: Duration = Duration::from_secs(1);

/// How often the queues are looked at until all have been seen.
const SEEN: Duration = Duration::from_millis(50);

/// One process of the fleet, whatever it is for.
#[derive(Debug)]
struct Member {
    config: Config,
    /// Who it is to Temporal, in `attempts` and among the readers: process and host, which in a cluster is the pod.
    identity: String,
    metrics: Metrics,
    database: Database,
    health: Health,
    /// Cancelled by the first signal.
    leave: CancellationToken,
    background: JoinSet<()>,
}

impl Member {
    /// Prepares; nothing is connected yet.
    fn new(config: Config, holder: Holder) -> anyhow::Result<Self> {
        tls::install_provider();
        let leave = signals::listen()?;
        let metrics = Metrics::new(config.service.depth_interval() * depth::LIFETIME_INTERVALS)?;
        Ok(Self {
            database: Database::open(&config.database, holder, metrics.clone())?,
            identity: identity(),
            health: Health::default(),
            background: JoinSet::new(),
            metrics,
            leave,
            config,
        })
    }

    /// Opens the port: live from here on.
    async fn open_port(&mut self, cpu: Option<CpuPool>) -> anyhow::Result<()> {
        let listener = health::bind(&self.config.service.metrics_address).await?;
        let shown = Shown {
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            database: self.database.clone(),
            cpu,
        };
        self.background.spawn(async move {
            if let Err(error) = health::serve(listener, shown).await {
                error!(
                    error = format!("{error:#}"),
                    "metrics and health are no longer served"
                );
            }
        });
        info!(
            version = env!("CARGO_PKG_VERSION"),
            identity = self.identity,
            "started"
        );
        Ok(())
    }

    /// Waits for Postgres and Temporal; nothing is returned where a signal comes first.
    async fn reach(&self) -> Option<Client> {
        let pause = self.config.service.start_retry();
        let reaching = async {
            insist("Postgres", pause, &self.health, || {
                within(MIGRATION, self.database.migrate())
            })
            .await;
            insist("Temporal", pause, &self.health, || {
                let limit = self.config.temporal.connect_timeout() + ANSWER;
                let connected = temporal::connect(&self.config, &self.identity, self.metrics.sdk());
                within(limit, connected)
            })
            .await
        };
        self.leave.run_until_cancelled(reaching).await
    }

    fn queues(&self) -> [Queue; 3] {
        let [workflow, io, cpu] = self.config.temporal.queues();
        [
            Queue::workflow(workflow),
            Queue::activity(io),
            Queue::activity(cpu),
        ]
    }

    /// Shows the depths of the queues, and reads them where it has the lease.
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

    /// Tells Kubernetes which workers have work, where it is asked to.
    fn set_deletion_costs(&mut self) {
        let selector = &self.config.service.deletion_cost_selector;
        if selector.is_empty() {
            return;
        }
        match DeletionCosts::in_cluster(selector) {
            Ok(costs) => {
                self.background.spawn(costs.run());
            }
            Err(error) => warn!(
                error = format!("{error:#}"),
                selector,
                "the pods' deletion costs are not set: this is no pod with a service account's token \
                 (unset DELETION_COST_SELECTOR outside of Kubernetes)"
            ),
        }
    }

    /// Ready once every queue was `seen`, and from then on: what is seen of it later does not matter.
    fn ready_once(
        &mut self,
        waiting: &'static str,
        seen: impl Fn(&Metrics, &Queue) -> bool + Send + 'static,
    ) {
        let (metrics, health, queues) = (self.metrics.clone(), self.health.clone(), self.queues());
        self.background.spawn(async move {
            health.enter(Phase::Waiting(waiting.into()));
            let mut looks = interval(SEEN);
            let mut unseen: Vec<_> = queues.iter().collect();
            while !unseen.is_empty() {
                looks.tick().await;
                unseen.retain(|queue| !seen(&metrics, queue));
            }
            health.enter(Phase::Ready);
            let queues = queues.map(|queue| queue.name).join(",");
            info!(queues, "ready");
        });
    }

    /// Gives up what others may be waiting for: the leases on readings, the connections.
    async fn leave_the_fleet(mut self) {
        self.health.enter(Phase::Leaving);
        self.background.shutdown().await;
        let leases = timeout(LEASES, self.database.release_leases(&self.identity)).await;
        if !matches!(leases, Ok(Ok(()))) {
            info!("the leases on the queues' readings were not given up; they run out by themselves");
        }
        // A server that does not answer is not waited for: it sees the end of the process.
        if timeout(LEASES, self.database.close()).await.is_err() {
            info!("the database's connections were not closed; the end of the process does that");
        }
        info!("left");
    }
}

fn identity() -> String {
    let named = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let host = named.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    format!(
        "{}@{}",
        std::process::id(),
        host.as_deref().map_or("unknown", str::trim)
    )
}

async fn within<T>(limit: Duration, attempt: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(limit, attempt)
        .await
        .with_context(|| format!("no answer within {} s", limit.as_secs()))?
}

/// Tries until it works.
async fn insist<T, F>(what: &str, pause: Duration, health: &Health, mut attempt: impl FnMut() -> F) -> T
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
        warn!(
            what,
            tries = count,
            error,
            "not reached; trying again in {} s",
            pause.as_secs()
        );
        health.enter(Phase::Waiting(format!("waiting for {what}: {error}")));
    }
}
