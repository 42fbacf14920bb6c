//! The guide's most workers, all at once: what they hold of the database, what they ask of Temporal, what they weigh, and who of
//! them leaves first.
//!
//! The fleet is set to its most through KEDA's own switch (the annotation `paused-replicas`), loaded for a while, and let
//! go. It is not a scaling scenario: how the fleet gets there by load is [`super::step`]'s to show. Judged in
//! [`super::fleet_judge`].

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use capacity::table::Fleet;
use kube::api::{Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::loads::Loaded;
use super::monitoring::usage;
use super::probes::{idle, settle_at, stored};
use super::{Context, ends, leaving};
use crate::fixture::SCALED_OBJECT;
use crate::load::{Load, Start};
use crate::observe::connections::{self, Connections};
use crate::observe::prometheus::{query, total};
use crate::plan::{LATENCY, rate_of_cores};
use crate::progress::say;
use crate::scalers;
use crate::schedule::{generator, poisson};
use crate::settings;
use crate::table::Table;
use crate::verdict::Check;
use crate::wait::{Probe, eventually};

/// KEDA's switch: the fleet has so many workers while it is there.
const PAUSED: &str = "autoscaling.keda.sh/paused-replicas";
/// Questions about task queues that the workers have asked of Temporal, over the fleet.
const ASKED: &str = r#"temporal_request{operation="DescribeTaskQueue"}"#;
/// Workers whose metrics Prometheus has.
const SCRAPED: &str = "temporal_num_pollers";

/// For every worker to start: they share the host's cores, and there is one to each of its seconds.
const ALL_READY: f64 = 120.0;
/// For Prometheus to have found and scraped every worker: its discovery and its interval are 5 s each.
const ALL_SCRAPED: Duration = Duration::from_secs(60);
/// The load lasts so long: six scrapes, so that a question is counted within a sixth.
pub const LOADED: f64 = 30.0;
/// For what was loaded to be stored: twice a document's time and the same again for a busy host.
const STORED: Duration = Duration::from_secs(60);
/// Connections are read so often: a pool that grows for a moment is a pool that grew.
const LOOK: Duration = Duration::from_millis(500);

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What the documents' ids begin with.
    pub prefix: String,
    /// Workers that there were.
    pub workers: i32,
    /// Connections that so many open at the most, as `cargo xtask plan` has it.
    #[serde(default)]
    pub planned: u64,
    /// Documents a second.
    pub rate: f64,
    /// The reading with most connections of workers.
    pub connections: Option<Connections>,
    /// Readings of connections.
    pub looks: usize,
    /// Questions about task queues in the window, by the workers' own count.
    pub asked: Option<f64>,
    /// Seconds between the two counts.
    pub window: f64,
    /// Bytes of memory of each worker, by metrics-server.
    pub memory: BTreeMap<String, u64>,
    /// Every start.
    pub starts: Vec<Start>,
    /// Workflows by status.
    pub statuses: BTreeMap<String, u64>,
    /// What the oracle found.
    pub oracle: Vec<Check>,
    /// The little load under which half of the workers leave.
    #[serde(default)]
    pub leaving: Loaded,
}

impl Facts {
    /// Who held how many connections, at the time when the workers held most.
    pub(super) fn tables(&self) -> Vec<Table> {
        let Some(found) = &self.connections else {
            return Vec::new();
        };
        let mut table = Table::new(
            format!("Connections to Postgres with {} workers", self.workers),
            &["who", "connections"],
            format!(
                "The reading with most of {}, under {:.0} documents/s.",
                self.looks, self.rate
            ),
        );
        let each = found.most_of_a_worker();
        let mut row = |who: String, count: u32| table.rows.push(vec![who, count.to_string()]);
        row(
            format!("{} workers, at most {each} each", found.workers.len()),
            found.of_workers(),
        );
        for (database, count) in &found.others {
            row(format!("others on {database}"), *count);
        }
        row("all".to_owned(), found.all());
        row("allowed".to_owned(), found.allowed);
        vec![table]
    }
}

/// Sets the fleet to its most, loads it, looks, has half of it leave, and lets it go.
pub async fn run(context: &Context, facts: &mut Facts) -> Result<()> {
    let load = context.begin_load("fleet");
    facts.prefix.clone_from(&load.prefix);
    let (autoscaling, settings) = settings::autoscaling(&context.fixture).await?;
    facts.workers = autoscaling.max;
    facts.planned = Fleet::of(&settings, settings.max).connections;
    context.enter(
        "fleet/out",
        &format!("{} workers at once, by KEDA's switch", autoscaling.max),
    );
    pause(context, Some(autoscaling.max)).await?;
    settle_at(context, autoscaling.max, ALL_READY).await?;
    everyone_scraped(context, autoscaling.max).await?;
    settings::upload(&context.fixture, &context.documents).await?;
    let latency = Duration::from_secs_f64(LATENCY);
    context.fixture.toxiproxy.delay_answers(latency).await?;
    loaded(context, &load, facts).await?;
    context.fixture.toxiproxy.clear().await?;
    facts.memory = usage(&context.fixture.kube).await?;
    context.enter("fleet/oracle", "comparing what is stored with what was loaded");
    let end = ends::reckon(context, &facts.prefix, &mut facts.starts).await?;
    (facts.statuses, facts.oracle) = (end.statuses, end.checks);
    leaving::run(context, facts.workers, &mut facts.leaving).await?;
    let_go(context, autoscaling.min).await
}

/// Gives the fleet back to the autoscaler with its fewest workers, an HPA that remembers nothing, and nothing left of the load
/// before in the mean that the demand triggers take.
pub(super) async fn let_go(context: &Context, fewest: i32) -> Result<()> {
    at_fewest(context, fewest).await?;
    idle(context).await?;
    hand_over(context).await
}

/// The same, for a way to scale that looks at the moment only.
pub(super) async fn let_go_at_once(context: &Context, fewest: i32) -> Result<()> {
    at_fewest(context, fewest).await?;
    hand_over(context).await
}

/// Sets the fleet to its fewest: the autoscaler alone would take minutes to get there.
async fn at_fewest(context: &Context, fewest: i32) -> Result<()> {
    context.enter(
        "let-go",
        &format!("{fewest} workers again, and the fleet back to the autoscaler"),
    );
    pause(context, Some(fewest)).await?;
    settle_at(context, fewest, ALL_READY).await?;
    Ok(())
}

async fn hand_over(context: &Context) -> Result<()> {
    pause(context, None).await?;
    // KEDA took the HPA away with the switch and makes it again: what comes next reads it.
    scalers::taken_over(&context.fixture).await
}

/// Loads for [`LOADED`] seconds while connections are read; questions are counted before and after.
async fn loaded(context: &Context, load: &Load, facts: &mut Facts) -> Result<()> {
    facts.rate = rate_of_cores(context.cores);
    context.enter(
        "fleet/load",
        &format!(
            "{:.0} documents/s for {LOADED:.0} s, connections counted",
            facts.rate
        ),
    );
    let mut rng = generator(context.seed, "fleet/load");
    let length = Duration::from_secs_f64(LOADED);
    let schedule = poisson(facts.rate, length, load.documents.len(), &mut rng);
    let (before, began) = (asked(context).await?, context.clock.now());
    let mut most = Connections::default();
    let mut looks = 0;
    let watching = async {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            // A look that failed is not counted as one, and the judge wants enough of them.
            if let Ok(found) = connections::read(&context.fixture.postgres).await {
                looks += 1;
                if found.of_workers() >= most.of_workers() {
                    most = found;
                }
            }
        }
    };
    let loading = async {
        load.run("fleet", &schedule, &mut facts.starts).await;
        let acknowledged = ends::acknowledged(&facts.starts);
        eventually("every document stored", STORED, async || {
            stored(context, &facts.prefix, acknowledged).await
        })
        .await
    };
    let ended = tokio::select! {
        ended = loading => ended,
        () = watching => Ok(()),
    };
    facts.asked = Some(asked(context).await? - before);
    facts.window = context.clock.now() - began;
    facts.looks = looks;
    facts.connections = (looks > 0).then_some(most);
    if let Err(error) = ended {
        say(context.clock, &error.to_string());
    }
    Ok(())
}

/// Waits until Prometheus has the metrics of so many workers: only then does a sum count them all.
async fn everyone_scraped(context: &Context, workers: i32) -> Result<()> {
    let (http, base) = (
        &context.fixture.http,
        &context.fixture.cluster.endpoints.prometheus,
    );
    let promql = format!("count(count by (pod) ({SCRAPED}))");
    eventually("metrics of every worker", ALL_SCRAPED, async || {
        match query(http, base, &promql).await.and_then(|series| total(&series)) {
            Ok(count) if count >= f64::from(workers) => Probe::Ready(()),
            Ok(count) => Probe::NotYet(format!("of {count} of {workers}")),
            Err(error) => Probe::NotYet(format!("{error:#}")),
        }
    })
    .await
    .context("before the load")
}

async fn asked(context: &Context) -> Result<f64> {
    let (http, base) = (
        &context.fixture.http,
        &context.fixture.cluster.endpoints.prometheus,
    );
    total(&query(http, base, &format!("sum({ASKED})")).await?)
}

/// Sets or takes away KEDA's switch.
pub(super) async fn pause(context: &Context, workers: Option<i32>) -> Result<()> {
    let value = workers.map_or(Value::Null, |workers| workers.to_string().into());
    let patch = json!({"metadata": {"annotations": {PAUSED: value}}});
    scalers::scaled_objects(&context.fixture)
        .patch(SCALED_OBJECT, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .with_context(|| format!("setting {PAUSED} of scaledobject {SCALED_OBJECT}"))?;
    Ok(())
}

/// Takes the switch away, whatever the scenario left.
///
/// # Errors
/// The ScaledObject cannot be changed.
pub async fn clear(context: &Context) -> Result<()> {
    pause(context, None).await
}
