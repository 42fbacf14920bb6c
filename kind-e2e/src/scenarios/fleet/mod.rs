//! The guide's maximum of 20 workers, all loaded: their connections, their questions to Temporal, their memory, and
//! which of them leave first.
//!
//! KEDA's annotation fixes the number of workers: how load alone gets a fleet there is for [`super::step`] to show.

mod judge;
mod leaving;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use capacity::settings::Settings;
use capacity::table::Fleet as Plan;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use super::loaded::{Loaded, Stretch};
use super::{Scenario, delay};
use crate::cluster::prometheus::{query, total};
use crate::judge::part::Part;
use crate::judge::statistics::FEWEST;
use crate::judge::table::Table;
use crate::judge::verdict::Check;
use crate::load::context::Context;
use crate::load::sizing::GUIDE_SERVICE;
use crate::load::waits::fix_workers;
use crate::observe::connections::{self, Connections};
use crate::observe::sample::Sample;
use support::wait::{Probe, eventually};

/// The workers' questions to Temporal about its task queues, over the fleet.
const ASKED: &str = r#"sum(observed_temporal_request{operation="DescribeTaskQueue"})"#;
/// Workers whose metrics Prometheus has.
const SCRAPED: &str = "count(count by (pod) (observed_temporal_worker_task_slots_used))";
/// Prometheus has found and scraped every worker within this time: its discovery takes up to 5 s.
const ALL_SCRAPED: Duration = Duration::from_secs(60);
/// The load's share of what the host carries: bursts of Poisson arrivals must not saturate it, since every worker that
/// could help is there already.
const HALF: f64 = 0.5;
/// Seconds of the load, at least and at most, and documents for which it may last longer: enough for a p99.
const LOADED: f64 = 30.0;
const LONGEST: f64 = 120.0;
const ENOUGH: f64 = 1.1 * FEWEST as f64;
/// The last documents are stored within this time, in seconds.
const DRAINED: f64 = 60.0;
/// Time between two readings of the connections: a pool may grow for a moment.
const LOOK: Duration = Duration::from_millis(500);

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// Workers.
    workers: i32,
    /// Connections that so many workers open at most, by `cargo xtask plan`.
    planned: u64,
    /// The guide's numbers as the cluster has them.
    numbers: BTreeMap<String, u32>,
    /// Bytes of memory at which a worker is killed.
    memory_limit: Option<u64>,
    /// The reading with most connections of workers.
    connections: Option<Connections>,
    /// Readings of connections.
    looks: usize,
    /// Questions about task queues while the load was played, by the workers' own count.
    asked: Option<f64>,
    /// Seconds between the two counts.
    seconds: f64,
    /// The load of the most workers.
    loaded: Loaded,
    /// The small load under which half of the workers leave.
    leaving: Loaded,
}

impl Scenario for Fleet {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        judge::judge(self, samples)
    }

    fn loads(&self) -> Vec<Part<'_>> {
        [&self.loaded, &self.leaving]
            .into_iter()
            .filter(|loaded| !loaded.starts.is_empty())
            .map(|loaded| loaded.part(None))
            .collect()
    }

    fn tables(&self, _samples: &[Sample]) -> Vec<Table> {
        let retried = [&self.loaded, &self.leaving].into_iter().filter_map(|one| one.ending.table(&one.name));
        self.held().into_iter().chain(retried).collect()
    }
}

impl Fleet {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        let (autoscaling, settings) = (&context.autoscaling, &context.settings);
        self.workers = autoscaling.max;
        self.planned = Plan::of(settings, settings.max).connections;
        self.memory_limit = settings.memory_limit;
        self.numbers = numbers(settings);
        context.enter("fleet/workers", &format!("{} workers, their number fixed", self.workers));
        fix_workers(context, self.workers).await?;
        every_worker_scraped(context, self.workers).await?;
        delay(context, GUIDE_SERVICE).await?;
        let most = f64::from(self.workers) * autoscaling.target / GUIDE_SERVICE;
        let rate = most.min(HALF * context.calibration()?.per_second());
        self.load(context, rate).await?;
        leaving::run(context, self.workers, &mut self.leaving).await
    }

    /// Loads while connections are read. Questions are counted before and after.
    async fn load(&mut self, context: &Context, rate: f64) -> Result<()> {
        let (mut loaded, load) = Loaded::begin(context, "fleet");
        let seconds = LOADED.max(ENOUGH / rate).min(LONGEST);
        let stretch = [Stretch::new("load", rate, seconds)];
        let (before, began) = (ask(context, ASKED).await?, context.clock.now());
        let watching = async {
            let mut tick = interval(LOOK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                tick.tick().await;
                // A reading that failed is not counted, and the judge wants enough of them.
                if let Ok(found) = connections::read(&context.fixture.postgres).await {
                    self.looks += 1;
                    let most = self.connections.get_or_insert_default();
                    if found.of_workers() >= most.of_workers() {
                        *most = found;
                    }
                }
            }
        };
        tokio::select! {
            () = loaded.play(context, &load, "fleet", &stretch) => {}
            () = watching => {}
        }
        self.asked = Some(ask(context, ASKED).await? - before);
        self.seconds = context.clock.now() - began;
        let ended = loaded.end(context, DRAINED).await;
        self.loaded = loaded;
        ended
    }

    /// Who held how many connections, in the reading in which the workers held most.
    fn held(&self) -> Option<Table> {
        let found = self.connections.as_ref()?;
        let note = format!("The reading with most of {}, under load.", self.looks);
        let title = format!("Connections to Postgres with {} workers", self.workers);
        let mut table = Table::new(title, &["who", "connections"], note);
        let mut row = |who: String, count: u32| table.rows.push(vec![who, count.to_string()]);
        let each = found.most_of_a_worker();
        row(format!("{} workers, at most {each} each", found.workers.len()), found.of_workers());
        for (database, count) in &found.others {
            row(format!("others on {database}"), *count);
        }
        row("all".to_owned(), found.all());
        row("allowed".to_owned(), found.allowed);
        Some(table)
    }
}

/// The numbers that the guide names, of the cluster's own manifests.
fn numbers(settings: &Settings) -> BTreeMap<String, u32> {
    let variables = [
        settings.workflow.count,
        settings.io.count,
        settings.cpu.count,
        settings.io_threads,
        settings.cpu_threads,
        settings.pool_size,
        settings.max_overflow,
    ];
    let replicas = [("minReplicaCount", settings.min), ("maxReplicaCount", settings.max)];
    let variables = variables.map(|setting| (setting.name, setting.value));
    replicas.into_iter().chain(variables).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Waits until Prometheus has the metrics of so many workers: only then does a sum count them all.
async fn every_worker_scraped(context: &Context, workers: i32) -> Result<()> {
    eventually("metrics of every worker", ALL_SCRAPED, async || match ask(context, SCRAPED).await {
        Ok(count) if count >= f64::from(workers) => Probe::Ready(()),
        Ok(count) => Probe::NotYet(format!("of {count} of {workers}")),
        Err(error) => Probe::NotYet(format!("{error:#}")),
    })
    .await
    .context("before the load")
}

async fn ask(context: &Context, promql: &str) -> Result<f64> {
    let base = &context.fixture.cluster.endpoints.prometheus;
    total(&query(&context.fixture.http, base, promql).await?)
}
