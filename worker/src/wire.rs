//! The types in a workflow's history. Running workflows read old histories, so fields may be added but never
//! renamed or removed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use temporalio_common::{
    data_converters::{PayloadConversionError, SerializationContext, TemporalDeserializable, TemporalSerializable},
    protos::temporal::api::common::v1::Payload,
};

use crate::{
    store::Outcome,
    text::{Language, MediaType, Passage, PoisonError, Signature, Structure, shortened},
};

/// Maximum length of a document's id and of its source in bytes. Postgres takes 2704 bytes in an index, and a key of
/// S3 has at most 1024.
const MAX_TEXT_BYTES: usize = 2048;

/// Argument of `DocumentWorkflow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRequest {
    /// Id of the document.
    pub document_id: String,
    /// Address of the document, below the store's root.
    pub source: String,
}

impl DocumentRequest {
    /// Whether the document can have this id and this source.
    ///
    /// # Errors
    /// The first fault. It is the same on every worker, because a workflow depends on it.
    pub fn validate(&self) -> Result<(), PoisonError> {
        for (name, text) in [("document_id", &self.document_id), ("source", &self.source)] {
            let fault = if text.is_empty() {
                format!("{name} is empty")
            } else if text.len() > MAX_TEXT_BYTES {
                format!("{name} has {} bytes, more than {MAX_TEXT_BYTES}", text.len())
            } else if let Some((offset, character)) = text.char_indices().find(|(_, found)| found.is_control()) {
                format!("{name} has the control character {character:?} at byte {offset}")
            } else {
                continue;
            };
            return Err(PoisonError::InvalidRequest { fault });
        }
        Ok(())
    }
}

/// Argument of `DocumentWorkflow` as it was given: a request, or what is wrong with it. A wrong argument has to fail
/// the workflow. If reading it failed, the SDK would repeat the workflow task for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenRequest(pub Result<DocumentRequest, PoisonError>);

impl From<DocumentRequest> for GivenRequest {
    fn from(request: DocumentRequest) -> Self {
        Self(Ok(request))
    }
}

impl TemporalDeserializable for GivenRequest {
    fn from_payloads(_: &SerializationContext<'_>, payloads: Vec<Payload>) -> Result<Self, PayloadConversionError> {
        let invalid = |fault| Err(PoisonError::InvalidRequest { fault });
        Ok(Self(match &payloads[..] {
            // A null has no data.
            [payload] if payload.data.is_empty() => invalid("it is null".to_owned()),
            // The error repeats a text that is no request, which may have megabytes.
            [payload] => serde_json::from_slice(&payload.data).or_else(|error| invalid(shortened(&error.to_string()))),
            other => invalid(format!("there are {} arguments, not one", other.len())),
        }))
    }
}

impl TemporalSerializable for GivenRequest {
    fn to_payload(&self, _: &SerializationContext<'_>) -> Result<Payload, PayloadConversionError> {
        let error = |error: Box<dyn std::error::Error + Send + Sync>| PayloadConversionError::EncodingError(error);
        let request = self.0.as_ref().map_err(|fault| error(fault.clone().into()))?;
        let data = serde_json::to_vec(request).map_err(|fault| error(fault.into()))?;
        let metadata = [("encoding".to_owned(), b"json/plain".to_vec())].into();
        Ok(Payload { metadata, data, ..Payload::default() })
    }
}

/// Result of `DocumentWorkflow`: what the tables hold of the document. They hold another request's content if the
/// outcome is `superseded`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentResult {
    /// Id of the document.
    pub document_id: String,
    /// SHA-256 of the document's bytes, in hex.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Words in the text.
    pub words: u64,
    /// Number of passages.
    pub passages: u32,
    /// What the workflow did. Older workers did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// A body: inline if it is small, else a claim on an object in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carried<T> {
    /// The body itself.
    Inline(T),
    /// SHA-256 of the body, in hex. The store keeps the body under `claims/<hash>`.
    Claim(String),
}

impl<T> Carried<T> {
    /// Whether the body is in the store.
    pub fn is_claim(&self) -> bool {
        matches!(self, Self::Claim(_))
    }
}

impl<T: Default> Default for Carried<T> {
    fn default() -> Self {
        Self::Inline(T::default())
    }
}

/// Bytes, which are base64 in JSON.
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
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// Number of bytes.
    pub bytes: u64,
    /// Type of the document.
    pub media_type: MediaType,
    /// The bytes.
    pub body: Carried<Bytes>,
    /// Memory in bytes that reading the document takes at most. Older workers did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Whether the workflow asks for a summary. The history records it, so that a replay does not depend on the
    /// worker's configuration.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub summarize: bool,
}

/// Argument of `extract_text`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtractRequest {
    /// Type of the document.
    pub media_type: MediaType,
    /// The bytes.
    pub body: Carried<Bytes>,
    /// Memory in bytes that reading the document takes at most, if the fetch said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// Result of `extract_text`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// Title, if any.
    pub title: Option<String>,
    /// Words in the text.
    pub words: u64,
    /// The text.
    pub passages: Carried<Vec<Passage>>,
    /// Charset of the text; `None` for a PDF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// Language of the text; `None` if the text is too short to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Number of pages, for a PDF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
    /// SimHash of the text, for finding near-duplicates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Headings and links.
    #[serde(default)]
    pub structure: Carried<Structure>,
}

/// Argument of `summarize_document`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryRequest {
    /// Title, if any.
    pub title: Option<String>,
    /// The text.
    pub passages: Carried<Vec<Passage>>,
}

/// Outcome of the summary step; result of `summarize_document`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Summary {
    /// The LLM wrote it.
    Written(String),
    /// The LLM refused for this reason, and would refuse again.
    Refused(String),
    /// No attempt succeeded within the step's limits on attempts and time.
    Unavailable,
}

impl Summary {
    /// Label value of the metric.
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
    /// SHA-256 of the document's bytes, in hex.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Type of the document.
    pub media_type: MediaType,
    /// Result of `extract_text`.
    pub extracted: Extracted,
    /// Outcome of the summary step, if the workflow ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Start of the workflow's run by Temporal's clock, in microseconds since 1970. Older workflows do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at_micros: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_no_step_can_process_is_invalid() {
        let request = |document_id: &str, source: &str| DocumentRequest {
            document_id: document_id.to_owned(),
            source: source.to_owned(),
        };
        let longest = "x".repeat(MAX_TEXT_BYTES);
        assert_eq!(request("Bericht 2024/ü", "s3://documents/ü b.pdf").validate(), Ok(()));
        assert_eq!(request(&longest, &longest).validate(), Ok(()));
        for (document_id, source, fault) in [
            ("", "s", "document_id is empty"),
            ("a", "", "source is empty"),
            (&format!("{longest}x"), "s", "document_id has 2049 bytes, more than 2048"),
            ("a\0b", "s", "document_id has the control character '\\0' at byte 1"),
            ("a", "s3://documents/a\n", "source has the control character '\\n' at byte 16"),
        ] {
            let found = request(document_id, source).validate().unwrap_err().to_string();
            assert!(found.contains(fault), "{found}");
        }
    }

    #[test]
    fn an_argument_that_is_no_request_is_read_as_what_is_wrong_with_it() {
        use temporalio_common::data_converters::{
            GenericPayloadConverter as _, PayloadConverter, SerializationContextData,
        };
        let converter = PayloadConverter::default();
        let context = SerializationContext::new(&SerializationContextData::None, &converter);
        let read = |arguments: &[&str]| {
            let payload = |json: &&str| Payload { data: json.as_bytes().to_vec(), ..Payload::default() };
            let given: GivenRequest =
                converter.from_payloads(&context, arguments.iter().map(payload).collect()).unwrap();
            given.0.map_err(|fault| fault.to_string())
        };
        let request = read(&[r#"{"document_id": "a", "source": "s", "more": 1}"#]).unwrap();
        assert_eq!((request.document_id.as_str(), request.source.as_str()), ("a", "s"));
        for (arguments, fault) in [
            (&[r#""s3://documents/a.pdf""#][..], "invalid type: string"),
            (&[r#"{"document_id": "a"}"#], "missing field `source`"),
            (&[r#"{"document_id": 1, "source": "s"}"#], "invalid type: integer"),
            (&["\u{1}"], "expected value"),
            (&[""], "it is null"),
            (&[], "there are 0 arguments, not one"),
            (&["{}", "{}"], "there are 2 arguments, not one"),
        ] {
            let found = read(arguments).unwrap_err();
            assert!(found.contains(fault), "{arguments:?}: {found}");
        }
        let long = read(&[&format!("\"{}\"", "x".repeat(100_000))]).unwrap_err();
        assert!(long.len() < 1000, "{} bytes", long.len());
        let given = GivenRequest::from(request);
        let payload = converter.to_payload(&context, &given).unwrap();
        assert_eq!(converter.from_payloads::<GivenRequest>(&context, vec![payload]).unwrap(), given);
    }

    #[test]
    fn results_of_older_workers_are_still_read() {
        let json = r#"{"title":null,"words":0,"passages":{"inline":[]}}"#;
        let extracted: Extracted = serde_json::from_str(json).unwrap();
        assert_eq!((extracted.pages, extracted.language), (None, None));
        assert_eq!(extracted.structure, Carried::Inline(Structure::default()));
        let json = r#"{"document_id":"a","sha256":"ab","bytes":2,"words":1,"passages":1}"#;
        let result: DocumentResult = serde_json::from_str(json).unwrap();
        assert_eq!(result.outcome, None);
        assert_eq!(serde_json::to_string(&result).unwrap(), json);
    }

    #[test]
    fn a_result_says_what_happened() {
        for (outcome, json) in [
            (Outcome::Stored, r#""stored""#),
            (Outcome::Unchanged, r#""unchanged""#),
            (Outcome::Superseded, r#""superseded""#),
        ] {
            assert_eq!(serde_json::to_string(&outcome).unwrap(), json);
            assert_eq!(format!("{:?}", outcome.as_str()), json);
        }
    }

    #[test]
    fn the_json_in_histories_does_not_change() {
        let fetched = Fetched {
            sha256: "ab".into(),
            bytes: 2,
            media_type: MediaType::Html,
            body: Carried::Inline(Bytes(b"<p>".to_vec())),
            memory: None,
            summarize: false,
        };
        let json = r#"{"sha256":"ab","bytes":2,"media_type":"text/html","body":{"inline":"PHA+"}}"#;
        assert_eq!(serde_json::to_string(&fetched).unwrap(), json);
        assert_eq!(serde_json::from_str::<Fetched>(json).unwrap(), fetched);
        let claim: Carried<Bytes> = Carried::Claim("cd".into());
        assert_eq!(serde_json::to_string(&claim).unwrap(), r#"{"claim":"cd"}"#);
    }

    #[test]
    fn histories_without_newer_fields_are_still_read() {
        let stored = r#"{"document":{"document_id":"a","source":"s"},"sha256":"ab","bytes":2,"media_type":"text/html",
            "extracted":{"title":null,"words":0,"passages":{"inline":[]}}}"#;
        let stored: StoreRequest = serde_json::from_str(stored).unwrap();
        assert_eq!((stored.summary, stored.requested_at_micros), (None, None));
        for (summary, json) in [
            (Summary::Written("A page.".into()), r#"{"written":"A page."}"#),
            (Summary::Refused("no".into()), r#"{"refused":"no"}"#),
            (Summary::Unavailable, r#""unavailable""#),
        ] {
            assert_eq!(serde_json::to_string(&summary).unwrap(), json);
        }
    }
}
