//! The oracle of a fault: what was acknowledged completed once, took effect once, and all is well again in time. Pure.

use super::table::Fault;
use super::{Faults, Played, by_name};
use crate::judge::fleet::timed;
use crate::judge::host::excuse;
use crate::judge::load::{kept_schedule, p99};
use crate::judge::statistics::{latency, seconds};
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Outcome, Question};
use crate::load::sizing::Sizing;
use crate::observe::sample::Sample;
use crate::observe::window::Window;

impl Faults {
    /// The checks of one fault. One that was not played is Inconclusive, with the reason.
    pub(super) fn judge_one(&self, name: &str, samples: &[Sample]) -> Vec<Check> {
        let played = self.played.iter().find(|played| played.name == name);
        let (Some(played), Some(fault), Some(sizing)) = (played, by_name(name), &self.sizing) else {
            let why = self.stopped.clone().unwrap_or_else(|| "the run ended before it".to_owned());
            return vec![made().unseen(why).of_part(name)];
        };
        let checks = played.judge(fault, sizing, samples);
        checks.into_iter().map(|check| check.of_part(name)).collect()
    }

    /// A row for each fault.
    pub(super) fn table(&self, samples: &[Sample]) -> Table {
        let heads = [
            "#",
            "fault",
            "lasted",
            "well again",
            "bound",
            "steps tried again",
            "starts refused",
            "slowest document",
            "verdict",
            "differs from the table of faults",
        ];
        let note = "One fault at a time. Well again: the queues are empty, and no more documents are in flight than \
                    before the fault. Counted from the time at which it was undone.";
        let mut table = Table::new("Faults", &heads, note);
        table.rows = self.asked.iter().filter_map(|name| self.row(name, samples)).collect();
        table
    }

    fn row(&self, name: &str, samples: &[Sample]) -> Option<Vec<String>> {
        let fault = by_name(name)?;
        let checks = self.judge_one(name, samples);
        let verdict = Outcome::of_all(checks.iter().map(|check| &check.outcome)).word().to_owned();
        let number = fault.described().number.to_string();
        let bound = self.sizing.as_ref().map_or_else(String::new, |sizing| format!("{:.0} s", fault.bound(sizing)));
        let differs = fault.differs.unwrap_or_default().to_owned();
        let Some(played) = self.played.iter().find(|played| played.name == name) else {
            let none = String::new;
            let unplayed = [none(), none(), bound, none(), none(), none(), verdict, differs];
            return Some([number, name.to_owned()].into_iter().chain(unplayed).collect());
        };
        let lasted = played.made.map_or_else(|| "not made".to_owned(), |made| format!("{:.0} s", made.seconds()));
        let well = played.after().map_or_else(|| "not seen".to_owned(), |after| format!("{after:.1} s"));
        let refused = played.loaded.starts.iter().filter(|start| start.acknowledged.is_none()).count();
        let known = played.loaded.starts.iter().filter(|start| start.acknowledged.is_some());
        Some(vec![
            number,
            name.to_owned(),
            lasted,
            well,
            bound,
            played.loaded.ending.retried.len().to_string(),
            refused.to_string(),
            seconds(latency(known).and_then(|found| found.max)),
            verdict,
            differs,
        ])
    }
}

fn made() -> Question {
    Question::new("fault-made", "the fault was made and undone", "yes", "a fault that was not made shows nothing")
}

impl Played {
    fn judge(&self, fault: &Fault, sizing: &Sizing, samples: &[Sample]) -> Vec<Check> {
        let starts = &self.loaded.starts;
        if self.loaded.drain.is_none() {
            let why = self.error.clone().unwrap_or_else(|| "the run ended before its load did".to_owned());
            return vec![made().unseen(why)];
        }
        let mut checks = Vec::new();
        match (self.made, &self.error) {
            (None, error) => {
                checks.push(made().unseen(error.clone().unwrap_or_else(|| "it was not made".to_owned())));
            }
            (Some(window), error) => {
                let took = format!("{:.1} s", window.seconds());
                checks.push(match error {
                    // A recovery that was not seen has a check of its own.
                    Some(error) if self.recovered.is_some() => made().unseen(error),
                    _ => made().require(true, took),
                });
                checks.extend([self.recovery(fault, sizing, samples), self.settled_in_time(sizing, samples)]);
                checks.extend(fault.invariants.iter().map(|one| one.judge(self, window, sizing, samples)));
            }
        }
        checks.extend(self.acknowledged(fault));
        checks.push(kept_schedule(starts));
        checks.extend(self.loaded.ending.checks(starts));
        checks
    }

    /// Seconds from the time at which it was undone until all was well again: the queues were empty, and every document
    /// that was due before was stored.
    fn after(&self) -> Option<f64> {
        let undone = self.undone()?;
        let due = self.loaded.starts.iter().filter(|start| start.acknowledged.is_some() && start.due <= undone);
        let last = due.map(|start| start.stored.unwrap_or(f64::INFINITY)).fold(self.recovered?, f64::max);
        last.is_finite().then_some(last - undone)
    }

    fn recovery(&self, fault: &Fault, sizing: &Sizing, samples: &[Sample]) -> Check {
        let bound = fault.bound(sizing);
        let question = Question::new(
            "fault-recovery",
            "the queues are empty, and every document that was due before is stored",
            format!("≤ {bound:.0} s after it was undone"),
            fault.why(sizing),
        );
        let window = self.made.map_or_else(Window::default, |made| self.lasted(made));
        let never = || self.error.clone().unwrap_or_else(|| "not every document was stored".to_owned());
        timed(question, self.after(), bound, None, never).excused_by(excuse(samples, window).as_deref())
    }

    /// Documents that are due when all is well again are in time.
    fn settled_in_time(&self, sizing: &Sizing, samples: &[Sample]) -> Check {
        let name = "p99 when all is well again";
        let Some(window) = self.settled else {
            let why = "the guide's p99 holds again";
            return Question::new("p99", name, "in time", why).unseen("all was not well again while it was watched");
        };
        let due = self.loaded.starts.iter().filter(|start| window.has(start.due));
        p99(name, due, sizing.service).excused_by(excuse(samples, window).as_deref())
    }

    /// Starts are refused only where Temporal or its database was away.
    fn acknowledged(&self, fault: &Fault) -> Option<Check> {
        if fault.refuses {
            return None;
        }
        let refused = self.loaded.starts.iter().filter(|start| start.acknowledged.is_none());
        let first = refused.clone().find_map(|start| start.error.as_deref()).unwrap_or_default();
        let count = refused.count();
        let measured = if count == 0 { "0 refused".to_owned() } else { format!("{count} refused; {first}") };
        let question = Question::new(
            "fault-acknowledged",
            "every start is acknowledged",
            "0 refused",
            "this fault takes neither Temporal nor its database away",
        );
        Some(question.require(count == 0, measured))
    }
}

#[cfg(test)]
mod tests {
    use super::super::invariant::Seen;
    use super::super::table::FAULTS;
    use super::*;
    use crate::cluster::kubernetes::{Fleet, PodState};
    use crate::cluster::reading::Reading;
    use crate::load::Start;
    use crate::load::sizing::tests::sizing;
    use crate::load::tests::start;
    use crate::observe::connections::Connections;
    use crate::oracle::attempts::Retried;
    use crate::oracle::ending::Ending;
    use crate::oracle::{Facts, Stored};
    use crate::scenarios::loaded::{Loaded, Stretch};

    /// Eight documents a second for 90 s; the fault is in force from second 8 to 68, and all is well again at 70.
    fn passing(fault: &Fault) -> Faults {
        let starts: Vec<Start> = (0..720).map(one_start).collect();
        let stored = starts.iter().map(|start| Stored {
            id: start.id.clone(),
            source: "s3://documents/k".to_owned(),
            workflow_id: start.id.clone(),
            effects: [("store_document".to_owned(), 1)].into(),
            ..Stored::default()
        });
        let retried = Retried {
            workflow_id: "d-1".to_owned(),
            step: "fetch_document".to_owned(),
            attempts: 2,
            at: 24.0,
            reason: "activity Heartbeat timeout: database".to_owned(),
            ..Retried::default()
        };
        let first = fault.invariants.contains(&super::super::invariant::Invariant::FirstAttempts);
        let ending = Ending {
            expected: [("k".to_owned(), Facts::default())].into(),
            root: "s3://documents/".to_owned(),
            stored: stored.collect(),
            statuses: [("Completed".to_owned(), 720)].into(),
            steps: 2160,
            retried: if first { Vec::new() } else { vec![retried] },
            claims_missing: Reading::Seen(Vec::new()),
            llm_calls: Reading::Seen(0.0),
            ..Ending::default()
        };
        let loaded = Loaded {
            stretches: vec![(Stretch::new("load", 8.0, 90.0), Window { from: 0.0, to: 90.0 })],
            starts,
            drain: Some(Window { from: 90.0, to: 93.0 }),
            ending,
            ..Loaded::default()
        };
        let played = Played {
            name: fault.name.to_owned(),
            loaded,
            made: Some(Window { from: 8.0, to: 68.0 }),
            recovered: Some(70.0),
            settled: Some(Window { from: 70.0, to: 85.0 }),
            planned: 120,
            seen: seen(fault),
            error: None,
        };
        Faults { sizing: Some(sizing()), asked: vec![fault.name.to_owned()], played: vec![played], stopped: None }
    }

    fn one_start(number: u32) -> Start {
        let due = f64::from(number) / 8.0;
        Start {
            id: format!("d-{number}"),
            key: "k".to_owned(),
            phase: "load".to_owned(),
            ..start(due, Some(due + 2.3))
        }
    }

    fn seen(fault: &Fault) -> Seen {
        let restarts = fault.invariants.iter().find_map(|one| match one {
            super::super::invariant::Invariant::Restarted(times) => Some(*times),
            _ => None,
        });
        let pod = |restarts: i32| PodState {
            name: "w".to_owned(),
            restarts,
            last_end: Some("OOMKilled".to_owned()),
            ..PodState::default()
        };
        Seen {
            hit: vec!["w".to_owned(); 200],
            hits: vec![8.0, 58.0],
            dropped: 100,
            sessions: 150,
            refusal: Some("too many connections for role \"slipway\"".to_owned()),
            scaled_in: Some(20.0),
            failed_tasks: 3,
            poisoned: [("Failed".to_owned(), 1)].into(),
            trigger_errors: Some((1.0, 9.0)),
            alerts: [("QueueDepthUnknown".to_owned(), 50.0), ("MetricsNotRead".to_owned(), 60.0)].into(),
            pollers: vec![(69.0, 0), (71.0, 3)],
            most: Some(Connections {
                workers: [("a".to_owned(), 6)].into(),
                others: [("temporal".to_owned(), 90)].into(),
                allowed: 297,
            }),
            temporals: Some(Ok(())),
            timeouts: Some(40.0),
            before: vec![pod(1)],
            after: vec![pod(1 + restarts.unwrap_or(0))],
        }
    }

    fn samples() -> Vec<Sample> {
        let sample = |at: i32| Sample {
            at: f64::from(at),
            fleet: Reading::Seen(Fleet { wanted: 5, present: 5, ready: 5 }),
            slots_used: Reading::Seen([(crate::cluster::IO_QUEUE.to_owned(), 16.0)].into()),
            ..Sample::default()
        };
        (0..=93).map(sample).collect()
    }

    /// The checks that do not pass.
    fn noticed(faults: &Faults, samples: &[Sample]) -> Vec<String> {
        let mut ids: Vec<String> = faults
            .asked
            .iter()
            .flat_map(|name| faults.judge_one(name, samples))
            .filter(|check| check.outcome != Outcome::Pass)
            .map(|check| check.id)
            .collect();
        ids.dedup();
        ids
    }

    #[test]
    fn a_fault_that_lost_nothing_passes() {
        for fault in &FAULTS {
            let found = passing(fault);
            let shown: Vec<String> = found
                .judge_one(fault.name, &samples())
                .iter()
                .filter(|check| check.outcome != Outcome::Pass)
                .map(|check| format!("{}: {:?}", check.name, check.outcome))
                .collect();
            assert!(shown.is_empty(), "{shown:?}");
        }
    }

    type Change = fn(&mut Played);

    /// Every clause of the oracle, broken on purpose.
    #[test]
    fn each_clause_of_the_oracle_is_noticed() {
        let table: [(&str, Change, &[&str]); 14] = [
            ("a document is lost", |played| drop(played.loaded.ending.stored.pop()), &["stored-once"]),
            (
                "a document is stored twice",
                |played| {
                    let again = played.loaded.ending.stored[0].clone();
                    played.loaded.ending.stored.push(again);
                },
                &["stored-once"],
            ),
            (
                "a workflow timed out",
                |played| {
                    let statuses = [("Completed".to_owned(), 719), ("TimedOut".to_owned(), 1)];
                    played.loaded.ending.statuses = statuses.into();
                },
                &["completed"],
            ),
            (
                "a workflow failed beside those that were acknowledged",
                |played| played.loaded.ending.statuses.extend([("Failed".to_owned(), 1)]),
                &["completed"],
            ),
            (
                "a step took effect twice",
                |played| {
                    let effects = &mut played.loaded.ending.stored[3].effects;
                    effects.insert("store_document".to_owned(), 2);
                },
                &["effects"],
            ),
            ("a step took no effect", |played| played.loaded.ending.stored[3].effects.clear(), &["effects"]),
            ("the queues are not empty in time", |played| played.recovered = Some(600.0), &["fault-recovery"]),
            (
                "a document that was due before is stored late",
                |played| played.loaded.starts[500].stored = Some(500.0),
                &["fault-recovery"],
            ),
            (
                "the queues are never empty",
                |played| (played.recovered, played.settled) = (None, None),
                &["fault-recovery", "p99"],
            ),
            (
                "documents are late when all should be well",
                |played| played.loaded.starts[600..640].iter_mut().for_each(|start| start.stored = Some(99.0)),
                &["p99"],
            ),
            (
                "a start is refused",
                |played| {
                    played.loaded.starts.push(Start { id: "d-x".to_owned(), ..start(1.0, None) });
                    played.loaded.starts.last_mut().unwrap().acknowledged = None;
                },
                &["fault-acknowledged"],
            ),
            ("the load came late", |played| played.loaded.starts[0].sent = 9.0, &["schedule"]),
            ("the fault was not made", |played| played.made = None, &["fault-made"]),
            (
                "the fault was not undone as it should",
                |played| played.error = Some("refused".to_owned()),
                &["fault-made"],
            ),
        ];
        for (what, change, expected) in table {
            let mut found = passing(by_name("workers-killed").unwrap());
            change(&mut found.played[0]);
            assert_eq!(noticed(&found, &samples()), expected, "{what}");
        }
    }

    #[test]
    fn each_invariant_is_noticed() {
        let table: [(&str, &str, Change, &str); 23] = [
            ("store-lies", "the timeouts were not counted", |one| one.seen.timeouts = None, "fault-store"),
            ("store-lies", "the store was honest", |one| one.seen.timeouts = Some(3.0), "fault-store"),
            ("worker-killed", "tried again too late", |one| one.loaded.ending.retried[0].at = 40.0, "fault-retried"),
            ("worker-killed", "a crash loop", |one| one.seen.after[0].restarts = 7, "fault-restarts"),
            ("worker-killed", "no restart", |one| one.seen.after[0].restarts = 1, "fault-restarts"),
            (
                "out-of-memory",
                "another end",
                |one| one.seen.after[0].last_end = Some("Error".to_owned()),
                "fault-memory",
            ),
            (
                "rolling-update",
                "a second attempt",
                |one| one.loaded.ending.retried = vec![Retried::default()],
                "first-attempts",
            ),
            (
                "rolling-update",
                "late documents",
                |one| one.loaded.starts[100..140].iter_mut().for_each(|start| start.stored = Some(start.due + 6.0)),
                "p99",
            ),
            ("bad-rollout", "the scale-in is blocked", |one| one.seen.scaled_in = None, "fault-scale-in"),
            ("bad-rollout", "a slow scale-in", |one| one.seen.scaled_in = Some(100.0), "fault-scale-in"),
            (
                "quarter-killed",
                "late documents between two kills",
                |one| one.loaded.starts[280..320].iter_mut().for_each(|start| start.stored = Some(start.due + 6.0)),
                "p99",
            ),
            (
                "hung-activity",
                "no heartbeat was missed",
                |one| one.loaded.ending.retried[0].reason = "x".to_owned(),
                "fault-heartbeat",
            ),
            (
                "poison",
                "the poison completed",
                |one| one.seen.poisoned = [("Completed".to_owned(), 1)].into(),
                "fault-poison",
            ),
            (
                "poison",
                "the poison is tried for ever",
                |one| one.seen.poisoned = [("Running".to_owned(), 1)].into(),
                "fault-poison",
            ),
            ("planned-stops", "few stops", |one| one.seen.hit.truncate(199), "fault-stops"),
            ("worker-cut-off", "a storm", |one| one.seen.dropped = 1_000_000, "fault-packets"),
            (
                "database-half-open",
                "a vague error",
                |one| one.loaded.ending.retried[0].reason = "x".to_owned(),
                "fault-errors",
            ),
            (
                "series-absent",
                "no error of a trigger",
                |one| one.seen.trigger_errors = Some((1.0, 1.0)),
                "fault-trigger",
            ),
            ("metrics-api-away", "no alert", |one| one.seen.alerts.clear(), "fault-alert"),
            ("temporal-deleted", "no pollers", |one| one.seen.pollers = vec![(69.0, 0), (140.0, 0)], "fault-pollers"),
            (
                "sessions-exhausted",
                "Temporal gets no session",
                |one| one.seen.temporals = Some(Err("too many connections".to_owned())),
                "fault-share",
            ),
            (
                "sessions-exhausted",
                "a vague refusal",
                |one| one.seen.refusal = Some("reset".to_owned()),
                "fault-refused",
            ),
            (
                "database-away",
                "a storm of connections",
                |one| one.seen.most.as_mut().unwrap().workers.extend([("b".to_owned(), 150)]),
                "fault-connections",
            ),
        ];
        for (fault, what, change, expected) in table {
            let mut found = passing(by_name(fault).unwrap());
            change(&mut found.played[0]);
            assert_eq!(noticed(&found, &samples()), [expected], "{fault}: {what}");
        }
        let with = |name: &str, change: fn(&mut Sample)| {
            let mut samples = samples();
            samples.iter_mut().filter(|sample| sample.at > 30.0).for_each(change);
            noticed(&passing(by_name(name).unwrap()), &samples)
        };
        let fewer = |sample: &mut Sample| sample.fleet = Reading::Seen(Fleet { wanted: 3, present: 3, ready: 1 });
        assert_eq!(with("prometheus-away", fewer), ["outage-holds"]);
        assert_eq!(with("node-drained", fewer), ["fault-budget"]);
        assert_eq!(with("keda-killed", fewer), ["fault-count"]);
        let held = |sample: &mut Sample| {
            sample.slots_used = Reading::Seen([(crate::cluster::IO_QUEUE.to_owned(), 60.0)].into());
        };
        assert_eq!(with("object-store-away", held), ["fault-slots"]);
        let mut unseen = passing(by_name("wrong-version").unwrap());
        unseen.played[0].seen.failed_tasks = 0;
        assert_eq!(noticed(&unseen, &samples()), ["fault-tasks"]);
    }

    #[test]
    fn a_fault_that_was_not_played_is_inconclusive_and_says_why() {
        let mut found = passing(&FAULTS[0]);
        found.played[0].loaded.drain = None;
        assert_eq!(noticed(&found, &samples()), ["fault-made"]);
        found.asked.push("poison".to_owned());
        found.stopped = Some("after worker-killed: 3 of 4 acknowledged documents are stored".to_owned());
        let checks = found.judge_one("poison", &samples());
        assert_eq!(checks[0].outcome, Outcome::inconclusive(found.stopped.clone().unwrap()));
        let table = found.table(&samples());
        assert_eq!((table.rows.len(), table.rows[1][8].as_str()), (2, "Inconclusive"));
        assert!(table.rows.iter().all(|row| row.len() == table.heads.len()));
    }
}
