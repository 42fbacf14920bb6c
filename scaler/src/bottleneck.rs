//! Whether more workers help. A queue whose work grows has more arrivals, or its tasks take longer. Only the first is
//! a reason to grow. Longer tasks are answered with a trial: if the throughput does not follow the size, the bottleneck
//! is elsewhere, and the size goes back to the last one that helped.

use crate::history::{History, Sample};
use crate::tuning::Tuning;

/// How far a throughput may be above the usual one before the load counts as grown.
const LOAD_GREW: f64 = 1.2;
/// Times the usual service time below which a time that had grown counts as usual again.
const RECOVERED: f64 = 1.2;
/// Part of a difference that the usual service time follows each second.
const FOLLOW: f64 = 0.02;
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
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// No limit.
    Free,
    /// Growth up to a limit, until its throughput can be judged.
    Trial { from: Option<Point>, limit: f64 },
    /// More workers did not help: no more than the last size that did, until the next trial.
    Held { tried: Point, as_did: Option<f64>, limit: f64, until: f64 },
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
    /// The size that is being judged, and since when the fleet has had it.
    size: (u32, f64),
}

impl Bottleneck {
    pub(crate) fn new(tuning: &Tuning) -> Self {
        Self { usual: None, phase: Phase::Free, patience: tuning.patience, size: (0, 0.0) }
    }

    /// The service time of a task when the fleet last kept up.
    pub(crate) fn usual_time(&self) -> Option<f64> {
        self.usual.map(|usual| usual.time)
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

    /// Why more workers do not help, if they do not.
    pub(crate) fn message(&self) -> Option<String> {
        let Phase::Held { tried, as_did, limit, .. } = self.phase else { return None };
        let Point { workers, throughput } = tried;
        Some(match as_did {
            Some(_) => format!("{workers:.0} workers complete {throughput:.1}/s as {limit:.0} did"),
            None => format!("{workers:.0} workers complete {throughput:.1}/s, which {limit:.0} should"),
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
        let Some(time) = history.service_time(self.usual_time()) else { return };
        let Some(usual) = self.usual else {
            self.usual = Some(Usual { time, throughput });
            return;
        };
        let stable = keeps_up(history, tuning.stable);
        let grown = time > tuning.grown * usual.time;
        if stable {
            self.usual = Some(Usual { time, throughput });
        } else if !grown && keeps_up(history, tuning.window) {
            let follow = |old: f64, new: f64| old + FOLLOW * (new - old);
            self.usual =
                Some(Usual { time: follow(usual.time, time), throughput: follow(usual.throughput, throughput) });
        }
        let now = Point { workers: f64::from(latest.read), throughput };
        if stable || time < RECOVERED * usual.time {
            if stable && self.is_free() {
                self.patience = tuning.patience;
            }
            self.phase = Phase::Free;
        } else {
            self.judge(latest, now, time, wanted, per_worker, tuning);
        }
    }

    fn judge(&mut self, latest: &Sample, now: Point, time: f64, wanted: Wanted, per_worker: f64, tuning: &Tuning) {
        let Some(usual) = self.usual else { return };
        let settled = latest.at - self.size.1 >= tuning.settle;
        let step = |from: Point| Phase::Trial { from: Some(from), limit: (from.workers * tuning.trial).ceil() };
        match self.phase {
            Phase::Free if time > tuning.grown * usual.time && wanted.by_work > wanted.by_load.max(now.workers) => {
                self.phase = match now.throughput > LOAD_GREW * usual.throughput {
                    // The fleet completes more than it used to: the load grew, and the time with it.
                    true => Phase::Trial { from: None, limit: now.workers },
                    false => step(now),
                };
            }
            Phase::Free => {}
            Phase::Trial { from: Some(from), .. } if settled && now.workers > from.workers => {
                let helped = now.throughput - from.throughput;
                let expected = from.throughput.max(f64::MIN_POSITIVE) * (now.workers / from.workers - 1.0);
                self.phase = match helped >= tuning.gain * expected && from.throughput > 0.0 {
                    true => step(now),
                    false => self.hold(now, Some(from.throughput), from.workers, latest.at, tuning),
                };
            }
            Phase::Trial { from: None, .. } if settled => {
                let enough = (now.throughput * usual.time / per_worker).ceil().max(1.0);
                self.phase = match enough < now.workers {
                    true => self.hold(now, None, enough, latest.at, tuning),
                    false => step(now),
                };
            }
            Phase::Trial { .. } => {}
            Phase::Held { tried, limit, .. } if settled && now.workers <= limit && now.workers < tried.workers => {
                // The throughput must not have fallen with the size.
                let fell = 1.0 - now.throughput / tried.throughput.max(f64::MIN_POSITIVE);
                if fell > 0.5 * (1.0 - now.workers / tried.workers) {
                    self.usual = Some(Usual { time, ..usual });
                    self.phase = Phase::Free;
                } else {
                    self.retry(latest.at, now, tuning);
                }
            }
            Phase::Held { .. } => self.retry(latest.at, now, tuning),
        }
    }

    fn hold(&mut self, tried: Point, as_did: Option<f64>, limit: f64, at: f64, tuning: &Tuning) -> Phase {
        let until = at + self.patience;
        self.patience = (self.patience * 2.0).min(tuning.longest_patience);
        Phase::Held { tried, as_did, limit: limit.max(1.0), until }
    }

    fn retry(&mut self, at: f64, now: Point, tuning: &Tuning) {
        if let Phase::Held { until, .. } = self.phase
            && at >= until
        {
            self.phase = Phase::Trial { from: Some(now), limit: (now.workers * tuning.trial).ceil() };
        }
    }
}

/// Whether the work has been stable for so long, with few tasks waiting.
fn keeps_up(history: &History, seconds: f64) -> bool {
    let (Some(latest), Some(first)) = (history.latest(), history.before(seconds)) else { return false };
    let rose = latest.work() - first.work();
    let waiting = history.mean(seconds.min(30.0), |sample| sample.backlog.unwrap_or(0.0)).unwrap_or(0.0);
    latest.at - first.at >= 0.9 * seconds
        && rose <= 3.0 * latest.work().max(1.0).sqrt()
        && waiting <= (KEEPS_UP * latest.slots).max(1.0)
}
