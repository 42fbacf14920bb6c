//! Extracts title, words and passages from a document's bytes. Pure: no network, no clock, no async.
//!
//! Every format is turned into [`VisibleText`]: one block of text per line, with white space collapsed. Words and
//! passages come from that alone, so a Markdown document and its HTML give the same rows. docs/documents.md
//! describes the result, and all reasons to refuse a document.

mod cancel;
mod charset;
mod html;
mod language;
mod markdown;
mod media;
mod memory;
mod passages;
mod pdf;
mod poison;
mod signature;
mod structure;
mod visible;
mod wide;
mod words;

use serde::{Deserialize, Serialize};

pub use cancel::{Cancel, CancelOnDrop, Cancelled};
pub use language::Language;
pub use media::MediaType;
pub use memory::memory;
pub use passages::Passage;
pub use poison::{KINDS, Kind, PoisonError, shortened};
pub use signature::Signature;
pub use structure::{Heading, Link, Structure};

use visible::VisibleText;

/// Version of the extraction. It increases when equal bytes give another [`Extract`], so that older cached results
/// are not found.
pub const EXTRACT_VERSION: u32 = 2;

/// The result of an extraction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extract {
    /// The document's title, else its first heading, if any.
    pub title: Option<String>,
    /// Charset of the text, by its name in the Encoding Standard; `None` for a PDF.
    pub charset: Option<String>,
    /// Number of pages, for a PDF.
    pub pages: Option<u32>,
    /// Headings and links.
    pub structure: Structure,
    /// Language of the text; `None` if the text is too short to tell.
    pub language: Option<Language>,
    /// Words in the visible text.
    pub words: u64,
    /// SimHash of the text, for finding near-duplicates; `None` without words.
    pub signature: Option<Signature>,
    /// The text in passages that cover it once.
    pub passages: Vec<Passage>,
}

/// Why an extraction failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// The document can never be read.
    #[error(transparent)]
    Poison(#[from] PoisonError),
    /// The extraction was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// The result of the reader of one format.
struct Reading {
    title: Option<String>,
    charset: Option<&'static str>,
    pages: Option<u32>,
    visible: VisibleText,
    structure: Structure,
}

/// Extracts a document of a known type.
///
/// # Errors
/// Poison if the document is not valid for its type. Cancelled through `cancel`, within one page or block of text.
pub fn extract(
    media_type: MediaType,
    bytes: &[u8],
    passage_words: usize,
    cancel: &Cancel,
) -> Result<Extract, ExtractError> {
    cancel.check()?;
    let reading = match media_type {
        MediaType::Pdf => pdf::read(bytes, cancel)?,
        MediaType::Html | MediaType::Markdown | MediaType::Plain => read_text(media_type, bytes, cancel)?,
    };
    let text = reading.visible.into_string();
    cancel.check()?;
    Ok(Extract {
        title: reading.title,
        charset: reading.charset.map(str::to_owned),
        pages: reading.pages,
        structure: reading.structure,
        language: language::detect(&text),
        words: words::count(&text),
        signature: signature::of(&text),
        passages: passages::cut(&text, passage_words, cancel)?,
    })
}

fn read_text(media_type: MediaType, bytes: &[u8], cancel: &Cancel) -> Result<Reading, ExtractError> {
    let decoded = charset::decode(media_type, bytes)?;
    let text = decoded.text.as_ref();
    let page = match media_type {
        MediaType::Html => html::read(text, cancel)?,
        MediaType::Markdown => html::read(&markdown::to_html(text, cancel)?, cancel)?,
        MediaType::Plain | MediaType::Pdf => {
            html::Page { title: None, visible: VisibleText::of_plain(text), structure: Structure::default() }
        }
    };
    Ok(Reading {
        title: page.title,
        charset: Some(decoded.charset),
        pages: None,
        visible: page.visible,
        structure: page.structure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(media_type: MediaType, bytes: &[u8], passage_words: usize) -> Result<Extract, ExtractError> {
        super::extract(media_type, bytes, passage_words, &Cancel::default())
    }

    #[test]
    fn markdown_and_its_html_give_the_same_extract() {
        let markdown = "# Title\n\nSome *emphasised* [text](/t), ~~gone~~.\n\n| a | b |\n|---|---|\n| one | two |\n";
        let html = markdown::to_html(markdown, &Cancel::default()).unwrap();
        let from_markdown = extract(MediaType::Markdown, markdown.as_bytes(), 200).unwrap();
        let from_html = extract(MediaType::Html, html.as_bytes(), 200).unwrap();
        assert_eq!(from_markdown, from_html);
        assert_eq!(from_markdown.words, 9);
        assert_eq!(from_markdown.title.as_deref(), Some("Title"));
        assert_eq!(from_markdown.structure.heading_count, 1);
        assert_eq!(from_markdown.structure.links[0].target, "/t");
    }

    #[test]
    fn a_byte_order_mark_is_not_text() {
        let extract = extract(MediaType::Plain, b"\xef\xbb\xbfone two", 200).unwrap();
        assert_eq!(extract.words, 2);
        assert_eq!(extract.passages[0].text, "one two");
    }

    #[test]
    fn a_charset_is_named_and_its_text_is_read() {
        let extract = extract(MediaType::Html, b"<meta charset=latin1><p>caf\xe9 cr\xe8me", 200).unwrap();
        assert_eq!(extract.charset.as_deref(), Some("windows-1252"));
        assert_eq!(extract.passages[0].text, "café crème");
    }

    #[test]
    fn invalid_utf8_is_poison_and_the_error_has_the_offset() {
        let error = extract(MediaType::Plain, b"\xef\xbb\xbffine \xff\xff", 200).unwrap_err();
        assert_eq!(error, PoisonError::InvalidUtf8 { offset: 8 }.into());
    }

    #[test]
    fn a_page_without_text_has_no_words_no_passages_and_no_signature() {
        let extract = extract(MediaType::Html, b"<html><body><img src=a></body></html>", 200).unwrap();
        assert_eq!((extract.words, extract.passages.len()), (0, 0));
        assert_eq!((extract.signature, extract.language), (None, None));
    }

    #[test]
    fn a_page_nested_ten_thousand_deep_is_read() {
        let page = format!("{}deep{}", "<div>".repeat(10_000), "</div>".repeat(10_000));
        assert_eq!(extract(MediaType::Html, page.as_bytes(), 200).unwrap().words, 1);
    }

    #[test]
    fn a_cancelled_extraction_stops_whatever_the_type() {
        let cancel = Cancel::default();
        cancel.cancel();
        for media_type in [MediaType::Html, MediaType::Markdown, MediaType::Plain, MediaType::Pdf] {
            let stopped = super::extract(media_type, b"# x", 200, &cancel);
            assert_eq!(stopped, Err(ExtractError::Cancelled(Cancelled)));
        }
    }
}
