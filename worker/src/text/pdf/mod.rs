//! The text of a PDF by page, its title, bookmarks and links. lopdf parses the file's structure. The text of the
//! pages is read here, because lopdf's own extraction ignores positions and splits or joins words.
//!
//! A PDF is the only format that can be far larger than its bytes. [`guard`] checks its streams and objects before
//! lopdf sees them, [`load`] limits what lopdf loads, and a [`Budget`] limits what is inflated afterwards.

mod annotations;
mod canvas;
mod cmap;
mod collection;
mod content;
mod decrypt;
mod font;
mod guard;
mod layout;
mod line;
mod load;
mod outline;
mod simple;
mod weigh;

use lopdf::{Dictionary, Document, ObjectId, Stream, xref::XrefRecovery};

use super::{Cancel, ExtractError, PoisonError, Reading, Structure, VisibleText, words};
use annotations::Annotations;
use layout::PageReader;

/// Maximum inflated bytes of one stream: a page of drawings takes some megabytes.
const MAX_STREAM: usize = 32 << 20;

/// Base of the budget of inflated bytes, to which [`MAX_RATIO`] times the file's size is added.
const BASE_BUDGET: usize = 64 << 20;

/// Deflate shrinks text about four times, drawings eight times, and a bomb almost a thousand times.
const MAX_RATIO: usize = 8;

/// Minimum cost of a stream, because a page may name one stream a million times.
const MIN_COST: usize = 256;

/// Reads a PDF.
pub(super) fn read(bytes: &[u8], cancel: &Cancel) -> Result<Reading, ExtractError> {
    let mut budget = Budget::of_file(bytes.len());
    guard::check_streams(bytes, budget.limit, cancel)?;
    guard::check_objects(bytes, cancel)?;
    let document = load::load(bytes, cancel)?;
    let mut structure = Structure::default();
    let title = outline::title(&document);
    let first_bookmark = outline::bookmarks(&document, &mut structure);
    let mut visible = VisibleText::default();
    let mut pages = 0_u32;
    let mut annotations = Annotations::default();
    let mut reader = PageReader::new(&document, &mut budget, cancel);
    for id in document.page_iter() {
        cancel.check()?;
        pages = pages.saturating_add(1);
        let page = page(&document, id, pages)?;
        reader.read(page, &mut visible)?;
        annotations.read(page, &mut reader, &mut structure, &mut visible)?;
    }
    let damaged = budget.damaged;
    if pages == 0 {
        return Err(corrupt("it has no pages").into());
    }
    let readable = words::count(visible.as_str()) > 0;
    match (readable, damaged) {
        (true, _) => {}
        (false, Some(reason)) => return Err(corrupt(reason).into()),
        (false, None) => return Err(PoisonError::PdfWithoutText { pages }.into()),
    }
    Ok(Reading { title: title.or(first_bookmark), charset: None, pages: Some(pages), visible, structure })
}

/// A page of the tree. A missing page means that a part of the file is missing.
fn page(document: &Document, id: ObjectId, number: u32) -> Result<&Dictionary, PoisonError> {
    document.get_dictionary(id).map_err(|_| {
        let reason = format!("page {number} is missing");
        if document.xref_recovery == Some(XrefRecovery::Reconstructed) {
            PoisonError::TruncatedPdf { reason }
        } else {
            PoisonError::CorruptPdf { reason }
        }
    })
}

fn corrupt(reason: impl Into<String>) -> PoisonError {
    PoisonError::CorruptPdf { reason: reason.into() }
}

/// The budget of inflated bytes of a document.
struct Budget {
    left: usize,
    limit: usize,
    /// Why a stream could not be decoded, if one could not.
    damaged: Option<&'static str>,
}

impl Budget {
    fn of_file(length: usize) -> Self {
        let limit = BASE_BUDGET + MAX_RATIO * length;
        Self { left: limit, limit, damaged: None }
    }

    /// The content of a stream. A stream that cannot be decoded counts as empty and is recorded.
    fn inflate(&mut self, stream: &Stream) -> Result<Vec<u8>, PoisonError> {
        let allowed = self.left.min(MAX_STREAM);
        let content = match stream.get_plain_content_with_limit(allowed) {
            Ok(content) => content,
            Err(lopdf::Error::Decompress(
                lopdf::DecompressError::MemoryLimitExceeded { .. } | lopdf::DecompressError::TooManyFilters { .. },
            )) => {
                let limit = if allowed < MAX_STREAM { self.limit } else { MAX_STREAM };
                return Err(PoisonError::DecompressionBomb { limit });
            }
            Err(_) => {
                self.damaged = Some("the content of a page cannot be decoded");
                Vec::new()
            }
        };
        self.count(content.len())?;
        Ok(content)
    }

    /// Counts the inflated bytes of a stream.
    fn count(&mut self, length: usize) -> Result<(), PoisonError> {
        self.left = self.left.saturating_sub(length.max(MIN_COST));
        if self.left == 0 {
            return Err(PoisonError::DecompressionBomb { limit: self.limit });
        }
        Ok(())
    }
}
