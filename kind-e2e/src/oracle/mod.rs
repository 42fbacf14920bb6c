//! Whether what is stored is what was loaded: exactly the acknowledged documents, each once, each as
//! it was uploaded, counted again by other parsers than the worker's.
//!
//! [`rows`] reads the worker's tables; everything in this file is pure and takes those rows as values.

pub mod rows;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::count::words_of_text;
use crate::verdict::{Check, Outcome};
use rows::{Document, Passage, Rows};

/// The step whose effect makes a document stored.
pub const STORE_STEP: &str = "store_document";

/// At most so many offenders are named; the rest are counted.
const NAMED: usize = 5;

/// What one start of the load must have led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Document id and workflow id.
    pub id: String,
    /// Where the document lies, as the workflow was told.
    pub source: String,
    /// Length of what was uploaded.
    pub bytes: u64,
    /// Hash of what was uploaded, in hex.
    pub sha256: String,
    /// The oracle's count of its words.
    pub words: u64,
    /// Whether Temporal acknowledged the start. What was not acknowledged may be stored or not.
    pub acknowledged: bool,
}

/// Holds `rows` against what was loaded.
pub fn compare(expected: &[Expected], rows: &Rows) -> Vec<Check> {
    let by_id: BTreeMap<&str, &Expected> = expected.iter().map(|one| (one.id.as_str(), one)).collect();
    let pairs: Vec<(&Expected, &Document)> = rows
        .documents
        .iter()
        .filter_map(|row| by_id.get(row.document_id.as_str()).map(|one| (*one, row)))
        .collect();
    vec![
        stored_once(expected, &by_id, rows),
        as_uploaded(&pairs),
        words_counted(&pairs),
        passages_cover(&pairs, &rows.passages),
        effects_once(&pairs, rows),
        attempts_shown(&pairs, rows),
    ]
}

fn stored_once(expected: &[Expected], by_id: &BTreeMap<&str, &Expected>, rows: &Rows) -> Check {
    let stored: BTreeSet<&str> = rows
        .documents
        .iter()
        .map(|row| row.document_id.as_str())
        .collect();
    let acknowledged = expected.iter().filter(|one| one.acknowledged).count();
    let missing = expected
        .iter()
        .filter(|one| one.acknowledged && !stored.contains(one.id.as_str()))
        .map(|one| format!("{} is not stored", one.id));
    let foreign = stored
        .iter()
        .filter(|id| !by_id.contains_key(*id))
        .map(|id| format!("{id} is stored but was not loaded"));
    Check::new(
        "every acknowledged document stored once",
        format!("{acknowledged} documents"),
        format!("{} stored", rows.documents.len()),
        "a start that Temporal acknowledged is durable; document_id is the table's key, so none is there twice",
        problems(missing.chain(foreign)),
    )
}

fn as_uploaded(pairs: &[(&Expected, &Document)]) -> Check {
    let wrong = pairs.iter().filter_map(|(one, row)| {
        let same = row.sha256 == one.sha256 && row.bytes == one.bytes && row.source == one.source;
        let own = row.workflow_id == one.id;
        (!same || !own).then(|| {
            format!(
                "{} ({}): {} bytes, sha256 {}, of {}, by {}; uploaded: {} bytes, sha256 {}",
                one.id, one.source, row.bytes, row.sha256, row.source, row.workflow_id, one.bytes, one.sha256
            )
        })
    });
    Check::new(
        "bytes, hash and source as uploaded",
        "equal for every document",
        format!("{} compared", pairs.len()),
        "the row's hash is of what the worker read from S3, ours of what was put there",
        problems(wrong),
    )
}

fn words_counted(pairs: &[(&Expected, &Document)]) -> Check {
    let wrong = pairs
        .iter()
        .filter(|(one, row)| one.words != row.words)
        .map(|(one, row)| {
            format!(
                "{} ({}): {} words stored, {} counted",
                one.id, one.source, row.words, one.words
            )
        });
    let total: u64 = pairs.iter().map(|(_, row)| row.words).sum();
    Check::new(
        "words as counted by other parsers",
        "equal for every document, no tolerance",
        format!("{} documents, {total} words", pairs.len()),
        "a word is defined by characters and element boundaries, not by a parser's taste",
        problems(wrong),
    )
}

fn passages_cover(pairs: &[(&Expected, &Document)], passages: &[Passage]) -> Check {
    let mut by_document = BTreeMap::<&str, Vec<&Passage>>::new();
    for passage in passages {
        by_document
            .entry(passage.document_id.as_str())
            .or_default()
            .push(passage);
    }
    let wrong = pairs.iter().filter_map(|(_, row)| {
        let mut own = by_document
            .get(row.document_id.as_str())
            .cloned()
            .unwrap_or_default();
        own.sort_by_key(|passage| passage.ordinal);
        fault_in_passages(row, &own).map(|fault| format!("{} ({}): {fault}", row.document_id, row.source))
    });
    Check::new(
        "passages cover each document once",
        "ordinals from 0, their words sum up to the document's, hashes of their text",
        format!("{} passages", passages.len()),
        "passages neither overlap nor leave words out, so that their sum is the whole",
        problems(wrong),
    )
}

fn fault_in_passages(row: &Document, own: &[&Passage]) -> Option<String> {
    if own.len() as u64 != row.passages {
        return Some(format!("{} passages, {} told", own.len(), row.passages));
    }
    for (ordinal, passage) in own.iter().enumerate() {
        if passage.ordinal != ordinal as i64 {
            return Some(format!("ordinal {} where {ordinal} was due", passage.ordinal));
        }
        let counted = words_of_text(&passage.text);
        if counted != passage.words {
            return Some(format!(
                "passage {ordinal}: {} words told, {counted} counted",
                passage.words
            ));
        }
        if passage.sha256 != hash(passage.text.as_bytes()) {
            return Some(format!(
                "passage {ordinal}: its hash {} is not of its text",
                passage.sha256
            ));
        }
    }
    let sum: u64 = own.iter().map(|passage| passage.words).sum();
    (sum != row.words).then(|| format!("{sum} words in its passages, {} in the document", row.words))
}

fn effects_once(pairs: &[(&Expected, &Document)], rows: &Rows) -> Check {
    let mut counts = BTreeMap::<(&str, &str), u64>::new();
    for (workflow, step) in &rows.effects {
        *counts.entry((workflow, step)).or_default() += 1;
    }
    let steps: BTreeSet<&str> = counts.keys().map(|(_, step)| *step).chain([STORE_STEP]).collect();
    let wrong = pairs.iter().flat_map(|(one, _)| {
        let counts = &counts;
        steps.iter().filter_map(move |step| {
            let times = counts.get(&(one.id.as_str(), *step)).copied().unwrap_or(0);
            (times != 1).then(|| format!("{}: {step} took effect {times} times", one.id))
        })
    });
    let steps = steps.iter().copied().collect::<Vec<_>>().join(", ");
    Check::new(
        "each step took effect exactly once",
        "one effect for each stored document and step",
        format!("{} effects; steps: {steps}", rows.effects.len()),
        "activities run at least once, and what they write is unique on (workflow, step)",
        problems(wrong),
    )
}

fn attempts_shown(pairs: &[(&Expected, &Document)], rows: &Rows) -> Check {
    let mut highest = BTreeMap::<(&str, &str), i64>::new();
    for attempt in &rows.attempts {
        let entry = highest.entry((&attempt.workflow_id, &attempt.step)).or_default();
        *entry = (*entry).max(attempt.attempt);
    }
    let repeated = highest.values().filter(|attempt| **attempt > 1).count();
    let most = highest.values().max().copied().unwrap_or(0);
    let workers: BTreeSet<&str> = rows
        .attempts
        .iter()
        .map(|attempt| attempt.worker.as_str())
        .collect();
    let unseen: BTreeSet<&str> = rows
        .attempts
        .iter()
        .map(|attempt| attempt.workflow_id.as_str())
        .collect();
    let without = pairs.iter().filter(|(one, _)| !unseen.contains(one.id.as_str()));
    Check::new(
        "attempts written down",
        "at least one for each stored document",
        format!(
            "{} attempts by {} workers; {repeated} steps needed more than one, {most} at the most",
            rows.attempts.len(),
            workers.len()
        ),
        "shown, not judged: a retry that ends in one effect is what retries are for",
        problems(without.map(|(one, _)| format!("{} has no attempt", one.id))),
    )
}

/// Every workflow completed: none failed, timed out, was terminated or is still running.
pub fn all_completed(acknowledged: u64, statuses: &BTreeMap<String, u64>) -> Check {
    let told = statuses
        .iter()
        .map(|(status, count)| format!("{count} {status}"))
        .collect::<Vec<_>>()
        .join(", ");
    let completed = statuses.get("Completed").copied().unwrap_or(0);
    let others = statuses.iter().filter(|(status, _)| *status != "Completed");
    let mut wrong: Vec<String> = others
        .map(|(status, count)| format!("{count} workflows are {status}"))
        .collect();
    if completed < acknowledged {
        wrong.push(format!(
            "{completed} workflows completed of {acknowledged} that were acknowledged"
        ));
    }
    Check::new(
        "every workflow completed",
        format!("{acknowledged} Completed and no other status"),
        if told.is_empty() { "none".to_owned() } else { told },
        "counted by Temporal's visibility over the ids of this run",
        problems(wrong),
    )
}

/// A pass where there are no problems; otherwise the first few by name and the others by number.
pub fn problems(found: impl IntoIterator<Item = String>) -> Outcome {
    let mut found = found.into_iter();
    let mut named: Vec<String> = found.by_ref().take(NAMED).collect();
    let more = found.count();
    if named.is_empty() {
        return Outcome::Pass;
    }
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    Outcome::Fail(named)
}

/// SHA-256 in hex.
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
