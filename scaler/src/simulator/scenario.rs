//! What is simulated: a fleet, its tasks, the load, and what breaks.

use super::load::Load;

/// A task queue of the simulated fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Its name in sentences.
    pub name: &'static str,
    /// Slots of one worker.
    pub slots: u32,
    /// The depths that the guide scales by: no effect below the first, more workers above the second.
    pub depth: (f64, f64),
    /// The guide's own threshold, if it has one.
    pub threshold: Option<f64>,
}

/// A task of a document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The queue, by its place in the fleet.
    pub queue: usize,
    /// Mean seconds that pass whatever the load: a network, a disk, another service.
    pub wait: f64,
    /// Core-seconds on what all workers share.
    pub work: f64,
}

/// What the workers are and what they share.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// Its queues.
    pub queues: Vec<Queue>,
    /// The tasks of a document, one after the other.
    pub steps: Vec<Step>,
    /// Standard deviation of the logarithm of a task's time. 0: every task takes the same time.
    pub spread: f64,
    /// Cores that all workers share. Infinite: never the bottleneck.
    pub cores: f64,
    /// Cores that each worker takes without any task.
    pub standing: f64,
    /// Core-seconds that the start of a worker takes.
    pub start_work: f64,
    /// Seconds until a worker is Ready, beside its work.
    pub start: f64,
    /// Seconds that a leaving worker has for its tasks.
    pub grace: f64,
    /// CPU request of a worker in cores.
    pub request: f64,
    /// Fewest workers.
    pub min: u32,
    /// Most workers.
    pub max: u32,
    /// Share of the slots that should be in use.
    pub utilization: f64,
}

/// What breaks for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Every wait takes so many times as long.
    Slow(f64),
    /// The shared cores are so many times fewer.
    Weak(f64),
    /// A wait ends after so many seconds in a failure, and the task is tried again later.
    Away(f64),
    /// Nobody can read the workers or ask Temporal.
    Unread,
}

/// A fault from a second to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outage {
    /// First second.
    pub from: f64,
    /// Last second.
    pub to: f64,
    /// What it is.
    pub fault: Fault,
}

/// One simulation.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in one line.
    pub about: String,
    /// The fleet.
    pub fleet: Fleet,
    /// The load.
    pub load: Load,
    /// What breaks.
    pub outages: Vec<Outage>,
    /// Workers at the beginning.
    pub workers: u32,
    /// When the load rises in one step, if it does.
    pub step: Option<f64>,
    /// When the fleet should begin to recover, if it has to.
    pub recovers: Option<f64>,
    /// Seconds that are simulated after the load.
    pub tail: f64,
}

impl Fleet {
    /// The fleet of `manifests/base` with documents of the guide: 2.5 s of IO, 0.1 s of CPU.
    pub fn guide() -> Self {
        let queue = |name, slots, depth, threshold| Queue { name, slots, depth, threshold };
        let step = |queue, wait, work| Step { queue, wait, work };
        Self {
            queues: vec![
                queue("workflow", 3, (3.0, 10.0), Some(10.0)),
                queue("io", 5, (5.0, 15.0), Some(15.0)),
                queue("cpu", 2, (2.0, 6.0), None),
            ],
            steps: vec![step(0, 0.01, 0.0), step(1, 2.2, 0.02), step(2, 0.0, 0.1), step(1, 0.3, 0.02)],
            spread: 0.0,
            cores: f64::INFINITY,
            standing: 0.0,
            start_work: 0.4,
            start: 0.8,
            grace: 60.0,
            request: 0.25,
            min: 3,
            max: 20,
            utilization: 0.7,
        }
    }

    /// Documents a second that so many workers carry at the wanted utilization.
    pub fn worth(&self, workers: f64) -> f64 {
        let most = self.needs(1.0, 1.0).into_iter().zip(&self.queues);
        let slots = most.map(|(slots, queue)| slots / f64::from(queue.slots)).fold(0.0, f64::max);
        workers * self.utilization / slots
    }

    /// Slots that a rate holds in each queue, when waits take so many times as long.
    pub fn needs(&self, rate: f64, slow: f64) -> Vec<f64> {
        let mut slots = vec![0.0; self.queues.len()];
        for step in &self.steps {
            slots[step.queue] += rate * (step.wait * slow + step.work);
        }
        slots
    }

    /// Workers that a rate needs at a utilization, within the limits.
    pub fn workers(&self, rate: f64, slow: f64, utilization: f64) -> u32 {
        let queues = self.needs(rate, slow).into_iter().zip(&self.queues);
        let most = queues.map(|(slots, queue)| slots / (utilization * f64::from(queue.slots))).fold(0.0, f64::max);
        ((most - 1e-9).ceil() as u32).clamp(self.min, self.max)
    }

    /// Documents a second that the shared cores carry, when they are so many times fewer.
    pub fn capacity(&self, weak: f64) -> f64 {
        self.cores / weak / self.steps.iter().map(|step| step.work).sum::<f64>()
    }
}

/// The scenarios that ship.
pub fn all() -> Vec<Scenario> {
    let fleet = Fleet::guide();
    let of = |workers: f64| fleet.worth(workers);
    let shared = Fleet { cores: 2.0, standing: 0.01, steps: shared_steps(), ..fleet.clone() };
    let capacity = shared.capacity(1.0);
    let long = Fleet { spread: 0.8, ..fleet.clone() };
    let base = |name: &str, about: &str, load: Load| Scenario {
        name: name.into(),
        about: about.into(),
        fleet: fleet.clone(),
        load,
        outages: Vec::new(),
        workers: fleet.min,
        step: None,
        recovers: None,
        tail: 300.0,
    };
    let outage = |from, to, fault| vec![Outage { from, to, fault }];
    vec![
        Scenario {
            step: Some(180.0),
            ..base(
                "step",
                "the load rises from 2 to 9 workers' worth at once, with even arrivals",
                Load::pieces(&[(180.0, of(2.0)), (240.0, of(9.0))]).even(),
            )
        },
        Scenario {
            step: Some(180.0),
            fleet: long,
            ..base(
                "spread",
                "the same step with Poisson arrivals and tasks of very different times",
                Load::pieces(&[(180.0, of(2.0)), (240.0, of(9.0))]),
            )
        },
        Scenario {
            workers: 6,
            ..base("steady", "6 workers' worth for an hour, Poisson arrivals", Load::pieces(&[(3600.0, of(6.0))]))
        },
        base("waves-60", "2 and 7 workers' worth in turns of 30 s", Load::waves(of(2.0), of(7.0), 60.0, 15)),
        base("waves-180", "2 and 7 workers' worth in turns of 90 s", Load::waves(of(2.0), of(7.0), 180.0, 8)),
        base("day", "a day from 1 worker's worth at night to 16 at noon", Load::days(of(1.0), of(16.0), 1)),
        base(
            "burst",
            "150 documents at once on a low load",
            Load::pieces(&[(180.0, of(2.0)), (1.0, 150.0), (240.0, of(2.0))]),
        ),
        Scenario {
            fleet: shared.clone(),
            step: Some(180.0),
            recovers: Some(360.0),
            tail: 600.0,
            ..base(
                "saturated",
                "1.5 times what the shared host carries, for three minutes",
                Load::pieces(&[(180.0, 0.3 * capacity), (180.0, 1.5 * capacity), (240.0, 0.3 * capacity)]),
            )
        },
        Scenario {
            outages: outage(300.0, 600.0, Fault::Slow(3.0)),
            recovers: Some(600.0),
            workers: 6,
            ..base(
                "slow-database",
                "every call takes three times as long, for five minutes",
                Load::pieces(&[(1200.0, of(6.0))]),
            )
        },
        Scenario {
            outages: outage(0.0, 120.0, Fault::Slow(0.05)),
            ..base(
                "larger-documents",
                "the first documents are a twentieth of the next, which are fewer",
                Load::pieces(&[(60.0, 0.0), (40.0, of(7.0)), (20.0, 0.0), (480.0, of(4.5))]),
            )
        },
        Scenario {
            fleet: shared,
            outages: outage(300.0, 600.0, Fault::Weak(3.0)),
            recovers: Some(600.0),
            workers: 5,
            ..base(
                "weak-database",
                "the shared database has a third of its capacity, for five minutes",
                Load::pieces(&[(1200.0, 0.6 * capacity)]),
            )
        },
        Scenario {
            outages: outage(300.0, 480.0, Fault::Away(10.0)),
            recovers: Some(480.0),
            workers: 6,
            ..base(
                "away",
                "a dependency does not answer for three minutes: attempts fail after 10 s",
                Load::pieces(&[(1200.0, of(6.0))]),
            )
        },
        Scenario {
            outages: outage(240.0, 300.0, Fault::Unread),
            workers: 9,
            ..base(
                "unread",
                "nothing can be read for a minute, under 9 workers' worth",
                Load::pieces(&[(600.0, of(9.0))]),
            )
        },
        Scenario {
            fleet: Fleet { min: 0, ..fleet.clone() },
            workers: 0,
            step: Some(60.0),
            ..base(
                "from-zero",
                "no worker runs, and 5 workers' worth arrive",
                Load::pieces(&[(60.0, 0.0), (300.0, of(5.0))]),
            )
        },
        Scenario {
            fleet: large(),
            workers: 3_000,
            step: Some(180.0),
            ..base(
                "large",
                "the load rises from 2,500 to 9,000 workers' worth at once",
                Load::pieces(&[(180.0, large().worth(2_500.0)), (240.0, large().worth(9_000.0))]),
            )
        },
    ]
}

/// Documents whose every task needs what all workers share: 0.2 core-seconds of 2.4 s.
fn shared_steps() -> Vec<Step> {
    let step = |queue, wait, work| Step { queue, wait, work };
    vec![step(0, 0.01, 0.02), step(1, 2.0, 0.05), step(2, 0.0, 0.08), step(1, 0.3, 0.05)]
}

fn large() -> Fleet {
    let guide = Fleet::guide();
    let times = guide.steps.iter().map(|step| Step { wait: step.wait * 20.0, work: step.work * 20.0, ..*step });
    Fleet { steps: times.collect(), min: 3, max: 10_000, grace: 120.0, ..guide }
}
