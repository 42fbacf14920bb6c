//! Activities of the IO queue. They wait for the network and compute almost nothing.

#![expect(missing_docs, reason = "the macros make constants without documentation")]

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::try_join;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError, ActivityInfo};
use tracing::warn;

use super::{
    StepError, Tools, body, names,
    step::{self, Commit},
};
use crate::{
    cpu::compute,
    external::{Blame, CallError, Fault as _},
    memory::Memory,
    store::{DocumentRecord, Outcome, Request, StoreError},
    summary::LlmError,
    text::{self, MediaType, PoisonError},
    wire::{Bytes, DocumentRequest, DocumentResult, Fetched, StoreRequest, Summary, SummaryRequest},
};

/// How long a document is tried that the store forbids to read, if nothing else tells whether that is for good: long
/// enough to correct the rights of a new fleet.
const FORBIDDEN_FOR: Duration = Duration::from_secs(600);

/// `fetch_document`, `summarize_document` and `store_document`.
#[derive(Debug, Clone)]
pub struct IoActivities {
    tools: Tools,
}

impl IoActivities {
    /// Activities that use these tools.
    pub fn new(tools: Tools) -> Self {
        Self { tools }
    }

    async fn fetch(
        &self,
        info: &ActivityInfo,
        request: &DocumentRequest,
        memory: Memory,
    ) -> Result<Fetched, StepError> {
        let objects = &self.tools.objects;
        let (bytes, _reserved) = match objects.document(&request.source, &memory).await {
            Err(StoreError::Forbidden(poison))
                if is_for_good(info.attempt, info.scheduled_time, objects.last_read(), SystemTime::now()) =>
            {
                return Err(poison.into());
            }
            read => read?,
        };
        let (source, size, words) = (request.source.clone(), bytes.len(), self.tools.documents.passage_words);
        let detect = move || {
            let media_type = MediaType::detect(&source, &bytes)?;
            Ok::<_, PoisonError>((media_type, text::memory(media_type, &bytes, words), bytes))
        };
        let (media_type, needed, bytes) = compute(size, detect).await?;
        let mut room = self.tools.documents.inline_bytes;
        let body = body::carry(objects, body::encode(Bytes(bytes), &mut room).await?).await?;
        let sha256 = body::sha256(&body);
        Ok(Fetched {
            sha256,
            bytes: size as u64,
            media_type,
            body,
            memory: Some(needed),
            summarize: self.tools.summarizer.is_some(),
        })
    }

    async fn summarize(&self, request: SummaryRequest, memory: Memory) -> Result<Summary, StepError> {
        let Some(summarizer) = &self.tools.summarizer else {
            return Err(StepError::Transient(anyhow::anyhow!(
                "this worker writes no summaries: set LLM_BASE_URL on all workers, or on none"
            )));
        };
        // The JSON and the passages.
        let need = |bytes: u64| bytes.saturating_mul(2);
        let (passages, reserved) = body::unpack(&self.tools.objects, request.passages, &memory, need).await?;
        let answer = summarizer.summarize(request.title.as_deref(), &passages).await;
        drop(passages);
        drop(reserved);
        summary(answer)
    }

    async fn store(
        &self,
        ctx: &ActivityContext,
        request: StoreRequest,
        commit: &Commit,
        memory: Memory,
    ) -> Result<DocumentResult, StepError> {
        let extracted = request.extracted;
        let objects = &self.tools.objects;
        // The JSON and the passages, or these and two copies on the way to the database. A structure is small whatever
        // the document, and reserves nothing: a step makes one reservation.
        let need = |bytes: u64| bytes.saturating_mul(3);
        let passages = body::unpack(objects, extracted.passages, &memory, need);
        let structure = body::unpack(objects, extracted.structure, &memory, |_| 0);
        let ((passages, reserved), (structure, _)) = try_join!(passages, structure)?;
        let info = ctx.info();
        let scheduled_at = info.scheduled_time.unwrap_or(UNIX_EPOCH);
        let requested_at = request.requested_at_micros.map(|micros| UNIX_EPOCH + Duration::from_micros(micros));
        let record = DocumentRecord {
            document_id: &request.document.document_id,
            source: &request.document.source,
            sha256: &request.sha256,
            bytes: request.bytes,
            media_type: request.media_type,
            title: extracted.title.as_deref(),
            words: extracted.words,
            passages: &passages,
            summary: match &request.summary {
                Some(Summary::Written(text)) => Some(text),
                _ => None,
            },
            charset: extracted.charset.as_deref(),
            language: extracted.language.as_ref(),
            pages: extracted.pages,
            signature: extracted.signature,
            structure: &structure,
            request: Request {
                workflow_id: info.workflow_id.as_deref().unwrap_or_default(),
                run_id: info.workflow_run_id.as_deref().unwrap_or_default(),
                // A workflow of an older worker does not send it. Its step was scheduled a little later.
                requested_at: requested_at.unwrap_or(scheduled_at),
                scheduled_at,
            },
        };
        commit.begins();
        let stored = self.tools.database.store(names::STORE, &record).await;
        drop(passages);
        drop(reserved);
        let stored = stored?;
        if stored.written || stored.outcome == Outcome::Superseded {
            self.tools.metrics.count_stored(stored.outcome.as_str());
        }
        if let Some(summary) = request.summary.filter(|_| stored.written) {
            self.tools.metrics.count_summary(summary.outcome());
        }
        Ok(DocumentResult {
            document_id: request.document.document_id,
            sha256: stored.sha256,
            bytes: stored.bytes,
            words: stored.words,
            passages: stored.passages,
            outcome: Some(stored.outcome),
        })
    }
}

/// Whether a document that the store forbids to read stays forbidden. S3 answers 403 for a document that may not be
/// read, and also for a missing one if the bucket may not be listed. It answers so for every document while the
/// worker's rights are missing. So it is for good once this worker has read another document since.
fn is_for_good(attempt: u32, scheduled: Option<SystemTime>, last_read: Option<SystemTime>, now: SystemTime) -> bool {
    let Some(scheduled) = scheduled else { return false };
    let other_was_read = attempt > 1 && last_read.is_some_and(|read| read > scheduled);
    other_was_read || now.duration_since(scheduled).is_ok_and(|tried| tried > FORBIDDEN_FOR)
}

/// The result of a call to the LLM. A refusal is a final result; every other error is retried.
fn summary(answer: Result<String, CallError<LlmError>>) -> Result<Summary, StepError> {
    match answer {
        Ok(text) => Ok(Summary::Written(text)),
        Err(CallError::Service(error)) if error.blame() == Blame::Request => {
            warn!(%error, "the LLM refused: the document is stored without a summary");
            Ok(Summary::Refused(error.to_string()))
        }
        Err(CallError::Service(error)) => Err(match error.pause() {
            Some(pause) => StepError::busy(error, pause),
            None => StepError::Transient(error.into()),
        }),
        Err(error) => Err(StepError::Transient(error.into())),
    }
}

#[activities]
impl IoActivities {
    /// Reads a document from the store and detects its type.
    #[activity(name = "fetch_document")]
    pub async fn fetch_document(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: DocumentRequest,
    ) -> Result<Fetched, ActivityError> {
        step::run(&self.tools, &ctx, names::FETCH, true, |memory| self.fetch(ctx.info(), &request, memory)).await
    }

    /// Asks the LLM for a summary of a document.
    #[activity(name = "summarize_document")]
    pub async fn summarize_document(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: SummaryRequest,
    ) -> Result<Summary, ActivityError> {
        let needs_objects = request.passages.is_claim();
        step::run(&self.tools, &ctx, names::SUMMARIZE, needs_objects, |memory| self.summarize(request, memory)).await
    }

    /// Writes a document, its passages and the effect to the database, unless a newer request did.
    #[activity(name = "store_document")]
    pub async fn store_document(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: StoreRequest,
    ) -> Result<DocumentResult, ActivityError> {
        let commit = Commit::default();
        let needs_objects = request.extracted.passages.is_claim() || request.extracted.structure.is_claim();
        let work = |memory| self.store(&ctx, request, &commit, memory);
        step::run_to_commit(&self.tools, &ctx, names::STORE, needs_objects, &commit, work).await
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn a_forbidden_document_is_for_good_once_another_was_read_since_or_after_a_while() {
        let scheduled = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds| scheduled.checked_add(Duration::from_secs(seconds));
        let (soon, late) = (at(5).unwrap(), at(601).unwrap());
        let before = Some(scheduled - Duration::from_secs(1));
        for (attempt, last_read, now, expected) in [
            (1, None, soon, false),
            (5, None, soon, false),
            (5, before, soon, false),
            (1, at(2), soon, false),
            (2, at(2), soon, true),
            (9, None, late, true),
        ] {
            let found = is_for_good(attempt, Some(scheduled), last_read, now);
            assert_eq!(found, expected, "{attempt}, {last_read:?}, {now:?}");
        }
    }

    #[test]
    fn a_refusal_is_final_and_every_other_error_is_retried() {
        let busy = |pause| LlmError::Busy { status: StatusCode::TOO_MANY_REQUESTS, pause };
        assert_eq!(summary(Ok("A page.".into())).unwrap(), Summary::Written("A page.".into()));
        let refused = summary(Err(CallError::Service(LlmError::NoText))).unwrap();
        assert_eq!(refused, Summary::Refused("the LLM answered without any text".into()));
        let pause = Duration::from_secs(7);
        let asked = summary(Err(CallError::Service(busy(Some(pause))))).unwrap_err();
        assert!(matches!(asked, StepError::Busy { pause: kept, .. } if kept == pause), "{asked:?}");
        for answer in [
            CallError::Service(busy(None)),
            CallError::Service(LlmError::Failed(StatusCode::BAD_GATEWAY)),
            CallError::CircuitOpen { service: "llm", blocked_for: pause },
            CallError::TimedOut { service: "llm", timeout: pause },
        ] {
            let error = summary(Err(answer)).unwrap_err();
            assert!(matches!(error, StepError::Transient(_)), "{error:?}");
        }
    }
}
