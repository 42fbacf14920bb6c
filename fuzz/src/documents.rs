//! Documents of every format. A reader answers the same text for the same bytes, within the memory that the worker
//! reserves for it, or refuses the document for good.

use memchr::memmem;
use worker::{
    activities::StepError,
    text::{Cancel, Extract, ExtractError, KINDS, MediaType, PoisonError, extract, memory},
};

use crate::{
    Outcome, heap,
    pdf::{one_page, stream},
};

/// Words of a passage, as by default.
const PASSAGE_WORDS: usize = 200;
/// Bytes that a reader may take beside what grows with the document.
const TABLES: u64 = 64 << 10;
/// Length of a long text in bytes.
const LONG: usize = 64 << 10;
/// Characters of a failure that reach Temporal. The way out is at the end of a message.
const MAX_CHARACTERS: usize = 1000;
/// The kinds that no reader answers: a reader that panics ends the target.
const NOT_OF_READERS: [&str; 2] = ["ReaderPanicked", "ReaderKilled"];

pub(crate) fn html(bytes: &[u8]) -> Outcome {
    document("a.html", bytes)
}

pub(crate) fn markdown(bytes: &[u8]) -> Outcome {
    document("a.md", bytes)
}

pub(crate) fn plain(bytes: &[u8]) -> Outcome {
    document("a.txt", bytes)
}

pub(crate) fn pdf(bytes: &[u8]) -> Outcome {
    document("a.pdf", bytes)
}

/// A text that repeats the input, in each format: what a reader needs must not grow faster than its text.
pub(crate) fn long_text(bytes: &[u8]) -> Outcome {
    let long = bytes.repeat(LONG.checked_div(bytes.len()).unwrap_or_default());
    let outcomes = ["a.html", "a.md", "a.txt"].map(|name| document(name, &long));
    if outcomes.contains(&Outcome::Read) { Outcome::Read } else { Outcome::Refused }
}

/// A PDF of one page, so that its cross-references are right. The input has up to three parts with a line `%%` between
/// them: the operators of the page, the dictionary of its font `/F2`, and that font's map to Unicode.
pub(crate) fn pdf_page(bytes: &[u8]) -> Outcome {
    let (operators, rest) = split(bytes);
    let (font, map) = split(rest);
    let font = [b"<< /Type /Font /ToUnicode 7 0 R ", font, b" >>"].concat();
    let page = one_page(stream("", operators), "/Font << /F1 5 0 R /F2 6 0 R >>", &[font, stream("", map)]);
    document("a.pdf", &page)
}

fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    const LINE: &[u8] = b"\n%%\n";
    memmem::find(bytes, LINE).map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + LINE.len()..]))
}

fn document(name: &str, bytes: &[u8]) -> Outcome {
    let media_type = match MediaType::detect(name, bytes) {
        Ok(media_type) => media_type,
        Err(poison) => return refused(poison),
    };
    let read = || extract(media_type, bytes, PASSAGE_WORDS, &Cancel::default());
    let (first, peak) = heap::peak(|| {
        let read = read();
        // The budget has room for it.
        let _json = read.as_ref().map(|extract| serde_json::to_vec(&extract.passages));
        read
    });
    let budget = memory(media_type, bytes, PASSAGE_WORDS) + TABLES;
    assert!(peak <= budget, "{peak} bytes of memory for {} bytes of {media_type:?}, not {budget}", bytes.len());
    assert_eq!(first, read(), "the second reading differs");
    match first {
        Ok(extract) => is_sound(&extract),
        Err(ExtractError::Poison(poison)) => refused(poison),
        Err(ExtractError::Cancelled(cancelled)) => panic!("{cancelled}"),
    }
}

fn is_sound(extract: &Extract) -> Outcome {
    let json = serde_json::to_vec(extract).unwrap();
    assert_eq!(serde_json::from_slice::<Extract>(&json).unwrap(), *extract);
    let words: u64 = extract.passages.iter().map(|passage| u64::from(passage.words)).sum();
    assert_eq!(words, extract.words, "the words of the passages");
    for (ordinal, passage) in extract.passages.iter().enumerate() {
        assert_eq!(passage.ordinal as usize, ordinal);
        assert!(!passage.text.is_empty() && passage.text.trim() == passage.text, "{:?}", passage.text);
    }
    let structure = &extract.structure;
    let links = structure.links.iter().flat_map(|link| [&link.target, &link.text]);
    let headings = structure.headings.iter().map(|heading| &heading.text);
    let passages = extract.passages.iter().map(|passage| &passage.text);
    let mut texts = extract.title.iter().chain(headings).chain(links).chain(passages);
    assert!(!texts.any(|text| text.contains('\0')), "Postgres stores no NUL");
    Outcome::Read
}

/// A document that is refused fails for good, with a kind of the reference and a message that is not cut off.
pub(crate) fn refused(poison: PoisonError) -> Outcome {
    let kind = poison.kind();
    assert!(KINDS.iter().any(|known| known.name == kind) && !NOT_OF_READERS.contains(&kind), "{poison:?}");
    let message = poison.to_string();
    assert!(message.chars().count() <= MAX_CHARACTERS, "{message}");
    assert_eq!(StepError::from(poison).outcome(), "poison");
    Outcome::Refused
}
