//! Attempts that failed a second, from the counters on the workers' pages. Temporal counts an attempt that comes back as
//! a task that was added, so the decision has to know how many did.

use std::collections::{HashMap, VecDeque};

use crate::round::Round;

/// Seconds of the mean. Temporal's own rates are means of about as long.
const WINDOW: f64 = 30.0;
/// Seconds of history that a rate needs.
const LEAST: f64 = 5.0;

/// The counters of a fleet.
#[derive(Debug)]
pub(crate) struct Failures {
    queues: usize,
    /// By pod: the last counters of its queues.
    last: HashMap<String, Vec<f64>>,
    /// Moments, and how much the counters of the fleet rose since the moment before.
    rises: VecDeque<(f64, Vec<f64>)>,
}

impl Failures {
    /// No counters yet, for so many queues.
    pub(crate) fn new(queues: usize) -> Self {
        Self { queues, last: HashMap::new(), rises: VecDeque::new() }
    }

    /// Takes in the pages of a round. Returns each queue's rate; `None` while the history is too short.
    pub(crate) fn take(&mut self, round: &Round, at: f64) -> Vec<Option<f64>> {
        let mut rise = vec![0.0; self.queues];
        let mut now = HashMap::with_capacity(round.pods.len());
        for (pod, page) in round.pods.iter().zip(&round.pages) {
            let before = self.last.remove(&pod.name);
            let Some(slots) = page.complete() else {
                // Its next page tells what failed meanwhile.
                now.extend(before.map(|before| (pod.name.clone(), before)));
                continue;
            };
            let counters: Vec<_> = slots.iter().map(|slots| slots.failed).collect();
            for ((rise, counter), before) in rise.iter_mut().zip(&counters).zip(before.into_iter().flatten()) {
                // A counter that fell belongs to a worker that was started again.
                *rise += (counter - before).max(0.0);
            }
            now.insert(pod.name.clone(), counters);
        }
        self.last = now;
        self.rises.push_back((at, rise));
        while self.rises.front().is_some_and(|(then, _)| at - then > WINDOW) {
            self.rises.pop_front();
        }
        let seconds = self.rises.front().map_or(0.0, |(first, _)| at - first);
        let sum = |queue: usize| self.rises.iter().skip(1).map(|(_, rise)| rise[queue]).sum::<f64>();
        (0..self.queues).map(|queue| (seconds >= LEAST).then(|| sum(queue) / seconds)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        page::Slots,
        pods::{Pod, State},
        round::{Page, PodList},
    };

    /// A round of pods with the counter of their one queue; `None` is a page that was not read.
    fn round(counters: &[(&str, Option<f64>)]) -> Round {
        let pod = |name: &str| Pod { name: name.into(), state: State::Ready, metrics: None, has_cost: false };
        let page = |failed: Option<f64>| match failed {
            Some(failed) => Page::Slots(vec![Some(Slots { used: 0.0, total: 1.0, failed })]),
            None => Page::Unread("away".into()),
        };
        Round {
            list: PodList::default(),
            pods: counters.iter().map(|(name, _)| Arc::new(pod(name))).collect(),
            pages: counters.iter().map(|(_, failed)| page(*failed)).collect(),
            backlogs: Vec::new(),
        }
    }

    #[test]
    fn a_rate_is_what_the_counters_of_known_workers_rose() {
        let mut failures = Failures::new(1);
        let mut rate = |at: f64, counters: &[(&str, Option<f64>)]| failures.take(&round(counters), at)[0];
        assert_eq!(rate(0.0, &[("a", Some(100.0))]), None);
        // What b counted before it was known is not a rise.
        assert_eq!(rate(4.0, &[("a", Some(102.0)), ("b", Some(50.0))]), None);
        assert_eq!(rate(10.0, &[("a", Some(104.0)), ("b", Some(51.0))]), Some(0.5));
        // A page that was not read is made up for. A counter that fell is a new worker's.
        assert_eq!(rate(20.0, &[("a", None), ("b", Some(0.0))]), Some(0.25));
        assert_eq!(rate(25.0, &[("a", Some(109.0)), ("b", Some(0.0))]), Some(0.4));
        // The window forgets, and so does a pod that is gone.
        assert_eq!(rate(60.0, &[("b", Some(0.0))]), None);
        assert_eq!(rate(65.0, &[("a", Some(500.0)), ("b", Some(0.0))]), Some(0.0));
    }
}
