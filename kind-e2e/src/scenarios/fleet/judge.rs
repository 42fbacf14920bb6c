//! What the facts of [`super::Fleet`] show. Pure.

use super::{Fleet, LOADED, leaving};
use crate::judge::fleet::{memory, never_restarted};
use crate::judge::host::excuse;
use crate::judge::load::p99;
use crate::judge::verdict::{Check, Question, faults};
use crate::load::sizing::GUIDE_SERVICE;
use crate::observe::connections::Connections;
use crate::observe::sample::Sample;

/// The guide's numbers: replicas, slots, threads, connections.
const GUIDE: [(&str, u32); 9] = [
    ("minReplicaCount", 3),
    ("maxReplicaCount", 20),
    ("TEMPORAL_WORKFLOW_CONCURRENCY", 3),
    ("TEMPORAL_IO_ACTIVITY_CONCURRENCY", 5),
    ("TEMPORAL_CPU_ACTIVITY_CONCURRENCY", 2),
    ("TEMPORAL_IO_THREAD_POOL_SIZE", 10),
    ("TEMPORAL_CPU_THREAD_POOL_SIZE", 4),
    ("DB_POOL_SIZE", 20),
    ("DB_MAX_OVERFLOW", 30),
];
/// The guide's most connections of a worker.
const OF_A_WORKER: u32 = 20;
/// Scrape interval of the series that the tests read, in seconds.
const SCRAPE: f64 = 1.0;
/// Questions a second of the whole fleet, at most: ten for each of the three queues, whatever the number of workers.
const QUEUES: f64 = 3.0;
const MOST_QUESTIONS: f64 = 10.0 * QUEUES;
/// Seconds for which a worker shows a depth.
const SHOWN: f64 = 30.0;
/// Readings of the connections, at least: one a second.
const LOOKS: f64 = LOADED;

/// What the facts show.
pub(super) fn judge(facts: &Fleet, samples: &[Sample]) -> Vec<Check> {
    let loaded = &facts.loaded;
    let Some(window) = loaded.whole() else {
        return Vec::new();
    };
    let mut checks = vec![guide(facts)];
    checks.extend(connections(facts));
    checks.push(questions(facts));
    checks.push(memory(samples, window, facts.memory_limit));
    checks.push(never_restarted(samples, window));
    let latency = p99("p99 with the most workers", &loaded.starts, GUIDE_SERVICE);
    checks.push(latency.excused_by(excuse(samples, window).as_deref()));
    checks.extend(loaded.checks(samples, true));
    checks.extend(leaving::judge(&facts.leaving, samples));
    checks
}

/// The manifests in the cluster have the guide's numbers.
fn guide(facts: &Fleet) -> Check {
    let question = Question::new(
        "guide",
        "the cluster has the guide's numbers",
        GUIDE.map(|(name, value)| format!("{name} {value}")).join(", "),
        "the guide's ScaledObject and environment variables",
    );
    let wrong = GUIDE.iter().filter_map(|(name, value)| match facts.numbers.get(*name) {
        Some(found) if found == value => None,
        found => Some(format!("{name} is {}", found.map_or_else(|| "missing".to_owned(), u32::to_string))),
    });
    question.answer(format!("{} numbers compared", facts.numbers.len()), faults(wrong))
}

fn connections(facts: &Fleet) -> Vec<Check> {
    let workers = usize::try_from(facts.workers).unwrap_or(0);
    let seen = Question::new(
        "connections-seen",
        format!("{workers} workers hold connections"),
        format!("{workers} workers in one of ≥ {LOOKS:.0} readings"),
        "a worker without a connection was not counted",
    );
    match facts.connections.as_ref().filter(|_| facts.looks as f64 >= LOOKS) {
        None => vec![seen.unseen(format!("{} readings, where {LOOKS:.0} were due", facts.looks))],
        Some(found) => {
            let all = seen.require(found.workers.len() == workers, format!("{} workers", found.workers.len()));
            let planned = u32::try_from(facts.planned).unwrap_or(u32::MAX);
            std::iter::once(all).chain(bounded(found, planned)).collect()
        }
    }
}

fn bounded(found: &Connections, planned: u32) -> [Check; 2] {
    let most = |id, name: &str, bound: u32, measured: u32, why: &str| {
        let question = Question::new(id, name, format!("≤ {bound}"), why);
        question.require(measured <= bound, format!("{measured} connections"))
    };
    [
        most(
            "connections-worker",
            "connections of one worker",
            OF_A_WORKER,
            found.most_of_a_worker(),
            "the guide: 15 to 20 connections a worker",
        ),
        most(
            "connections-all",
            "connections of all workers",
            planned,
            found.of_workers(),
            "cargo xtask plan: what so many workers open at most; the guide's 225 to 300 in all leave nothing to \
             Temporal where Postgres allows 300",
        ),
    ]
}

fn questions(facts: &Fleet) -> Check {
    // A counter is as old as its last scrape.
    let most = MOST_QUESTIONS * (facts.seconds + SCRAPE);
    let least = QUEUES * f64::from(facts.workers) * (facts.seconds - SCRAPE) / SHOWN;
    let question = Question::new(
        "questions",
        "questions of the fleet to Temporal about its queues",
        format!("{least:.0} to {most:.0}"),
        "ten a second and queue, whatever the number of workers; a worker that asks less often than every 30 s shows \
         no depth for a while",
    );
    match facts.asked {
        None => question.unseen("the workers' count was not read"),
        Some(asked) => {
            question.require((least..=most).contains(&asked), format!("{asked:.0} in {:.0} s", facts.seconds))
        }
    }
}
