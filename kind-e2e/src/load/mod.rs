//! The load: documents, arrivals, and an open loop that starts a workflow at each arrival, whatever the answers.
//!
//! A start that is late is sent at once, and its latency counts from the time at which it was due. So a slow system
//! cannot hide behind a slow client. Nothing here waits for a workflow's end, and nothing here judges.

pub mod arrivals;
pub mod calibration;
pub mod context;
pub mod corpus;
pub mod generated;
pub mod sizing;
pub mod waits;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::arrivals::Arrival;
use self::context::Context;
use self::corpus::Document;

/// One start and what came of it. Times are in seconds since the run began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Document id and workflow id.
    pub id: String,
    /// The document's key in the bucket.
    pub key: String,
    /// The phase of the load that it belongs to.
    pub phase: String,
    /// How often its document goes through the latency on the way to S3, at most.
    pub trips: u32,
    /// When it was due.
    pub due: f64,
    /// When it was sent.
    pub sent: f64,
    /// When Temporal acknowledged it.
    pub acknowledged: Option<f64>,
    /// Why it was not acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the transaction that stored the document was committed, by the database's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<f64>,
}

impl Start {
    /// Seconds from the time at which it was due until its document was stored.
    pub fn latency(&self) -> Option<f64> {
        self.stored.map(|stored| (stored - self.due).max(0.0))
    }
}

/// The number of starts that Temporal acknowledged.
pub fn acknowledged(starts: &[Start]) -> u64 {
    starts.iter().filter(|start| start.acknowledged.is_some()).count() as u64
}

/// A load: its documents' ids begin with `prefix`, which is of this run and scenario only.
#[derive(Clone)]
pub struct Load {
    context: Context,
    /// The beginning of every id.
    pub prefix: String,
}

impl Load {
    /// Begins a load of the scenario, or part of one, called `name`.
    pub fn begin(context: &Context, name: &str) -> Self {
        let prefix = format!("{}-{}-", context.run, name.replace('/', "-"));
        context.board.begin_load(&prefix);
        Self { context: context.clone(), prefix }
    }

    /// Plays `arrivals` from now on, adding to `starts` in their order.
    ///
    /// Returns when the last start is answered. `starts` holds what is known so far, also where this future is
    /// dropped before its end.
    pub async fn play(&self, phase: &str, arrivals: &[Arrival], starts: &mut Vec<Start>) {
        self.play_until(phase, arrivals, starts, &CancellationToken::new()).await;
    }

    /// As [`Self::play`], but nothing is sent any more after `stop`.
    pub async fn play_until(
        &self,
        phase: &str,
        arrivals: &[Arrival],
        starts: &mut Vec<Start>,
        stop: &CancellationToken,
    ) {
        let begin = Instant::now();
        let mut answers = JoinSet::new();
        'arrivals: for arrival in arrivals {
            // Answers that came meanwhile are noted while waiting for the next arrival.
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break 'arrivals,
                    () = sleep_until(begin + arrival.at) => break,
                    Some(answer) = answers.join_next() => note(starts, answer),
                }
            }
            let late = begin.elapsed().saturating_sub(arrival.at).as_secs_f64();
            self.send(phase, arrival.document, late, starts, &mut answers);
        }
        while let Some(answer) = answers.join_next().await {
            note(starts, answer);
        }
    }

    /// Sends one start that was due `late` seconds ago.
    pub(crate) fn send(
        &self,
        phase: &str,
        document: usize,
        late: f64,
        starts: &mut Vec<Start>,
        answers: &mut JoinSet<Answer>,
    ) {
        let Document { key, trips, .. } = &self.context.documents[document];
        let index = starts.len();
        let id = format!("{}{phase}-{index:05}", self.prefix);
        let sent = self.context.clock.now();
        self.context.board.scheduled();
        starts.push(Start {
            id: id.clone(),
            key: key.clone(),
            phase: phase.to_owned(),
            trips: *trips,
            due: sent - late,
            sent,
            ..Start::default()
        });
        let (context, source) = (self.context.clone(), self.context.fixture.source(key));
        answers.spawn(async move {
            let answer = context.fixture.temporal.start(&id, &source).await;
            context.board.answered(answer.is_ok());
            (index, answer.map(|()| context.clock.now()))
        });
    }
}

/// Which start, and when Temporal acknowledged it.
pub(crate) type Answer = (usize, anyhow::Result<f64>);

/// Notes an answer in its start.
pub(crate) fn note(starts: &mut [Start], answer: Result<Answer, tokio::task::JoinError>) {
    // A task that panicked leaves its start without an answer, which counts as failed.
    let Ok((index, answer)) = answer else { return };
    match answer {
        Ok(at) => starts[index].acknowledged = Some(at),
        Err(error) => starts[index].error = Some(format!("{error:#}")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A document of one trip, acknowledged at once.
    pub(crate) fn start(due: f64, stored: Option<f64>) -> Start {
        Start { trips: 1, due, sent: due, acknowledged: Some(due), stored, ..Start::default() }
    }

    #[test]
    fn latency_counts_from_the_time_that_was_due() {
        assert_eq!(start(10.0, Some(12.5)).latency(), Some(2.5));
        assert_eq!(start(10.0, None).latency(), None);
        assert_eq!(start(10.0, Some(9.9)).latency(), Some(0.0), "clocks that differ by a little");
    }
}
