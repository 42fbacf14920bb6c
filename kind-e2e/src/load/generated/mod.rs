//! Documents whose reading is known because they are written here: what a reader must find comes from the writer, not
//! from another reader.
//!
//! Files of a build are UTF-8 and have no PDF among them, so these cover the rest: PDFs, other charsets, known
//! languages. A seed gives the same documents again, byte for byte.

mod draft;
mod layout;
mod lexicon;
mod outline;
mod pdf;
mod text;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::text::{Reading, Structure};
use draft::Draft;

pub use lexicon::Language;
pub use pdf::Font;
pub use text::Charset;

/// One in so many documents is large.
const ONE_LARGE_IN: usize = 20;
/// Bytes of the other documents, about.
const SMALL: (f64, f64) = (1_200.0, 32_000.0);
/// Bytes of large documents, about; all are above 64 KiB, the size above which a document travels by reference.
const LARGE: (f64, f64) = (95_000.0, 190_000.0);

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Its name, with the extension of its type.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// What the worker must store of it.
    pub known: Known,
}

/// What the worker must store of a document, beyond any doubt. What is none must be null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Words, title, headings and links.
    pub reading: Reading,
    /// Its media type.
    pub media_type: &'static str,
    /// The name of its charset in the Encoding Standard.
    pub charset: Option<&'static str>,
    /// Its language in ISO 639-3.
    pub language: Option<&'static str>,
    /// Its pages.
    pub pages: Option<u32>,
}

/// What a document is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// HTML.
    Html(Charset),
    /// Plain text.
    Text(Charset),
    /// PDF.
    Pdf(Font),
}

/// What is generated, in turn.
pub const FORMS: &[(Form, Language)] = &[
    (Form::Pdf(Font::Standard), Language::English),
    (Form::Html(Charset::Windows1252), Language::German),
    (Form::Pdf(Font::Mapped), Language::Russian),
    (Form::Text(Charset::ShiftJis), Language::Japanese),
    (Form::Pdf(Font::Standard), Language::German),
    (Form::Html(Charset::Utf16Le), Language::Russian),
    (Form::Pdf(Font::Standard), Language::French),
    (Form::Text(Charset::Windows1252), Language::German),
    (Form::Html(Charset::ShiftJis), Language::Japanese),
    (Form::Text(Charset::Utf16LeUnmarked), Language::Russian),
    (Form::Html(Charset::Utf8), Language::French),
];

/// So many documents of all forms. The first is large, so that a load of few documents has one; then one in twenty is.
pub fn documents(seed: u64, count: usize) -> Vec<Generated> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|index| {
            let (least, most) = if index % ONE_LARGE_IN == 0 { LARGE } else { SMALL };
            let size = (rng.random_range(least.ln()..most.ln())).exp();
            let (form, language) = FORMS[index % FORMS.len()];
            let mut document = document(form, language, size, &mut rng);
            document.name = format!("generated-{index:03}-{}", document.name);
            document
        })
        .collect()
}

/// One document of about so many bytes, two thirds to one and a half of them.
pub fn document(form: Form, language: Language, bytes: f64, rng: &mut ChaCha8Rng) -> Generated {
    let characters = bytes / form.bytes_a_character(language);
    let draft = Draft::draw(language, whole(characters), rng);
    let language = draft.language.code();
    match form {
        Form::Html(charset) => Generated {
            name: format!("{language}.html"),
            bytes: text::html(&draft, charset, rng),
            known: Known {
                reading: Reading::of(draft.words(), Some(draft.title.clone()), draft.structure(true)),
                media_type: "text/html",
                charset: Some(charset.name()),
                language: Some(language),
                pages: None,
            },
        },
        Form::Text(charset) => Generated {
            name: format!("{language}.txt"),
            bytes: text::plain(&draft, charset),
            known: Known {
                reading: Reading::of(draft.words(), None, Structure::default()),
                media_type: "text/plain",
                charset: Some(charset.name()),
                language: Some(language),
                pages: None,
            },
        },
        Form::Pdf(font) => pdf_document(&draft, font, rng),
    }
}

fn pdf_document(draft: &Draft, font: Font, rng: &mut ChaCha8Rng) -> Generated {
    let written = pdf::write(draft, font, rng);
    let language = draft.language.code();
    Generated {
        name: format!("{language}.pdf"),
        bytes: written.bytes,
        known: Known {
            reading: Reading::of(draft.words(), written.title, draft.structure(false)),
            media_type: "application/pdf",
            charset: None,
            language: Some(language),
            pages: Some(written.pages),
        },
    }
}

impl Form {
    /// How many bytes a character of a draft takes in a file, about.
    fn bytes_a_character(self, language: Language) -> f64 {
        match (self, language) {
            (Self::Html(Charset::Utf16Le) | Self::Text(Charset::Utf16LeUnmarked), _) => 2.2,
            (Self::Html(Charset::ShiftJis) | Self::Text(Charset::ShiftJis), _) => 2.0,
            (Self::Html(Charset::Utf8) | Self::Text(Charset::Utf8), Language::Russian | Language::Japanese) => 2.2,
            (Self::Html(_) | Self::Text(_), _) => 1.2,
            (Self::Pdf(_), _) => 1.4,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousand characters")]
fn whole(characters: f64) -> usize {
    characters as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use encoding_rs::Encoding;

    use super::*;
    use crate::text::{Kind, try_read};

    const CLAIM: usize = 64 << 10;

    #[test]
    fn a_seed_gives_the_same_documents_and_no_two_are_equal() {
        let documents = documents(1, 30);
        assert_eq!(documents, super::documents(1, 30));
        let different: BTreeSet<&[u8]> = documents.iter().map(|one| one.bytes.as_slice()).collect();
        assert_eq!(different.len(), 30);
        assert_ne!(documents[1], super::documents(2, 2)[1]);
    }

    #[test]
    fn sizes_are_as_wanted() {
        for seed in 0..3 {
            for (index, one) in documents(seed, 60).iter().enumerate() {
                let size = one.bytes.len();
                let fits = if index % ONE_LARGE_IN == 0 {
                    size > CLAIM && size < 300_000
                } else {
                    size > 1_000 && size < CLAIM
                };
                assert!(fits, "{}: {size}", one.name);
            }
        }
    }

    #[test]
    fn what_is_written_in_a_charset_is_read_as_what_is_known() {
        for one in documents(3, 3 * FORMS.len()) {
            let Some(charset) = one.known.charset else {
                continue;
            };
            let encoding = Encoding::for_label(charset.as_bytes()).unwrap();
            let (text, _, broken) = encoding.decode(&one.bytes);
            assert!(!broken, "{}", one.name);
            // Russian in UTF-16 is valid UTF-8 full of control characters.
            let is_utf8 = std::str::from_utf8(&one.bytes).is_ok_and(|text| !text.contains('\u{4}'));
            assert_eq!(is_utf8, charset == "UTF-8", "{}", one.name);
            let kind = Kind::of_extension(one.name.rsplit('.').next().unwrap_or_default()).unwrap();
            assert_eq!(try_read(kind, &text), Ok(one.known.reading), "{}", one.name);
        }
    }

    #[test]
    fn a_pdf_has_words_bookmarks_and_links() {
        let documents = documents(4, 2 * FORMS.len());
        let pdfs: Vec<&Generated> = documents.iter().filter(|one| one.known.pages.is_some()).collect();
        assert_eq!(pdfs.len(), 8);
        for one in pdfs {
            assert!(one.bytes.starts_with(b"%PDF-") && one.bytes.ends_with(b"%%EOF"), "{}", one.name);
            let reading = &one.known.reading;
            assert!(reading.words > 100 && reading.heading_count > 0 && reading.title.is_some(), "{}", one.name);
            assert!(reading.links.iter().all(|(_, text)| text.is_empty()), "{}", one.name);
        }
    }
}
