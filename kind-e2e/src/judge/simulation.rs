//! The simulator on the load of a run, and whether the cluster did the same. Pure.
//!
//! The simulator of `cargo xtask simulate` is given what was measured in the run: when Temporal acknowledged each
//! document, how long documents took before the step, how long workers took to start, and when the HPA looked. What it
//! then makes of the load is its own (docs/decisions/0036-simulator-and-cluster.md).

use scaler::Tuning;
use scaler::simulator::{Fault, Fleet, Load, Outage, Queue, Scenario, Setup, Step, Way, simulate};

use super::bounds::BACKLOG_CACHE;
use super::fleet::worker_seconds;
use super::host::excuse;
use super::reaction::Reaction;
use super::verdict::{Check, Question, faults};
use crate::cluster::scalers::Scaler;
use crate::load::Start;
use crate::load::sizing::Sizing;
use crate::observe::sample::Sample;
use crate::observe::window::{Window, fleets, inside};

/// Most workers wanted: the simulator's number, and so many more or fewer. This tolerance and the next two are twice the
/// largest difference that was measured (decision 36).
const WORKERS: i32 = 2;
/// Seconds until enough workers are Ready: the simulator's, and so many more or fewer.
const SECONDS: f64 = 4.0;
/// Worker-minutes: the simulator's, and such a share of them more or less.
const MINUTES: f64 = 0.25;
/// Seconds between two scrapes in the simulator. No way that is played reads one: temporal-scaler and KEDA's trigger ask
/// Temporal, and the guide's triggers have no answer in a cluster.
const SCRAPE: f64 = 0.5;
/// The queue of the IO tasks, by its place in the simulated fleet.
const IO: usize = 1;

/// A load that was played with one way to scale.
#[derive(Debug, Clone, Copy)]
pub struct Played<'a> {
    /// The fleet and its documents.
    pub sizing: &'a Sizing,
    /// The way to scale.
    pub scaler: Scaler,
    /// The HPA's period, in seconds.
    pub hpa_sync: f64,
    /// Every start, those before the step too.
    pub starts: &'a [Start],
    /// From the first start to the end of what is judged.
    pub window: Window,
    /// The step in load, in seconds since the run began.
    pub step: f64,
}

/// The simulated fleet at a second of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Simulated {
    /// Seconds since the run began.
    pub at: f64,
    /// Workers wanted.
    pub wanted: i32,
    /// Ready workers.
    pub ready: i32,
}

impl Played<'_> {
    /// What the simulator makes of the load, second by second.
    pub fn simulate(&self, samples: &[Sample]) -> Vec<Simulated> {
        let from = self.window.from;
        let arrived = self.starts.iter().filter_map(|start| start.acknowledged);
        let mut times: Vec<f64> = arrived.filter(|at| self.window.has(*at)).map(|at| at - from).collect();
        times.sort_by(f64::total_cmp);
        let scenario = Scenario {
            name: String::new(),
            about: String::new(),
            fleet: self.fleet(samples),
            load: Load::at(&times, self.window.seconds()),
            outages: self.outages(),
            workers: count(self.sizing.min),
            step: None,
            recovers: None,
            tail: 0.0,
        };
        let setup = Setup {
            hpa: self.hpa_sync,
            scrape: SCRAPE,
            backlog_cache: BACKLOG_CACHE,
            // The arrivals are those of the run. What is left to chance is which free slot a task takes.
            seed: 0,
            phase: self.phase(samples),
            tuning: Tuning::default(),
        };
        let course = simulate(&scenario, self.way(), &setup).course;
        let number = |workers: u32| i32::try_from(workers).unwrap_or(i32::MAX);
        let moments = course.into_iter().map(|moment| Simulated {
            at: from + moment.at,
            wanted: number(moment.wanted),
            ready: number(moment.ready),
        });
        moments.filter(|moment| self.window.has(moment.at)).collect()
    }

    fn way(&self) -> Way {
        match self.scaler {
            Scaler::Slipway => Way::Ours,
            Scaler::Guide => Way::Guide,
            Scaler::Temporal => Way::Temporal,
        }
    }

    /// The guide's triggers have no answer in a cluster: `prometheus` has no address in KEDA's namespace.
    fn outages(&self) -> Vec<Outage> {
        let unread = Outage { from: 0.0, to: f64::INFINITY, fault: Fault::Unread };
        Vec::from_iter((self.scaler == Scaler::Guide).then_some(unread))
    }

    /// The fleet of `manifests/base`, with the times that were measured.
    fn fleet(&self, samples: &[Sample]) -> Fleet {
        let guide = Fleet::guide();
        let service = self.sizing.service;
        // Beside the latency on the way to S3: the workflow's tasks, the extraction, the transaction.
        let rest = (self.stay() - service).max(0.0) / 3.0;
        let step = |queue, wait| Step { queue, wait, work: 0.0 };
        let slots = |(place, queue): (usize, Queue)| match place {
            IO => Queue { slots: self.sizing.slots, ..queue },
            _ => queue,
        };
        Fleet {
            queues: guide.queues.into_iter().enumerate().map(slots).collect(),
            steps: vec![step(0, rest), step(IO, service), step(2, rest), step(IO, rest)],
            start: self.start(samples).unwrap_or(guide.start),
            min: count(self.sizing.min),
            max: count(self.sizing.max),
            utilization: self.sizing.target / f64::from(self.sizing.slots.max(1)),
            ..guide
        }
    }

    /// Mean seconds of a document that was stored before the step.
    fn stay(&self) -> f64 {
        let before = self.starts.iter().filter(|start| start.stored.is_some_and(|stored| stored < self.step));
        let stays: Vec<f64> = before.filter_map(Start::latency).collect();
        match stays.is_empty() {
            true => self.sizing.service,
            false => stays.iter().sum::<f64>() / stays.len() as f64,
        }
    }

    /// Mean seconds from the decision to a Ready worker: the workers that were wanted and not Ready, over time, by those
    /// that were added.
    fn start(&self, samples: &[Sample]) -> Option<f64> {
        let readings: Vec<_> = inside(samples, self.window).filter(|(at, _)| *at >= self.step).collect();
        let (mut missing, mut added) = (0.0, 0);
        for pair in readings.windows(2) {
            let ((from, before), (to, after)) = (pair[0], pair[1]);
            missing += f64::from((before.wanted - before.ready).max(0)) * (to - from);
            added += (after.wanted - before.wanted).max(0);
        }
        (added > 0).then(|| missing / f64::from(added))
    }

    /// When the HPA looked, as a part of its period from the beginning: its first decision tells it.
    fn phase(&self, samples: &[Sample]) -> Option<f64> {
        let readings: Vec<_> = inside(samples, self.window).filter(|(at, _)| *at >= self.step).collect();
        let first = readings.windows(2).find(|pair| pair[0].1.wanted != pair[1].1.wanted)?[1].0;
        Some(((first - self.window.from) / self.hpa_sync).fract())
    }

    /// Whether the cluster did what the simulator says, from the step on. `found` is the cluster's reaction.
    pub fn agrees(&self, samples: &[Sample], found: &Reaction) -> Check {
        let question = Question::new(
            "simulator",
            "the simulator and the cluster agree on this load",
            format!(
                "± {WORKERS} workers wanted at most, ± {SECONDS:.0} s until enough are Ready, ± {:.0} % of the \
                 worker-minutes",
                100.0 * MINUTES
            ),
            "the constants of the decision are chosen in the simulator; the tolerances are twice the largest difference \
             that was measured",
        );
        let judged = Window { from: self.step, ..self.window };
        let cost = match fleets(samples, judged).and_then(|_| worker_seconds(samples, judged)) {
            Ok(seconds) => seconds / 60.0,
            Err(gap) => return question.unseen(gap),
        };
        let course = self.simulate(samples);
        let course: Vec<_> = course.iter().filter(|moment| judged.has(moment.at)).collect();
        let wanted = course.iter().map(|moment| moment.wanted).max().unwrap_or(0);
        // As many as the load needs. A way that stops short of it adds its last worker when what waits happens to pass a
        // threshold, so there it is one fewer than both have at some time.
        let both = course.iter().map(|moment| moment.ready).max().unwrap_or(0).min(found.most_ready);
        let enough = if both < found.needed { both - 1 } else { found.needed };
        let ready = course.iter().find(|moment| moment.ready >= enough).map(|moment| moment.at - self.step);
        let own = inside(samples, judged).find(|(_, fleet)| fleet.ready >= enough).map(|(at, _)| at - self.step);
        let between = course.windows(2).map(|pair| f64::from(pair[0].wanted) * (pair[1].at - pair[0].at));
        // The simulated seconds end up to one second before the window.
        let last = course.last().map_or(0.0, |last| f64::from(last.wanted) * (judged.to - last.at));
        let minutes = (between.sum::<f64>() + last) / 60.0;
        let (ready, own) = (ready.unwrap_or_default(), own.unwrap_or_default());
        let shown = [
            (
                (found.most_wanted - wanted).abs() <= WORKERS,
                format!("{} workers wanted at most, simulated {wanted}", found.most_wanted),
            ),
            (
                (own - ready).abs() <= SECONDS,
                format!("{enough} of {} needed Ready after {own:.1} s, simulated {ready:.1} s", found.needed),
            ),
            ((cost - minutes).abs() <= MINUTES * minutes, format!("{cost:.1} worker-minutes, simulated {minutes:.1}")),
        ];
        let measured: Vec<&str> = shown.iter().map(|(_, shown)| shown.as_str()).collect();
        let broken = shown.iter().filter(|(holds, _)| !holds).map(|(_, shown)| shown.clone());
        let check = question.answer(measured.join("; "), faults(broken));
        check.excused_by(excuse(samples, judged).as_deref())
    }
}

fn count(workers: i32) -> u32 {
    u32::try_from(workers).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kubernetes::Fleet as Counts;
    use crate::cluster::reading::Reading;
    use crate::judge::reaction::{Expected, reaction};
    use crate::load::sizing::tests::sizing;
    use crate::load::tests::start;

    const STEP: f64 = 140.0;
    const WINDOW: Window = Window { from: 100.0, to: 180.0 };

    /// 2 workers' worth, then 9, each document in 2.1 s.
    fn starts() -> Vec<Start> {
        let sizing = sizing();
        let at = |from: f64, seconds: f64, workers: f64| {
            let count = (sizing.rate_of(workers) * seconds) as u32;
            let starts = (0..count).map(move |number| from + seconds * f64::from(number) / f64::from(count));
            starts.map(|due| start(due, Some(due + 2.1)))
        };
        at(100.0, 40.0, 2.0).chain(at(STEP, 30.0, 9.0)).collect()
    }

    fn played<'a>(sizing: &'a Sizing, starts: &'a [Start], scaler: Scaler) -> Played<'a> {
        Played { sizing, scaler, hpa_sync: 1.0, starts, window: WINDOW, step: STEP }
    }

    /// Samples of a cluster whose fleet is what the simulator says, altered.
    fn samples(course: &[Simulated], alter: impl Fn(f64, i32) -> i32) -> Vec<Sample> {
        let sample = |moment: &Simulated| Sample {
            at: moment.at,
            fleet: Reading::Seen(Counts {
                wanted: alter(moment.at, moment.wanted),
                present: alter(moment.at, moment.wanted),
                ready: alter(moment.at, moment.ready),
            }),
            ..Sample::default()
        };
        course.iter().map(sample).collect()
    }

    fn word(scaler: Scaler, alter: impl Fn(f64, i32) -> i32) -> &'static str {
        let (sizing, starts) = (sizing(), starts());
        let played = played(&sizing, &starts, scaler);
        let samples = samples(&played.simulate(&[]), alter);
        let expected = Expected::of(&sizing, sizing.rate_of(9.0));
        let found = reaction(&samples, &starts, Window { from: STEP, ..WINDOW }, &expected);
        played.agrees(&samples, &found).outcome.word()
    }

    #[test]
    fn a_cluster_that_does_what_the_simulator_says_agrees_and_another_does_not() {
        assert_eq!(word(Scaler::Slipway, |_, count| count), "Pass");
        assert_eq!(word(Scaler::Slipway, |_, count| 2 * count), "Fail");
        assert_eq!(word(Scaler::Slipway, |at, count| if at < STEP + 25.0 { 3 } else { count }), "Fail");
        assert_eq!(word(Scaler::Guide, |_, count| count), "Pass");
        assert_eq!(word(Scaler::Guide, |_, _| 6), "Fail");
    }

    #[test]
    fn the_simulator_gets_the_times_of_the_run() {
        let (sizing, starts) = (sizing(), starts());
        let played = played(&sizing, &starts, Scaler::Slipway);
        assert!((played.stay() - 2.1).abs() < 1e-9);
        let fleet = |at: f64, wanted: i32, ready: i32| Sample {
            at,
            fleet: Reading::Seen(Counts { wanted, present: wanted, ready }),
            ..Sample::default()
        };
        // Four workers take 2 s, and two more take 1 s.
        let samples = [fleet(141.0, 3, 3), fleet(142.5, 7, 3), fleet(144.5, 9, 7), fleet(145.5, 9, 9)];
        assert!((played.start(&samples).unwrap() - 10.0 / 6.0).abs() < 1e-9);
        assert!((played.phase(&samples).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!((played.start(&samples[..1]), played.phase(&samples[..1])), (None, None));
        assert!(played.simulate(&samples).iter().any(|moment| moment.ready >= 8));
    }
}
