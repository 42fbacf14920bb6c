//! How a load ended: what Temporal says of its workflows, what the database holds, and what the oracle
//! makes of it. The same for every scenario that loads.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::Context;
use crate::corpus::Document;
use crate::load::Start;
use crate::oracle::{self, Expected, rows};
use crate::verdict::Check;
use crate::wait::{Probe, eventually};

/// For visibility, which Temporal writes after the workflow's end, to have caught up.
const VISIBILITY: Duration = Duration::from_secs(45);

/// How a load ended.
pub struct End {
    /// Workflows by status.
    pub statuses: BTreeMap<String, u64>,
    /// What the oracle found.
    pub checks: Vec<Check>,
}

/// The number of starts that Temporal acknowledged.
pub fn acknowledged(starts: &[Start]) -> u64 {
    starts.iter().filter(|start| start.acknowledged.is_some()).count() as u64
}

/// Reads everything about the documents whose ids begin with `prefix`, and notes in `starts` when each
/// was stored.
pub async fn reckon(context: &Context, prefix: &str, starts: &mut [Start]) -> Result<End> {
    let statuses = statuses(context, prefix, acknowledged(starts)).await?;
    let rows = rows::read(&context.fixture.postgres, prefix).await?;
    fill_in(context, starts, &rows.documents);
    let checks = oracle::compare(&expected(context, starts), &rows);
    Ok(End { statuses, checks })
}

/// Notes in `starts` when each document was stored so far.
pub async fn note_stored(context: &Context, prefix: &str, starts: &mut [Start]) -> Result<()> {
    let rows = rows::read(&context.fixture.postgres, prefix).await?;
    fill_in(context, starts, &rows.documents);
    Ok(())
}

/// Workflows by status, as soon as enough are completed or as they are when the wait is over.
async fn statuses(context: &Context, prefix: &str, due: u64) -> Result<BTreeMap<String, u64>> {
    let temporal = &context.fixture.temporal;
    let settled = eventually("visibility", VISIBILITY, async || {
        match temporal.count_by_status(prefix).await {
            Ok(counts) if counts.get("Completed").copied().unwrap_or(0) >= due => Probe::Ready(counts),
            Ok(counts) => Probe::NotYet(format!("{counts:?} of {due}")),
            Err(error) => Probe::NotYet(format!("{error:#}")),
        }
    });
    match settled.await {
        Ok(counts) => Ok(counts),
        Err(_) => temporal.count_by_status(prefix).await,
    }
}

fn fill_in(context: &Context, starts: &mut [Start], documents: &[rows::Document]) {
    let stored: BTreeMap<&str, f64> = documents
        .iter()
        .map(|row| (row.document_id.as_str(), row.stored_at))
        .collect();
    for start in starts {
        start.stored = stored
            .get(start.id.as_str())
            .map(|unix| context.clock.from_unix(*unix));
    }
}

fn expected(context: &Context, starts: &[Start]) -> Vec<Expected> {
    let documents: BTreeMap<&str, &Document> = context
        .documents
        .iter()
        .map(|document| (document.key.as_str(), document))
        .collect();
    let pairs = starts
        .iter()
        .filter_map(|start| Some((start, documents.get(start.key.as_str())?)));
    pairs
        .map(|(start, document)| Expected {
            id: start.id.clone(),
            source: context.fixture.source(&start.key),
            bytes: document.bytes.len() as u64,
            sha256: document.sha256.clone(),
            words: document.words,
            acknowledged: start.acknowledged.is_some(),
        })
        .collect()
}
