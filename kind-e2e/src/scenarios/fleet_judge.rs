//! What the facts of [`super::fleet`] show. Pure; each bound is the guide's, or derived beside it.

use super::fleet::{Facts, LOADED};
use super::leaving;
use super::loads::ended;
use super::step_judge::kept_schedule;
use crate::bounds::SCRAPE;
use crate::observe::connections::Connections;
use crate::observe::sample::Sample;
use crate::verdict::{Check, Outcome};

/// The guide: 15 to 20 connections a worker.
const OF_A_WORKER: u32 = 20;
/// The guide: 225 to 300 connections in all.
const OF_ALL: u32 = 300;
/// The guide: 200 to 300 MB a worker.
const MEMORY: u64 = 300_000_000;
/// One question a second and queue, for the whole fleet; there are three queues.
const QUESTIONS: f64 = 3.0;
/// Looks at the connections, at least: one a second.
const LOOKS: f64 = LOADED;

/// What the facts show.
pub(super) fn judge(facts: &Facts, samples: &[Sample]) -> Vec<Check> {
    if facts.starts.is_empty() {
        return Vec::new();
    }
    let mut checks = vec![kept_schedule(&facts.starts)];
    checks.extend(connections(facts));
    checks.push(questions(facts));
    checks.push(memory(facts));
    checks.extend(ended(&facts.starts, &facts.statuses, &facts.oracle));
    checks.extend(leaving::judge(&facts.leaving, samples));
    checks
}

fn connections(facts: &Facts) -> Vec<Check> {
    let Some(found) = facts.connections.as_ref().filter(|_| facts.looks as f64 >= LOOKS) else {
        let reason = format!("{} looks, where {LOOKS:.0} were due", facts.looks);
        let outcome = Outcome::inconclusive(reason);
        let why = "what was not seen cannot be judged";
        return vec![Check::new(
            "connections",
            "seen every second",
            "not seen",
            why,
            outcome,
        )];
    };
    let workers = usize::try_from(facts.workers).unwrap_or(0);
    let seen = Outcome::require(found.workers.len() == workers, || {
        format!("{} of {workers} workers hold connections", found.workers.len())
    });
    let why = "a worker without a connection was not counted";
    let named = format!("{workers} workers hold connections");
    let mut checks = vec![Check::new(
        named,
        workers.to_string(),
        found.workers.len().to_string(),
        why,
        seen,
    )];
    checks.extend(bounded(found, u32::try_from(facts.planned).unwrap_or(u32::MAX)));
    checks
}

fn bounded(found: &Connections, planned: u32) -> [Check; 4] {
    let most = |name: &str, bound: u32, measured: u32, why: &str| {
        let outcome = Outcome::require(measured <= bound, || format!("{measured} connections"));
        Check::new(name, format!("≤ {bound}"), measured.to_string(), why, outcome)
    };
    [
        most(
            "connections of one worker",
            OF_A_WORKER,
            found.most_of_a_worker(),
            "the guide: 15 to 20 a worker",
        ),
        most(
            "connections of all workers",
            OF_ALL,
            found.of_workers(),
            "the guide: 225 to 300 in all",
        ),
        most(
            "connections of all workers, by the plan",
            planned,
            found.of_workers(),
            "what cargo xtask plan says that so many open at the most",
        ),
        most(
            "connections of everybody",
            found.allowed,
            found.all(),
            "what Postgres allows, what it keeps for a superuser taken off",
        ),
    ]
}

fn questions(facts: &Facts) -> Check {
    // A counter is seen as of its last scrape: at either end of the window one scrape's worth may be outside it.
    let bound = QUESTIONS * (facts.window + SCRAPE);
    let (measured, outcome) = match facts.asked {
        None => (
            "not seen".to_owned(),
            Outcome::inconclusive("the workers' count was not read"),
        ),
        Some(asked) if asked <= 0.0 => (
            format!("{asked:.0}"),
            Outcome::fail("nobody asks: the depths are not those of now"),
        ),
        Some(asked) => (
            format!("{asked:.0} in {:.0} s", facts.window),
            Outcome::require(asked <= bound, || format!("{asked:.0} questions")),
        ),
    };
    Check::new(
        "questions of the fleet to Temporal about its queues",
        format!("> 0 and ≤ {bound:.0}"),
        measured,
        "one a second and queue, whatever the number of workers; one scrape of tolerance",
        outcome,
    )
}

fn memory(facts: &Facts) -> Check {
    let most = facts.memory.values().copied().max();
    let outcome = match most {
        None => Outcome::inconclusive("metrics-server told of no worker"),
        Some(bytes) => Outcome::require(bytes <= MEMORY, || format!("{:.0} MB", bytes as f64 / 1e6)),
    };
    let told = facts.memory.len();
    Check::new(
        "memory of one worker",
        format!("≤ {:.0} MB", MEMORY as f64 / 1e6),
        most.map_or_else(
            || "not seen".to_owned(),
            |bytes| format!("{:.0} MB at most, of {told} workers", bytes as f64 / 1e6),
        ),
        "the guide: 200 to 300 MB a worker",
        outcome,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::load::Start;

    fn facts(of_a_worker: u32, asked: f64) -> Facts {
        let workers: BTreeMap<String, u32> =
            (0..20).map(|n| (format!("10.244.0.{n}"), of_a_worker)).collect();
        Facts {
            workers: 20,
            planned: 120,
            window: 30.0,
            looks: 60,
            asked: Some(asked),
            connections: Some(Connections {
                workers,
                others: BTreeMap::from([("temporal on temporal".to_owned(), 120)]),
                allowed: 297,
            }),
            memory: BTreeMap::from([("w".to_owned(), 20_000_000)]),
            starts: vec![Start {
                id: "i".to_owned(),
                key: "k".to_owned(),
                phase: "fleet".to_owned(),
                due: 0.0,
                sent: 0.0,
                acknowledged: Some(0.1),
                error: None,
                stored: Some(3.0),
            }],
            ..Facts::default()
        }
    }

    fn outcome(facts: &Facts) -> Outcome {
        let checks = judge(facts, &[]);
        Outcome::of_all(checks.iter().map(|check| &check.outcome))
    }

    #[test]
    fn the_guides_budget_is_kept_or_not() {
        let table = [
            (
                facts(6, 90.0),
                "Pass",
                "6 a worker, one question a second and queue",
            ),
            (facts(7, 90.0), "Fail", "more than the plan's 120 in all"),
            (facts(9, 90.0), "Fail", "more than Postgres allows in all"),
            (facts(21, 90.0), "Fail", "more than the guide's 20 a worker"),
            (facts(6, 106.0), "Fail", "asked more often than once a second"),
            (facts(6, 0.0), "Fail", "nobody asks"),
        ];
        for (facts, word, why) in table {
            assert_eq!(outcome(&facts).word(), word, "{why}");
        }
    }

    #[test]
    fn what_was_not_seen_is_inconclusive() {
        let unseen = |change: fn(&mut Facts)| {
            let mut facts = facts(6, 90.0);
            change(&mut facts);
            outcome(&facts)
        };
        for outcome in [
            unseen(|facts| facts.looks = 3),
            unseen(|facts| facts.asked = None),
            unseen(|facts| facts.memory.clear()),
        ] {
            assert_eq!(outcome.word(), "Inconclusive");
        }
    }

    #[test]
    fn a_worker_without_connections_was_not_counted() {
        let mut facts = facts(6, 90.0);
        facts.connections.as_mut().unwrap().workers.pop_first();
        assert_eq!(outcome(&facts).word(), "Fail");
    }
}
