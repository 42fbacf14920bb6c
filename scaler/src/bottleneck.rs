//! Whether more workers help. A queue whose work grows has more arrivals, or its tasks take longer. Only the first is
//! a reason to grow. Longer tasks are answered with a trial: if the throughput does not follow the size, the bottleneck
//! is elsewhere, and the size goes back to the last one that helped.

use crate::history::History;
use crate::tuning::Tuning;

/// How far a throughput may be above the usual one before the load counts as grown.
const LOAD_GREW: f64 = 1.2;
/// Times the usual service time below which a time that had grown counts as usual again.
const RECOVERED: f64 = 1.2;
/// Seconds of the usual service time after which a limit ends, though tasks wait.
const RECOVERS: f64 = 60.0;
/// Size of a later trial, times the workers that there are.
const RETRY: f64 = 1.5;
/// Part of a difference that the usual service time follows each second.
const FOLLOW: f64 = 0.02;
/// Part of the arrivals that is completed by a fleet that nearly keeps up.
const FOLLOWS: f64 = 0.85;
/// Share of the slots that may wait while a fleet keeps up.
const KEEPS_UP: f64 = 0.05;

/// A size of the fleet, and what it completes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    workers: f64,
    throughput: f64,
}

/// What was measured when the fleet last kept up with its load.
#[derive(Debug, Clone, Copy)]
struct Usual {
    time: f64,
    throughput: f64,
    workers: f64,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// No limit.
    Free,
    /// Growth up to a limit, until its throughput can be judged.
    Trial { from: Option<Point>, limit: f64, since: f64 },
    /// More workers did not help: no more than the last size that did, until the next trial.
    Held { tried: Point, enough: Option<f64>, limit: f64, until: f64 },
}

/// What a queue asks for, in workers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Wanted {
    /// By the tasks that arrive, at their usual service time.
    pub(crate) by_load: f64,
    /// By the work in the system.
    pub(crate) by_work: f64,
}

/// The state of one queue.
#[derive(Debug, Clone)]
pub(crate) struct Bottleneck {
    usual: Option<Usual>,
    phase: Phase,
    patience: f64,
    /// Since when the service time is the usual one again.
    usual_since: Option<f64>,
    /// The size that is being judged, and since when the fleet has had it.
    size: (u32, f64),
}

impl Bottleneck {
    pub(crate) fn new(tuning: &Tuning) -> Self {
        Self { usual: None, phase: Phase::Free, patience: tuning.patience, usual_since: None, size: (0, 0.0) }
    }

    /// The service time of a task when the fleet last kept up.
    pub(crate) fn usual_time(&self) -> Option<f64> {
        self.usual.map(|usual| usual.time)
    }

    /// The service time by which work is counted. One that has grown counts unless the load grew with it: then the
    /// tasks of several kinds may only have changed their shares, or the fleet is in its own way.
    pub(crate) fn time(&self, measured: Option<f64>, throughput: Option<f64>, tuning: &Tuning) -> Option<f64> {
        let (Some(usual), Some(measured)) = (self.usual, measured) else { return self.usual_time().or(measured) };
        let load_grew = throughput.is_none_or(|throughput| throughput > LOAD_GREW * usual.throughput);
        Some(if measured > tuning.grown * usual.time && !load_grew { measured } else { usual.time })
    }

    /// Whether growth by work alone is limited at present.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self.phase, Phase::Free)
    }

    /// The workers that are granted.
    pub(crate) fn grant(&self, wanted: Wanted) -> f64 {
        let most = wanted.by_load.max(wanted.by_work);
        match self.phase {
            Phase::Free => most,
            Phase::Trial { limit, .. } => wanted.by_load.max(wanted.by_work.min(limit)),
            Phase::Held { limit, .. } => most.min(limit),
        }
    }

    /// The limit, while the bottleneck is elsewhere.
    pub(crate) fn limit(&self) -> Option<f64> {
        match self.phase {
            Phase::Held { limit, .. } => Some(limit),
            _ => None,
        }
    }

    /// Whether tasks take longer than they usually do.
    pub(crate) fn has_grown(&self, measured: Option<f64>, tuning: &Tuning) -> bool {
        matches!((self.usual, measured), (Some(usual), Some(measured)) if measured > tuning.grown * usual.time)
    }

    /// Why more workers do not help, if they do not.
    pub(crate) fn message(&self) -> Option<String> {
        let Phase::Held { tried, enough, limit, .. } = self.phase else { return None };
        let Point { workers, throughput } = tried;
        Some(match enough {
            None => format!("{workers:.0} workers complete {throughput:.1}/s as {limit:.0} did"),
            Some(enough) => format!("{workers:.0} workers complete {throughput:.1}/s, which {enough:.0} should"),
        })
    }

    /// Learns from the history, before a new sample is added to it.
    pub(crate) fn watch(&mut self, history: &History, wanted: Wanted, per_worker: f64, tuning: &Tuning) {
        let Some(latest) = history.latest() else { return };
        if self.size.0 != latest.read {
            self.size = (latest.read, latest.at);
        }
        let Some(throughput) = latest.throughput.filter(|_| latest.backlog.is_some()) else {
            self.phase = Phase::Free;
            return;
        };
        let Some(time) = history.service_time() else {
            if latest.backlog == Some(0.0) {
                self.phase = Phase::Free;
            }
            return;
        };
        let workers = f64::from(latest.read);
        let Some(usual) = self.usual else {
            if !latest.is_failing {
                self.usual = Some(Usual { time, throughput, workers });
            }
            return;
        };
        let stable = !latest.is_failing && keeps_up(history, tuning.stable);
        let grown = time > tuning.grown * usual.time;
        if stable {
            self.usual = Some(Usual { time, throughput, workers });
        } else if !grown && keeps_up(history, tuning.window) {
            let follow = |old: f64, new: f64| old + FOLLOW * (new - old);
            let (time, throughput) = (follow(usual.time, time), follow(usual.throughput, throughput));
            // A size that has just changed has not shown yet that it keeps up.
            let is_old = latest.at - self.size.1 >= tuning.window;
            let workers = if is_old { workers } else { usual.workers };
            self.usual = Some(Usual { time, throughput, workers });
        }
        let now = Point { workers, throughput };
        let is_usual = time < RECOVERED * usual.time;
        self.usual_since = is_usual.then(|| self.usual_since.unwrap_or(latest.at));
        // While a backlog is worked off, tasks of a short kind may come together: that is no recovery yet.
        let for_long = self.usual_since.is_some_and(|since| latest.at - since >= RECOVERS);
        let has_load = matches!(self.phase, Phase::Held { enough: Some(_), .. });
        let regained = is_usual && throughput >= usual.throughput && !has_load;
        if stable || for_long || regained || (is_usual && keeps_up(history, tuning.window)) {
            if stable && self.is_free() {
                self.patience = tuning.patience;
            }
            self.phase = Phase::Free;
        } else {
            self.judge(history, now, time, wanted, per_worker, tuning);
        }
    }

    fn judge(&mut self, history: &History, now: Point, time: f64, wanted: Wanted, per_worker: f64, tuning: &Tuning) {
        let (Some(usual), Some(latest)) = (self.usual, history.latest()) else { return };
        let began = match self.phase {
            Phase::Trial { since, .. } => since.max(self.size.1),
            _ => self.size.1,
        };
        let settled = latest.at - began >= tuning.settle;
        let since = latest.at;
        let step = |from: Point| Phase::Trial { from: Some(from), limit: (from.workers * tuning.trial).ceil(), since };
        match self.phase {
            Phase::Free if time > tuning.grown * usual.time && wanted.by_work > wanted.by_load.max(now.workers) => {
                self.phase = match now.throughput > LOAD_GREW * usual.throughput {
                    // The fleet completes more than it used to: the load grew, and the time with it.
                    true => Phase::Trial { from: None, limit: now.workers, since },
                    // The size that carried the load is the one that a larger one is compared with.
                    false => step(Point { workers: usual.workers.max(1.0), ..now }),
                };
            }
            Phase::Trial { from: Some(from), limit, since } if now.workers > from.workers => {
                // The throughput is a mean of half a minute: its lowest value is closest to that of the old size.
                let lowest = Point { throughput: from.throughput.min(now.throughput), ..from };
                let helped = now.throughput - lowest.throughput;
                let expected = lowest.throughput * (now.workers / from.workers - 1.0);
                self.phase = if !settled {
                    Phase::Trial { from: Some(lowest), limit, since }
                } else if follows(history) || (helped >= tuning.gain * expected && helped > 0.0) {
                    step(now)
                } else {
                    self.hold(now, None, from.workers, latest.at, tuning)
                };
            }
            Phase::Trial { from: None, .. } if settled => {
                let enough = size_for(now.throughput, usual.time, per_worker);
                // A fleet that did not grow is not in its own way: its tasks may be longer ones.
                self.phase = match enough < now.workers && now.workers > usual.workers {
                    true => self.hold(now, Some(enough), now.workers, latest.at, tuning),
                    false => step(now),
                };
            }
            Phase::Free | Phase::Trial { .. } => {}
            Phase::Held { tried, limit, .. } if settled && now.workers <= limit && now.workers < tried.workers => {
                // The throughput must not have fallen with the size.
                let fell = 1.0 - now.throughput / tried.throughput.max(f64::MIN_POSITIVE);
                let is_known = tried.throughput > 0.0 && !latest.is_failing;
                if is_known && fell > 0.5 * (1.0 - now.workers / tried.workers) {
                    self.usual = Some(Usual { time, ..usual });
                    self.phase = Phase::Free;
                } else {
                    self.retry(latest.at, now);
                }
            }
            Phase::Held { .. } => self.retry(latest.at, now),
        }
    }

    fn hold(&mut self, tried: Point, enough: Option<f64>, limit: f64, at: f64, tuning: &Tuning) -> Phase {
        let until = at + self.patience;
        self.patience = (self.patience * 2.0).min(tuning.longest_patience);
        Phase::Held { tried, enough, limit: limit.max(1.0), until }
    }

    fn retry(&mut self, at: f64, now: Point) {
        if let Phase::Held { until, .. } = self.phase
            && at >= until
        {
            self.phase = Phase::Trial { from: Some(now), limit: (now.workers * RETRY).ceil(), since: at };
        }
    }
}

/// Workers that complete so much at a service time.
fn size_for(throughput: f64, time: f64, per_worker: f64) -> f64 {
    (throughput * time / per_worker).ceil().max(1.0)
}

/// Whether the work has been stable for so long, with few tasks waiting.
fn keeps_up(history: &History, seconds: f64) -> bool {
    let Some(latest) = history.latest() else { return false };
    let waiting = history.mean(seconds.min(30.0), |sample| sample.backlog.unwrap_or(0.0)).unwrap_or(0.0);
    is_stable(history, seconds) && waiting <= (KEEPS_UP * latest.slots).max(1.0)
}

/// Whether the work has risen no more than by chance.
fn is_stable(history: &History, seconds: f64) -> bool {
    let (Some(latest), Some(first)) = (history.latest(), history.before(seconds)) else { return false };
    let rose = latest.work() - first.work();
    latest.at - first.at >= 0.9 * seconds && rose <= 3.0 * latest.work().max(1.0).sqrt()
}

/// Whether nearly as much is completed as arrives, though tasks may wait.
fn follows(history: &History) -> bool {
    let Some(latest) = history.latest() else { return false };
    let (throughput, arrivals) = (latest.throughput.unwrap_or(0.0), latest.arrivals.unwrap_or(f64::INFINITY));
    !latest.is_failing && throughput >= FOLLOWS * arrivals && throughput > 0.0 && is_stable(history, 30.0)
}
