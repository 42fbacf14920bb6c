//! What the starts show: that the load was the planned one, that documents were stored in time, and without errors.
//! Pure.

use super::reaction::{Reaction, Recovery, recovered};
use super::statistics::{ABOVE_P99, FEWEST, allowed, latency, seconds};
use super::verdict::{Check, Outcome, Question};
use crate::judge::bounds::Bound;
use crate::load::sizing::{GUIDE_P99, GUIDE_SERVICE, WAITING};
use crate::load::{Start, acknowledged};

/// A start that is sent later than this after it was due, in seconds, is not the planned load.
const LATE: f64 = 1.0;
/// The guide's error rate.
const ERRORS: f64 = 0.01;

/// Every start was sent when it was due.
pub fn kept_schedule(starts: &[Start]) -> Check {
    let latest = starts.iter().map(|start| start.sent - start.due).fold(0.0, f64::max);
    let question = Question::new(
        "schedule",
        "the load kept its schedule",
        format!("each start sent ≤ {LATE:.0} s after it was due"),
        "a load that comes late is not the planned one",
    );
    let measured = format!("{latest:.2} s at most, {} starts", starts.len());
    match latest <= LATE {
        true => question.require(true, measured),
        false => question.unseen(format!("a start was sent {latest:.1} s late: this host was too busy to load")),
    }
}

/// Fewer than 1 % of the starts failed, were never acknowledged, or their documents were never stored.
pub fn few_errors(starts: &[Start]) -> Check {
    let failed = starts.iter().filter(|start| start.stored.is_none()).count();
    let first = starts.iter().find_map(|start| start.error.as_deref());
    let share = failed as f64 / starts.len().max(1) as f64;
    let measured = match first {
        None => format!("{failed} of {} documents not stored", starts.len()),
        Some(error) => format!("{failed} of {} documents not stored; {error}", starts.len()),
    };
    let question = Question::new("errors", "error rate", "< 1 %", "the guide's: error rate < 1 %");
    question.require(share < ERRORS, measured)
}

/// The 99th percentile of documents is within the guide's bound, by the number that were late.
///
/// A document is late where it took longer than its own IO and what the guide leaves beside it. A document that
/// travels as a claim goes to S3 several times and has as many times the IO.
pub fn p99<'a>(name: &str, due: impl IntoIterator<Item = &'a Start>, service: f64) -> Check {
    let due: Vec<&Start> = due.into_iter().collect();
    let late = due.iter().filter(|start| is_late(start, service)).count();
    let most = allowed(due.len(), ABOVE_P99);
    let question = Question::new(
        "p99",
        name,
        format!("≤ {most} of {} later than {:.1} s, which is 1 % and chance (95 %)", due.len(), service + WAITING),
        format!(
            "the guide's p99 < {GUIDE_P99:.0} s for documents of {GUIDE_SERVICE} s of IO leaves {WAITING:.1} s beside \
             them; these take {service:.1} s, and one that travels as a claim as often as it goes to S3"
        ),
    );
    let found = latency(due.iter().copied());
    let measured = format!(
        "{late} of {} late; p50 {}, p99 {}",
        due.len(),
        seconds(found.and_then(|found| found.p50)),
        seconds(found.and_then(|found| found.p99))
    );
    match due.len() < FEWEST && late == 0 {
        true => question.unseen(format!("{} documents are too few for a p99", due.len())),
        false => question.require(late <= most, measured),
    }
}

/// Seconds of a document's own IO, and what the guide leaves beside it.
pub fn bound_of(start: &Start, service: f64) -> f64 {
    f64::from(start.trips.max(1)) * service + WAITING
}

fn is_late(start: &Start, service: f64) -> bool {
    start.latency().is_none_or(|latency| latency >= bound_of(start, service))
}

/// Latency is within its bound for good within `bound` of a step.
pub fn recovers(reaction: &Reaction, bound: &Bound) -> Check {
    let question = Question::new(
        "recovery",
        "latency is back after the step",
        format!("≤ {:.0} s after the step", bound.seconds),
        &bound.why,
    );
    let worst = seconds(reaction.worst_p99);
    let measured = format!("{}; the worst p99 of 5 s was {worst}", recovered(reaction.latency));
    match reaction.latency {
        Recovery::NotSeen => question.unseen("no document was due after the step"),
        Recovery::NeverAbove => question.require(true, measured),
        Recovery::Back(after) => question.require(after <= bound.seconds, measured),
        Recovery::NotBack => question.require(false, measured),
    }
}

/// Everything that was acknowledged is stored within `bound` of the load's end.
pub fn drained(starts: &[Start], ended: f64, bound: &Bound) -> Check {
    let last = starts
        .iter()
        .filter(|start| start.acknowledged.is_some())
        .map(|start| start.stored.unwrap_or(f64::INFINITY) - ended)
        .fold(0.0, f64::max);
    let question =
        Question::new("drain", "the queues drain when the load ends", format!("≤ {:.0} s", bound.seconds), &bound.why);
    let measured = match last.is_finite() {
        true => format!("{last:.1} s"),
        false => format!("not all of {} documents were stored", acknowledged(starts)),
    };
    question.require(last <= bound.seconds, measured)
}

/// One document on a cluster without load takes the latency on the way to S3, and little more.
pub fn service_in_force(measured: &[f64], service: f64) -> Check {
    let question = Question::new(
        "service",
        "one document takes its time on the way to S3",
        format!("{service:.1} to {:.1} s, the fastest of {}", service + WAITING, measured.len()),
        "the load is sized by this latency; a document alone must keep the guide's bound",
    );
    match measured.iter().copied().reduce(f64::min) {
        None => question.unseen("no document was timed"),
        Some(fastest) if (service..service + WAITING).contains(&fastest) => {
            question.answer(format!("{fastest:.2} s"), Outcome::Pass)
        }
        Some(fastest) => question.require(false, format!("{fastest:.2} s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::start;

    #[test]
    fn a_document_has_its_own_io_and_what_the_guide_leaves() {
        let of = |trips: u32, seconds: f64| Start { trips, ..start(0.0, Some(seconds)) };
        for (trips, seconds, late) in [(1, 3.9, false), (1, 4.0, true), (5, 13.9, false), (5, 14.0, true)] {
            assert_eq!(is_late(&of(trips, seconds), 2.5), late, "{trips} trips, {seconds} s");
        }
        assert!(is_late(&start(0.0, None), 2.5), "never stored");
    }

    #[test]
    fn few_documents_are_no_p99_unless_they_are_late() {
        let word = |count: usize, late: usize| {
            let starts: Vec<Start> =
                (0..count).map(|number| start(1.0, Some(if number < late { 9.0 } else { 2.0 }))).collect();
            p99("p99", &starts, 2.5).outcome.word()
        };
        let table = [(99, 0, "Inconclusive"), (100, 0, "Pass"), (100, 3, "Pass"), (100, 4, "Fail"), (20, 5, "Fail")];
        for (count, late, expected) in table {
            assert_eq!(word(count, late), expected, "{late} of {count}");
        }
    }
}
