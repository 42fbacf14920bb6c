//! The signal goes away under load: first Prometheus, then KEDA with the metrics API. The fleet keeps its size, the
//! outage can be seen, no document is lost, and afterwards the fleet scales in again.
//!
//! Each outage lasts longer than the cool-down: a scaler that takes a missing signal for 0 would scale in.

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::sleep_until;

use super::loaded::{Loaded, Stretch};
use super::{Scenario, prepare};
use crate::cluster::autoscaling::Autoscaling;
use crate::cluster::kubernetes::hpa;
use crate::cluster::switches::{Target, available, set_replicas};
use crate::cluster::{KEDA, MONITORING, scalers};
use crate::judge::bounds::{self, MEAN};
use crate::judge::fleet::{carried_out, never_fewer, peak, scaled_in, timed};
use crate::judge::part::Part;
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question};
use crate::load::context::Context;
use crate::load::sizing::{GUIDE_SERVICE, Peak, Sizing};
use crate::load::waits::{fix_workers, settle_at, tell};
use crate::observe::sample::Sample;
use crate::observe::window::Window;

/// Workers' worth of load, all the time, and before it.
const WORKERS: f64 = 5.7;
const WARM_UP: f64 = 2.0;
/// Seconds of load before the first outage: the fleet has found its size.
const BEFORE: f64 = 20.0;
/// Seconds of an outage: the cool-down of 60 s, and some more.
const OUTAGE: f64 = 65.0;
/// Seconds between and after outages, in which the signal comes back: a Prometheus starts within 10 s, and scrapes each
/// pod within 15 s.
const AFTER: f64 = 25.0;
/// Seconds until the tests' own series are read again, which are scraped each second.
const READ_AGAIN: f64 = 15.0;
/// The last documents are stored within this time, in seconds.
const DRAINED: f64 = 90.0;
/// The outage of the source that the depth is read from.
const PROMETHEUS: &str = "prometheus";

/// What is taken away.
const OUTAGES: [(&str, &[Target]); 2] = [
    (PROMETHEUS, &[(MONITORING, "prometheus")]),
    ("keda", &[(KEDA, "keda-operator"), (KEDA, "keda-metrics-apiserver")]),
];

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outages {
    /// The fleet and its documents.
    sizing: Option<Sizing>,
    /// How the cluster scales.
    autoscaling: Autoscaling,
    loaded: Loaded,
    outages: Vec<Outage>,
    /// From the last document until the minimum of workers was left.
    scale_in: Option<Window>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Outage {
    /// What was away.
    name: String,
    /// When.
    window: Window,
    /// Conditions of the ScaledObject and the HPA at its end: `scaledobject Fallback=True (reason)` and the like.
    conditions: Vec<String>,
    /// The same [`AFTER`] seconds later.
    conditions_after: Vec<String>,
}

impl Scenario for Outages {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        let mut checks: Vec<Check> = self.outages.iter().flat_map(|outage| outage.judge(samples)).collect();
        checks.extend(carried_out("outages", "every outage was carried out", self.outages.len(), OUTAGES.len()));
        if let (Some(window), Some(whole)) = (self.scale_in, self.loaded.whole()) {
            let bound = bounds::scale_in(&self.autoscaling, peak(samples, whole.until(window)));
            checks.push(scaled_in(samples, window, self.autoscaling.min, &bound));
        }
        // An outage of the signal takes no attempt from a worker.
        checks.extend(self.loaded.checks(samples, true));
        checks
    }

    fn loads(&self) -> Vec<Part<'_>> {
        vec![self.loaded.part(self.sizing.as_ref())]
    }

    fn tables(&self, _samples: &[Sample]) -> Vec<Table> {
        self.loaded.ending.table("outage").into_iter().collect()
    }
}

impl Outages {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        let sizing =
            prepare(context, "outage/prepare", Peak::step(WORKERS, context.autoscaling.min), GUIDE_SERVICE).await?;
        self.sizing = Some(sizing);
        self.autoscaling = context.autoscaling.clone();
        fix_workers(context, sizing.min).await?;
        let (loaded, load) = Loaded::begin(context, "outage");
        self.loaded = loaded;
        self.loaded.warm_up(context, &load, sizing.rate_of(WARM_UP), MEAN).await?;
        let seconds = BEFORE + OUTAGES.len() as f64 * (OUTAGE + AFTER);
        let steady = [Stretch::new("steady", sizing.rate_of(WORKERS), seconds)];
        let from = context.clock.now();
        let loading = self.loaded.play(context, &load, "outage", &steady);
        let ((), ended) = futures::join!(loading, take_away(context, from, &mut self.outages));
        ended?;
        self.loaded.drain(context, DRAINED).await;
        // A fleet that an outage left without scaling would not shrink.
        context.enter("outage/in", "no load: back to the minimum of workers");
        let from = context.clock.now();
        let bound = bounds::scale_in(&self.autoscaling, self.autoscaling.max);
        let settled = settle_at(context, self.autoscaling.min, bound.seconds).await;
        tell(context, "the minimum of workers again", settled);
        let to = context.clock.now();
        self.scale_in = Some(Window { from, to });
        self.loaded.read(context).await
    }
}

async fn take_away(context: &Context, from: f64, outages: &mut Vec<Outage>) -> Result<()> {
    let fixture = &context.fixture;
    let mut at = from + BEFORE;
    sleep_until(context.clock.instant(at)).await;
    for (name, targets) in OUTAGES {
        context.enter(&format!("outage/{name}"), &format!("{name} is away for {OUTAGE:.0} s"));
        set_replicas(fixture, targets, 0).await?;
        let began = context.clock.now();
        sleep_until(context.clock.instant(at + OUTAGE)).await;
        let mut outage = Outage {
            name: name.to_owned(),
            window: Window { from: began, to: context.clock.now() },
            conditions: conditions(context).await,
            conditions_after: Vec::new(),
        };
        context.enter(&format!("outage/after-{name}"), &format!("{name} comes back"));
        set_replicas(fixture, targets, 1).await?;
        available(fixture, targets).await?;
        at += OUTAGE + AFTER;
        sleep_until(context.clock.instant(at)).await;
        outage.conditions_after = conditions(context).await;
        outages.push(outage);
    }
    Ok(())
}

/// Brings back what an outage took away, whatever the scenario left.
///
/// # Errors
/// A Deployment cannot be changed.
pub async fn restore(context: &Context) -> Result<()> {
    for (_, targets) in OUTAGES {
        set_replicas(&context.fixture, targets, 1).await?;
    }
    Ok(())
}

/// What the ScaledObject and the HPA say of themselves: `scaledobject Fallback=True (reason)` and the like.
async fn conditions(context: &Context) -> Vec<String> {
    let mut all = Vec::new();
    if let Ok(found) = scalers::scaled_object(&context.fixture).await {
        all.extend(conditions_of("scaledobject", &found.data["status"]["conditions"]));
    }
    if let Ok(found) = hpa(&context.fixture.kube).await {
        let status = serde_json::to_value(&found.status).unwrap_or_default();
        all.extend(conditions_of("hpa", &status["conditions"]));
    }
    all
}

fn conditions_of(of: &str, conditions: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let shown =
        |one: &Value| format!("{of} {}={} ({})", text(&one["type"]), text(&one["status"]), text(&one["reason"]));
    conditions.as_array().into_iter().flatten().map(shown).collect()
}

/// Conditions by which Kubernetes says that scaling does not work as it should.
const SIGNS: [&str; 3] = ["scaledobject Fallback=True", "scaledobject Ready=False", "hpa ScalingActive=False"];

fn signs(conditions: &[String]) -> Vec<&str> {
    let is_sign = |condition: &&str| SIGNS.iter().any(|sign| condition.starts_with(sign));
    conditions.iter().map(String::as_str).filter(is_sign).collect()
}

impl Outage {
    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        let name = &self.name;
        let holds = never_fewer(
            format!("the fleet keeps its size while {name} is away"),
            samples,
            self.window,
            "a missing signal says nothing of the load; the outage is longer than the cool-down",
        );
        let mut checks = vec![holds, self.visible(), self.works_again()];
        if name == PROMETHEUS {
            checks.push(self.read_again(samples));
        }
        checks
    }

    fn visible(&self) -> Check {
        let found = signs(&self.conditions);
        let question = Question::new(
            "outage-visible",
            format!("it can be seen that {} is away", self.name),
            "a condition of the ScaledObject or the HPA says so",
            "kubectl get scaledobject, kubectl describe hpa",
        );
        match self.conditions.is_empty() {
            true => question.unseen("no condition was read"),
            false => question.require(!found.is_empty(), found.join(", ")),
        }
    }

    fn works_again(&self) -> Check {
        let found = signs(&self.conditions_after);
        let question = Question::new(
            "outage-ends",
            format!("scaling works again after {} was away", self.name),
            format!("no such condition {AFTER:.0} s later"),
            "an outage must not leave a fleet without scaling",
        );
        match self.conditions_after.is_empty() {
            true => question.unseen("no condition was read"),
            false => question.require(found.is_empty(), found.join(", ")),
        }
    }

    /// The depth is read from Prometheus again within [`READ_AGAIN`] seconds of its outage's end.
    fn read_again(&self, samples: &[Sample]) -> Check {
        let ended = self.window.to;
        let mut after = samples.iter().filter(|sample| sample.at >= ended);
        let first = after.find(|sample| sample.depth.seen().is_some());
        let question = Question::new(
            "outage-depth",
            "the queues' depth is read again",
            format!("≤ {READ_AGAIN:.0} s after prometheus was asked to come back"),
            "a fleet does not scale by what is not read",
        );
        timed(question, first.map(|sample| sample.at - ended), READ_AGAIN, None, || "not read again".to_owned())
    }
}
