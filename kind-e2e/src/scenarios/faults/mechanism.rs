//! The ways to break a cluster: how each is prepared, made and undone. A fault is one of them with its values.
//!
//! To undo needs no memory of what was made, so that a run that was interrupted can do it, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use object_store::{ObjectStoreExt as _, PutPayload};
use sqlx::{Connection as _, PgConnection};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use crate::cluster::kubernetes::read_pods;
use crate::cluster::node::{self, Disk, Place, places};
use crate::cluster::switches::{
    Target, available, delete_pod, evict, pause, roll_back, roll_out_again, roll_out_bad_image, rolled_out,
    set_replicas, set_stateful, stateful,
};
use crate::cluster::{self, Fixture, MONITORING, NAMESPACE, STORAGE};
use crate::load::context::Context;
use crate::load::sizing::Sizing;
use crate::load::waits::{fix_workers, hand_over};
use crate::observe::rows;
use crate::scenarios::delay;
use crate::scenarios::faults::invariant::between_kills;
use support::wait::{Probe, eventually, when};

/// Loops that poll as the wrong version, so that it gets a share of the tasks: as many as a worker has.
const POLLS: usize = 5;
/// A poll that failed is made again after this time.
const POLL_AGAIN: Duration = Duration::from_secs(1);
/// Megabytes that the small disk of Postgres has free at first.
const FREE: u32 = 512;
/// More sessions than Postgres can allow one client, so that the loop has an end.
const MOST_SESSIONS: usize = 400;
/// The workers that a scale-in leaves have ended within this time: their grace period and some more.
pub(super) const GONE: Duration = Duration::from_secs(90);
/// Temporal heals within this time after a restart of Postgres: its liveness probe fails after three minutes.
const HEALED: Duration = Duration::from_secs(300);
/// The poison: by its name and its first bytes a PDF, and nothing that can be read.
const POISON: (&str, &[u8]) = ("poison.pdf", b"%PDF-1.7\nthis is no document\n%%EOF\n");

/// Pods by namespace and label.
pub(super) type Pods = (&'static str, &'static str);
/// The workers.
pub(super) const WORKERS: Pods = (NAMESPACE, cluster::WORKER_SELECTOR);
/// Temporal, whose four services are one process.
pub(super) const TEMPORAL: Pods = (cluster::TEMPORAL, "app=temporal");
/// Postgres.
pub(super) const POSTGRES: Pods = (STORAGE, "app=postgres");
/// Prometheus.
pub(super) const PROMETHEUS: Pods = (MONITORING, "app=prometheus");
/// KEDA's operator.
pub(super) const KEDA: Pods = (cluster::KEDA, "app=keda-operator");
/// The cluster's DNS.
const DNS: Pods = ("kube-system", "k8s-app=kube-dns");
const DNS_SERVERS: &[Target] = &[("kube-system", "coredns")];
/// The StatefulSet of Postgres.
const POSTGRES_SET: Target = (STORAGE, "postgres");

/// How many of the pods are hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// The first.
    One,
    /// A quarter, rounded up.
    Quarter,
    /// Each of them.
    All,
}

impl Share {
    fn of(self, mut pods: Vec<Place>) -> Vec<Place> {
        let count = match self {
            Self::One => 1,
            Self::Quarter => pods.len().div_ceil(4),
            Self::All => pods.len(),
        };
        pods.truncate(count);
        pods
    }
}

/// A way to break the cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mechanism {
    /// Every process of some pods gets SIGKILL, so many times.
    Kill(Pods, Share, u32),
    /// The memory that a pod may use falls to what it has, until the kernel kills it.
    Exhaust(Pods),
    /// The processes of a pod stop (SIGSTOP), and go on (SIGCONT).
    Stop(Pods),
    /// The processes of pods run for a sixth of the time.
    Pulse(Pods),
    /// Pods are deleted.
    Delete(Pods),
    /// Pods are evicted, as the drain of a node does it.
    Evict(Pods),
    /// The workers are rolled out anew, until so many were stopped.
    RollOut(usize),
    /// The workers are rolled out with an image that does not exist. Then the first number of workers becomes the
    /// second.
    BadRollOut(i32, i32),
    /// So many workers become the minimum, while the answers of S3 take so many seconds.
    ScaleIn(i32, f64),
    /// Deployments have no pod, and so many again.
    Away(&'static [Target], i32),
    /// Postgres has no pod, and one again.
    PostgresAway,
    /// The cluster's DNS has no pod, and a worker starts meanwhile: those that run keep their connections.
    DnsAway,
    /// What pods send to a port is dropped.
    Cut(Pods, u16),
    /// A client holds every session that Postgres gives it.
    Sessions,
    /// The disk of Postgres is full.
    FillDisk,
    /// S3 gives no answer.
    HangS3,
    /// A document that no worker can read.
    Poison,
    /// A version whose code does not match the histories polls beside the workers.
    WrongVersion,
    /// The node stands still.
    PauseNode,
}

/// A fault that was made.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// The pods that it hit.
    pub pods: Vec<String>,
    /// When it killed, where that was later than it began, or more than once.
    pub at: Vec<f64>,
    /// Sessions that are held.
    pub sessions: usize,
    /// Why Postgres gave no more of them.
    pub refusal: Option<String>,
    /// Why Postgres gave Temporal none, if it gave none, while these are held.
    pub temporals: Option<Result<(), String>>,
    /// Seconds in which the workers became fewer, while a rollout is stuck.
    pub scaled_in: Option<f64>,
    /// Workflow tasks that the wrong version failed.
    pub failed_tasks: Arc<AtomicU64>,
    held: Vec<PgConnection>,
    polls: Vec<Poll>,
}

/// A loop that ends with this value.
#[derive(Debug)]
struct Poll(AbortHandle);

impl Drop for Poll {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Mechanism {
    /// What has to be there before the load.
    ///
    /// # Errors
    /// The cluster does not become so.
    pub(super) async fn prepare(self, context: &Context) -> Result<()> {
        let fixture = &context.fixture;
        match self {
            Self::ScaleIn(workers, service) => {
                delay(context, service).await?;
                fix_workers(context, workers).await
            }
            Self::BadRollOut(workers, _) => fix_workers(context, workers).await,
            Self::FillDisk => move_postgres(context, Disk::Shrink(FREE)).await,
            Self::Poison => {
                let put = fixture.documents.put(&POISON.0.into(), PutPayload::from_static(POISON.1)).await;
                put.context("uploading the poison").map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Breaks the cluster. What takes its time, such as a rollout, is over when this returns.
    ///
    /// # Errors
    /// It could not be broken so: then the fault shows nothing.
    pub(super) async fn make(self, context: &Context, sizing: &Sizing, lasts: f64) -> Result<Made> {
        let fixture = &context.fixture;
        let mut made = Made::default();
        match self {
            Self::Kill(pods, share, times) => {
                for time in 0..times {
                    if time > 0 {
                        let last = made.at.last().copied().unwrap_or(0.0);
                        sleep_until(context.clock.instant(last + between_kills(sizing))).await;
                    }
                    let hit = share.of(hit(fixture, pods).await?);
                    made.at.push(context.clock.now());
                    node::signal(fixture, "KILL", &hit).await?;
                    made.note(&hit);
                }
            }
            Self::Exhaust(pods) => {
                let hit = Share::One.of(hit(fixture, pods).await?);
                made.note(&hit);
                node::exhaust(fixture, &hit).await?;
            }
            Self::Stop(pods) => {
                let hit = Share::One.of(hit(fixture, pods).await?);
                made.note(&hit);
                node::signal(fixture, "STOP", &hit).await?;
            }
            Self::Pulse(pods) => {
                let hit = hit(fixture, pods).await?;
                made.note(&hit);
                node::pulse(fixture, lasts, &hit).await?;
            }
            Self::Delete(pods) => {
                let hit = hit(fixture, pods).await?;
                for one in &hit {
                    delete_pod(fixture, pods.0, &one.name).await?;
                }
                made.note(&hit);
            }
            Self::Evict(pods) => {
                let hit = hit(fixture, pods).await?;
                for one in &hit {
                    evict(fixture, pods.0, &one.name).await?;
                }
                made.note(&hit);
            }
            Self::RollOut(stops) => {
                while made.pods.len() < stops {
                    // One that still leaves was counted before.
                    let hit = hit(fixture, WORKERS).await?;
                    made.note(&hit.into_iter().filter(|one| !made.pods.contains(&one.name)).collect::<Vec<_>>());
                    roll_out_again(fixture).await?;
                }
            }
            Self::BadRollOut(_, fewer) => {
                made.note(&hit(fixture, WORKERS).await?);
                roll_out_bad_image(fixture).await?;
                let from = context.clock.now();
                pause(fixture, Some(fewer)).await?;
                made.scaled_in = ready(fixture, usize::try_from(fewer)?).await.then(|| context.clock.now() - from);
            }
            Self::ScaleIn(..) => {
                let min = context.autoscaling.min;
                let before = hit(fixture, WORKERS).await?;
                pause(fixture, Some(min)).await?;
                only(fixture, usize::try_from(min)?).await?;
                let stay = hit(fixture, WORKERS).await?;
                made.note(&before.into_iter().filter(|one| !stay.contains(one)).collect::<Vec<_>>());
            }
            Self::Away(targets, _) => set_replicas(fixture, targets, 0).await?,
            Self::PostgresAway => set_stateful(fixture, POSTGRES_SET, 0).await?,
            Self::DnsAway => {
                set_replicas(fixture, DNS_SERVERS, 0).await?;
                none(fixture, DNS).await?;
                let hit = Share::One.of(hit(fixture, WORKERS).await?);
                made.note(&hit);
                made.at.push(context.clock.now());
                node::signal(fixture, "KILL", &hit).await?;
            }
            Self::Cut(pods, port) => {
                let hit = hit(fixture, pods).await?;
                made.note(&hit);
                node::cut(fixture, port, &hit).await?;
            }
            Self::Sessions => made.hold(fixture).await,
            Self::FillDisk => node::disk(fixture, Disk::Fill).await?,
            Self::HangS3 => fixture.toxiproxy.hang().await?,
            Self::Poison => {
                let id = poison(context);
                fixture.temporal.start(&id, &fixture.source(POISON.0)).await?;
            }
            Self::WrongVersion => made.polls = wrong_version(fixture, &made.failed_tasks),
            Self::PauseNode => pause_nodes(fixture, "pause").await?,
        }
        Ok(made)
    }

    /// Repairs what was broken, and says how many packets were dropped. It may be called where nothing was made. The
    /// load's documents take `service` seconds at S3.
    ///
    /// # Errors
    /// The cluster refuses it.
    pub(super) async fn undo(self, context: &Context, service: f64) -> Result<u64> {
        let fixture = &context.fixture;
        match self {
            Self::Stop(pods) | Self::Pulse(pods) => {
                node::signal(fixture, "CONT", &places(fixture, pods.0, pods.1).await?).await?;
            }
            Self::ScaleIn(..) => {
                delay(context, service).await?;
                hand_over(context).await?;
            }
            Self::BadRollOut(..) => {
                roll_back(fixture).await?;
                hand_over(context).await?;
            }
            Self::Away(targets, replicas) => set_replicas(fixture, targets, replicas).await?,
            Self::PostgresAway => set_stateful(fixture, POSTGRES_SET, 1).await?,
            Self::DnsAway => set_replicas(fixture, DNS_SERVERS, 2).await?,
            Self::Cut(pods, _) => return node::join(fixture, &places(fixture, pods.0, pods.1).await?).await,
            Self::FillDisk => node::disk(fixture, Disk::Free).await?,
            Self::HangS3 => fixture.toxiproxy.answer().await?,
            Self::PauseNode => pause_nodes(fixture, "unpause").await?,
            _ => {}
        }
        Ok(0)
    }

    /// Waits until what was away is there again.
    ///
    /// # Errors
    /// It is not in time.
    pub(super) async fn back(self, context: &Context) -> Result<()> {
        match self {
            Self::BadRollOut(..) => rolled_out(&context.fixture).await,
            Self::Away(targets, _) => available(&context.fixture, targets).await,
            Self::DnsAway => available(&context.fixture, DNS_SERVERS).await,
            Self::PostgresAway | Self::FillDisk => stateful(&context.fixture, POSTGRES_SET, 1).await,
            _ => Ok(()),
        }
    }

    /// Takes away what [`Self::prepare`] made, when the load is over.
    ///
    /// # Errors
    /// The cluster refuses it.
    pub(super) async fn clean(self, context: &Context) -> Result<()> {
        let fixture = &context.fixture;
        match self {
            // A volume that was never moved stays where it is.
            Self::FillDisk => move_postgres(context, Disk::Grow).await,
            Self::Poison => {
                fixture.documents.delete(&POISON.0.into()).await.context("deleting the poison")?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Made {
    fn note(&mut self, pods: &[Place]) {
        self.pods.extend(pods.iter().map(|pod| pod.name.clone()));
    }

    /// Opens sessions of the worker's role until Postgres refuses one. Then it asks for one as Temporal.
    async fn hold(&mut self, fixture: &Fixture) {
        while self.held.len() < MOST_SESSIONS {
            match session(fixture, "worker", None).await {
                Ok(session) => self.held.push(session),
                Err(error) => {
                    self.refusal = Some(error.to_string());
                    break;
                }
            }
        }
        self.sessions = self.held.len();
        let asked = session(fixture, "temporal", Some("temporal")).await;
        self.temporals = Some(asked.map(drop).map_err(|error| format!("{error:#}")));
    }
}

/// A session of a role, in a database of its own or in that of the documents.
async fn session(fixture: &Fixture, role: &str, database: Option<&str>) -> Result<PgConnection> {
    let options = fixture.cluster.postgres_as(role)?;
    let options = database.map_or(options.clone(), |name| options.database(name));
    Ok(PgConnection::connect_with(&options).await?)
}

/// The id of the poison's workflow. It is in no load's counts.
pub(super) fn poison(context: &Context) -> String {
    format!("{}-poison", context.run)
}

/// The running pods, of which there must be one.
async fn hit(fixture: &Fixture, (namespace, selector): Pods) -> Result<Vec<Place>> {
    let found = places(fixture, namespace, selector).await?;
    ensure!(!found.is_empty(), "no pod of {namespace} has {selector}");
    Ok(found)
}

/// Waits until no pod runs that does not leave.
async fn none(fixture: &Fixture, (namespace, selector): Pods) -> Result<()> {
    eventually(&format!("no pod of {namespace} has {selector}"), GONE, async || {
        match places(fixture, namespace, selector).await {
            Ok(found) => when(found.is_empty(), || format!("{} pods", found.len())),
            Err(error) => Probe::NotYet(format!("{error:#}")),
        }
    })
    .await?;
    Ok(())
}

/// Waits until there are exactly so many worker pods, also of those that leave.
async fn only(fixture: &Fixture, count: usize) -> Result<()> {
    eventually(&format!("{count} worker pods, none leaving"), GONE, async || match read_pods(&fixture.kube).await {
        Ok(pods) if pods.len() == count => Probe::Ready(()),
        Ok(pods) => Probe::NotYet(format!("{} pods", pods.len())),
        Err(error) => Probe::NotYet(format!("{error:#}")),
    })
    .await?;
    Ok(())
}

/// Whether so many workers become Ready, whatever other pods of workers there are.
async fn ready(fixture: &Fixture, count: usize) -> bool {
    let what = format!("{count} workers are Ready");
    let settled = eventually(&what, GONE, async || match read_pods(&fixture.kube).await {
        Ok(pods) => {
            let ready = pods.iter().filter(|pod| pod.ready).count();
            when(ready == count, || format!("{ready} are Ready"))
        }
        Err(error) => Probe::NotYet(format!("{error:#}")),
    });
    settled.await.is_ok()
}

/// Changes the disk of Postgres while it does not run.
async fn move_postgres(context: &Context, change: Disk) -> Result<()> {
    let fixture = &context.fixture;
    set_stateful(fixture, POSTGRES_SET, 0).await?;
    stateful(fixture, POSTGRES_SET, 0).await?;
    let moved = node::disk(fixture, change).await;
    set_stateful(fixture, POSTGRES_SET, 1).await?;
    moved?;
    stateful(fixture, POSTGRES_SET, 1).await?;
    canary(context).await
}

/// Waits until a document goes through: a port that answers says nothing of Temporal's pools.
async fn canary(context: &Context) -> Result<()> {
    let id = format!("{}-canary-{:.0}", context.run, context.clock.now());
    let document = context.documents.first().context("the run has no documents")?;
    let source = context.fixture.source(&document.key);
    eventually("a document goes through", HEALED, async || {
        if let Err(error) = context.fixture.temporal.start(&id, &source).await {
            return Probe::NotYet(format!("{error:#}"));
        }
        match rows::count_stored(&context.fixture.postgres, &id).await {
            Ok(count) => when(count > 0, || "it is not stored yet".to_owned()),
            Err(error) => Probe::NotYet(format!("{error:#}")),
        }
    })
    .await?;
    Ok(())
}

fn wrong_version(fixture: &Fixture, failed: &Arc<AtomicU64>) -> Vec<Poll> {
    let mut polls = JoinSet::new();
    let handles = (0..POLLS).map(|_| {
        let (temporal, failed) = (fixture.temporal.clone(), failed.clone());
        Poll(polls.spawn(async move {
            let mut again = interval(POLL_AGAIN);
            again.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                match temporal.fail_a_workflow_task().await {
                    Ok(true) => drop(failed.fetch_add(1, Ordering::Relaxed)),
                    // Temporal holds a poll open for a minute.
                    Ok(false) => {}
                    Err(_) => drop(again.tick().await),
                }
            }
        }))
    });
    let handles = handles.collect();
    polls.detach_all();
    handles
}

async fn pause_nodes(fixture: &Fixture, command: &str) -> Result<()> {
    for name in &fixture.cluster.nodes {
        let state = node::docker(&fixture.cluster, &["inspect", "--format", "{{.State.Paused}}", name]).await?;
        if (state.trim() == "true") != (command == "pause") {
            node::docker(&fixture.cluster, &[command, name]).await?;
        }
    }
    Ok(())
}
