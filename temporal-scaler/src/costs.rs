//! Marks the pods that have work, so that Kubernetes removes idle ones first when it scales in.
//!
//! A ReplicaSet first deletes the Ready pods with the lowest `controller.kubernetes.io/pod-deletion-cost`; without the
//! annotation the cost is 0. A pod with a task in a slot gets the cost 1, an idle one none. There are only two values
//! because each change is a write to the API server: under a steady load all workers are busy, and nothing is written.
//!
//! Every replica writes. The cost is a function of what both read, and a write that repeats another changes nothing.
//! So there is no leader, no Lease and no right to one (docs/decisions/0030).
//!
//! The annotation is written through the pods' status, because that permission covers no image and no command of a pod.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    conditions::{Condition, Kind},
    pods::{Pod, Pods, State},
    state::Shared,
};

/// Cost of a pod with work.
const BUSY: &str = "1";
/// Interval of the checks. A pod is idle if two checks in a row find it idle, so a gap between two tasks does not count.
const INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of one write.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Writes at once.
const AT_A_TIME: usize = 16;

/// Sets the deletion costs until the process exits.
pub(crate) async fn run(shared: Shared, unwritten: Arc<Unwritten>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut idle = BTreeSet::new();
    loop {
        ticks.tick().await;
        let fleet = shared.state().in_use();
        let (changes, idle_now) = changes(&fleet, &idle);
        idle = idle_now;
        let writes = changes.into_iter().map(|(name, busy)| write(&shared.pods, name, busy));
        let written: Vec<_> = stream::iter(writes).buffer_unordered(AT_A_TIME).collect().await;
        let failed: Vec<_> = written.into_iter().filter_map(|written| Some(format!("{:#}", written.err()?))).collect();
        unwritten.set(Condition::of_all(Kind::CostUnwritten, &failed, "deletion costs are not written"));
    }
}

/// The condition of the last check, for the next round.
#[derive(Debug, Default)]
pub(crate) struct Unwritten(std::sync::Mutex<Option<Condition>>);

impl Unwritten {
    fn set(&self, condition: Option<Condition>) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = condition;
    }

    pub(crate) fn get(&self) -> Option<Condition> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// The pods that become busy (`true`) or idle (`false`), and the names of all idle ones. A pod whose page was not read
/// keeps its cost.
fn changes(
    fleet: &[(Arc<Pod>, Option<f64>)],
    idle_before: &BTreeSet<String>,
) -> (Vec<(String, bool)>, BTreeSet<String>) {
    let (mut changes, mut idle) = (Vec::new(), BTreeSet::new());
    // Kubernetes deletes pods that are not Ready first, whatever their cost.
    for (pod, in_use) in fleet.iter().filter(|(pod, _)| pod.state == State::Ready) {
        let Some(in_use) = in_use else { continue };
        let is_idle = *in_use == 0.0;
        if !is_idle && !pod.has_cost {
            changes.push((pod.name.clone(), true));
        }
        if is_idle && pod.has_cost && idle_before.contains(&pod.name) {
            changes.push((pod.name.clone(), false));
        }
        if is_idle {
            idle.insert(pod.name.clone());
        }
    }
    (changes, idle)
}

async fn write(pods: &Pods, name: String, busy: bool) -> anyhow::Result<()> {
    let writing = || format!("writing the deletion cost of pod {name}");
    let written = timeout(TIMEOUT, pods.set_deletion_cost(&name, busy.then_some(BUSY))).await;
    match written.with_context(|| format!("{}: no answer in time", writing()))? {
        // The pod was deleted after it was read.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        written => written.with_context(writing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, state: State, has_cost: bool) -> Arc<Pod> {
        Arc::new(Pod { name: name.into(), state, metrics: None, has_cost })
    }

    #[test]
    fn busy_is_marked_at_once_and_idle_at_the_second_check() {
        let table = [
            (false, Some(1.0), false, None),
            (false, Some(1.0), true, None),
            (true, Some(1.0), false, None),
            (true, Some(0.0), false, None),
            (true, Some(0.0), true, Some(false)),
            (false, Some(0.0), true, None),
            (true, None, true, None),
            (false, None, true, None),
        ];
        for (has_cost, in_use, idle_before, becomes_idle) in table {
            let expected = if in_use == Some(1.0) && !has_cost { Some(true) } else { becomes_idle };
            let before = idle_before.then(|| "a".to_owned()).into_iter().collect();
            let (changes, _) = changes(&[(pod("a", State::Ready, has_cost), in_use)], &before);
            let expected: Vec<_> = expected.map(|busy| ("a".to_owned(), busy)).into_iter().collect();
            assert_eq!(changes, expected, "{has_cost} {in_use:?} {idle_before}");
        }
    }

    #[test]
    fn a_pod_that_leaves_or_is_not_ready_keeps_its_cost() {
        let fleet = [(pod("a", State::Leaves, false), Some(1.0)), (pod("b", State::NotReady, true), Some(0.0))];
        let (changes, idle) = changes(&fleet, &["b".to_owned()].into());
        assert_eq!((changes.len(), idle.len()), (0, 0));
    }
}
