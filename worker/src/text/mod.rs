//! From a document's bytes to its title, its words and its passages. Pure: no network, no clock, no async.
//!
//! Every format ends in [`VisibleText`]: blocks of text, one a line, white space collapsed. Words and passages are made from
//! that alone, so a Markdown document and the HTML it renders to give the same rows.

mod html;
mod markdown;
mod media;
mod passages;
mod poison;
mod visible;
mod words;

use serde::{Deserialize, Serialize};

pub use media::MediaType;
pub use passages::Passage;
pub use poison::PoisonError;

use visible::VisibleText;

/// Counts the changes after which equal bytes give another [`Extract`]: what an older program cached is then not found.
pub const EXTRACT_VERSION: u32 = 1;

/// What is kept of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extract {
    /// The document's own title, else its first heading, else nothing.
    pub title: Option<String>,
    /// Words in the visible text.
    pub words: u64,
    /// The text, cut into passages that cover it once.
    pub passages: Vec<Passage>,
}

/// Reads a document of a known type.
///
/// # Errors
/// [`PoisonError::InvalidUtf8`]: the bytes are not text. Anything else that is text can be read.
pub fn extract(media_type: MediaType, bytes: &[u8], passage_words: usize) -> Result<Extract, PoisonError> {
    let text = utf8(bytes)?;
    let (title, visible) = match media_type {
        MediaType::Html => html::read(text),
        MediaType::Markdown => html::read(&markdown::to_html(text)),
        MediaType::Plain => (None, VisibleText::of_plain(text)),
    };
    let visible = visible.into_string();
    Ok(Extract {
        title,
        words: words::count(&visible),
        passages: passages::cut(&visible, passage_words),
    })
}

/// The bytes as text, without a byte order mark.
fn utf8(bytes: &[u8]) -> Result<&str, PoisonError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| PoisonError::InvalidUtf8 {
        offset: error.valid_up_to(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_and_the_html_it_renders_to_give_the_same_extract() {
        let markdown =
            "# Title\n\nSome *emphasised* text, ~~gone~~.\n\n| a | b |\n|---|---|\n| one | two |\n";
        let html = markdown::to_html(markdown);
        let from_markdown = extract(MediaType::Markdown, markdown.as_bytes(), 200).unwrap();
        let from_html = extract(MediaType::Html, html.as_bytes(), 200).unwrap();
        assert_eq!(from_markdown, from_html);
        assert_eq!(from_markdown.words, 9);
        assert_eq!(from_markdown.title.as_deref(), Some("Title"));
    }

    #[test]
    fn a_byte_order_mark_is_not_text() {
        let extract = extract(MediaType::Plain, b"\xef\xbb\xbfone two", 200).unwrap();
        assert_eq!(extract.words, 2);
        assert_eq!(extract.passages[0].text, "one two");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_poison_and_the_error_says_where() {
        let error = extract(MediaType::Plain, b"fine \xff", 200).unwrap_err();
        assert_eq!(error, PoisonError::InvalidUtf8 { offset: 5 });
    }

    #[test]
    fn a_page_without_text_has_no_words_and_no_passages() {
        let extract = extract(MediaType::Html, b"<html><body><img src=a></body></html>", 200).unwrap();
        assert_eq!((extract.words, extract.passages.len()), (0, 0));
    }

    #[test]
    fn a_page_nested_ten_thousand_deep_is_read() {
        let page = format!("{}deep{}", "<div>".repeat(10_000), "</div>".repeat(10_000));
        assert_eq!(extract(MediaType::Html, page.as_bytes(), 200).unwrap().words, 1);
    }
}
