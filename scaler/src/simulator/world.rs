//! The events: documents arrive, wait for slots, hold them, share a host; pods start and leave; every second the
//! fleet is read, and at every sync of the HPA its size is decided.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use rand::SeedableRng as _;
use rand::rngs::ChaCha8Rng;

use super::Setup;
use super::host::{Host, Job};
use super::hpa::Hpa;
use super::load::Arrivals;
use super::outcome::{self, Latencies, Moment, Outcome};
use super::prometheus::{Scraped, Series};
use super::random::{lognormal, uniform};
use super::scenario::{Fault, Scenario};
use super::temporal::{Stats, TaskQueue};
use super::ways::{POLL, SquareRoot, View, Way};
use crate::{QueueReading, QueueSettings, Reading, Scaler, Settings};

/// Rows of the course of a simulation, at most about.
const ROWS: usize = 20_000;
/// Longest time between two attempts of a task, in seconds.
const LONGEST_BACKOFF: f64 = 30.0;
/// Seconds that a worker is idle before it counts as idle: it is looked at every 5 s, twice.
const IDLE: f64 = 5.0;
/// Seconds between two readings of the metrics server.
const METRICS_SERVER: f64 = 15.0;

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrival,
    Waited { document: u32, epoch: u32 },
    Worked { document: u32, epoch: u32 },
    Failed { document: u32, epoch: u32 },
    Retry { document: u32 },
    Host { version: u32 },
    Ready { pod: u32, epoch: u32 },
    Grace { pod: u32, epoch: u32 },
    Outages,
    Second,
    Sync,
    Scrape,
    Poll,
    Metrics,
}

#[derive(Debug, Clone, Copy)]
struct Timed {
    at: f64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Document {
    arrived: f64,
    /// Raised when an attempt ends, so that events of an older one are known.
    epoch: u32,
    pod: u32,
    step: u8,
    attempt: u8,
    /// Whether it holds a slot.
    running: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    Leaving,
    Gone,
}

#[derive(Debug, Clone, Copy)]
struct Pod {
    state: State,
    epoch: u32,
    used: u32,
    idle_since: f64,
}

#[derive(Debug, Default)]
struct Queue {
    /// A pod for each free slot of Ready pods.
    free: Vec<u32>,
    waiting: VecDeque<u32>,
    used: u32,
    temporal: TaskQueue,
    series: Series,
}

/// One simulation.
pub(super) struct World<'a> {
    scenario: &'a Scenario,
    setup: &'a Setup,
    way: Way,
    random: ChaCha8Rng,
    arrivals: Arrivals<'a>,
    events: BinaryHeap<Timed>,
    now: f64,
    end: f64,

    documents: Vec<Document>,
    spare: Vec<u32>,
    queues: Vec<Queue>,
    pods: Vec<Pod>,
    gone: Vec<u32>,
    starting: u32,
    ready: u32,
    leaving: u32,
    host: Host,
    /// Core-seconds of work on a host without end.
    spent: f64,
    slow: f64,
    away: Option<f64>,
    unread: bool,

    scaler: Scaler,
    hpa: Hpa,
    square_root: SquareRoot,
    replicas: u32,
    answer: Option<u32>,
    stats: Vec<Stats>,
    cpu: Option<f64>,
    cpu_before: f64,
    failures: VecDeque<(f64, usize)>,

    latencies: Latencies,
    arrived: u64,
    finished: u64,
    lost: u64,
    deepest: f64,
    most_wanted: u32,
    worker_seconds: f64,
    below_use: u32,
    bottleneck: u32,
    oracle: Vec<u32>,
    course: Vec<Moment>,
}

impl<'a> World<'a> {
    pub(super) fn new(scenario: &'a Scenario, way: Way, setup: &'a Setup) -> Self {
        let fleet = &scenario.fleet;
        let end = (scenario.load.end + scenario.tail).ceil();
        let settings = Settings {
            queues: fleet
                .queues
                .iter()
                .map(|queue| QueueSettings { name: queue.name.into(), slots: f64::from(queue.slots) })
                .collect(),
            utilization: fleet.utilization,
        };
        Self {
            scenario,
            setup,
            way,
            random: ChaCha8Rng::seed_from_u64(setup.seed),
            arrivals: scenario.load.arrivals(),
            events: BinaryHeap::new(),
            now: 0.0,
            end,
            documents: Vec::new(),
            spare: Vec::new(),
            queues: fleet.queues.iter().map(|_| Queue::default()).collect(),
            pods: Vec::new(),
            gone: Vec::new(),
            starting: 0,
            ready: 0,
            leaving: 0,
            host: Host::new(fleet.cores),
            spent: 0.0,
            slow: 1.0,
            away: None,
            unread: false,
            scaler: Scaler::with(settings, setup.tuning),
            hpa: Hpa::new(way.spec(fleet)),
            square_root: SquareRoot::new(),
            replicas: scenario.workers,
            answer: None,
            stats: vec![Stats::default(); fleet.queues.len()],
            cpu: None,
            cpu_before: 0.0,
            failures: VecDeque::new(),
            latencies: Latencies::default(),
            arrived: 0,
            finished: 0,
            lost: 0,
            deepest: 0.0,
            most_wanted: 0,
            worker_seconds: 0.0,
            below_use: 0,
            bottleneck: 0,
            oracle: outcome::oracle(scenario, end as usize + 2),
            course: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        self.begin();
        while let Some(Timed { at, event }) = self.events.pop() {
            if at > self.end {
                break;
            }
            self.now = at;
            self.handle(event);
        }
        self.conclude()
    }

    fn begin(&mut self) {
        for _ in 0..self.scenario.workers {
            let pod = self.new_pod();
            self.starting += 1;
            self.make_ready(pod);
        }
        self.set_cores();
        // The HPA and Prometheus have their own beat, which the load does not know.
        let mut beats = ChaCha8Rng::seed_from_u64(self.setup.seed ^ 0x5ca1_ab1e);
        let phase = self.setup.phase.unwrap_or_else(|| uniform(&mut beats)).clamp(0.0, 1.0);
        let scrape = uniform(&mut beats) * self.setup.scrape;
        self.at(phase * self.setup.hpa, Event::Sync);
        self.at(scrape, Event::Scrape);
        self.at(0.0, Event::Second);
        self.at(METRICS_SERVER, Event::Metrics);
        if self.way == Way::SquareRoot {
            self.at(uniform(&mut beats) * POLL, Event::Poll);
        }
        for outage in &self.scenario.outages {
            self.events.push(Timed { at: outage.from, event: Event::Outages });
            self.events.push(Timed { at: outage.to, event: Event::Outages });
        }
        self.next_arrival();
    }

    fn at(&mut self, at: f64, event: Event) {
        self.events.push(Timed { at, event });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Waited { document, epoch } => self.waited(document, epoch),
            Event::Worked { document, epoch } if self.holds(document, epoch) => self.finish(document),
            Event::Worked { .. } => {}
            Event::Failed { document, epoch } => self.failed(document, epoch),
            Event::Retry { document } => self.enqueue(document),
            Event::Host { version } => self.host_ready(version),
            Event::Ready { pod, epoch } if self.pods[pod as usize].epoch == epoch => self.make_ready(pod),
            Event::Grace { pod, epoch } if self.pods[pod as usize].epoch == epoch => self.end_of_grace(pod),
            Event::Ready { .. } | Event::Grace { .. } => {}
            Event::Outages => self.outages(),
            Event::Second => self.second(),
            Event::Sync => self.sync(),
            Event::Scrape => self.scrape(),
            Event::Poll => {
                if !self.unread {
                    let next = self.square_root.poll(self.now, &self.stats, self.replicas, &self.scenario.fleet);
                    self.resize(next);
                }
                self.at(self.now + POLL, Event::Poll);
            }
            Event::Metrics => self.measure_cpu(),
        }
    }

    // --- Documents -------------------------------------------------------------------------------------

    fn next_arrival(&mut self) {
        if let Some(at) = self.arrivals.next(&mut self.random) {
            self.at(at, Event::Arrival);
        }
    }

    fn arrive(&mut self) {
        self.arrived += 1;
        let fresh = Document { arrived: self.now, ..Document::default() };
        let document = match self.spare.pop() {
            Some(document) => {
                let epoch = self.documents[document as usize].epoch;
                self.documents[document as usize] = Document { epoch, ..fresh };
                document
            }
            None => {
                self.documents.push(fresh);
                self.documents.len() as u32 - 1
            }
        };
        self.enqueue(document);
        self.next_arrival();
    }

    fn queue_of(&self, document: u32) -> usize {
        self.scenario.fleet.steps[usize::from(self.documents[document as usize].step)].queue
    }

    fn enqueue(&mut self, document: u32) {
        let queue = self.queue_of(document);
        self.queues[queue].temporal.added(self.now);
        match self.free_slot(queue) {
            Some(pod) => self.start_task(document, queue, pod),
            None => {
                self.queues[queue].waiting.push_back(document);
                if self.way == Way::SquareRoot && !self.unread {
                    let next = self.square_root.unmatched(self.now, &self.stats, self.replicas, &self.scenario.fleet);
                    self.resize(next);
                }
            }
        }
    }

    /// A free slot of any pod: whichever polled first.
    fn free_slot(&mut self, queue: usize) -> Option<u32> {
        let free = self.queues[queue].free.len();
        if free == 0 {
            return None;
        }
        let index = (uniform(&mut self.random) * free as f64) as usize;
        Some(self.queues[queue].free.swap_remove(index))
    }

    fn start_task(&mut self, document: u32, queue: usize, pod: u32) {
        self.queues[queue].temporal.dispatched(self.now);
        self.queues[queue].used += 1;
        self.pods[pod as usize].used += 1;
        let state = &mut self.documents[document as usize];
        state.pod = pod;
        state.running = true;
        let epoch = state.epoch;
        let step = self.scenario.fleet.steps[usize::from(state.step)];
        if let Some(seconds) = self.away.filter(|_| step.wait > 0.1) {
            return self.at(self.now + seconds, Event::Failed { document, epoch });
        }
        let wait = step.wait * self.slow * self.spread();
        if self.scenario.fleet.cores.is_infinite() {
            self.spent += step.work;
            return self.at(self.now + wait + step.work, Event::Worked { document, epoch });
        }
        match wait > 0.0 {
            true => self.at(self.now + wait, Event::Waited { document, epoch }),
            false => self.waited(document, epoch),
        }
    }

    fn spread(&mut self) -> f64 {
        match self.scenario.fleet.spread > 0.0 {
            true => lognormal(&mut self.random, self.scenario.fleet.spread),
            false => 1.0,
        }
    }

    fn holds(&self, document: u32, epoch: u32) -> bool {
        let state = &self.documents[document as usize];
        state.running && state.epoch == epoch
    }

    fn waited(&mut self, document: u32, epoch: u32) {
        if !self.holds(document, epoch) {
            return;
        }
        let step = self.scenario.fleet.steps[usize::from(self.documents[document as usize].step)];
        if step.work <= 0.0 {
            return self.finish(document);
        }
        let work = step.work * self.spread();
        self.host.add(self.now, work, Job::Task { document, epoch });
        self.host_next();
    }

    fn host_next(&mut self) {
        if let Some(at) = self.host.next_end() {
            let version = self.host.version;
            self.at(at, Event::Host { version });
        }
    }

    fn host_ready(&mut self, version: u32) {
        if version != self.host.version {
            return;
        }
        match self.host.take(self.now) {
            Some(Job::Task { document, epoch }) if self.holds(document, epoch) => self.finish(document),
            Some(Job::Start { pod, epoch }) if self.pods[pod as usize].epoch == epoch => {
                self.at(self.now + self.scenario.fleet.start, Event::Ready { pod, epoch });
            }
            _ => {}
        }
        self.host_next();
    }

    fn finish(&mut self, document: u32) {
        self.release(document);
        let state = &mut self.documents[document as usize];
        state.step += 1;
        state.attempt = 0;
        if usize::from(state.step) < self.scenario.fleet.steps.len() {
            return self.enqueue(document);
        }
        self.latencies.record(self.now - self.documents[document as usize].arrived);
        self.finished += 1;
        self.spare.push(document);
    }

    fn failed(&mut self, document: u32, epoch: u32) {
        if !self.holds(document, epoch) {
            return;
        }
        self.failures.push_back((self.now, self.queue_of(document)));
        self.release(document);
        let state = &mut self.documents[document as usize];
        let backoff = f64::from(state.attempt).exp2().min(LONGEST_BACKOFF);
        state.attempt = state.attempt.saturating_add(1).min(10);
        self.at(self.now + backoff, Event::Retry { document });
    }

    /// Gives the slot of a document to the next one that waits.
    fn release(&mut self, document: u32) {
        let queue = self.queue_of(document);
        let state = &mut self.documents[document as usize];
        state.epoch = state.epoch.wrapping_add(1);
        state.running = false;
        let index = state.pod;
        self.queues[queue].used -= 1;
        let pod = &mut self.pods[index as usize];
        pod.used -= 1;
        if pod.used == 0 {
            pod.idle_since = self.now;
        }
        match pod.state {
            State::Ready => match self.queues[queue].waiting.pop_front() {
                Some(next) => self.start_task(next, queue, index),
                None => self.queues[queue].free.push(index),
            },
            State::Leaving if pod.used == 0 => self.remove(index),
            _ => {}
        }
    }

    // --- Pods ------------------------------------------------------------------------------------------

    fn new_pod(&mut self) -> u32 {
        let pod = Pod { state: State::Starting, epoch: 0, used: 0, idle_since: self.now };
        match self.gone.pop() {
            Some(index) => {
                let epoch = self.pods[index as usize].epoch.wrapping_add(1);
                self.pods[index as usize] = Pod { epoch, ..pod };
                index
            }
            None => {
                self.pods.push(pod);
                self.pods.len() as u32 - 1
            }
        }
    }

    fn start_pod(&mut self) {
        let pod = self.new_pod();
        self.starting += 1;
        let epoch = self.pods[pod as usize].epoch;
        if self.scenario.fleet.cores.is_finite() {
            self.host.add(self.now, self.scenario.fleet.start_work, Job::Start { pod, epoch });
            self.host_next();
        } else {
            self.at(self.now + self.scenario.fleet.start, Event::Ready { pod, epoch });
        }
    }

    fn make_ready(&mut self, index: u32) {
        let pod = &mut self.pods[index as usize];
        pod.state = State::Ready;
        pod.idle_since = self.now;
        self.starting -= 1;
        self.ready += 1;
        let scenario = self.scenario;
        for (queue, spec) in scenario.fleet.queues.iter().enumerate() {
            for _ in 0..spec.slots {
                match self.queues[queue].waiting.pop_front() {
                    Some(document) => self.start_task(document, queue, index),
                    None => self.queues[queue].free.push(index),
                }
            }
        }
    }

    fn remove(&mut self, index: u32) {
        let pod = &mut self.pods[index as usize];
        pod.state = State::Gone;
        pod.epoch = pod.epoch.wrapping_add(1);
        self.leaving -= 1;
        self.gone.push(index);
        self.set_cores();
    }

    fn resize(&mut self, replicas: u32) {
        self.replicas = replicas;
        let there = self.starting + self.ready;
        for _ in there..replicas {
            self.start_pod();
        }
        if replicas < there {
            self.scale_in((there - replicas) as usize);
        }
        self.set_cores();
    }

    /// Pods that are not Ready leave first, then those that were idle for a while, then the newest.
    fn scale_in(&mut self, count: usize) {
        let now = self.now;
        let rank = |pod: &Pod| match pod.state {
            State::Starting => Some(0),
            State::Ready if pod.used == 0 && now - pod.idle_since >= IDLE => Some(1),
            State::Ready => Some(2),
            State::Leaving | State::Gone => None,
        };
        let ranked = self.pods.iter().enumerate().filter_map(|(index, pod)| Some((rank(pod)?, index as u32)));
        let mut ranked: Vec<(u8, u32)> = ranked.collect();
        ranked.sort_unstable_by_key(|(rank, index)| (*rank, std::cmp::Reverse(*index)));
        ranked.truncate(count);
        let mut leaving: Vec<bool> = vec![false; self.pods.len()];
        for (_, index) in ranked {
            let pod = &mut self.pods[index as usize];
            match pod.state {
                State::Starting => self.starting -= 1,
                _ => self.ready -= 1,
            }
            pod.state = State::Leaving;
            self.leaving += 1;
            leaving[index as usize] = true;
            if pod.used == 0 {
                self.remove(index);
            } else {
                let epoch = pod.epoch;
                self.at(self.now + self.scenario.fleet.grace, Event::Grace { pod: index, epoch });
            }
        }
        for queue in &mut self.queues {
            queue.free.retain(|pod| !leaving[*pod as usize]);
        }
    }

    /// What a leaving worker has not finished fails, and another worker repeats it.
    fn end_of_grace(&mut self, index: u32) {
        if self.pods[index as usize].state != State::Leaving {
            return;
        }
        let of_pod = |document: &u32| {
            let state = &self.documents[*document as usize];
            state.running && state.pod == index
        };
        let left: Vec<u32> = (0..self.documents.len() as u32).filter(of_pod).collect();
        for document in left {
            self.lost += 1;
            self.release(document);
            self.enqueue(document);
        }
    }

    fn outages(&mut self) {
        (self.slow, self.away, self.unread) = (1.0, None, false);
        for outage in &self.scenario.outages {
            if (outage.from..outage.to).contains(&self.now) {
                match outage.fault {
                    Fault::Slow(times) => self.slow = times,
                    Fault::Away(seconds) => self.away = Some(seconds),
                    Fault::Unread => self.unread = true,
                    Fault::Weak(_) => {}
                }
            }
        }
        self.set_cores();
    }

    fn set_cores(&mut self) {
        let fleet = &self.scenario.fleet;
        if fleet.cores.is_finite() {
            let weak = self.scenario.outages.iter().filter(|outage| (outage.from..outage.to).contains(&self.now));
            let weak = weak.filter_map(|outage| match outage.fault {
                Fault::Weak(times) => Some(times),
                _ => None,
            });
            let workers = f64::from(self.starting + self.ready + self.leaving);
            let cores = fleet.cores / weak.fold(1.0, f64::max) - workers * fleet.standing;
            self.host.set_cores(self.now, cores);
            self.host_next();
        }
    }

    // --- Reading and scaling ---------------------------------------------------------------------------

    fn second(&mut self) {
        if !self.unread {
            for (queue, stats) in self.queues.iter_mut().zip(&mut self.stats) {
                *stats = queue.temporal.describe(self.now, queue.waiting.len(), self.setup.backlog_cache);
            }
        }
        if self.way == Way::Ours {
            if !self.unread {
                let reading = self.reading();
                self.scaler.observe(reading);
            }
            let answer = self.scaler.answer(self.now).ok();
            self.bottleneck += u32::from(answer.as_ref().is_some_and(|answer| answer.bottleneck.is_some()));
            self.answer = answer.map(|answer| answer.workers);
        }
        self.record();
        self.at(self.now + 1.0, Event::Second);
    }

    fn reading(&mut self) -> Reading {
        while self.failures.front().is_some_and(|(at, _)| self.now - at > 32.5) {
            self.failures.pop_front();
        }
        let failures = |index: usize| self.failures.iter().filter(|(_, queue)| *queue == index).count() as f64 / 32.5;
        let queues = self.queues.iter().zip(&self.stats).zip(&self.scenario.fleet.queues).enumerate();
        let queues = queues.map(|(index, ((queue, stats), spec))| QueueReading {
            backlog: Some(stats.backlog),
            add_rate: Some(stats.add_rate),
            dispatch_rate: Some(stats.dispatch_rate),
            failure_rate: Some(failures(index)),
            used: f64::from(queue.used),
            slots: f64::from(self.ready * spec.slots),
        });
        Reading {
            at: self.now,
            workers: self.starting + self.ready,
            read: self.ready,
            unread: 0,
            queues: queues.collect(),
        }
    }

    fn sync(&mut self) {
        self.at(self.now + self.setup.hpa, Event::Sync);
        if self.way == Way::SquareRoot {
            return;
        }
        let nothing = Series::default();
        let series = self.queues.iter().map(|queue| if self.unread { &nothing } else { &queue.series });
        let view = View {
            now: self.now,
            fleet: &self.scenario.fleet,
            answer: self.answer,
            series: series.collect(),
            stats: (!self.unread).then_some(&self.stats),
            cpu: self.cpu,
        };
        let metrics = view.metrics(self.way);
        let active = metrics.iter().flatten().any(|metric| metric.is_positive());
        let next = match self.replicas {
            // KEDA itself activates a workload at 0, with its minimum or one worker.
            0 if active => self.scenario.fleet.min.max(1),
            replicas => self.hpa.sync(self.now, &metrics, replicas, self.ready),
        };
        if next != self.replicas || next != self.starting + self.ready {
            self.resize(next);
        }
    }

    fn scrape(&mut self) {
        if !self.unread {
            let queues = self.queues.iter_mut().zip(&self.stats).zip(&self.scenario.fleet.queues);
            for ((queue, stats), spec) in queues {
                let (used, slots) = (f64::from(queue.used), f64::from(self.ready * spec.slots));
                let free = (slots - used).max(0.0);
                queue.series.push(self.now, Scraped { used, free, depth: stats.backlog });
            }
        }
        if self.way.scrapes() {
            self.at(self.now + self.setup.scrape, Event::Scrape);
        }
    }

    fn measure_cpu(&mut self) {
        let spent = self.host.spent + self.spent;
        let workers = f64::from(self.ready.max(1));
        let used = (spent - self.cpu_before) / METRICS_SERVER / workers + self.scenario.fleet.standing;
        self.cpu_before = spent;
        self.cpu = (self.ready > 0).then_some(used / self.scenario.fleet.request);
        self.at(self.now + METRICS_SERVER, Event::Metrics);
    }

    fn record(&mut self) {
        let workers = self.starting + self.ready + self.leaving;
        self.worker_seconds += f64::from(workers);
        let depth = self.queues.iter().map(|queue| queue.waiting.len()).max().unwrap_or(0) as f64;
        self.deepest = self.deepest.max(depth);
        self.most_wanted = self.most_wanted.max(self.replicas);
        let fleet = self.scenario.fleet.queues.iter().zip(&self.queues);
        let (mut used, mut busy) = (0.0_f64, 0_u32);
        for (spec, queue) in fleet {
            used = used.max(f64::from(queue.used) / f64::from((self.ready * spec.slots).max(1)));
            busy = busy.max(queue.used.div_ceil(spec.slots));
        }
        self.below_use += u32::from(self.replicas < busy.min(self.scenario.fleet.max));
        let every = (self.end as usize / ROWS).max(1);
        if (self.now as usize).is_multiple_of(every) {
            self.course.push(Moment {
                at: self.now,
                rate: self.scenario.load.rate(self.now),
                oracle: self.oracle[self.now as usize],
                wanted: self.replicas,
                ready: self.ready,
                depth,
                used,
            });
        }
    }

    fn conclude(self) -> Outcome {
        let unfinished = self.arrived - self.finished;
        let oracle_seconds: f64 = self.oracle[..self.end as usize].iter().map(|workers| f64::from(*workers)).sum();
        Outcome {
            scenario: self.scenario.name.clone(),
            way: self.way.name(),
            hpa: self.setup.hpa,
            scrape: self.way.scrapes().then_some(self.setup.scrape),
            documents: self.arrived,
            unfinished,
            lost: self.lost,
            p50: self.latencies.quantile(0.5, unfinished),
            p99: self.latencies.quantile(0.99, unfinished),
            depth: self.deepest,
            wanted: self.most_wanted,
            last: self.replicas,
            worker_hours: self.worker_seconds / 3600.0,
            oracle_hours: oracle_seconds / 3600.0,
            turns: outcome::turns(&self.course),
            all_needed: outcome::all_needed(self.scenario, &self.course),
            recovery: outcome::recovery(self.scenario, &self.course),
            below_use: self.below_use,
            bottleneck: self.bottleneck,
            course: self.course,
        }
    }
}
