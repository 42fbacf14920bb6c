//! What is wrong at the moment. Each condition is in the answer and in a metric while it lasts, and in the log when it
//! begins and ends.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use tracing::{info, warn};

/// The kinds of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// No pod matches the selector.
    NoPod,
    /// The metrics of a Ready pod cannot be read.
    PodUnread,
    /// The page of a Ready pod does not have the slots of every queue.
    PodWithoutSlots,
    /// No worker polls a queue.
    QueueWithoutPollers,
    /// Temporal does not answer for a queue.
    QueueUnread,
    /// The API server does not answer.
    KubernetesAway,
    /// A deletion cost cannot be written.
    CostUnwritten,
    /// The wall clock jumped, or this process stood still.
    Clock,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 8] = [
        Self::NoPod,
        Self::PodUnread,
        Self::PodWithoutSlots,
        Self::QueueWithoutPollers,
        Self::QueueUnread,
        Self::KubernetesAway,
        Self::CostUnwritten,
        Self::Clock,
    ];

    /// The name in metrics and answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoPod => "no_pod",
            Self::PodUnread => "pod_unread",
            Self::PodWithoutSlots => "pod_without_slots",
            Self::QueueWithoutPollers => "queue_without_pollers",
            Self::QueueUnread => "queue_unread",
            Self::KubernetesAway => "kubernetes_away",
            Self::CostUnwritten => "cost_unwritten",
            Self::Clock => "clock",
        }
    }
}

/// One condition, for all pods or queues that it holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Condition {
    pub(crate) kind: Kind,
    /// The pods or queues; 1 where it is about neither.
    pub(crate) count: usize,
    /// The sentence for people.
    pub(crate) text: String,
}

impl Condition {
    /// A condition that holds for one thing.
    pub(crate) fn new(kind: Kind, text: String) -> Self {
        Self { kind, count: 1, text }
    }

    /// A condition of several things, of which the first is named. `None` if there are none.
    pub(crate) fn of_all(kind: Kind, cases: &[String], all: impl fmt::Display) -> Option<Self> {
        let text = match cases {
            [] => return None,
            [one] => one.clone(),
            [first, ..] => format!("{} {all}, such as: {first}", cases.len()),
        };
        Some(Self { kind, count: cases.len(), text })
    }
}

/// The conditions that last, and how often each was met.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    last: Vec<Condition>,
    rounds: BTreeMap<Kind, u64>,
}

impl Conditions {
    /// Takes in the conditions of a round. Logs those that begin or end.
    pub(crate) fn update(&mut self, now: Vec<Condition>) {
        let has = |list: &[Condition], kind| list.iter().any(|condition| condition.kind == kind);
        for Condition { kind, text, .. } in now.iter().filter(|condition| !has(&self.last, condition.kind)) {
            warn!(condition = kind.name(), "{text}");
        }
        for ended in self.last.iter().filter(|condition| !has(&now, condition.kind)) {
            info!(condition = ended.kind.name(), "no longer: {}", ended.text);
        }
        for condition in &now {
            *self.rounds.entry(condition.kind).or_default() += 1;
        }
        self.last = now;
    }

    /// The conditions of the last round.
    pub(crate) fn last(&self) -> &[Condition] {
        &self.last
    }

    /// The rounds that met a condition.
    pub(crate) fn rounds(&self, kind: Kind) -> u64 {
        self.rounds.get(&kind).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cases_are_one_condition_that_names_the_first() {
        let cases = ["a is away".to_owned(), "b is away".to_owned()];
        assert_eq!(Condition::of_all(Kind::PodUnread, &[], "pods"), None);
        let one = Condition::of_all(Kind::PodUnread, &cases[..1], "pods are away").unwrap();
        assert_eq!((one.count, one.text.as_str()), (1, "a is away"));
        let two = Condition::of_all(Kind::PodUnread, &cases, "pods are away").unwrap();
        assert_eq!((two.count, two.text.as_str()), (2, "2 pods are away, such as: a is away"));
    }

    #[test]
    fn rounds_are_counted_by_kind() {
        let mut conditions = Conditions::default();
        let condition = Condition::new(Kind::NoPod, "no pod".into());
        conditions.update(vec![condition.clone()]);
        conditions.update(vec![condition.clone()]);
        assert_eq!(conditions.last(), [condition]);
        conditions.update(Vec::new());
        assert_eq!((conditions.rounds(Kind::NoPod), conditions.rounds(Kind::Clock)), (2, 0));
        assert_eq!(conditions.last(), []);
    }

    #[test]
    fn every_kind_is_documented() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/temporal-scaler.md");
        let page = std::fs::read_to_string(page).unwrap();
        for kind in Kind::ALL {
            assert!(page.contains(&format!("\n| `{}` |", kind.name())), "{kind:?} is not in docs/temporal-scaler.md");
        }
    }

    #[test]
    fn a_kind_has_the_same_name_in_metrics_and_answers() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
