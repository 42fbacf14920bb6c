//! More load than the host carries, with what ships and with its best rival: more workers do not help then, and cost.
//!
//! The host is saturated on purpose. So it excuses nothing here, and first attempts are not judged: a starved worker
//! misses heartbeats.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::loaded::{Loaded, Stretch};
use super::{Scenario, delay};
use crate::cluster::forward::Forward;
use crate::cluster::scalers::{self, Scaler};
use crate::cluster::settings;
use crate::judge::bounds::{MEAN, NORMAL_DEPTH};
use crate::judge::fleet::{timed, worker_seconds};
use crate::judge::part::Part;
use crate::judge::statistics::{latency, seconds};
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question};
use crate::load::context::Context;
use crate::load::sizing::{GUIDE_SERVICE, Sizing};
use crate::load::waits::fix_workers;
use crate::observe::sample::{Figures, Sample};
use crate::observe::window::{Window, seen};

/// The load, as a multiple of what the host carries.
const TIMES: f64 = 1.5;
/// Workers' worth of load before it.
const BEFORE: f64 = 2.0;
/// Seconds of that load with the workers in the hands of the autoscaler.
const USUAL: f64 = 15.0;
/// Seconds of the overload. A saturated host may store as little as a seventh of what it carries: it is busy with the
/// first steps of all documents. It then takes `(1.5 - 1/7) × 30`, or 41 s, for what waits, so that the goal of the
/// recovery is possible. Overload and recovery take longer than the 45 s after which the scaler judges a size.
const OVERLOAD: f64 = 30.0;
/// Seconds without load after it: the goal of the recovery, and some more to see that it lasts.
const TAIL: f64 = RECOVERS + 15.0;
/// The queues are short again within this time after the overload, in seconds.
const RECOVERS: f64 = 60.0;
/// What ships may have such a share more p99 or worker-minutes than its rival: two calibrations of one host differ by
/// less, and more than that would be the product's.
const TOLERANCE: f64 = 0.15;
/// The last documents are stored within this time, in seconds.
const DRAINED: f64 = 180.0;
/// Seconds between two questions to `temporal-scaler`.
const LOOK: Duration = Duration::from_secs(2);
/// The stretch that is judged.
const STRETCH: &str = "overload";

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Overload {
    sizing: Option<Sizing>,
    entrants: Vec<Entrant>,
}

/// A way to scale, its load, and what `temporal-scaler` said meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entrant {
    scaler: Scaler,
    loaded: Loaded,
    said: Vec<Said>,
}

/// An answer that differs from the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Said {
    /// Seconds since the run began.
    at: f64,
    workers: u64,
    reason: String,
    bottleneck: Option<String>,
}

impl Scenario for Overload {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        let Some(sizing) = &self.sizing else {
            return Vec::new();
        };
        let mut checks = Vec::new();
        for entrant in &self.entrants {
            let mut own = entrant.loaded.checks(samples, false);
            own.extend(entrant.is_overload(sizing));
            if entrant.scaler == Scaler::Slipway {
                own.extend(entrant.recovers(sizing, samples));
            }
            checks.extend(own.into_iter().map(|check| check.of_part(entrant.scaler.name())));
        }
        let of = |scaler: Scaler| self.entrants.iter().find(|entrant| entrant.scaler == scaler);
        if let (Some(ours), Some(rival)) = (of(Scaler::Slipway), of(Scaler::Temporal)) {
            checks.push(no_later(ours, rival));
            checks.extend(no_dearer(ours, rival, samples));
        }
        checks
    }

    fn loads(&self) -> Vec<Part<'_>> {
        let loads = self.entrants.iter().map(|entrant| &entrant.loaded);
        loads.map(|loaded| loaded.part(self.sizing.as_ref())).collect()
    }

    fn tables(&self, samples: &[Sample]) -> Vec<Table> {
        let heads = ["way", "p50", "p99", "most wanted", "worker-minutes"];
        let note = "Documents of the overload; workers from its beginning to the end of the time without load.";
        let mut table = Table::new("More load than the host carries", &heads, note);
        for entrant in &self.entrants {
            let Some(window) = entrant.judged() else { continue };
            let found = latency(entrant.documents());
            let most = window.of(samples).filter_map(|sample| sample.fleet.seen()).map(|fleet| fleet.wanted).max();
            let paid = worker_seconds(samples, window).map(|seconds| format!("{:.1}", seconds / 60.0));
            table.rows.push(vec![
                entrant.scaler.about().to_owned(),
                seconds(found.and_then(|found| found.p50)),
                seconds(found.and_then(|found| found.p99)),
                most.map_or_else(|| "not seen".to_owned(), |most| most.to_string()),
                paid.unwrap_or_else(|_| "not seen".to_owned()),
            ]);
        }
        let said = self.entrants.iter().filter_map(Entrant::answers);
        std::iter::once(table).chain(said).collect()
    }
}

impl Overload {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        context.enter("overload/prepare", "putting latency on the way to S3");
        let slots = context.settings.io.count.value;
        let sizing = Sizing::overload(&context.autoscaling, slots, context.calibration()?, TIMES, GUIDE_SERVICE);
        self.sizing = Some(sizing);
        context.say(&sizing.rule());
        delay(context, sizing.service).await?;
        for scaler in [Scaler::Slipway, Scaler::Temporal] {
            let name = format!("overload/{}", scaler.name());
            context.enter(&format!("{name}/apply"), scaler.about());
            fix_workers(context, sizing.min).await?;
            scalers::apply(&context.fixture, scaler).await?;
            let (mut loaded, load) = Loaded::begin(context, &name);
            loaded.warm_up(context, &load, sizing.rate_of(BEFORE), MEAN).await?;
            let mut said = Vec::new();
            let until = context.clock.now() + USUAL + OVERLOAD + TAIL;
            let stretches = stretches(&sizing);
            let way = settings::way_to_scale(&context.fixture).await?;
            let playing = loaded.play(context, &load, "overload", &stretches);
            futures::join!(playing, listen(context, &way, until, &mut said));
            let ended = loaded.end(context, DRAINED).await;
            self.entrants.push(Entrant { scaler, loaded, said });
            ended?;
        }
        Ok(())
    }
}

fn stretches(sizing: &Sizing) -> [Stretch; 3] {
    [
        Stretch::new("usual", sizing.rate_of(BEFORE), USUAL).even(),
        Stretch::new(STRETCH, TIMES * sizing.capacity, OVERLOAD).even(),
        Stretch::new("tail", 0.0, TAIL),
    ]
}

/// Notes what `temporal-scaler` says. It may be too busy to answer.
async fn listen(context: &Context, way: &Forward, until: f64, said: &mut Vec<Said>) {
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while context.clock.now() < until {
        tick.tick().await;
        if let Ok(answer) = settings::scale(&context.fixture, way).await {
            let new = Said::of(context.clock.now(), &answer);
            if said.last().is_none_or(|last: &Said| last.differs(&new)) {
                said.push(new);
            }
        }
    }
}

impl Said {
    fn of(at: f64, answer: &Value) -> Self {
        let text = |key: &str| answer[key].as_str().map(str::to_owned);
        Self {
            at,
            workers: answer["workers"].as_u64().unwrap_or(0),
            reason: text("reason").unwrap_or_default(),
            bottleneck: text("bottleneck"),
        }
    }

    fn differs(&self, other: &Self) -> bool {
        (self.workers, &self.bottleneck) != (other.workers, &other.bottleneck)
    }
}

impl Entrant {
    /// From the beginning of the overload to the end of the time without load.
    fn judged(&self) -> Option<Window> {
        Some(self.loaded.window(STRETCH)?.until(self.loaded.window("tail")?))
    }

    fn documents(&self) -> impl Iterator<Item = &crate::load::Start> {
        self.loaded.starts.iter().filter(|start| start.phase == STRETCH)
    }

    /// Documents that were not stored when the overload ended.
    fn waiting(&self, ended: f64) -> usize {
        self.documents().filter(|start| start.stored.is_none_or(|stored| stored > ended)).count()
    }

    /// A host that carries the load shows nothing of an overload.
    fn is_overload(&self, sizing: &Sizing) -> Option<Check> {
        let window = self.loaded.window(STRETCH)?;
        let (waiting, excess) = (self.waiting(window.to), (TIMES - 1.0) * sizing.capacity * window.seconds());
        let least = excess / 2.0;
        let question = Question::new(
            "overload-load",
            "the load is more than the host carries",
            format!("≥ {least:.0} documents not stored at its end"),
            format!("{TIMES} times what the host carries leaves {excess:.0} documents; half of that is beyond chance"),
        );
        let measured = format!("{waiting} documents");
        Some(match waiting as f64 >= least {
            true => question.require(true, measured),
            false => question.unseen(format!("{measured}: the host carries more than the calibration found")),
        })
    }

    /// The queues are short again in time.
    fn recovers(&self, sizing: &Sizing, samples: &[Sample]) -> Option<Check> {
        let (load, tail) = (self.loaded.window(STRETCH)?, self.loaded.window("tail")?);
        let waiting = self.waiting(load.to);
        let carried = waiting as f64 / sizing.capacity.max(f64::MIN_POSITIVE);
        let question = Question::new(
            "overload-recovery",
            format!("no queue has more than {NORMAL_DEPTH:.0} tasks that wait, for good"),
            format!("≤ {RECOVERS:.0} s after the overload"),
            format!("the goal; the host takes {carried:.0} s for the {waiting} documents that were not stored"),
        );
        let deepest = |depth: &Figures| depth.values().copied().fold(0.0, f64::max);
        let readings = match seen(samples, tail, |sample| sample.depth.seen()) {
            Ok(readings) => readings,
            Err(gap) => return Some(question.unseen(gap)),
        };
        let deep = readings.iter().rposition(|(_, depth)| deepest(depth) > NORMAL_DEPTH);
        let since = deep.map_or(Some(tail.from), |last| readings.get(last + 1).map(|(at, _)| *at));
        let last = readings.last().map_or(0.0, |(_, depth)| deepest(depth));
        Some(timed(question, since.map(|at| at - load.to), RECOVERS, None, || format!("{last:.0} waited at the end")))
    }

    /// What `temporal-scaler` said, if it was asked: the evidence that it knew of the bottleneck.
    fn answers(&self) -> Option<Table> {
        let began = self.judged()?.from;
        let title = format!("What temporal-scaler said ({})", self.scaler.name());
        let heads = ["seconds since the overload began", "workers", "reason", "bottleneck"];
        let mut table = Table::new(title, &heads, "Asked every 2 s; answers that differ from the one before.");
        table.rows = self.said.iter().map(|said| said.row(began)).collect();
        (!table.rows.is_empty() && self.scaler == Scaler::Slipway).then_some(table)
    }
}

impl Said {
    fn row(&self, began: f64) -> Vec<String> {
        vec![
            format!("{:.0}", self.at - began),
            self.workers.to_string(),
            self.reason.clone(),
            self.bottleneck.clone().unwrap_or_default(),
        ]
    }
}

/// The p99 of what ships is no worse than the rival's.
fn no_later(ours: &Entrant, rival: &Entrant) -> Check {
    let of = |entrant: &Entrant| latency(entrant.documents()).and_then(|found| found.p99);
    let (ours, other) = (of(ours), of(rival));
    let bound = other.map_or(f64::INFINITY, |p99| (1.0 + TOLERANCE) * p99);
    Question::new(
        "overload-p99",
        format!("p99 beside {}", rival.scaler.about()),
        format!("≤ {}, {:.0} % above the rival's {}", seconds(Some(bound)), 100.0 * TOLERANCE, seconds(other)),
        "more workers do not help a host that is saturated; fewer must not hurt either",
    )
    .require(ours.unwrap_or(f64::INFINITY) <= bound, seconds(ours))
}

/// And so are its worker-minutes.
fn no_dearer(ours: &Entrant, rival: &Entrant, samples: &[Sample]) -> Option<Check> {
    let (own, other) = (ours.judged()?, rival.judged()?);
    let name = format!("worker-minutes beside {}", rival.scaler.about());
    let why = "a fleet that grows because its tasks take longer makes them take longer still";
    let paid = |window: Window| worker_seconds(samples, window).map(|seconds| seconds / 60.0);
    let (own, other) = match (paid(own), paid(other)) {
        (Ok(own), Ok(other)) => (own, other),
        (Err(gap), _) | (_, Err(gap)) => {
            return Some(Question::new("overload-cost", name, "no more", why).unseen(gap));
        }
    };
    let bound = (1.0 + TOLERANCE) * other;
    let question = Question::new(
        "overload-cost",
        name,
        format!("≤ {bound:.1}, {:.0} % above the rival's {other:.1}", 100.0 * TOLERANCE),
        why,
    );
    Some(question.require(own <= bound, format!("{own:.1}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kubernetes::Fleet;
    use crate::cluster::reading::Reading;
    use crate::load::sizing::tests::sizing;
    use crate::load::tests::start;

    /// An overload of 10 s from second 0 and a tail of 100 s, whose documents take so many seconds.
    fn entrant(scaler: Scaler, latency: f64) -> Entrant {
        let window = |name: &str, from: f64, to: f64| (Stretch::new(name, 1.0, to - from), Window { from, to });
        let due = |number: i32| crate::load::Start {
            phase: STRETCH.to_owned(),
            ..start(f64::from(number) / 37.5, Some(f64::from(number) / 37.5 + latency))
        };
        let loaded = Loaded {
            stretches: vec![window(STRETCH, 0.0, 10.0), window("tail", 10.0, 110.0)],
            starts: (0..375).map(due).collect(),
            ..Loaded::default()
        };
        Entrant { scaler, loaded, said: Vec::new() }
    }

    /// A fleet of so many workers, and tasks that wait until a second.
    fn samples(workers: i32, until: f64) -> Vec<Sample> {
        let sample = |at: i32| Sample {
            at: f64::from(at),
            fleet: Reading::Seen(Fleet { wanted: workers, present: workers, ready: workers }),
            depth: Reading::Seen([("io".to_owned(), if f64::from(at) < until { 50.0 } else { 3.0 })].into()),
            ..Sample::default()
        };
        (0..=110).map(sample).collect()
    }

    #[test]
    fn what_ships_is_held_to_the_rival_and_to_its_recovery() {
        let (ours, rival) = (entrant(Scaler::Slipway, 22.0), entrant(Scaler::Temporal, 20.0));
        assert_eq!(no_later(&ours, &rival).outcome.word(), "Pass");
        assert_eq!(no_later(&entrant(Scaler::Slipway, 24.0), &rival).outcome.word(), "Fail");
        let cheap = no_dearer(&ours, &rival, &samples(9, 0.0)).unwrap();
        assert_eq!((cheap.outcome.word(), cheap.measured.as_str()), ("Pass", "16.5"));
        let recovery = |until: f64| ours.recovers(&sizing(), &samples(9, until)).unwrap().outcome.word();
        assert_eq!((recovery(65.0), recovery(75.0), recovery(120.0)), ("Pass", "Fail", "Fail"));
        let load = |entrant: Entrant| entrant.is_overload(&sizing()).unwrap().outcome.word();
        assert_eq!((load(ours.clone()), load(entrant(Scaler::Slipway, 0.5))), ("Pass", "Inconclusive"));
    }

    #[test]
    fn an_answer_is_noted_where_it_differs() {
        let answer = |workers: u64, bottleneck: Value| {
            Said::of(1.0, &serde_json::json!({"workers": workers, "reason": "r", "bottleneck": bottleneck}))
        };
        let first = answer(9, Value::Null);
        assert!(!first.differs(&answer(9, Value::Null)) && first.differs(&answer(10, Value::Null)));
        let elsewhere = answer(9, "bottleneck elsewhere: 12 workers complete 7.1/s as 8 did".into());
        assert!(first.differs(&elsewhere) && elsewhere.row(0.0)[3].starts_with("bottleneck elsewhere"));
    }
}
