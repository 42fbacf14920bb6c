//! Keeps the queues' readings: one process of the fleet asks Temporal, at most once a queue and interval, and all show it. It may
//! be a worker or one that only watches: so there are readings with whichever of them alive.
//!
//! A reading that fails leaves no reading: absent, not 0. Where the database is away nobody may ask, because nobody knows
//! whether another does; what was read last is shown until it is too old.

mod ask;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use temporalio_client::{Client, NamespacedClient as _};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    faults::Faults,
    metrics::{DepthReadings, Queue, Reading},
    store::{Database, SharedReading},
};

/// A reading is shown for so many intervals, then it is too old: longer than a lease, so that the metric goes on without a
/// gap where the worker that asks dies and another follows it.
pub const LIFETIME_INTERVALS: u32 = 6;

/// A lease lasts so many intervals beyond the last question. Each question ends within one.
const LEASE_INTERVALS: u32 = 3;

/// The queues of this process, and with whom their readings are shared.
#[derive(Debug)]
pub struct Watch {
    /// Who is asked.
    pub client: Client,
    /// Where readings are shared.
    pub database: Database,
    /// Where they are shown.
    pub shown: DepthReadings,
    /// What is read.
    pub queues: Vec<Queue>,
    /// This process' name among the readers.
    pub reader: String,
    /// Time between two readings.
    pub every: Duration,
}

impl Watch {
    /// Reads and shows, for ever.
    pub async fn run(self) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut faults = Faults::default();
        loop {
            ticks.tick().await;
            let turn = timeout(self.every * 2, self.turn()).await;
            let turn = turn.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer of the database in time")));
            match turn {
                Ok(queues) => {
                    faults.note("sharing what the fleet reads", None);
                    for (queue, error) in queues {
                        faults.note(&format!("reading queue {}", queue.name), error);
                    }
                }
                Err(error) => faults.note("sharing what the fleet reads", Some(error)),
            }
        }
    }

    /// Shows what the fleet knows, asking for what is this worker's to ask; with each queue, why it could not be read.
    async fn turn(&self) -> anyhow::Result<Vec<(&Queue, Option<anyhow::Error>)>> {
        let namespace = self.client.namespace();
        let rows = self
            .database
            .shared_readings(&namespace, &self.queues, &self.reader)
            .await
            .context("reading what the fleet read")?;
        let mine = self.take(&namespace, &rows).await?;
        let (mine, others): (Vec<_>, Vec<_>) = self.queues.iter().partition(|queue| mine.contains(queue));
        rows.iter()
            .filter(|row| others.contains(&&row.queue))
            .for_each(|row| self.show(row));
        let asked = mine.into_iter().map(async |queue| (queue, self.ask(queue).await));
        let answers = futures::future::join_all(asked).await;
        self.share(&namespace, &answers).await?;
        let asked = answers.into_iter().map(|(queue, answer)| (queue, answer.err()));
        Ok(asked
            .chain(others.into_iter().map(|queue| (queue, None)))
            .collect())
    }

    /// Takes or keeps the leases on what nobody else asks for.
    async fn take(&self, namespace: &str, rows: &[SharedReading]) -> anyhow::Result<Vec<Queue>> {
        let others = |queue: &Queue| rows.iter().any(|row| row.queue == *queue && !row.mine);
        let free: Vec<_> = self.queues.iter().filter(|queue| !others(queue)).collect();
        if free.is_empty() {
            return Ok(Vec::new());
        }
        self.database
            .take_leases(namespace, &free, &self.reader, self.every * LEASE_INTERVALS)
            .await
            .context("taking the leases on queues")
    }

    async fn ask(&self, queue: &Queue) -> anyhow::Result<Reading> {
        let answer = timeout(self.every, ask::ask_again(&self.client, queue)).await;
        let answer = answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {:?}", self.every)));
        match &answer {
            Ok(reading) => self.shown.record(queue, *reading, Instant::now()),
            Err(_) => self.shown.forget(queue),
        }
        answer
    }

    async fn share(
        &self,
        namespace: &str,
        answers: &[(&Queue, anyhow::Result<Reading>)],
    ) -> anyhow::Result<()> {
        if answers.is_empty() {
            return Ok(());
        }
        let readings: Vec<_> = answers
            .iter()
            .map(|(queue, answer)| (*queue, answer.as_ref().ok()))
            .collect();
        self.database
            .share_readings(namespace, &self.reader, &readings)
            .await
            .context("sharing what was read")
    }

    fn show(&self, row: &SharedReading) {
        let read = row
            .reading
            .and_then(|(reading, ago)| Some((reading, Instant::now().checked_sub(ago)?)));
        match read {
            Some((reading, at)) => self.shown.record(&row.queue, reading, at),
            None => self.shown.forget(&row.queue),
        }
    }
}
