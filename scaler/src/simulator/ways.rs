//! Ways to scale, side by side. Each says what the HPA would read of it at a sync.

use std::fmt;
use std::str::FromStr;

use super::hpa::{Metric, Spec};
use super::prometheus::{Series, depth};
use super::scenario::Fleet;
use super::temporal::Stats;

/// Seconds that a document may wait, for the way that scales by backlog per worker.
const ACCEPTABLE: f64 = 1.5;
/// Seconds between two looks of square-root staffing.
pub(super) const POLL: f64 = 60.0;

/// A way to scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// `temporal-scaler`.
    Ours,
    /// The PromQL of decisions 1 to 3, with the depth triggers.
    Demand,
    /// The guide's triggers as written, with the HPA's default behavior.
    Guide,
    /// KEDA's Temporal trigger with the guide's thresholds and the behavior that ships.
    Temporal,
    /// Backlog per worker, for an acceptable latency.
    Backlog,
    /// CPU utilization.
    Cpu,
    /// Square-root staffing as in `go.temporal.io/auto-scaled-workers` 0.2.0, which uses no HPA.
    SquareRoot,
}

impl Way {
    /// All ways.
    pub const ALL: [Self; 7] =
        [Self::Ours, Self::Demand, Self::Guide, Self::Temporal, Self::Backlog, Self::Cpu, Self::SquareRoot];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Demand => "demand",
            Self::Guide => "guide",
            Self::Temporal => "temporal",
            Self::Backlog => "backlog",
            Self::Cpu => "cpu",
            Self::SquareRoot => "square-root",
        }
    }

    /// Whether it reads through Prometheus.
    pub fn scrapes(self) -> bool {
        matches!(self, Self::Demand | Self::Guide)
    }

    /// The limits of its HPA.
    pub(super) fn spec(self, fleet: &Fleet) -> Spec {
        match self {
            Self::Guide => Spec::defaults(fleet.min, fleet.max),
            _ => Spec::shipped(fleet.min, fleet.max),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|way| way.name() == name);
        found.ok_or_else(|| unknown("way to scale", name, Self::ALL.map(Self::name)))
    }
}

/// A name that does not exist, with the one that was probably meant.
pub(super) fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let likeness = |one: &&&str| (strsim::jaro_winkler(name, one) * 1000.0) as u32;
    let meant = known.iter().max_by_key(likeness).filter(|meant| strsim::jaro_winkler(name, meant) > 0.7);
    let hint = meant.map_or(String::new(), |meant| format!("did you mean {meant}? "));
    format!("there is no {what} \"{name}\": {hint}there are {}", known.join(", "))
}

/// What a way can see at a sync.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) now: f64,
    pub(super) fleet: &'a Fleet,
    /// The answer of `temporal-scaler`.
    pub(super) answer: Option<u32>,
    /// What was scraped, by queue. Empty series where Prometheus is away.
    pub(super) series: Vec<&'a Series>,
    /// What Temporal says, by queue. None while it is away.
    pub(super) stats: Option<&'a [Stats]>,
    /// Mean CPU utilization of the workers in the last minute of the metrics server.
    pub(super) cpu: Option<f64>,
}

impl View<'_> {
    /// The metrics of a way. None is one that failed.
    pub(super) fn metrics(&self, way: Way) -> Vec<Option<Metric>> {
        let average = |sum: Option<f64>, target: f64| sum.map(|sum| Metric::AverageValue { sum, target });
        let queues = || self.fleet.queues.iter().enumerate();
        match way {
            Way::Ours => vec![average(self.answer.map(f64::from), 1.0)],
            Way::Demand => queues()
                .flat_map(|(index, queue)| {
                    let utilization = self.fleet.utilization;
                    let demand = self.series[index].demand(self.now, utilization);
                    let scraped = self.series[index].at(self.now);
                    let depth = scraped.map(|scraped| depth(scraped.depth, queue.depth));
                    [
                        average(demand, utilization * f64::from(queue.slots)),
                        depth.map(|value| Metric::Value { value, target: 1.0 }),
                    ]
                })
                .collect(),
            Way::Guide => queues()
                .filter_map(|(index, queue)| {
                    let scraped = self.series[index].at(self.now);
                    Some(average(scraped.map(|scraped| scraped.depth), queue.threshold?))
                })
                .collect(),
            Way::Temporal => queues()
                .filter_map(|(index, queue)| {
                    Some(average(self.stats.map(|stats| stats[index].backlog), queue.threshold?))
                })
                .collect(),
            Way::Backlog => {
                let seconds = self.fleet.needs(1.0, 1.0);
                queues()
                    .map(|(index, queue)| {
                        let target = (ACCEPTABLE * f64::from(queue.slots) / seconds[index].max(0.001)).max(1.0);
                        average(self.stats.map(|stats| stats[index].backlog), target)
                    })
                    .collect()
            }
            Way::Cpu => vec![self.cpu.map(|mean| Metric::Utilization { mean, target: self.fleet.utilization })],
            Way::SquareRoot => Vec::new(),
        }
    }
}

/// The rate-based algorithm of `auto-scaled-workers` with its defaults. It divides the offered load by the capacity of a
/// worker, by an 80 % target or square-root staffing. A poll adds at most 4 workers. A task that found no slot adds one.
#[derive(Debug, Clone)]
pub(super) struct SquareRoot {
    arrivals: Option<f64>,
    capacity: f64,
    last_up: f64,
    last_down: f64,
    last_unmatched: f64,
}

impl SquareRoot {
    const ALPHA: f64 = 0.45;

    pub(super) fn new() -> Self {
        let never = f64::NEG_INFINITY;
        Self { arrivals: None, capacity: 2.0, last_up: never, last_down: never, last_unmatched: never }
    }

    fn sample(&mut self, dispatched: f64, workers: u32) {
        if workers > 0 && dispatched > 0.0 {
            self.capacity += Self::ALPHA * (dispatched / f64::from(workers) - self.capacity);
        }
    }

    /// A task was added and no worker had a slot for it.
    pub(super) fn unmatched(&mut self, now: f64, stats: &[Stats], workers: u32, fleet: &Fleet) -> u32 {
        self.last_unmatched = now;
        if now - self.last_up < 2.0 || workers >= fleet.max {
            return workers;
        }
        self.last_up = now;
        self.sample(stats.iter().map(|stats| stats.dispatch_rate).sum(), workers);
        workers + 1
    }

    /// The look once a minute.
    pub(super) fn poll(&mut self, now: f64, stats: &[Stats], workers: u32, fleet: &Fleet) -> u32 {
        let backlog: f64 = stats.iter().map(|stats| stats.backlog).sum();
        let arrivals: f64 = stats.iter().map(|stats| stats.add_rate).sum();
        let smooth = self.arrivals.map_or(arrivals, |before| before + Self::ALPHA * (arrivals - before));
        self.arrivals = Some(smooth);
        if backlog >= 50.0 {
            self.sample(stats.iter().map(|stats| stats.dispatch_rate).sum(), workers);
        }
        let offered = (smooth + if backlog > 0.0 { 2.0 } else { 0.0 }) / self.capacity;
        let wanted = (offered / 0.8).ceil().max((offered + 0.5 * offered.sqrt()).ceil());
        let wanted = (wanted as u32).clamp(fleet.min, fleet.max);
        if wanted > workers && now - self.last_up >= 2.0 {
            self.last_up = now;
            return workers + (wanted - workers).min(4);
        }
        if wanted < workers && now - self.last_unmatched >= 90.0 && now - self.last_down >= 60.0 {
            self.last_down = now;
            return (workers - 1).max(fleet.min);
        }
        workers
    }
}
