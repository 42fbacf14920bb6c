//! What a document says, for comparison with what the worker stored: its words in their order, its title, headings
//! and links.
//!
//! The worker builds a tree with html5ever and renders Markdown with pulldown-cmark. This room walks html5gum's
//! tokens, keeps only the stack of open elements, and renders Markdown with comrak and again with markdown-rs. It
//! shares the contract of docs/documents.md with the worker and no line of code.
//!
//! Tokens and a stack cannot always say what a browser makes of a document, and the two Markdown parsers may differ.
//! Then there is a [`Doubt`] and no reading, and the document is left out of the load. So everything that is loaded is
//! compared without tolerance.

mod body;
mod doubt;
mod elements;
mod format;
mod head;
mod html;
mod markdown;
mod page;
mod structure;
mod tables;
#[cfg(test)]
mod tests;
mod tree;
mod words;

pub use doubt::Doubt;
pub use structure::Structure;
pub use words::{Words, words_sequence_of_passages};

/// What kind of text a file holds, by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// HyperText Markup Language.
    Html,
    /// CommonMark with tables and strikethrough.
    Markdown,
    /// Text without markup.
    Plain,
}

impl Kind {
    /// The kind that an extension stands for, if this crate loads it.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "html" | "htm" => Some(Self::Html),
            "md" | "markdown" => Some(Self::Markdown),
            "txt" | "text" => Some(Self::Plain),
            _ => None,
        }
    }
}

/// What a document says, as `documents` and `passages` must have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The number of its words: maximal runs of alphanumeric characters in the visible text.
    pub words: u64,
    /// SHA-256 in hex over the words in their order, each followed by a line feed.
    pub sequence: String,
    /// Its title, else its first heading of level 1, on one line of at most 1000 characters.
    pub title: Option<String>,
    /// Level and text of its first 200 headings.
    pub headings: Vec<(u8, String)>,
    /// The number of all its headings.
    pub heading_count: u64,
    /// Target and text of its first 200 links.
    pub links: Vec<(String, String)>,
    /// The number of all its links.
    pub link_count: u64,
}

impl Reading {
    /// A reading of these words, with this title and structure.
    pub fn of(words: Words, title: Option<String>, structure: Structure) -> Self {
        let (words, sequence) = words.finish();
        Self {
            words,
            sequence,
            title,
            headings: structure.headings,
            heading_count: structure.heading_count,
            links: structure.links,
            link_count: structure.link_count,
        }
    }
}

/// What a document says; none where that cannot be said for certain.
pub fn read(kind: Kind, text: &str) -> Option<Reading> {
    try_read(kind, text).ok()
}

/// What a document says.
///
/// # Errors
/// Why it cannot be said for certain.
pub fn try_read(kind: Kind, text: &str) -> Result<Reading, Doubt> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    format::check(kind, text)?;
    match kind {
        Kind::Html => html::read(text),
        Kind::Markdown => markdown::read(text),
        Kind::Plain => Ok(plain(text)),
    }
}

/// Text without markup has words and nothing else.
fn plain(text: &str) -> Reading {
    let mut words = Words::default();
    words.push(text);
    Reading::of(words, None, Structure::default())
}
