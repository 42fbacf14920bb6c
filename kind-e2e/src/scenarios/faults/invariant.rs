//! What must hold beside the oracle, fault by fault: what is looked at meanwhile, and what it shows. The verdict is pure.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use super::mechanism::GONE;
use super::table::HEARTBEAT;
use super::{Played, SETTLED, WORKERS};
use crate::cluster::kubernetes::{Fleet, PodState, pod_of};
use crate::cluster::prometheus::{query, total};
use crate::judge::fleet::{never_fewer, sized, timed};
use crate::judge::host::excuse;
use crate::judge::load::{bound_of, p99};
use crate::judge::verdict::{Check, Question, faults};
use crate::load::Start;
use crate::load::context::Context;
use crate::load::sizing::Sizing;
use crate::observe::connections::{self, Connections as Held};
use crate::observe::sample::Sample;
use crate::observe::window::{Window, seen};

/// Errors and empty answers of KEDA's triggers.
const TRIGGER_ERRORS: &str = r#"sum(keda_scaler_detail_errors_total{scaledObject="temporal-worker-scaler"} or vector(0))
    + sum(keda_scaler_empty_upstream_responses_total{scaledResource="temporal-worker-scaler"} or vector(0))"#;
/// Alerts that fire.
const ALERTS: &str = r#"ALERTS{alertstate="firing"}"#;
/// An attempt begins this many seconds after its predecessor has timed out, at most: Temporal's timers, the pause of
/// 0.5 s, and a slot.
const BEGINS: f64 = 10.0;
/// Between two kills, documents that are due after this time are punctual again, in seconds.
pub(super) const SETTLES: f64 = 25.0;
/// Packets a second that a worker without an answer may send: three pollers, heartbeats and completions of ten slots,
/// each once a second. A storm has hundreds.
const PACKETS: f64 = 30.0;
/// Timeouts of its store that Temporal has to have seen, before it is said that the store lied.
const LIES: f64 = 20.0;
/// The connections that Temporal may have: 4 services with 25 and 5 each (`manifests/services/temporal`).
const TEMPORALS: u32 = 120;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Invariant {
    /// What the fault interrupted is tried again within the heartbeat timeout.
    Retried,
    /// Each pod that was hit restarted so many times.
    Restarted(i32),
    /// A pod was killed for memory.
    OutOfMemory,
    /// Every step ended on its first attempt.
    FirstAttempts,
    /// So many workers were stopped.
    Stopped(usize),
    /// Documents that are due since it was made are in time.
    Punctual,
    /// And so are those that were due between two kills.
    PunctualBetween,
    /// A rollout that is stuck does not keep workers that are no longer needed.
    ScalesIn,
    /// Three quarters of the workers are Ready all the time.
    Budget,
    /// An attempt ended because its heartbeats were missing.
    MissedHeartbeat,
    /// The poisoned document's workflow failed, once.
    OnePoisoned,
    /// Clients that get no answer do not flood the network.
    FewPackets,
    /// Attempts that failed name this service.
    ErrorsOf(&'static str),
    /// No slot is held for ever.
    SlotsFreed,
    /// The fleet keeps its size.
    NeverFewer,
    /// The triggers fail, and answer no 0.
    TriggerErrors,
    /// An alert fires.
    Alert(&'static str),
    /// As many workers as the load needs.
    RightCount,
    /// Each queue has pollers again within so many seconds.
    PollersReturn(f64),
    /// Workflow tasks failed meanwhile.
    TasksFailed,
    /// Postgres gives Temporal a session while another client holds all that it can get.
    TemporalsShare,
    /// Postgres refused the other client.
    Refused,
    /// No storm of connections when the database is back.
    Connections,
    /// Temporal heals without a pod that somebody deletes.
    NoPodDeleted,
    /// Temporal's store gave false answers.
    StoreLied,
}

/// What was looked at while a fault was made, undone and over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// The pods that were hit.
    pub hit: Vec<String>,
    /// When, where they were hit more than once.
    pub hits: Vec<f64>,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Sessions that the other client held.
    pub sessions: usize,
    /// Why Postgres gave it no more.
    pub refusal: Option<String>,
    /// Seconds in which the workers became fewer, while a rollout is stuck.
    pub scaled_in: Option<f64>,
    /// Workflow tasks that the wrong version failed.
    pub failed_tasks: u64,
    /// The poisoned document's workflows by status.
    pub poisoned: BTreeMap<String, u64>,
    /// Errors and empty answers of the triggers, before and after.
    pub trigger_errors: Option<(f64, f64)>,
    /// Alerts, and when each was first seen to fire.
    pub alerts: BTreeMap<String, f64>,
    /// When pollers were looked for after the fault, and the fewest of a queue; 0 where Temporal gave no answer.
    pub pollers: Vec<(f64, usize)>,
    /// The most connections since the fault was undone.
    pub most: Option<Held>,
    /// Why Postgres gave Temporal no session, if it gave none, while the other client held its own.
    pub temporals: Option<Result<(), String>>,
    /// The most timeouts of Temporal's store that were seen since it was hit.
    pub timeouts: Option<f64>,
    /// The pods before.
    pub before: Vec<PodState>,
    /// The pods after.
    pub after: Vec<PodState>,
}

impl Seen {
    /// Looks once. A reading that failed is none.
    pub(super) async fn look(&mut self, context: &Context, invariants: &[Invariant], undone: bool) {
        for invariant in invariants {
            match invariant {
                Invariant::Alert(_) => self.look_for_alerts(context).await,
                Invariant::TriggerErrors => {
                    if let Ok(count) = ask(context, TRIGGER_ERRORS).await {
                        self.trigger_errors = Some((self.trigger_errors.map_or(count, |(first, _)| first), count));
                    }
                }
                Invariant::StoreLied if !undone => {
                    if let Some(pod) = self.hit.first()
                        && let Ok(count) = ask(context, &timeouts_of(pod)).await
                    {
                        self.timeouts = Some(self.timeouts.map_or(count, |most| most.max(count)));
                    }
                }
                Invariant::PollersReturn(_) if undone => {
                    let fewest = context.fixture.temporal.pollers().await.unwrap_or(0);
                    self.pollers.push((context.clock.now(), fewest));
                }
                Invariant::Connections if undone => {
                    if let Ok(found) = connections::read(&context.fixture.postgres).await
                        && self.most.as_ref().is_none_or(|most| found.all() > most.all())
                    {
                        self.most = Some(found);
                    }
                }
                _ => {}
            }
        }
    }

    async fn look_for_alerts(&mut self, context: &Context) {
        let base = &context.fixture.cluster.endpoints.prometheus;
        for series in query(&context.fixture.http, base, ALERTS).await.unwrap_or_default() {
            if let Some(name) = series.metric.get("alertname") {
                self.alerts.entry(name.clone()).or_insert(context.clock.now());
            }
        }
    }

    /// The cluster's pods as they are now; none where they cannot be read.
    pub(super) async fn pods(context: &Context) -> Vec<PodState> {
        let pods = Api::<Pod>::all(context.fixture.kube.clone()).list(&ListParams::default()).await;
        pods.map(|list| list.items.iter().map(pod_of).collect()).unwrap_or_default()
    }
}

async fn ask(context: &Context, promql: &str) -> Result<f64> {
    let base = &context.fixture.cluster.endpoints.prometheus;
    total(&query(&context.fixture.http, base, promql).await?)
}

fn of_temporal(held: &Held) -> u32 {
    held.others.iter().filter(|(database, _)| database.starts_with("temporal")).map(|(_, count)| count).sum()
}

impl Invariant {
    /// What is seen of it. `window` is the fault's.
    pub(super) fn judge(self, played: &Played, window: Window, sizing: &Sizing, samples: &[Sample]) -> Check {
        let seen = &played.seen;
        match self {
            Self::Retried => retried(played, window).excused_by(excuse(samples, window).as_deref()),
            Self::Stopped(least) => stopped(seen, least),
            Self::Restarted(times) => restarted(seen, times),
            Self::OutOfMemory => out_of_memory(seen),
            Self::FirstAttempts => {
                played.loaded.ending.first_attempts().excused_by(excuse(samples, played.lasted(window)).as_deref())
            }
            Self::Punctual => {
                let window = played.lasted(window);
                punctual("documents due since it was made", played, window, sizing, samples)
            }
            Self::PunctualBetween => between(played, window, sizing, samples),
            Self::ScalesIn => scales_in(seen),
            Self::Budget => budget(samples, window),
            Self::MissedHeartbeat => missed_heartbeat(played),
            Self::OnePoisoned => one_poisoned(seen),
            Self::FewPackets => few_packets(seen, window),
            Self::ErrorsOf(service) => errors_of(played, service),
            Self::SlotsFreed => slots_freed(played, sizing, samples),
            Self::NeverFewer => {
                let why = "a missing signal says nothing of the load";
                never_fewer("the fleet keeps its size".to_owned(), samples, window, why)
            }
            Self::TriggerErrors => trigger_errors(seen),
            Self::Alert(name) => alert(seen, name, window),
            Self::RightCount => counted(played, sizing, samples),
            Self::PollersReturn(bound) => pollers(seen, window, bound),
            Self::TasksFailed => tasks_failed(seen),
            Self::TemporalsShare => temporals_share(seen),
            Self::Refused => refused(seen),
            Self::Connections => connections_bounded(played),
            Self::NoPodDeleted => no_pod_deleted(played),
            Self::StoreLied => store_lied(seen),
        }
    }
}

fn retried(played: &Played, window: Window) -> Check {
    let bound = HEARTBEAT + BEGINS;
    let question = Question::new(
        "fault-retried",
        "what was interrupted is tried again in time",
        format!("≥ 1 step, each ≤ {bound:.0} s after the fault"),
        format!(
            "a heartbeat timeout of {HEARTBEAT:.0} s, and {BEGINS:.0} s for Temporal's timers, the pause and a slot"
        ),
    );
    let retried = &played.loaded.ending.retried;
    let hits = if played.seen.hits.is_empty() { vec![window.from] } else { played.seen.hits.clone() };
    // The hit that came last before the attempt is the one that it repeats.
    let after = |at: f64| hits.iter().filter(|hit| **hit <= at).map(|hit| at - hit).reduce(f64::min).unwrap_or(0.0);
    let latest = retried.iter().map(|one| after(one.at)).fold(0.0, f64::max);
    let measured = format!("{} steps, the last {latest:.1} s after", retried.len());
    match retried.is_empty() {
        true => question.unseen("no step was interrupted: no document was in the hands of the fault"),
        false => question.require(latest <= bound, measured),
    }
}

fn restarted(seen: &Seen, times: i32) -> Check {
    let question = Question::new(
        "fault-restarts",
        "each process that was killed starts again, and does not crash",
        format!("{times} restarts of each pod that was hit and is still there"),
        "a crash loop is a fault that goes on by itself",
    );
    let of = |pods: &[PodState], name: &str| pods.iter().find(|pod| pod.name == *name).map(|pod| pod.restarts);
    let more: Vec<(&str, i32)> = seen
        .hit
        .iter()
        .filter_map(|name| Some((name.as_str(), of(&seen.after, name)? - of(&seen.before, name)?)))
        .collect();
    let wrong = more.iter().filter(|(_, more)| *more != times).map(|(name, more)| format!("{name}: {more} restarts"));
    match more.is_empty() {
        true => question.unseen("no pod that was hit is still there"),
        false => question.answer(format!("{} pods", more.len()), faults(wrong)),
    }
}

fn stopped(seen: &Seen, least: usize) -> Check {
    let question = Question::new(
        "fault-stops",
        "workers were stopped",
        format!("≥ {least}"),
        "fewer say little of how often a stop interrupts an attempt",
    );
    question.require(seen.hit.len() >= least, seen.hit.len().to_string())
}

fn out_of_memory(seen: &Seen) -> Check {
    let question = Question::new(
        "fault-memory",
        "the kernel killed the worker for its memory",
        "last end: OOMKilled",
        "another end would be another fault",
    );
    let ends: Vec<String> = seen
        .after
        .iter()
        .filter(|pod| seen.hit.contains(&pod.name))
        .map(|pod| pod.last_end.clone().unwrap_or_else(|| "none".to_owned()))
        .collect();
    match ends.is_empty() {
        true => question.unseen("the pod is no longer there"),
        false => question.require(ends.iter().all(|end| end == "OOMKilled"), ends.join(", ")),
    }
}

fn punctual(name: &str, played: &Played, window: Window, sizing: &Sizing, samples: &[Sample]) -> Check {
    let due = played.loaded.starts.iter().filter(|start| window.has(start.due));
    p99(name, due, sizing.service).excused_by(excuse(samples, window).as_deref())
}

/// Seconds between two kills of a fault that kills again: enough for a p99 of what is due between them.
pub(super) fn between_kills(sizing: &Sizing) -> f64 {
    SETTLES + SETTLED as f64 / sizing.rate_of(WORKERS) + sizing.p99_bound()
}

/// What is due from [`SETTLES`] after a kill on, and has to be stored before the next.
fn between(played: &Played, window: Window, sizing: &Sizing, samples: &[Sample]) -> Check {
    let hits = &played.seen.hits;
    let between: Vec<Window> = hits
        .windows(2)
        .map(|pair| Window { from: pair[0] + SETTLES, to: pair[1] })
        .filter(|window| window.seconds() > 0.0)
        .collect();
    let starts = &played.loaded.starts;
    let before = |start: &Start, window: &Window| {
        window.has(start.due) && start.due + bound_of(start, sizing.service) < window.to
    };
    let due = starts.iter().filter(|start| between.iter().any(|window| before(start, window)));
    p99(&format!("documents due {SETTLES:.0} s after a kill, and before the next"), due, sizing.service)
        .excused_by(excuse(samples, window).as_deref())
}

fn budget(samples: &[Sample], window: Window) -> Check {
    let question = Question::new(
        "fault-budget",
        "the disruption budget is honoured",
        "≥ three quarters of the workers Ready, less one that is rounded",
        "maxUnavailable: 25 % in manifests/base, rounded up",
    );
    question.of(crate::observe::window::fleets(samples, window).map(|fleets| {
        // Workers that the autoscaler adds meanwhile start first.
        let first = fleets.first().map_or(0, |(_, fleet)| fleet.wanted);
        let due = |fleet: &Fleet| fleet.wanted.min(first) - (f64::from(fleet.wanted) / 4.0).ceil() as i32;
        let worst = fleets.iter().map(|(_, fleet)| fleet.ready - due(fleet)).min();
        let least = fleets.iter().map(|(_, fleet)| fleet.ready).min().unwrap_or(0);
        (worst.unwrap_or(0) >= 0, format!("{least} Ready at least"))
    }))
}

fn scales_in(seen: &Seen) -> Check {
    let bound = GONE.as_secs_f64();
    let question = Question::new(
        "fault-scale-in",
        "the workers become fewer while the rollout is stuck",
        format!("≤ {bound:.0} s"),
        "the grace period, in which a worker that leaves ends its tasks, and the time to say so",
    );
    timed(question, seen.scaled_in, bound, None, || "more workers, or fewer, were Ready all the time".to_owned())
}

fn missed_heartbeat(played: &Played) -> Check {
    let retried = &played.loaded.ending.retried;
    let found = retried.iter().find(|one| one.reason.to_lowercase().contains("heartbeat"));
    let question = Question::new(
        "fault-heartbeat",
        "the heartbeat timeout fires",
        "an attempt ended for it",
        "an activity that hangs holds a slot until Temporal misses its heartbeats",
    );
    match retried.is_empty() {
        true => question.unseen("no step was interrupted"),
        false => question.require(
            found.is_some(),
            found.map_or_else(|| "no reason names it".to_owned(), |one| format!("{}: {}", one.step, one.reason)),
        ),
    }
}

fn one_poisoned(seen: &Seen) -> Check {
    let statuses: Vec<String> = seen.poisoned.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let one: BTreeMap<String, u64> = [("Failed".to_owned(), 1)].into();
    Question::new(
        "fault-poison",
        "the poisoned document's workflow fails for good",
        "1 Failed",
        "a document that no worker can read must not be tried for ever",
    )
    .require(seen.poisoned == one, if statuses.is_empty() { "none".to_owned() } else { statuses.join(", ") })
}

fn few_packets(seen: &Seen, window: Window) -> Check {
    let bound = PACKETS * seen.hit.len() as f64 * window.seconds();
    let question = Question::new(
        "fault-packets",
        "no storm against a server that does not answer",
        format!("≤ {bound:.0} packets of {} workers", seen.hit.len()),
        format!("{PACKETS:.0} a second of each worker: its polls, heartbeats and results, each repeated once a second"),
    );
    match seen.dropped {
        0 => question.unseen("no packet was dropped: the workers were not cut off"),
        dropped => question.require(dropped as f64 <= bound, format!("{dropped} packets")),
    }
}

fn errors_of(played: &Played, service: &str) -> Check {
    let retried = &played.loaded.ending.retried;
    let named = retried.iter().filter(|one| !one.reason.is_empty());
    let other: Vec<String> = named
        .clone()
        .filter(|one| !one.reason.to_lowercase().contains(service))
        .map(|one| format!("{}: {}", one.step, one.reason))
        .collect();
    let question = Question::new(
        "fault-errors",
        format!("attempts end, and say that it was the {service}"),
        format!("each reason names the {service}"),
        "an attempt without an answer must give its slot back, with an error that helps",
    );
    let first = named.clone().next().map(|one| one.reason.clone());
    match first {
        None => question.unseen("no attempt ended"),
        Some(first) => question.answer(format!("{} steps; {first}", retried.len()), faults(other)),
    }
}

fn slots_freed(played: &Played, sizing: &Sizing, samples: &[Sample]) -> Check {
    let question = |bound: String| {
        Question::new(
            "fault-slots",
            "no slot is held for ever",
            bound,
            "an attempt without an answer ends by its timeout and gives its slot back",
        )
    };
    let Some(window) = played.settled else {
        return question("the slots that the load needs".to_owned()).unseen("the load did not settle");
    };
    let mean = sizing.in_use(played.rate());
    let bound = mean + 4.0 * mean.sqrt();
    let question = question(format!("≤ {bound:.0} IO slots in use on average: {mean:.0} and chance"));
    question.of(seen(samples, window, |sample| sample.slots_used.seen()).map(|readings| {
        let used = readings.iter().filter_map(|(_, used)| used.get(crate::cluster::IO_QUEUE)).copied();
        let mean = used.clone().sum::<f64>() / used.count().max(1) as f64;
        (mean <= bound, format!("{mean:.1}"))
    }))
}

fn trigger_errors(seen: &Seen) -> Check {
    let question = Question::new(
        "fault-trigger",
        "a trigger without a series is an error, and no 0",
        "KEDA counts errors",
        "an answer of 0 would take workers away",
    );
    match seen.trigger_errors {
        None => question.unseen("KEDA's metrics were not read"),
        Some((before, after)) => question.require(after > before, format!("{:.0} more errors", after - before)),
    }
}

fn alert(seen: &Seen, name: &str, window: Window) -> Check {
    let question = Question::new(
        "fault-alert",
        format!("the alert {name} fires"),
        format!("within {:.0} s", window.seconds()),
        "an operator must learn that the fleet is held",
    );
    let fired = seen.alerts.get(name).map(|at| at - window.from);
    let others = || format!("firing: {}", seen.alerts.keys().cloned().collect::<Vec<_>>().join(", "));
    timed(question, fired, window.seconds(), None, others)
}

fn counted(played: &Played, sizing: &Sizing, samples: &[Sample]) -> Check {
    let (least, most) = sizing.right_count(played.rate());
    let name = "as many workers as the load needs".to_owned();
    let why = "the HPA goes on by the answers of temporal-scaler when KEDA is back";
    match played.settled {
        Some(window) => sized("fault-count", name, samples, window, (least, most), why),
        None => Question::new("fault-count", name, format!("{least} to {most}"), why).unseen("it did not settle"),
    }
}

fn pollers(seen: &Seen, window: Window, bound: f64) -> Check {
    let question = Question::new(
        "fault-pollers",
        "each queue has pollers again",
        format!("≤ {bound:.0} s"),
        "Temporal's start, and the pauses of clients that could not reach it",
    );
    // Temporal answers until it is gone.
    let Some(away) = seen.pollers.iter().rposition(|(_, count)| *count == 0) else {
        return question.unseen("Temporal was never seen without pollers");
    };
    let first = seen.pollers.get(away + 1).map(|(at, _)| at - window.to);
    timed(question, first, bound, None, || format!("{} looks", seen.pollers.len()))
}

fn tasks_failed(seen: &Seen) -> Check {
    let question = Question::new(
        "fault-tasks",
        "the wrong version got workflow tasks, and failed them",
        "≥ 1",
        "a version that gets no task shows nothing",
    );
    match seen.failed_tasks {
        0 => question.unseen("it got none"),
        failed => question.require(true, format!("{failed} workflow tasks failed")),
    }
}

fn temporals_share(seen: &Seen) -> Check {
    let question = Question::new(
        "fault-share",
        "Temporal can have its connections",
        "a session for its role",
        "the roles have limits of their own (services/postgres), so that no client takes another's share",
    );
    match &seen.temporals {
        None => question.unseen("no session was asked for"),
        Some(Ok(())) => question.require(true, "a session"),
        Some(Err(why)) => question.require(false, why.as_str()),
    }
}

fn refused(seen: &Seen) -> Check {
    let question = Question::new(
        "fault-refused",
        "Postgres says why it refuses a session",
        "too many connections",
        "a clear error can be retried, and says what to do",
    );
    match &seen.refusal {
        None => question.unseen(format!("{} sessions were held, and none was refused", seen.sessions)),
        Some(why) => {
            let clear = why.contains("too many connections") || why.contains("remaining connection slots");
            question.require(clear, format!("{} sessions held; {why}", seen.sessions))
        }
    }
}

fn connections_bounded(played: &Played) -> Check {
    let planned = u32::try_from(played.planned).unwrap_or(u32::MAX);
    let question = Question::new(
        "fault-connections",
        "no storm of connections when Postgres is back",
        format!("≤ {planned} of the workers, {TEMPORALS} of Temporal"),
        "what the plan of the fleet says, and four services with 25 and 5 each",
    );
    match &played.seen.most {
        None => question.unseen("the connections were not read"),
        Some(most) => {
            let (workers, temporals) = (most.of_workers(), of_temporal(most));
            question.require(
                workers <= planned && temporals <= TEMPORALS,
                format!("{workers} of the workers, {temporals} of Temporal, {} of {} in all", most.all(), most.allowed),
            )
        }
    }
}

fn store_lied(seen: &Seen) -> Check {
    let question = Question::new(
        "fault-store",
        "Temporal's store answered what is not true",
        format!("≥ {LIES:.0} timeouts of calls that it had done"),
        "a twentieth of hundreds of calls: fewer show nothing",
    );
    match seen.timeouts {
        None => question.unseen("the timeouts were not counted"),
        Some(count) => question.require(count >= LIES, format!("{count:.0}")),
    }
}

/// Timeouts that a pod of Temporal had from its store.
fn timeouts_of(pod: &str) -> String {
    format!(r#"sum(persistence_error_with_type{{error_type="persistence_TimeoutError",pod="{pod}"}} or vector(0))"#)
}

fn no_pod_deleted(played: &Played) -> Check {
    let question = Question::new(
        "fault-healed",
        "Temporal heals by itself",
        "documents are stored again, and nobody deletes a pod",
        "a pool that is closed for good needs a restart (temporal#11691): the liveness probe makes it",
    );
    match (played.undone(), played.recovered) {
        (Some(undone), Some(at)) => question.require(true, format!("after {:.0} s", at - undone)),
        (Some(_), None) => question.require(false, "not while it was watched"),
        (None, _) => question.unseen("the fault was not undone"),
    }
}
