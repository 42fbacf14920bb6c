//! How a load ended: what Temporal, Postgres and the bucket hold of it, and what that shows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::attempts::Retried;
use super::{Facts, Stored};
use crate::cluster::reading::Reading;
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question, faults};
use crate::load::{Start, acknowledged};

/// The steps of a document's workflow: activities, each of which a stored document has passed once.
pub const STEPS: [&str; 3] = ["fetch_document", "extract_text", STORE_STEP];
/// The step whose effect makes a document stored.
const STORE_STEP: &str = "store_document";
/// Retried steps that the report lists.
const LISTED: usize = 20;

/// What Temporal, Postgres and the bucket hold of a load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// What each loaded object says, by its key.
    pub expected: BTreeMap<String, Facts>,
    /// Where the workers read an object from: this and its key.
    pub root: String,
    /// What is stored.
    pub stored: Vec<Stored>,
    /// Workflows by status.
    pub statuses: BTreeMap<String, u64>,
    /// Steps of the stored documents.
    pub steps: usize,
    /// Steps that needed more than one attempt.
    pub retried: Vec<Retried>,
    /// Workers that were seen with a slot in use.
    pub workers: usize,
    /// Keys of objects that should have a claim in the bucket, and have none.
    pub claims_missing: Reading<Vec<String>>,
    /// Claims that the load should have.
    pub claims: usize,
    /// The other claims in the bucket; none in a run that did not count them.
    pub claims_beyond: Option<Reading<Beyond>>,
    /// Calls to the LLM, which the cluster does not have.
    pub llm_calls: Reading<f64>,
}

/// Claims that were written in this run, and are not the body of a large document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Beyond {
    /// Keys of documents within the inline limit whose body has a claim.
    pub needless: Vec<String>,
    /// Claims that are no document's body: what was read of a document.
    pub others: usize,
    /// The most of those that there can be: passages and structure of each document that may be too large for inline.
    pub most_others: usize,
}

impl Ending {
    /// What the ending shows of the documents.
    pub fn checks(&self, starts: &[Start]) -> Vec<Check> {
        vec![
            self.all_completed(acknowledged(starts)),
            self.stored_once(starts),
            self.as_loaded(starts),
            self.passages(),
            self.effects_once(),
            self.claims_kept(),
            self.no_llm(),
        ]
    }

    fn all_completed(&self, acknowledged: u64) -> Check {
        let statuses = self.statuses.iter().map(|(status, count)| format!("{count} {status}"));
        let shown = statuses.collect::<Vec<_>>().join(", ");
        let completed = self.statuses.get("Completed").copied().unwrap_or(0);
        let others = self.statuses.iter().filter(|(status, _)| *status != "Completed");
        let mut wrong: Vec<String> = others.map(|(status, count)| format!("{count} workflows are {status}")).collect();
        if completed < acknowledged {
            wrong.push(format!("{completed} workflows completed of {acknowledged} that were acknowledged"));
        }
        Question::new(
            "completed",
            "every workflow completed",
            format!("{acknowledged} Completed and no other status"),
            "counted by Temporal's visibility over the ids of this load",
        )
        .answer(if shown.is_empty() { "none".to_owned() } else { shown }, faults(wrong))
    }

    fn stored_once(&self, starts: &[Start]) -> Check {
        let ids: BTreeSet<&str> = self.stored.iter().map(|one| one.id.as_str()).collect();
        let loaded: BTreeSet<&str> = starts.iter().map(|start| start.id.as_str()).collect();
        let missing = starts
            .iter()
            .filter(|start| start.acknowledged.is_some() && !ids.contains(start.id.as_str()))
            .map(|start| format!("{} is not stored", start.id));
        let foreign =
            ids.iter().filter(|id| !loaded.contains(*id)).map(|id| format!("{id} is stored but was not loaded"));
        let twice = self.stored.len() - ids.len();
        let twice = (twice > 0).then(|| format!("{twice} documents are stored twice"));
        Question::new(
            "stored-once",
            "every acknowledged document is stored once",
            format!("{} documents", acknowledged(starts)),
            "a start that Temporal acknowledged is durable",
        )
        .answer(format!("{} stored", self.stored.len()), faults(missing.chain(foreign).chain(twice)))
    }

    fn as_loaded(&self, starts: &[Start]) -> Check {
        let keys: BTreeMap<&str, &str> = starts.iter().map(|start| (start.id.as_str(), start.key.as_str())).collect();
        let (mut compared, mut wrong) = (0, Vec::new());
        for one in &self.stored {
            let Some(key) = keys.get(one.id.as_str()) else {
                continue;
            };
            let Some(expected) = self.expected.get(*key) else {
                continue;
            };
            compared += 1;
            let mut differences = one.text.differences(expected);
            if one.source != format!("{}{key}", self.root) {
                differences.push("source");
            }
            if one.workflow_id != one.id {
                differences.push("workflow");
            }
            if !differences.is_empty() {
                wrong.push(format!("{} ({key}): another {}", one.id, differences.join(", ")));
            }
        }
        let words: u64 = self.stored.iter().map(|one| one.text.words.0).sum();
        Question::new(
            "text",
            "every document is stored as it was loaded",
            "equal bytes, sequence of words, title, headings, links, charset and language",
            "read by other parsers than the worker's; a document that two of them read differently is not loaded",
        )
        .answer(format!("{compared} documents, {words} words"), faults(wrong))
    }

    fn passages(&self) -> Check {
        let wrong = self.stored.iter().filter_map(|one| Some(format!("{}: {}", one.id, one.passages.as_ref()?)));
        Question::new(
            "passages",
            "passages cover each document once",
            "ordinals from 0, hashes of their text, each word in one passage",
            "passages neither overlap nor leave words out",
        )
        .answer(format!("{} documents", self.stored.len()), faults(wrong))
    }

    fn effects_once(&self) -> Check {
        let names = self.stored.iter().flat_map(|one| one.effects.keys()).map(String::as_str);
        let steps: BTreeSet<&str> = names.chain([STORE_STEP]).collect();
        let wrong = self.stored.iter().flat_map(|one| {
            steps.iter().filter_map(|step| {
                let times = one.effects.get(*step).copied().unwrap_or(0);
                (times != 1).then(|| format!("{}: {step} took effect {times} times", one.id))
            })
        });
        let listed = steps.iter().copied().collect::<Vec<_>>().join(", ");
        Question::new(
            "effects",
            "each step took effect exactly once",
            "one effect for each stored document and step",
            "an activity runs at least once; the worker counts how often it took effect",
        )
        .answer(format!("{} documents; steps: {listed}", self.stored.len()), faults(wrong))
    }

    fn claims_kept(&self) -> Check {
        let question = Question::new(
            "claims",
            "the claims in the bucket are those of the large documents",
            format!("{} bodies, and what was read of them", self.claims),
            "a body above the inline limit travels as a claim, whose key is the hash of its bytes; nothing else does but \
             the passages and the structure of a document",
        );
        let (missing, beyond) = match (&self.claims_missing, &self.claims_beyond) {
            (Reading::Gap(why), _) | (_, Some(Reading::Gap(why))) => return question.unseen(why),
            (Reading::Seen(missing), Some(Reading::Seen(beyond))) => (missing, beyond.clone()),
            (Reading::Seen(missing), None) => (missing, Beyond::default()),
        };
        let small = beyond.needless.iter().map(|key| format!("{key} is small and has a claim"));
        let mut wrong: Vec<String> = missing.iter().map(|key| format!("{key} has no claim")).chain(small).collect();
        if beyond.others > beyond.most_others {
            wrong.push(format!("{} claims are no body, {} at most can be", beyond.others, beyond.most_others));
        }
        let bodies = self.claims.saturating_sub(missing.len());
        question.answer(format!("{bodies} bodies, {} others", beyond.others), faults(wrong))
    }

    fn no_llm(&self) -> Check {
        let question = Question::new(
            "llm",
            "no call to an LLM",
            "0 calls",
            "the cluster has no LLM_BASE_URL: a summary is a step that nobody asked for",
        );
        match &self.llm_calls {
            Reading::Gap(why) => question.unseen(why),
            Reading::Seen(calls) => question.require(*calls == 0.0, format!("{calls:.0} calls")),
        }
    }

    /// Every step ended on its first attempt. For a load without injected faults.
    pub fn first_attempts(&self) -> Check {
        let question = Question::new(
            "first-attempts",
            "steps end on their first attempt",
            "none needs another",
            "no fault was injected, and a worker that leaves loses no task (decision 25)",
        );
        if self.steps == 0 {
            return question.unseen("no document is stored");
        }
        let first = self.retried.first().map(|one| format!("; {}: {}", one.step, one.reason));
        let measured = format!(
            "{} of {} steps, by {} workers{}",
            self.retried.len(),
            self.steps,
            self.workers,
            first.unwrap_or_default()
        );
        question.require(self.retried.is_empty(), measured)
    }

    /// The steps that needed another attempt; none where there were none.
    pub fn table(&self, load: &str) -> Option<Table> {
        let heads =
            ["step", "workflow", "attempts", "worker of the lost attempt", "it was leaving", "why the attempt ended"];
        let note = format!("{} of {} steps; at most {LISTED} are listed.", self.retried.len(), self.steps);
        let mut table = Table::new(format!("{load}: steps that needed another attempt"), &heads, note);
        table.rows = self.retried.iter().take(LISTED).map(row).collect();
        (!table.rows.is_empty()).then_some(table)
    }
}

fn row(one: &Retried) -> Vec<String> {
    let leaving = match one.leaving {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not seen",
    };
    vec![
        one.step.clone(),
        one.workflow_id.clone(),
        one.attempts.to_string(),
        one.worker.clone(),
        leaving.to_owned(),
        one.reason.clone(),
    ]
}
