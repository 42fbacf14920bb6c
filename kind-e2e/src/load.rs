//! The open-loop load: starts workflows at the times of a schedule, whatever the answers.
//!
//! A start that is late is sent at once and its latency counts from the time that the schedule gave
//! it, so that a slow system cannot hide behind a slow client. Ends are not waited for here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::board::Board;
use crate::clock::Clock;
use crate::corpus::Document;
use crate::fixture::Fixture;
use crate::schedule::Arrival;

/// One start and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Document id and workflow id.
    pub id: String,
    /// The document's key in the bucket.
    pub key: String,
    /// The phase of the load that it belongs to.
    pub phase: String,
    /// When it was due, in seconds since the run began.
    pub due: f64,
    /// When it was sent.
    pub sent: f64,
    /// When Temporal acknowledged it.
    pub acknowledged: Option<f64>,
    /// Why it was not acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the document was stored, by the database's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<f64>,
}

impl Start {
    /// Seconds from the time that it was due until it was stored.
    pub fn latency(&self) -> Option<f64> {
        self.stored.map(|stored| (stored - self.due).max(0.0))
    }
}

/// The documents of one load and where they go.
#[derive(Clone)]
pub struct Load {
    /// The cluster.
    pub fixture: Fixture,
    /// Where counts are shown.
    pub board: Arc<Board>,
    /// The run's clock.
    pub clock: Clock,
    /// The documents.
    pub documents: Arc<Vec<Document>>,
    /// What every id begins with; of this run and scenario only.
    pub prefix: String,
}

impl Load {
    /// Runs `schedule` from now on, adding to `starts` in the order of the schedule.
    ///
    /// Returns when the last start is answered. `starts` holds what is known so far even where this
    /// future is dropped before its end.
    pub async fn run(&self, phase: &str, schedule: &[Arrival], starts: &mut Vec<Start>) {
        let (begin, begin_second) = (Instant::now(), self.clock.now());
        let mut answers = JoinSet::new();
        for (number, arrival) in schedule.iter().enumerate() {
            // Answers that came meanwhile are noted while waiting for the next arrival.
            loop {
                tokio::select! {
                    biased;
                    () = sleep_until(begin + arrival.at) => break,
                    Some(answer) = answers.join_next() => note(starts, answer),
                }
            }
            let document = &self.documents[arrival.document];
            let id = format!("{}{phase}-{number:05}", self.prefix);
            self.board.scheduled();
            starts.push(Start {
                id: id.clone(),
                key: document.key.clone(),
                phase: phase.to_owned(),
                due: begin_second + arrival.at.as_secs_f64(),
                sent: self.clock.now(),
                acknowledged: None,
                error: None,
                stored: None,
            });
            let index = starts.len() - 1;
            let (load, source) = (self.clone(), self.fixture.source(&document.key));
            answers.spawn(async move {
                let answer = load.fixture.temporal.start(&id, &source).await;
                load.board.answered(answer.is_ok());
                (index, answer.map(|()| load.clock.now()))
            });
        }
        while let Some(answer) = answers.join_next().await {
            note(starts, answer);
        }
    }
}

type Answer = (usize, anyhow::Result<f64>);

fn note(starts: &mut [Start], answer: Result<Answer, tokio::task::JoinError>) {
    // A task that panicked leaves its start without an answer, which counts as failed.
    let Ok((index, answer)) = answer else { return };
    match answer {
        Ok(at) => starts[index].acknowledged = Some(at),
        Err(error) => starts[index].error = Some(format!("{error:#}")),
    }
}

/// Percentiles of latency, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Documents that were stored.
    pub count: usize,
    /// Half of them were at most as slow.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// All of them.
    pub max: f64,
}

/// The percentiles of the starts that `belongs` picks; none where none is stored.
pub fn latency(starts: &[Start], belongs: impl Fn(&Start) -> bool) -> Option<Latency> {
    let mut seconds: Vec<f64> = starts
        .iter()
        .filter(|start| belongs(start))
        .filter_map(Start::latency)
        .collect();
    seconds.sort_by(f64::total_cmp);
    let rank = |percent: f64| {
        // Nearest rank: a latency that a document really had.
        let rank = (percent / 100.0 * seconds.len() as f64).ceil() as usize;
        seconds[rank.clamp(1, seconds.len()) - 1]
    };
    (!seconds.is_empty()).then(|| Latency {
        count: seconds.len(),
        p50: rank(50.0),
        p90: rank(90.0),
        p99: rank(99.0),
        max: rank(100.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(due: f64, stored: Option<f64>) -> Start {
        Start {
            id: "i".to_owned(),
            key: "k".to_owned(),
            phase: "out".to_owned(),
            due,
            sent: due,
            acknowledged: Some(due),
            error: None,
            stored,
        }
    }

    #[test]
    fn latency_counts_from_the_time_that_was_due() {
        assert_eq!(start(10.0, Some(12.5)).latency(), Some(2.5));
        assert_eq!(start(10.0, None).latency(), None);
        assert_eq!(
            start(10.0, Some(9.9)).latency(),
            Some(0.0),
            "clocks that differ by a little"
        );
    }

    #[test]
    fn percentiles_are_latencies_that_were_had() {
        let starts: Vec<Start> = (1..=200)
            .rev()
            .map(|second| start(0.0, Some(f64::from(second))))
            .collect();
        let found = latency(&starts, |_| true).unwrap();
        assert_eq!(
            (found.count, found.p50, found.p90, found.p99, found.max),
            (200, 100.0, 180.0, 198.0, 200.0)
        );
        let one = latency(&starts[..1], |_| true).unwrap();
        assert_eq!((one.p50, one.p99), (200.0, 200.0));
        assert_eq!(latency(&[start(0.0, None)], |_| true), None);
        assert_eq!(latency(&starts, |_| false), None);
    }
}
