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

/// Maximum inflated bytes of the streams that are read at the same time: a page and the forms in it. A page of drawings
/// takes some megabytes.
const MAX_STREAM: usize = 32 << 20;

/// Maximum bytes of text, of which a book of a thousand pages has three million.
const MAX_TEXT: usize = 16 << 20;

/// Limits of a file in memory. Those of a small file are smaller, so that it reserves little.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Objects, in addition to the file's length.
    objects: usize,
    /// Inflated streams.
    streams: usize,
    text: usize,
}

impl Limits {
    /// The limits of a file of this many bytes.
    fn of(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let limit = |base: usize, ratio: usize, most: usize| base.saturating_add(bytes.saturating_mul(ratio)).min(most);
        Self {
            // An array of numbers takes 56 times the bytes of its text.
            objects: limit(24 << 20, 64, load::OBJECT_MEMORY),
            streams: limit(4 << 20, 32, MAX_STREAM),
            text: limit(1 << 20, 32, MAX_TEXT),
        }
    }
}

/// Memory in bytes that reading takes at most, without the file itself, and that of its text.
pub(super) fn memory(file: &[u8]) -> (u64, u64) {
    let limits = Limits::of(file.len() as u64);
    // The file's streams are copied. An encrypted file is copied before that.
    let copies = if decrypt::has_entry(file) { 2 } else { 1 };
    let limits_sum = limits.objects + limits.streams + limits.text + limits.text.min(font::MAX_MEMORY);
    ((copies * file.len() + limits_sum) as u64, limits.text as u64)
}

/// Base of the budget of inflated bytes, to which [`MAX_RATIO`] times the file's size is added.
const BASE_BUDGET: usize = 64 << 20;

/// Deflate shrinks text about four times, drawings eight times, and a bomb almost a thousand times.
const MAX_RATIO: usize = 8;

/// Minimum cost of a stream, because a page may name one stream a million times.
const MIN_COST: usize = 256;

/// Reads a PDF.
pub(super) fn read(bytes: &[u8], cancel: &Cancel) -> Result<Reading, ExtractError> {
    let mut budget = Budget::of_file(bytes.len());
    let limits = Limits::of(bytes.len() as u64);
    guard::check_streams(bytes, budget.limit, cancel)?;
    guard::check_objects(bytes, cancel)?;
    let document = load::load(bytes, cancel)?;
    let mut structure = Structure::default();
    let title = outline::title(&document);
    let first_bookmark = outline::bookmarks(&document, &mut structure);
    let mut visible = VisibleText::default();
    let mut pages = 0_u32;
    let mut annotations = Annotations::default();
    let mut reader = PageReader::new(&document, &mut budget, limits.text, cancel);
    for id in document.page_iter() {
        cancel.check()?;
        pages = pages.saturating_add(1);
        let page = page(&document, id, pages)?;
        reader.read(page, &mut visible)?;
        annotations.read(page, &mut reader, &mut structure, &mut visible)?;
        reader.check_text(&visible)?;
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
    /// Maximum inflated bytes of one stream, and of those that are read at the same time.
    streams: usize,
    /// Inflated bytes of the streams that are being read: a page and the forms in it.
    held: usize,
    /// Why a stream could not be decoded, if one could not.
    damaged: Option<&'static str>,
}

impl Budget {
    fn of_file(length: usize) -> Self {
        let limit = BASE_BUDGET + MAX_RATIO * length;
        Self { left: limit, limit, streams: Limits::of(length as u64).streams, held: 0, damaged: None }
    }

    /// The content of a stream. A stream that cannot be decoded counts as empty and is recorded.
    fn inflate(&mut self, stream: &Stream) -> Result<Vec<u8>, PoisonError> {
        let room = self.streams.saturating_sub(self.held);
        let allowed = self.left.min(room);
        let content = match stream.get_plain_content_with_limit(allowed) {
            Ok(content) => content,
            Err(lopdf::Error::Decompress(
                lopdf::DecompressError::MemoryLimitExceeded { .. } | lopdf::DecompressError::TooManyFilters { .. },
            )) => {
                let limit = if allowed < room { self.limit } else { self.streams };
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
