//! Reads the depths of the queues. Each worker asks Temporal for itself, at an interval that grows with the fleet
//! ([`schedule`]).
//!
//! A failed reading makes the metrics of a queue absent, not 0.

mod ask;
mod schedule;

use std::time::Duration;

use futures::future::join_all;
use temporalio_client::Client;
use tokio::time::{interval, timeout};
use tower::util::rng::{HasherRng, Rng as _};

use crate::{
    faults::Faults,
    metrics::{DepthReadings, Queue},
};

/// Timeout of a question.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Reads and shows the depths of a set of queues.
#[derive(Debug)]
pub struct Depths {
    /// The client of Temporal.
    pub client: Client,
    /// The metrics that show them.
    pub shown: DepthReadings,
    /// The queues.
    pub queues: Vec<Queue>,
    /// The least interval between two questions about a queue.
    pub least: Duration,
}

impl Depths {
    /// Reads and shows until the process exits.
    pub async fn run(self) {
        // The period does not matter: each round sets the time of the next.
        let mut rounds = interval(self.least);
        let mut random = HasherRng::new();
        let mut faults = Faults::default();
        let mut workers = schedule::UNKNOWN;
        loop {
            rounds.tick().await;
            let answers = join_all(self.queues.iter().map(|queue| self.read(queue))).await;
            let mut pollers = Vec::new();
            for (queue, answer) in self.queues.iter().zip(answers) {
                let error = answer.map(|found| pollers.push(found)).err();
                faults.report(&format!("reading queue {}", queue.name), error);
            }
            // Without an answer the fleet is taken for as large as before.
            workers = schedule::workers(pollers.iter()).unwrap_or(workers);
            rounds.reset_after(schedule::wait(self.least, workers, random.next_f64()));
        }
    }

    /// Reads and shows a queue. Returns its pollers.
    async fn read(&self, queue: &Queue) -> anyhow::Result<ask::Pollers> {
        let answer = timeout(TIMEOUT, ask::ask_with_retry(&self.client, queue)).await;
        match answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {TIMEOUT:?}"))) {
            Ok((reading, pollers)) => {
                self.shown.record(queue, reading);
                Ok(pollers)
            }
            Err(error) => {
                self.shown.forget(queue);
                Err(error)
            }
        }
    }
}
