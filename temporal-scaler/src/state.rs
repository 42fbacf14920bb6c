//! What the rounds found, shared with the port.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use scaler::{Answer, Reading, Scaler, Unknown};

use crate::{
    conditions::{Condition, Conditions},
    config::Config,
    failures::Failures,
    pods::{Pod, Pods},
    queue::Queue,
    round::{Page, Round},
    temporal::Backlog,
};

/// What the rounds found.
#[derive(Debug)]
pub(crate) struct State {
    scaler: Scaler,
    /// The moment 0 of the decision's clock.
    start: Instant,
    pub(crate) queues: Vec<Queue>,
    /// The last readings, and their moment.
    pub(crate) reading: Option<(Instant, Reading)>,
    /// When Temporal last answered for a queue.
    pub(crate) answered: Vec<Option<Instant>>,
    /// The depths of the queues in the last round. `None`: not known, or of one version only.
    pub(crate) depths: Vec<Option<f64>>,
    /// Whether the backlogs are those of whole queues.
    whole_queues: bool,
    pub(crate) conditions: Conditions,
    failures: Failures,
    /// The pods of the last round, and whether each is in use.
    in_use: Vec<(Arc<Pod>, Option<f64>)>,
}

impl State {
    /// Takes in a round that was begun at `at`.
    pub(crate) fn take(&mut self, round: &Round, at: Instant, conditions: Vec<Condition>) {
        self.conditions.update(conditions);
        for (answered, backlog) in self.answered.iter_mut().zip(&round.backlogs) {
            *answered = if backlog.is_ok() { Some(at) } else { *answered };
        }
        let depth = |backlog: &Result<Backlog, String>| backlog.as_ref().ok().map(|backlog| backlog.tasks);
        self.depths = round.backlogs.iter().map(|backlog| depth(backlog).filter(|_| self.whole_queues)).collect();
        self.in_use = round.pods.iter().cloned().zip(round.pages.iter().map(Page::in_use)).collect();
        let seconds = at.duration_since(self.start).as_secs_f64();
        let failed = self.failures.take(round, seconds);
        if let Some(mut reading) = round.reading(seconds) {
            for (queue, failed) in reading.queues.iter_mut().zip(failed) {
                queue.failure_rate = failed;
            }
            self.scaler.observe(reading.clone());
            self.reading = Some((at, reading));
        }
    }

    /// The answer at this moment.
    pub(crate) fn answer(&self) -> Result<Answer, Unknown> {
        self.scaler.answer(self.start.elapsed().as_secs_f64())
    }

    /// The age of the last readings.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.reading.as_ref().map(|(at, _)| at.elapsed())
    }

    /// The pods of the last round, and the slots that each has in use.
    pub(crate) fn in_use(&self) -> Vec<(Arc<Pod>, Option<f64>)> {
        self.in_use.clone()
    }
}

/// The state, shared.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    state: Arc<Mutex<State>>,
    pub(crate) pods: Pods,
}

impl Shared {
    /// Nothing is known yet.
    pub(crate) fn new(config: &Config, pods: Pods) -> Self {
        let queues = config.queues.clone();
        let utilization = config.utilization;
        let settings = scaler::Settings { queues: queues.iter().map(Queue::settings).collect(), utilization };
        let state = State {
            scaler: Scaler::new(settings),
            start: Instant::now(),
            reading: None,
            answered: vec![None; queues.len()],
            depths: vec![None; queues.len()],
            whole_queues: config.version.is_none(),
            conditions: Conditions::default(),
            failures: Failures::new(queues.len()),
            in_use: Vec::new(),
            queues,
        };
        Self { state: Arc::new(Mutex::new(state)), pods }
    }

    /// The state now.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why this replica is not ready; `None` if Temporal and the API server have answered once.
    pub(crate) fn waits_for(&self) -> Option<String> {
        let pods = self.pods.known();
        if pods.age().is_none() {
            return Some(pods.error.clone().unwrap_or_else(|| "the pods are not listed yet".into()));
        }
        drop(pods);
        let state = self.state();
        if state.answered.iter().any(Option::is_some) {
            return None;
        }
        let first =
            state.conditions.last().iter().find(|condition| condition.kind == crate::conditions::Kind::QueueUnread);
        Some(first.map_or_else(|| "Temporal is not asked yet".into(), |condition| condition.text.clone()))
    }
}
