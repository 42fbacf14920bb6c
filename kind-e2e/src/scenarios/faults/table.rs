//! The faults, one a row: how each is made, for how long, what must hold beside the oracle, and when all is well again.
//!
//! The numbers are those of `docs/faults.md`. A row that differs from that table says how, and why.

use super::invariant::Invariant::{self, *};
use super::mechanism::Mechanism::{self, *};
use super::mechanism::{KEDA, POSTGRES, PROMETHEUS, Share, TEMPORAL, WORKERS};
use crate::cluster::{self, MONITORING};
use crate::load::corpus::CLAIM_TRIPS;
use crate::load::sizing::{Sizing, WAITING};

/// A part of a bound: seconds, and what takes them.
pub(super) type Part = (f64, &'static str);

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fault {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// How it is made and undone.
    pub mechanism: Mechanism,
    /// Seconds from the time at which it was made until it is undone.
    pub lasts: f64,
    /// What must hold beside the oracle.
    pub invariants: &'static [Invariant],
    /// Whether Temporal may refuse starts while it lasts, and until all is well again.
    pub refuses: bool,
    /// What takes time until all is well again, counted from the time at which it was undone. The sum is the bound.
    pub recovery: &'static [Part],
    /// How this differs from the table of faults, and why.
    pub differs: Option<&'static str>,
    /// Whether it is played only where it is named, because it takes minutes.
    pub apart: bool,
}

impl Fault {
    /// All is well again within so many seconds under such a load.
    pub(super) fn bound(&self, sizing: &Sizing) -> f64 {
        self.recovery.iter().map(|(seconds, _)| seconds).sum::<f64>() + self.backlog(sizing) + tail(sizing.service)
    }

    /// Why the bound is what it is.
    pub(super) fn why(&self, sizing: &Sizing) -> String {
        let parts = self.recovery.iter().map(|(seconds, what)| format!("{seconds:.0} s {what}"));
        let backlog = (self.backlog(sizing) > 0.0).then(|| {
            format!(
                "{:.0} s for what waits since {:.0} s: the load takes {:.0} % of this host at most, the rest does it",
                self.backlog(sizing),
                self.lasts,
                100.0 * sizing.share
            )
        });
        let tail =
            format!("{:.0} s for the last document, which may go to S3 {CLAIM_TRIPS} times", tail(sizing.service));
        parts.chain(backlog).chain([tail]).collect::<Vec<_>>().join("; ")
    }

    /// Seconds until what waits is done, beside the load. Nothing is started while Temporal is away, and nothing waits
    /// when it is back.
    fn backlog(&self, sizing: &Sizing) -> f64 {
        if self.refuses { 0.0 } else { self.lasts * sizing.share / (1.0 - sizing.share) }
    }
}

/// Seconds of the slowest document.
fn tail(service: f64) -> f64 {
    f64::from(CLAIM_TRIPS) * service + WAITING
}

/// `HEARTBEAT_TIMEOUT` of the worker.
pub(super) const HEARTBEAT: f64 = 15.0;
const HEARTBEATS: Part = (HEARTBEAT, "until Temporal misses the heartbeats");
const STICKY: Part = (10.0, "for which a workflow task waits for the worker that has its workflow");
const TASK: Part = (10.0, "of the timeout of a workflow task whose worker is gone");
const RESTART: Part =
    (30.0, "until a container runs again: the kubelet waits 10 s at its second end, and 20 s at its third");
const START: Part = (15.0, "in which new workers start beside the load");
const POLLS: Part = (15.0, "until the workers poll again: their pauses grow to 10 s");
const TEMPORAL_STARTS: Part = (40.0, "in which Temporal starts and has its shards");
const POSTGRES_STARTS: Part = (20.0, "in which Postgres starts and replays its log");
const LIVENESS: Part = (200.0, "until the liveness probe restarts a Temporal whose pool is closed (temporal#11691)");
const RETRY: Part = (30.0, "of the longest pause before an attempt");
const CIRCUIT: Part = (40.0, "until a circuit breaker lets a probe through: its pause was 20 s at last, or 40 s");
const CIRCUIT_LONG: Part =
    (200.0, "until a circuit breaker lets a probe through: its longest pause is 160 s, and a quarter");
const STATEMENT: Part = (30.0, "of the timeout of a statement that was in flight");
const LEFT: Part = (40.0, "for what waits since 3 workers do the work of 10");
const SCALING: Part = (20.0, "until the fleet is scaled again: KEDA and its API start");

/// Workers that are stopped one rollout after the other: enough to see one in a hundred that loses an attempt.
const STOPS: usize = 200;

const PROMETHEUS_ONLY: &[(&str, &str)] = &[(MONITORING, "prometheus")];
const METRICS_API: &[(&str, &str)] = &[(cluster::KEDA, "keda-metrics-apiserver")];

const fn fault(
    name: &'static str,
    mechanism: Mechanism,
    lasts: f64,
    invariants: &'static [Invariant],
    recovery: &'static [Part],
) -> Fault {
    Fault { name, mechanism, lasts, invariants, refuses: false, recovery, differs: None, apart: false }
}

impl Fault {
    const fn refusing(self) -> Self {
        Self { refuses: true, ..self }
    }

    const fn apart(self) -> Self {
        Self { apart: true, ..self }
    }

    const fn differing(self, how: &'static str) -> Self {
        Self { differs: Some(how), ..self }
    }
}

/// Every fault, in the order in which they are played. Those whose pods start from new ones come between those that
/// kill, so that the kubelet's back-off stays short. Those that replace every worker come before those that leave more
/// workers than the load needs.
pub(super) const FAULTS: [Fault; 32] = [
    fault(
        "worker-killed",
        Kill(WORKERS, Share::One, 1),
        0.0,
        &[Retried, Restarted(1)],
        &[HEARTBEATS, STICKY, TASK],
    ),
    fault("workers-killed", Kill(WORKERS, Share::All, 1), 0.0, &[Restarted(1)], &[RESTART, HEARTBEATS, STICKY, TASK]),
    fault("rolling-update", RollOut(1), 0.0, &[FirstAttempts, Punctual], &[START]),
    fault("node-drained", Evict(WORKERS), 0.0, &[FirstAttempts, Budget], &[START]).differing(
        "one node: every worker is evicted by the API that a drain uses, and the node still takes pods. With more nodes \
         the pods of one would move to the others",
    ),
    fault(
        "quarter-killed",
        Kill(WORKERS, Share::Quarter, 2),
        0.0,
        &[Retried, PunctualBetween],
        &[RESTART, HEARTBEATS, STICKY, TASK],
    )
    .differing("a quarter twice, as soon as the first is over, instead of every 2 min"),
    fault("bad-rollout", BadRollOut(8, 6), 10.0, &[FirstAttempts, Punctual, ScalesIn], &[START, SCALING]),
    fault("scale-in", ScaleIn(10, 6.0), 0.0, &[FirstAttempts], &[START, SCALING, LEFT]),
    fault("out-of-memory", Exhaust(WORKERS), 0.0, &[Restarted(1), OutOfMemory], &[HEARTBEATS, STICKY, TASK]),
    fault("hung-activity", Stop(WORKERS), 25.0, &[Retried, MissedHeartbeat], &[HEARTBEATS, STICKY, TASK]),
    fault("poison", Poison, 5.0, &[FirstAttempts, Punctual, OnePoisoned], &[]),
    fault("worker-cut-off", Cut(WORKERS, 7233), 30.0, &[FewPackets], &[HEARTBEATS, POLLS, STICKY, TASK]),
    fault("database-half-open", Cut(WORKERS, 5432), 40.0, &[ErrorsOf("database")], &[CIRCUIT, RETRY]),
    fault("dns-away", DnsAway, 30.0, &[Retried], &[RESTART, START, RETRY]),
    fault("object-store-away", HangS3, 40.0, &[SlotsFreed], &[CIRCUIT, RETRY]),
    fault("prometheus-away", Away(PROMETHEUS_ONLY, 1), 65.0, &[NeverFewer, Punctual], &[SCALING]),
    fault("prometheus-away-20", Away(PROMETHEUS_ONLY, 1), 20.0, &[NeverFewer, Punctual], &[SCALING]),
    fault("prometheus-away-40", Away(PROMETHEUS_ONLY, 1), 40.0, &[NeverFewer, Punctual], &[SCALING]),
    fault("prometheus-away-55", Away(PROMETHEUS_ONLY, 1), 55.0, &[NeverFewer, Punctual], &[SCALING]),
    fault(
        "series-absent",
        Cut(PROMETHEUS, 9464),
        75.0,
        &[NeverFewer, TriggerErrors, Alert("QueueDepthUnknown"), Punctual],
        &[SCALING],
    ),
    fault("keda-killed", Kill(KEDA, Share::All, 1), 0.0, &[RightCount], &[(100.0, "of the promised 2 min")]),
    fault(
        "metrics-api-away",
        Away(METRICS_API, 1),
        75.0,
        &[NeverFewer, Alert("MetricsNotRead"), Punctual],
        &[SCALING],
    ),
    fault("temporal-killed", Kill(TEMPORAL, Share::All, 1), 0.0, &[Restarted(1)], &[TEMPORAL_STARTS, POLLS, HEARTBEATS, TASK])
        .refusing()
        .differing("history alone cannot be killed: the four services are one process here"),
    fault("temporal-deleted", Delete(TEMPORAL), 0.0, &[PollersReturn(90.0)], &[TEMPORAL_STARTS, RETRY, POLLS, HEARTBEATS, TASK])
        .refusing()
        .differing(
            "frontend and matching are one process with history here: its pod is deleted, and another comes",
        ),
    fault("wrong-version", WrongVersion, 20.0, &[TasksFailed], &[STICKY, TASK, RETRY]).differing(
        "the driver takes workflow tasks and fails each with the cause NonDeterministicError, as the SDK of such a \
         version does. A worker image with other steps would be built for this test alone",
    ),
    fault("sessions-exhausted", Sessions, 20.0, &[TemporalsShare, Refused], &[RETRY]),
    fault("database-slow", Pulse(POSTGRES), 25.0, &[], &[RETRY, STATEMENT]).refusing(),
    fault("database-restarted", Delete(POSTGRES), 0.0, &[NoPodDeleted], &[POSTGRES_STARTS, LIVENESS, POLLS, CIRCUIT])
        .refusing(),
    fault("disk-full", FillDisk, 20.0, &[NoPodDeleted], &[POSTGRES_STARTS, LIVENESS, RETRY, POLLS, CIRCUIT]).refusing(),
    fault("node-stopped", PauseNode, 20.0, &[], &[RESTART, HEARTBEATS, POLLS, STICKY, TASK]).refusing().differing(
        "one node: it stands still for 20 s. If it were killed, nothing would be left to come back to",
    ),
    fault(
        "database-away",
        PostgresAway,
        300.0,
        &[Connections, NoPodDeleted],
        &[POSTGRES_STARTS, TEMPORAL_STARTS, RETRY, POLLS, CIRCUIT_LONG],
    )
    .refusing(),
    fault("store-lies", StoreLies, 45.0, &[StoreLied], &[TEMPORAL_STARTS, RETRY, POLLS, HEARTBEATS, TASK])
        .refusing()
        .differing("Temporal's injector: a twentieth of the calls that write answer with a timeout after they wrote"),
    fault("planned-stops", RollOut(STOPS), 0.0, &[Stopped(STOPS), FirstAttempts], &[START]).apart(),
];
