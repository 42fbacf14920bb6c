//! Reads the queue depths. One process of the fleet asks Temporal, at most once per queue and interval; all
//! processes show the reading. Workers and watches compete for the lease, so any one of them is enough.
//!
//! A failed reading makes the metric absent, not 0. If the database is down, no process may ask, because none knows
//! who holds the lease. The last reading is shown until it expires.

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

/// A reading expires after this number of intervals. That is longer than a lease, so the metric has no gap when
/// another process takes over.
pub const LIFETIME_INTERVALS: u32 = 6;

/// A lease lasts this number of intervals after the last reading. Each reading takes less than one interval.
const LEASE_INTERVALS: u32 = 3;

/// Reads and shows the depths of a set of queues.
#[derive(Debug)]
pub struct Watch {
    /// The client of Temporal.
    pub client: Client,
    /// The database that shares the readings.
    pub database: Database,
    /// The metrics that show them.
    pub shown: DepthReadings,
    /// The queues.
    pub queues: Vec<Queue>,
    /// Name of this process in the leases.
    pub reader: String,
    /// Interval between two readings.
    pub every: Duration,
}

impl Watch {
    /// Reads and shows until the process exits.
    pub async fn run(self) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut faults = Faults::default();
        loop {
            ticks.tick().await;
            let refreshed = timeout(self.every * 2, self.refresh()).await;
            let refreshed = refreshed.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer from the database in time")));
            match refreshed {
                Ok(queues) => {
                    faults.report("sharing the queue readings", None);
                    for (queue, error) in queues {
                        faults.report(&format!("reading queue {}", queue.name), error);
                    }
                }
                Err(error) => faults.report("sharing the queue readings", Some(error)),
            }
        }
    }

    /// Reads the queues whose lease this process holds or gets, and shows the shared readings of the others.
    /// Returns for each queue why it could not be read, if so.
    async fn refresh(&self) -> anyhow::Result<Vec<(&Queue, Option<anyhow::Error>)>> {
        let namespace = self.client.namespace();
        let rows = self
            .database
            .shared_readings(&namespace, &self.queues, &self.reader)
            .await
            .context("reading the shared readings")?;
        let mine = self.take_leases(&namespace, &rows).await?;
        let (mine, others): (Vec<_>, Vec<_>) = self.queues.iter().partition(|queue| mine.contains(queue));
        rows.iter().filter(|row| others.contains(&&row.queue)).for_each(|row| self.show(row));
        let asked = mine.into_iter().map(async |queue| (queue, self.read(queue).await));
        let answers = futures::future::join_all(asked).await;
        self.share(&namespace, &answers).await?;
        let asked = answers.into_iter().map(|(queue, answer)| (queue, answer.err()));
        Ok(asked.chain(others.into_iter().map(|queue| (queue, None))).collect())
    }

    /// Acquires or renews the leases that no other process holds.
    async fn take_leases(&self, namespace: &str, rows: &[SharedReading]) -> anyhow::Result<Vec<Queue>> {
        let others = |queue: &Queue| rows.iter().any(|row| row.queue == *queue && !row.leasable);
        let free: Vec<_> = self.queues.iter().filter(|queue| !others(queue)).collect();
        if free.is_empty() {
            return Ok(Vec::new());
        }
        self.database
            .take_leases(namespace, &free, &self.reader, self.every * LEASE_INTERVALS)
            .await
            .context("acquiring the leases on queues")
    }

    async fn read(&self, queue: &Queue) -> anyhow::Result<Reading> {
        let answer = timeout(self.every, ask::ask_with_retry(&self.client, queue)).await;
        let answer = answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {:?}", self.every)));
        match &answer {
            Ok(reading) => self.shown.record(queue, *reading, Instant::now()),
            Err(_) => self.shown.forget(queue),
        }
        answer
    }

    async fn share(&self, namespace: &str, answers: &[(&Queue, anyhow::Result<Reading>)]) -> anyhow::Result<()> {
        if answers.is_empty() {
            return Ok(());
        }
        let readings: Vec<_> = answers.iter().map(|(queue, answer)| (*queue, answer.as_ref().ok())).collect();
        self.database.share_readings(namespace, &self.reader, &readings).await.context("writing the shared readings")
    }

    fn show(&self, row: &SharedReading) {
        let read = row.reading.and_then(|(reading, ago)| Some((reading, Instant::now().checked_sub(ago)?)));
        match read {
            Some((reading, at)) => self.shown.record(&row.queue, reading, at),
            None => self.shown.forget(&row.queue),
        }
    }
}
