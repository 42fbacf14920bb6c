//! Activities of the IO queue: they wait for a network and compute next to nothing.

#![expect(missing_docs, reason = "the macros make constants without documentation")]

use std::sync::Arc;

use sha2::{Digest, Sha256};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{StepError, Tools, body, names, step};
use crate::{
    store::DocumentRecord,
    text::MediaType,
    wire::{Bytes, DocumentRequest, DocumentResult, Fetched, StoreRequest},
};

/// `fetch_document` and `store_document`.
#[derive(Debug, Clone)]
pub struct IoActivities {
    tools: Tools,
}

impl IoActivities {
    /// The activities, working with these tools.
    pub fn new(tools: Tools) -> Self {
        Self { tools }
    }

    async fn fetch(&self, request: &DocumentRequest) -> Result<Fetched, StepError> {
        let objects = &self.tools.objects;
        let bytes = objects.document(&request.source).await?;
        let media_type = MediaType::detect(&request.source, &bytes)?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let size = bytes.len() as u64;
        let body = body::pack(objects, Bytes(bytes), self.tools.documents.inline_bytes).await?;
        Ok(Fetched {
            sha256,
            bytes: size,
            media_type,
            body,
        })
    }

    async fn store(&self, ctx: &ActivityContext, request: StoreRequest) -> Result<DocumentResult, StepError> {
        let extracted = request.extracted;
        let passages = body::unpack(&self.tools.objects, extracted.passages).await?;
        let structure = body::unpack(&self.tools.objects, extracted.structure).await?;
        let info = ctx.info();
        let record = DocumentRecord {
            document_id: &request.document.document_id,
            source: &request.document.source,
            sha256: &request.sha256,
            bytes: request.bytes,
            media_type: request.media_type,
            title: extracted.title.as_deref(),
            words: extracted.words,
            passages: &passages,
            charset: extracted.charset.as_deref(),
            language: extracted.language.as_ref(),
            pages: extracted.pages,
            signature: extracted.signature,
            structure: &structure,
            workflow_id: info.workflow_id.as_deref().unwrap_or_default(),
            run_id: info.workflow_run_id.as_deref().unwrap_or_default(),
        };
        self.tools.database.store(names::STORE, &record).await?;
        Ok(DocumentResult {
            sha256: request.sha256,
            bytes: request.bytes,
            words: extracted.words,
            passages: u32::try_from(passages.len()).unwrap_or(u32::MAX),
            document_id: request.document.document_id,
        })
    }
}

#[activities]
impl IoActivities {
    /// Reads a document from the store and says what it is.
    #[activity(name = "fetch_document")]
    pub async fn fetch_document(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: DocumentRequest,
    ) -> Result<Fetched, ActivityError> {
        step::run(&self.tools, &ctx, names::FETCH, self.fetch(&request)).await
    }

    /// Writes a document, its passages and the effect, once.
    #[activity(name = "store_document")]
    pub async fn store_document(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: StoreRequest,
    ) -> Result<DocumentResult, ActivityError> {
        step::run(&self.tools, &ctx, names::STORE, self.store(&ctx, request)).await
    }
}
