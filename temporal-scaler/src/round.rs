//! One round of readings, and what follows from it. Pure: nothing here reads a clock or a network.

use std::{sync::Arc, time::Duration};

use scaler::{QueueReading, Reading};

use crate::{
    conditions::{Condition, Kind},
    page::Slots,
    pods::{Pod, State},
    queue::Queue,
    temporal::{Backlog, Backlogs},
};

/// From this age on, pods may exist that are not known. A quiet list of pods is confirmed every 20 s.
const OLD_PODS: Duration = Duration::from_secs(30);

/// From this age on, the list of pods says nothing. The API server is away for everyone then, or for this replica.
const NO_PODS: Duration = Duration::from_secs(300);

/// What a pod's page says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Page {
    /// It was not asked for, because the pod has no address.
    NotAsked,
    /// The slots of each queue; `None` where the page has none.
    Slots(Vec<Option<Slots>>),
    /// Why it was not read.
    Unread(String),
}

impl Page {
    /// The slots, if the page has those of every queue.
    pub(crate) fn complete(&self) -> Option<Vec<Slots>> {
        match self {
            Self::Slots(slots) => slots.iter().copied().collect(),
            _ => None,
        }
    }

    /// Slots in use, of all queues that the page has.
    pub(crate) fn in_use(&self) -> Option<f64> {
        match self {
            Self::Slots(slots) if slots.iter().any(Option::is_some) => {
                Some(slots.iter().flatten().map(|slots| slots.used).sum())
            }
            _ => None,
        }
    }
}

/// What is known of the list of pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PodList {
    /// Its age. `None`: there was never one.
    pub(crate) age: Option<Duration>,
    /// Why the API server does not answer, if it does not.
    pub(crate) error: Option<String>,
}

/// The readings of one round.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) list: PodList,
    pub(crate) pods: Vec<Arc<Pod>>,
    /// By pod.
    pub(crate) pages: Vec<Page>,
    /// By queue.
    pub(crate) backlogs: Backlogs,
}

impl Round {
    /// The readings for the decision, at a moment. `None` if the pods are not known.
    pub(crate) fn reading(&self, at: f64) -> Option<Reading> {
        let age = self.list.age.filter(|age| *age < NO_PODS)?;
        let mut reading = Reading {
            at,
            workers: 0,
            read: 0,
            // A Ready worker that is not in the list may exist.
            unread: u32::from(age >= OLD_PODS),
            queues: self.backlogs.iter().map(queue_reading).collect(),
        };
        for (pod, page) in self.pods.iter().zip(&self.pages) {
            let complete = page.complete();
            reading.workers += u32::from(pod.state != State::Leaves);
            if pod.state == State::Ready {
                reading.read += u32::from(complete.is_some());
                reading.unread += u32::from(complete.is_none());
            }
            for (queue, slots) in reading.queues.iter_mut().zip(complete.unwrap_or_default()) {
                // A worker that leaves, or is not Ready, may still work.
                queue.used += slots.used;
                queue.slots += if pod.state == State::Ready { slots.total } else { 0.0 };
            }
        }
        Some(reading)
    }

    /// What is wrong.
    pub(crate) fn conditions(&self, queues: &[Queue], selector: &str) -> Vec<Condition> {
        let mut conditions = Vec::new();
        match (&self.list.error, self.list.age) {
            (Some(error), _) => conditions.push(Condition::new(Kind::KubernetesAway, error.clone())),
            (None, Some(_)) if self.pods.is_empty() => {
                let text = format!("no pod matches the selector {selector:?} (SCALER_POD_SELECTOR)");
                conditions.push(Condition::new(Kind::NoPod, text));
            }
            _ => {}
        }
        let (mut unread, mut without) = (Vec::new(), Vec::new());
        let ready = self.pods.iter().zip(&self.pages).filter(|(pod, _)| pod.state == State::Ready);
        for (Pod { name, .. }, page) in ready.map(|(pod, page)| (pod.as_ref(), page)) {
            match page {
                Page::NotAsked => {
                    unread.push(format!("pod {name} declares no port for its metrics (SCALER_METRICS_PORT)"));
                }
                Page::Unread(why) => unread.push(format!("pod {name} is not read: {why}")),
                Page::Slots(slots) => without.extend(missing(queues, slots).map(|queue| {
                    format!("the metrics of pod {name} do not have the slots of {queue}: used and available")
                })),
            }
        }
        conditions.extend(Condition::of_all(Kind::PodUnread, &unread, "Ready pods are not read"));
        conditions.extend(Condition::of_all(Kind::PodWithoutSlots, &without, "Ready pods lack slots"));
        let pairs = || queues.iter().zip(&self.backlogs);
        let unread: Vec<_> = pairs().filter_map(|(queue, answer)| Some((queue, answer.as_ref().err()?))).collect();
        let unread: Vec<_> = unread.iter().map(|(queue, why)| format!("{queue} is not read: {why}")).collect();
        conditions.extend(Condition::of_all(Kind::QueueUnread, &unread, "queues are not read"));
        let unpolled = pairs().filter(|(_, answer)| answer.as_ref().is_ok_and(|backlog| !backlog.polled));
        let unpolled: Vec<_> = unpolled.map(|(queue, _)| format!("no worker polls {queue}")).collect();
        conditions.extend(Condition::of_all(Kind::QueueWithoutPollers, &unpolled, "queues have no pollers"));
        conditions
    }
}

fn queue_reading(answer: &Result<Backlog, String>) -> QueueReading {
    match answer {
        Ok(backlog) => QueueReading {
            backlog: Some(backlog.tasks),
            add_rate: Some(backlog.added),
            dispatch_rate: Some(backlog.dispatched),
            ..QueueReading::default()
        },
        Err(_) => QueueReading::default(),
    }
}

/// The first queue whose slots a page does not have.
fn missing<'a>(queues: &'a [Queue], slots: &[Option<Slots>]) -> Option<&'a Queue> {
    queues.iter().zip(slots).find(|(_, slots)| slots.is_none()).map(|(queue, _)| queue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue;

    fn queues() -> Vec<Queue> {
        let queue = |kind, name: &str| Queue { kind, name: name.into(), slots: 5.0 };
        vec![queue(queue::Kind::Workflow, "w"), queue(queue::Kind::Activity, "a")]
    }

    fn pod(name: &str, state: State) -> Arc<Pod> {
        Arc::new(Pod { name: name.into(), state, metrics: None, has_cost: false })
    }

    fn slots(used: f64, total: f64) -> Option<Slots> {
        Some(Slots { used, total, failed: 0.0 })
    }

    fn round() -> Round {
        let both = |used| Page::Slots(vec![slots(used, 10.0), slots(used + 1.0, 5.0)]);
        let backlog = Backlog { tasks: 4.0, added: 2.0, dispatched: 1.0, polled: true };
        Round {
            list: PodList { age: Some(Duration::from_secs(21)), error: None },
            pods: vec![
                pod("ready", State::Ready),
                pod("away", State::Ready),
                pod("half", State::Ready),
                pod("portless", State::Ready),
                pod("leaves", State::Leaves),
                pod("gone", State::Leaves),
                pod("starts", State::NotReady),
                pod("waits", State::NotReady),
            ],
            pages: vec![
                both(2.0),
                Page::Unread("refused".into()),
                Page::Slots(vec![slots(9.0, 10.0), None]),
                Page::NotAsked,
                both(3.0),
                Page::Unread("refused".into()),
                both(1.0),
                Page::NotAsked,
            ],
            backlogs: vec![Ok(backlog), Err("away".into())],
        }
    }

    #[test]
    fn slots_are_those_of_ready_workers_and_work_is_that_of_all() {
        let reading = round().reading(7.0).unwrap();
        assert_eq!((reading.at, reading.workers, reading.read, reading.unread), (7.0, 6, 1, 3));
        let [workflow, activity] = reading.queues.try_into().unwrap();
        let of_temporal = |queue: QueueReading| (queue.backlog, queue.add_rate, queue.dispatch_rate);
        assert_eq!(of_temporal(workflow), (Some(4.0), Some(2.0), Some(1.0)));
        assert_eq!((workflow.used, workflow.slots), (6.0, 10.0));
        assert_eq!(activity, QueueReading { used: 9.0, slots: 5.0, ..QueueReading::default() });
    }

    #[test]
    fn an_old_list_may_lack_a_worker_and_a_very_old_one_is_none() {
        let unread = |seconds| {
            let list = PodList { age: Some(Duration::from_secs(seconds)), error: Some("away".into()) };
            Round { list, ..round() }.reading(0.0).map(|reading| reading.unread)
        };
        assert_eq!([unread(29), unread(30), unread(299), unread(300)], [Some(3), Some(4), Some(4), None]);
        assert_eq!(Round { list: PodList::default(), ..round() }.reading(0.0), None);
    }

    #[test]
    fn each_wrong_thing_is_a_condition_that_names_it() {
        let found = round().conditions(&queues(), "app=w");
        let texts: Vec<_> = found.iter().map(|found| (found.kind, found.count, found.text.as_str())).collect();
        let expected = [
            (Kind::PodUnread, 2, "2 Ready pods are not read, such as: pod away is not read: refused"),
            (
                Kind::PodWithoutSlots,
                1,
                "the metrics of pod half do not have the slots of activity:a: used and available",
            ),
            (Kind::QueueUnread, 1, "activity:a is not read: away"),
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn no_pod_and_no_poller_are_said_and_an_api_server_that_is_away_is_not_no_pod() {
        let nothing = Round {
            list: PodList { age: Some(Duration::ZERO), error: None },
            pods: Vec::new(),
            pages: Vec::new(),
            backlogs: vec![Ok(Backlog::default()), Ok(Backlog::default())],
        };
        let texts = |round: &Round| {
            let found = round.conditions(&queues(), "app=w");
            found.iter().map(|found| found.text.clone()).collect::<Vec<_>>()
        };
        let found = texts(&nothing);
        assert_eq!(found[0], "no pod matches the selector \"app=w\" (SCALER_POD_SELECTOR)");
        assert_eq!(found[1], "2 queues have no pollers, such as: no worker polls workflow:w");
        let away = PodList { age: None, error: Some("listing the pods: refused".into()) };
        assert_eq!(texts(&Round { list: away, ..nothing })[0], "listing the pods: refused");
    }

    #[test]
    fn a_page_without_one_queue_still_says_that_its_worker_works() {
        assert_eq!(Page::Slots(vec![slots(2.0, 3.0), None]).in_use(), Some(2.0));
        assert_eq!(Page::Slots(vec![None, None]).in_use(), None);
        assert_eq!(Page::NotAsked.in_use(), None);
    }
}
