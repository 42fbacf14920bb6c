//! Keeps the queues' readings: one worker of the fleet asks Temporal, at most once a queue and interval, and all show it.
//!
//! A reading that fails leaves no reading: absent, not 0. Where the database is away nobody may ask, because nobody knows
//! whether another does; what was read last is shown until it is too old.

mod ask;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use temporalio_client::{Client, NamespacedClient as _};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::{
    metrics::{DepthReadings, Queue},
    store::{Database, SharedReading},
};

/// A reading is shown for so many intervals, then it is too old: longer than a lease, so that the metric goes on without a
/// gap where the worker that asks dies and another follows it.
pub const LIFETIME_INTERVALS: u32 = 5;

/// A lease lasts so many intervals beyond the last question. Each question ends within one.
const LEASE_INTERVALS: u32 = 3;

/// The queues of this worker, and with whom their readings are shared.
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
    /// This worker's name among the readers.
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
                    faults.note("what the fleet read", None);
                    for (queue, error) in queues {
                        faults.note(&queue.name, error);
                    }
                }
                Err(error) => faults.note("what the fleet read", Some(error)),
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
        let each = self.queues.iter().map(|queue| {
            let row = rows.iter().find(|row| row.queue == *queue);
            let namespace = &namespace;
            async move { (queue, self.refresh(namespace, queue, row).await.err()) }
        });
        Ok(futures::future::join_all(each).await)
    }

    async fn refresh(
        &self,
        namespace: &str,
        queue: &Queue,
        row: Option<&SharedReading>,
    ) -> anyhow::Result<()> {
        if row.is_none_or(|row| row.mine) && self.take(namespace, queue).await? {
            return self.ask(namespace, queue).await;
        }
        if let Some(row) = row {
            self.show(row);
        }
        Ok(())
    }

    async fn take(&self, namespace: &str, queue: &Queue) -> anyhow::Result<bool> {
        self.database
            .take_lease(namespace, queue, &self.reader, self.every * LEASE_INTERVALS)
            .await
            .context("taking the lease on a queue")
    }

    async fn ask(&self, namespace: &str, queue: &Queue) -> anyhow::Result<()> {
        let answer = timeout(self.every, ask::ask_again(&self.client, queue)).await;
        let answer = answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {:?}", self.every)));
        match &answer {
            Ok(reading) => self.shown.record(queue, *reading, Instant::now()),
            Err(_) => self.shown.forget(queue),
        }
        self.database
            .share_reading(namespace, queue, &self.reader, answer.as_ref().ok())
            .await
            .context("sharing a reading")?;
        answer.map(drop)
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

/// What cannot be read now: each fault and each recovery is told once.
#[derive(Debug, Default)]
struct Faults(BTreeSet<String>);

impl Faults {
    fn note(&mut self, what: &str, error: Option<anyhow::Error>) {
        match error {
            Some(error) if self.0.insert(what.to_owned()) => {
                warn!(error = format!("{error:#}"), "{what} cannot be read");
            }
            None if self.0.remove(what) => info!("{what} can be read again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_once_and_so_is_its_end() {
        let mut faults = Faults::default();
        faults.note("q", Some(anyhow::anyhow!("away")));
        assert!(faults.0.contains("q"));
        faults.note("q", Some(anyhow::anyhow!("away")));
        faults.note("q", None);
        assert!(faults.0.is_empty());
    }
}
