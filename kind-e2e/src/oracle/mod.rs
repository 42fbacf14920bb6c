//! Whether what is stored is what was loaded: each acknowledged document once, with the text that other parsers than
//! the worker's read in it. Pure: rows come in as values ([`crate::observe::rows`] reads them).

pub mod attempts;
pub mod ending;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::load::corpus::{Expected, NONE, hash};
use crate::observe::rows::{Document, Passage, Rows};
use crate::text::words_sequence_of_passages;

/// What is stored of one document, as far as it is compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Document id.
    pub id: String,
    /// Where it was read from.
    pub source: String,
    /// The workflow that stored it.
    pub workflow_id: String,
    /// What it says.
    pub text: Facts,
    /// What is wrong within its passages, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passages: Option<String>,
    /// How often each step took effect.
    pub effects: BTreeMap<String, u64>,
}

/// What a document says: stored by the worker, or expected by the oracle. Values that are none are not compared.
///
/// Of a hash it has the first 64 bits: enough to tell texts apart, and a quarter of the run's facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Length and SHA-256 of its bytes.
    pub bytes: (u64, String),
    /// Words, and SHA-256 over their sequence.
    pub words: (u64, String),
    /// Its title.
    pub title: Option<String>,
    /// Headings in all, and a hash of the first.
    pub headings: (u64, String),
    /// Links in all, and a hash of the first.
    pub links: (u64, String),
    /// Its charset.
    pub charset: Option<String>,
    /// Its language.
    pub language: Option<String>,
}

impl From<&Expected> for Facts {
    fn from(expected: &Expected) -> Self {
        let reading = &expected.reading;
        let headings = reading.headings.iter().map(|(level, text)| (level.to_string(), text.clone()));
        let links = reading.links.iter().cloned();
        Self {
            bytes: (expected.bytes, short(&expected.sha256)),
            words: (reading.words, short(&reading.sequence)),
            title: reading.title.clone(),
            headings: (reading.heading_count, hash_of(headings)),
            links: (reading.link_count, hash_of(links)),
            charset: expected.charset.clone(),
            language: expected.language.clone(),
        }
    }
}

impl Facts {
    /// The names of the facts that differ from what was expected.
    pub fn differences(&self, expected: &Self) -> Vec<&'static str> {
        let same_if_known = |known: &Option<String>, stored: &Option<String>| known.is_none() || known == stored;
        let all = [
            ("bytes", self.bytes == expected.bytes),
            ("words", self.words.0 == expected.words.0),
            ("sequence of words", self.words.1 == expected.words.1),
            ("title", self.title == expected.title),
            ("headings", self.headings == expected.headings),
            ("links", self.links == expected.links),
            ("charset", same_if_known(&expected.charset, &self.charset)),
            ("language", same_if_known(&expected.language, &self.language)),
        ];
        all.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

/// What is stored of each document of one load.
pub fn stored(rows: &Rows) -> Vec<Stored> {
    let mut passages = BTreeMap::<&str, Vec<&Passage>>::new();
    for passage in &rows.passages {
        passages.entry(&passage.document_id).or_default().push(passage);
    }
    let mut effects = BTreeMap::<&str, BTreeMap<String, u64>>::new();
    for (workflow, step) in &rows.effects {
        *effects.entry(workflow).or_default().entry(step.clone()).or_default() += 1;
    }
    let one = |row: &Document| {
        let mut own = passages.remove(row.document_id.as_str()).unwrap_or_default();
        own.sort_by_key(|passage| passage.ordinal);
        let (words, sequence) = words_sequence_of_passages(own.iter().map(|passage| passage.text.as_str()));
        Stored {
            id: row.document_id.clone(),
            source: row.source.clone(),
            workflow_id: row.workflow_id.clone(),
            text: Facts {
                bytes: (row.bytes, short(&row.sha256)),
                words: (row.words, short(&sequence)),
                title: row.title.clone(),
                headings: (row.heading_count, hash_of(pairs(&row.headings, ["level", "text"]))),
                links: (row.link_count, hash_of(pairs(&row.links, ["target", "text"]))),
                charset: Some(row.charset.clone().unwrap_or_else(|| NONE.to_owned())),
                language: Some(row.language.clone().unwrap_or_else(|| NONE.to_owned())),
            },
            passages: fault_in_passages(row, &own, words),
            effects: effects.remove(row.workflow_id.as_str()).unwrap_or_default(),
        }
    };
    rows.documents.iter().map(one).collect()
}

/// Passages have ordinals from 0, hashes of their text, and cover each word once.
fn fault_in_passages(row: &Document, own: &[&Passage], words: u64) -> Option<String> {
    if own.len() as u64 != row.passages {
        return Some(format!("{} passages, {} in the document's row", own.len(), row.passages));
    }
    for (ordinal, passage) in own.iter().enumerate() {
        if passage.ordinal != ordinal as i64 {
            return Some(format!("ordinal {} where {ordinal} was due", passage.ordinal));
        }
        if passage.sha256 != hash(passage.text.as_bytes()) {
            return Some(format!("passage {ordinal}: its hash is not of its text"));
        }
    }
    let shown: u64 = own.iter().map(|passage| passage.words).sum();
    (shown != row.words || words != row.words)
        .then(|| format!("{words} words in its passages, {shown} by their rows, {} by the document's", row.words))
}

/// The values of two keys of each object in a list.
fn pairs<'a>(list: &'a Value, keys: [&'a str; 2]) -> impl Iterator<Item = (String, String)> + 'a {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let objects = list.as_array().into_iter().flatten();
    objects.map(move |object| (text(&object[keys[0]]), text(&object[keys[1]])))
}

/// A hash over pairs, in their order.
fn hash_of(pairs: impl Iterator<Item = (String, String)>) -> String {
    let lines: String = pairs.map(|(one, other)| format!("{one}\t{other}\n")).collect();
    short(&hash(lines.as_bytes()))
}

/// The first 64 bits of a hash in hex.
fn short(hash: &str) -> String {
    hash.chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A document of two passages, as the worker's tables have it.
    pub(crate) fn rows(texts: [&str; 2]) -> Rows {
        let words = |text: &str| text.split(' ').count() as u64;
        let passage = |ordinal: usize| Passage {
            document_id: "d".to_owned(),
            ordinal: ordinal as i64,
            text: texts[ordinal].to_owned(),
            words: words(texts[ordinal]),
            sha256: hash(texts[ordinal].as_bytes()),
        };
        Rows {
            documents: vec![Document {
                document_id: "d".to_owned(),
                workflow_id: "d".to_owned(),
                words: texts.map(words).iter().sum(),
                passages: 2,
                headings: json!([]),
                links: json!([]),
                ..Document::default()
            }],
            passages: vec![passage(1), passage(0)],
            effects: vec![("d".to_owned(), "store_document".to_owned())],
            ..Rows::default()
        }
    }

    #[test]
    fn a_swap_or_another_text_of_the_same_length_changes_the_sequence() {
        let of = |texts| stored(&rows(texts)).remove(0).text;
        let expected = of(["one two", "three four"]);
        assert_eq!(expected.words.0, 4);
        assert_eq!(of(["one", "two three four"]).differences(&expected), Vec::<&str>::new(), "the cut does not matter");
        for other in [["three four", "one two"], ["one two", "three five"]] {
            assert_eq!(of(other).differences(&expected), ["sequence of words"], "{other:?}");
        }
    }

    #[test]
    fn a_fault_in_the_passages_is_named() {
        type Change = fn(&mut Rows);
        let fault = |change: Change| {
            let mut rows = rows(["one two", "three four"]);
            change(&mut rows);
            stored(&rows).remove(0).passages
        };
        assert_eq!(fault(|_| {}), None);
        let table: [(Change, &str); 5] = [
            (|rows| drop(rows.passages.pop()), "1 passages, 2 in the document's row"),
            (|rows| rows.passages[0].ordinal = 2, "ordinal 2 where 1 was due"),
            (|rows| rows.passages[0].sha256.clear(), "passage 1: its hash is not of its text"),
            (|rows| rows.passages[0].words = 3, "4 words in its passages, 5 by their rows, 4 by the document's"),
            (|rows| rows.documents[0].words = 5, "4 words in its passages, 4 by their rows, 5 by the document's"),
        ];
        for (change, expected) in table {
            assert_eq!(fault(change).as_deref(), Some(expected));
        }
    }
}
