//! Activities of the CPU queue. They compute on the CPU threads, never on the async runtime.

#![expect(missing_docs, reason = "the macros make constants without documentation")]

use std::sync::Arc;

use futures::try_join;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{StepError, Tools, body, names, step};
use crate::{
    memory::{Memory, Reservation},
    store::extract_key,
    text::{self, Cancel, Extract},
    wire::{Carried, ExtractRequest, Extracted},
};

/// `extract_text`.
#[derive(Debug, Clone)]
pub struct CpuActivities {
    tools: Tools,
}

impl CpuActivities {
    /// Activities that use these tools.
    pub fn new(tools: Tools) -> Self {
        Self { tools }
    }

    async fn extract(&self, request: ExtractRequest, memory: Memory) -> Result<Extracted, StepError> {
        let limits = &self.tools.documents;
        let key = extract_key(request.media_type, limits.passage_words, &body::sha256(&request.body));
        // For the reading, and for the passages after it. A cached result is small.
        let mut reserved = Reservation::default();
        let extract = match &self.tools.cache {
            Some(cache) => cache.get_or_compute(&key, self.read(request, &memory, &mut reserved)).await?,
            None => self.read(request, &memory, &mut reserved).await?,
        };
        let mut room = limits.inline_bytes;
        let passages = body::encode(extract.passages, &mut room).await?;
        let structure = body::encode(extract.structure, &mut room).await?;
        let objects = &self.tools.objects;
        let (passages, structure) = try_join!(body::carry(objects, passages), body::carry(objects, structure))?;
        Ok(Extracted {
            title: extract.title,
            words: extract.words,
            passages,
            charset: extract.charset,
            language: extract.language,
            pages: extract.pages,
            signature: extract.signature,
            structure,
        })
    }

    /// Reads a document. What is reserved for that also suffices for its passages.
    async fn read(
        &self,
        request: ExtractRequest,
        memory: &Memory,
        reserved: &mut Reservation,
    ) -> Result<Extract, StepError> {
        let (media_type, passage_words) = (request.media_type, self.tools.documents.passage_words);
        // The fetch of an older worker did not say what the document needs.
        let needed = request.memory.unwrap_or_else(|| match &request.body {
            Carried::Inline(bytes) => text::memory(media_type, &bytes.0, passage_words),
            Carried::Claim(_) => memory.total(),
        });
        let (bytes, held) = match request.body {
            Carried::Inline(bytes) => (bytes, memory.reserve(needed).await?),
            claim => body::unpack(&self.tools.objects, claim, memory, |_| needed).await?,
        };
        *reserved = held.clone();
        // A reading that is cancelled or takes too long drops this future and so the guard, which frees the thread soon.
        let cancel = Cancel::default();
        let _guard = cancel.on_drop();
        let work = move || {
            // A cancelled reading uses the memory until it stops.
            let _held = held;
            text::extract(media_type, &bytes.0, passage_words, &cancel)
        };
        Ok(self.tools.cpu.run(self.tools.documents.max_cpu(), work).await??)
    }
}

#[activities]
impl CpuActivities {
    /// Extracts the text of a document and cuts it into passages.
    #[activity(name = "extract_text")]
    pub async fn extract_text(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: ExtractRequest,
    ) -> Result<Extracted, ActivityError> {
        let needs_objects = request.body.is_claim() && self.tools.cache.is_none();
        step::run(&self.tools, &ctx, names::EXTRACT, needs_objects, |memory| self.extract(request, memory)).await
    }
}
