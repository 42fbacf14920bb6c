//! The metrics, made at each scrape from what is known. What is not known is absent, never 0.

use anyhow::Context as _;
use prometheus::{GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

use crate::{conditions, queue::Kind, state::Shared};

const QUEUE: &[&str] = &["kind", "queue"];

/// The families of a scrape.
struct Page {
    registry: Registry,
}

impl Page {
    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<GaugeVec> {
        self.named(&format!("temporal_scaler_{name}"), help, labels)
    }

    fn named(&self, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<GaugeVec> {
        let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(gauge.clone())).with_context(|| format!("registering {name}"))?;
        Ok(gauge)
    }

    fn value(&self, name: &str, help: &str, value: Option<f64>) -> anyhow::Result<()> {
        let gauge = self.gauge(name, help, &[])?;
        value.into_iter().for_each(|value| gauge.with_label_values::<&str>(&[]).set(value));
        Ok(())
    }
}

/// The text of a scrape.
///
/// # Errors
/// A metric has an invalid name, which the tests exclude.
pub(crate) fn exposition(shared: &Shared) -> anyhow::Result<String> {
    let page = Page { registry: Registry::new() };
    let pods_age = shared.pods.known().age();
    let state = shared.state();
    let answer = state.answer().ok();
    let flag = |set: Option<bool>| set.map(f64::from);
    page.value("wanted_workers", "Workers wanted", answer.as_ref().map(|answer| answer.workers.into()))?;
    let partly = flag(answer.as_ref().map(|answer| answer.partly.is_some()));
    page.value("partly_known", "1 if a part of the fleet is unknown, so that the answer only grows", partly)?;
    let bottleneck = flag(answer.as_ref().map(|answer| answer.bottleneck.is_some()));
    page.value("bottleneck_elsewhere", "1 if more workers do not help", bottleneck)?;

    let workers = page.gauge("workers", "Workers by what is known of them", &["state"])?;
    let help = "Age of the last reading: of the pods, of the workers' pages, of a queue";
    let age = page.gauge("reading_age_seconds", help, &["of"])?;
    pods_age.into_iter().for_each(|pods_age| age.with_label_values(&["pods"]).set(pods_age.as_secs_f64()));
    state.age().into_iter().for_each(|round| age.with_label_values(&["workers"]).set(round.as_secs_f64()));
    for (queue, answered) in state.queues.iter().zip(&state.answered) {
        if let Some(answered) = answered {
            age.with_label_values(&[&queue.to_string()]).set(answered.elapsed().as_secs_f64());
        }
    }

    // The names that a worker of this repository has, too: so there are depths while no worker runs.
    let depth = |kind: Kind| {
        let name = format!("temporal_{}_task_queue_depth", kind.name());
        page.named(&name, "Tasks in the backlog of a queue, by Temporal", &["queue"])
    };
    let (workflow, activity) = (depth(Kind::Workflow)?, depth(Kind::Activity)?);
    for (queue, depth) in state.queues.iter().zip(&state.depths) {
        let gauge = if queue.kind == Kind::Workflow { &workflow } else { &activity };
        depth.iter().for_each(|depth| gauge.with_label_values(&[&queue.name]).set(*depth));
    }

    let backlog = page.gauge("queue_backlog", "Tasks that wait for a slot, by Temporal", QUEUE)?;
    let added = page.gauge("queue_add_rate", "Tasks added a second, by Temporal", QUEUE)?;
    let dispatched = page.gauge("queue_dispatch_rate", "Tasks dispatched a second, by Temporal", QUEUE)?;
    let failed = page.gauge("queue_failure_rate", "Attempts that failed a second, by the workers' pages", QUEUE)?;
    let used = page.gauge("queue_slots_used", "Slots in use, of the workers that were read", QUEUE)?;
    let slots = page.gauge("queue_slots", "Slots of the workers that were read and stay", QUEUE)?;
    let demand = page.gauge("queue_demand", "Slots in use and tasks that wait, as the decision takes them", QUEUE)?;
    let wanted = page.gauge("queue_wanted_workers", "Workers that the queue alone asks for", QUEUE)?;
    if let Some((_, reading)) = &state.reading {
        for (name, count) in [("known", reading.workers), ("read", reading.read), ("unread", reading.unread)] {
            workers.with_label_values(&[name]).set(count.into());
        }
        for (queue, read) in state.queues.iter().zip(&reading.queues) {
            let labels = [queue.kind.name(), &queue.name];
            let rates = [(&added, read.add_rate), (&dispatched, read.dispatch_rate), (&failed, read.failure_rate)];
            let known = std::iter::once((&backlog, read.backlog)).chain(rates);
            let known = known.filter_map(|(gauge, value)| Some((gauge, value?)));
            for (gauge, value) in known.chain([(&used, read.used), (&slots, read.slots)]) {
                gauge.with_label_values(&labels).set(value);
            }
        }
    }
    for (queue, part) in state.queues.iter().zip(answer.iter().flat_map(|answer| &answer.queues)) {
        let labels = [queue.kind.name(), &queue.name];
        demand.with_label_values(&labels).set(part.demand);
        wanted.with_label_values(&labels).set(part.workers.into());
    }

    let now = page.gauge("conditions", "Pods or queues that a condition holds for", &["kind"])?;
    let help = "Rounds in which a condition held";
    let rounds = IntCounterVec::new(Opts::new("temporal_scaler_condition_rounds_total", help), &["kind"])?;
    page.registry.register(Box::new(rounds.clone()))?;
    for kind in conditions::Kind::ALL {
        let last = state.conditions.last().iter().find(|condition| condition.kind == kind);
        now.with_label_values(&[kind.name()]).set(last.map_or(0.0, |condition| condition.count as f64));
        rounds.with_label_values(&[kind.name()]).inc_by(state.conditions.rounds(kind));
    }
    drop(state);
    TextEncoder::new().encode_to_string(&page.registry.gather()).context("encoding the metrics")
}
