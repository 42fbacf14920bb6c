//! What travels through a workflow's history. Changing a shape here changes what running workflows read: add, never rename.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::text::{Language, MediaType, Passage, Signature, Structure};

/// Argument of `DocumentWorkflow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRequest {
    /// Identity of the document.
    pub document_id: String,
    /// Where it is, below the store's root.
    pub source: String,
}

/// Result of `DocumentWorkflow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentResult {
    /// Identity of the document.
    pub document_id: String,
    /// Hash of its bytes, hex.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// Words in its text.
    pub words: u64,
    /// Passages stored.
    pub passages: u32,
}

/// A body: itself where it is small, else a claim on it in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carried<T> {
    /// The body.
    Inline(T),
    /// Hash of the body, hex; it is kept under `claims/<hash>`.
    Claim(String),
}

impl<T: Default> Default for Carried<T> {
    fn default() -> Self {
        Self::Inline(T::default())
    }
}

/// Bytes; base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// Result of `fetch_document`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Hash of the bytes, hex.
    pub sha256: String,
    /// Their number.
    pub bytes: u64,
    /// What they are.
    pub media_type: MediaType,
    /// Themselves.
    pub body: Carried<Bytes>,
    /// Whether a summary is wanted. In the history, so that the workflow's steps do not hang on who replays it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub summarize: bool,
}

/// Argument of `extract_text`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtractRequest {
    /// What the bytes are.
    pub media_type: MediaType,
    /// The bytes.
    pub body: Carried<Bytes>,
}

/// Result of `extract_text`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// Title, where there is one.
    pub title: Option<String>,
    /// Words in the text.
    pub words: u64,
    /// The text.
    pub passages: Carried<Vec<Passage>>,
    /// Charset of the text, where the document is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// Language of the text, where there is enough of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Pages, where there are pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
    /// By which near-duplicates are found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Headings and links.
    #[serde(default)]
    pub structure: Carried<Structure>,
}

/// Argument of `summarize_document`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryRequest {
    /// Title, where there is one.
    pub title: Option<String>,
    /// The text.
    pub passages: Carried<Vec<Passage>>,
}

/// What became of a summary that was wanted; result of `summarize_document`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Summary {
    /// It was written.
    Written(String),
    /// The LLM will not write it, for this reason.
    Refused(String),
    /// The LLM could not be had in the time and the attempts that a summary is worth.
    Unavailable,
}

impl Summary {
    /// As the metric names it.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Written(_) => "written",
            Self::Refused(_) => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Argument of `store_document`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreRequest {
    /// The document.
    pub document: DocumentRequest,
    /// Hash of its bytes, hex.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// Its type.
    pub media_type: MediaType,
    /// What was made of it.
    pub extracted: Extracted,
    /// Its summary, where one was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_workers_wrote_is_read() {
        let json = r#"{"title":null,"words":0,"passages":{"inline":[]}}"#;
        let extracted: Extracted = serde_json::from_str(json).unwrap();
        assert_eq!((extracted.pages, extracted.language), (None, None));
        assert_eq!(extracted.structure, Carried::Inline(Structure::default()));
    }

    #[test]
    fn shapes_in_histories_stay_what_they_are() {
        let fetched = Fetched {
            sha256: "ab".into(),
            bytes: 2,
            media_type: MediaType::Html,
            body: Carried::Inline(Bytes(b"<p>".to_vec())),
            summarize: false,
        };
        let json = r#"{"sha256":"ab","bytes":2,"media_type":"text/html","body":{"inline":"PHA+"}}"#;
        assert_eq!(serde_json::to_string(&fetched).unwrap(), json);
        assert_eq!(serde_json::from_str::<Fetched>(json).unwrap(), fetched);
        let claim: Carried<Bytes> = Carried::Claim("cd".into());
        assert_eq!(serde_json::to_string(&claim).unwrap(), r#"{"claim":"cd"}"#);
    }

    #[test]
    fn histories_from_before_summaries_want_none_and_have_none() {
        let stored = r#"{"document":{"document_id":"a","source":"s"},"sha256":"ab","bytes":2,"media_type":"text/html",
            "extracted":{"title":null,"words":0,"passages":{"inline":[]}}}"#;
        assert_eq!(
            serde_json::from_str::<StoreRequest>(stored).unwrap().summary,
            None
        );
        for (summary, json) in [
            (Summary::Written("A page.".into()), r#"{"written":"A page."}"#),
            (Summary::Refused("no".into()), r#"{"refused":"no"}"#),
            (Summary::Unavailable, r#""unavailable""#),
        ] {
            assert_eq!(serde_json::to_string(&summary).unwrap(), json);
        }
    }
}
