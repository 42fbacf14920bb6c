//! Activities of the CPU queue. They compute on the CPU threads, never on the async runtime.

#![expect(missing_docs, reason = "the macros make constants without documentation")]

use std::sync::Arc;

use futures::try_join;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{StepError, Tools, body, names, step};
use crate::{
    store::extract_key,
    text::{self, Cancel, Extract},
    wire::{ExtractRequest, Extracted},
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

    async fn extract(&self, request: ExtractRequest) -> Result<Extracted, StepError> {
        let limits = &self.tools.documents;
        let key = extract_key(request.media_type, limits.passage_words, &body::sha256(&request.body));
        let extract = match &self.tools.cache {
            Some(cache) => cache.get_or_compute(&key, self.read(request)).await?,
            None => self.read(request).await?,
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

    async fn read(&self, request: ExtractRequest) -> Result<Extract, StepError> {
        let bytes = body::unpack(&self.tools.objects, request.body).await?.0;
        let (media_type, passage_words) = (request.media_type, self.tools.documents.passage_words);
        // A cancelled activity drops this future and so the guard, which frees the thread soon.
        let cancel = Cancel::default();
        let _guard = cancel.on_drop();
        let work = move || text::extract(media_type, &bytes, passage_words, &cancel);
        Ok(self.tools.cpu.run(work).await??)
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
        step::run(&self.tools, &ctx, names::EXTRACT, self.extract(request)).await
    }
}
