//! How much memory the reader of a document needs at most, by its bytes. `cargo run --release -p worker --example
//! memory` compares this with what it takes.

use memchr::memchr;

use super::{MediaType, html, pdf};

/// Memory of a byte of Markdown that may begin an element: two nodes of the parser.
const MARK: u64 = 112;

/// HTML that such a byte becomes, in bytes.
const MARK_AS_HTML: u64 = 12;

/// HTML whose tree takes as much as that of a quote does, in bytes. Its own HTML is longer, and has no text.
const QUOTE_AS_HTML: u64 = 6;

/// Memory of a passage and of its JSON, without its text.
const PASSAGE: u64 = 300;

/// What the bytes of a text say about it.
struct Size {
    /// The text in UTF-8.
    text: u64,
    /// The text again, if it is in another charset.
    decoded: u64,
    /// Characters beyond ASCII, at most.
    beyond_ascii: u64,
    /// Control characters that JSON writes as six. The text in a charset of wide characters has room for them.
    controls: u64,
}

impl Size {
    fn of(document: &[u8]) -> Self {
        let bytes = document.len() as u64;
        let beyond_ascii = document.iter().filter(|byte| !byte.is_ascii()).count() as u64;
        // ISO-2022-JP is the only charset in which valid UTF-8 is read as something else.
        let escapes = memchr(0x1b, document).is_some();
        let controls = document.iter().filter(|byte| matches!(byte, 1..=7 | 0x0b | 0x0e..=0x1f)).count() as u64;
        if !escapes && std::str::from_utf8(document).is_ok() {
            return Self { text: bytes, decoded: 0, beyond_ascii, controls };
        }
        // A byte beyond ASCII becomes three at most. In these charsets, two bytes of ASCII may become three.
        let has_mark = document.starts_with(b"\xff\xfe") || document.starts_with(b"\xfe\xff");
        let is_wide = escapes || has_mark || memchr(0, document).is_some();
        let text = bytes + (2 * beyond_ascii).max(if is_wide { bytes / 2 } else { 0 });
        Self { text, decoded: text, beyond_ascii, controls: if is_wide { 0 } else { controls } }
    }
}

/// The memory in bytes that reading a document takes at most, itself included, and then writing its passages as JSON.
pub fn memory(media_type: MediaType, document: &[u8], passage_words: usize) -> u64 {
    let bytes = document.len() as u64;
    let (reading, text, controls) = match media_type {
        MediaType::Pdf => {
            let (reading, text) = pdf::memory(document);
            (reading, text, 0)
        }
        MediaType::Plain => {
            let size = Size::of(document);
            (size.decoded + size.text, size.text, size.controls)
        }
        MediaType::Html => {
            let size = Size::of(document);
            (size.decoded + html::memory(size.text, size.text), html::visible(size.text), size.controls)
        }
        MediaType::Markdown => {
            let size = Size::of(document);
            let marks = count(document, b"\n*_~[]!<&\\`|");
            // Its HTML escapes these, and encodes the characters of an address. A `>` may be a quote within a quote.
            let escaped = 5 * count(document, b"\"") + QUOTE_AS_HTML * count(document, b">") + 2 * size.beyond_ascii;
            let html = size.text + escaped + MARK_AS_HTML * marks;
            let tree = html::memory(size.text + 2 * size.beyond_ascii, html);
            (size.decoded + html + tree.max(size.text + MARK * marks), html::visible(size.text), size.controls)
        }
    };
    // At least three quarters of the words of a passage, each of a letter and a space, but for the last.
    let passages = PASSAGE * (text / (passage_words.max(1) as u64 * 3 / 2).max(1) + 1);
    // The text and the passages beside the document. Then the passages and their JSON, in which a character may take
    // two, and a control character six.
    let cut = (bytes + 2 * text).max(3 * text + 4 * controls) + passages;
    (bytes + reading).max(cut)
}

fn count(document: &[u8], bytes: &[u8]) -> u64 {
    document.iter().filter(|byte| bytes.contains(byte)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// The memory for so many MiB of a repeated piece, in MiB.
    fn of(media_type: MediaType, piece: &[u8], mebibytes: u64) -> u64 {
        memory(media_type, &piece.repeat((mebibytes * MIB) as usize / piece.len()), 200) / MIB
    }

    #[test]
    fn the_largest_documents_of_the_usual_kinds_fit_into_the_budget() {
        let budget = crate::memory::budget(300 * MIB, 7) / MIB;
        for (media_type, piece) in [
            (MediaType::Plain, "The tide \"rises\" and falls twice a day.\n".as_bytes()),
            (MediaType::Plain, b"Le caf\xe9 ferme \xe0 No\xebl, comme chaque ann\xe9e.\n"),
            (MediaType::Html, b"<tr><td>low water</td><td>12 cm</td></tr>\n"),
            (MediaType::Html, b"<p>Toute la journ\xe9e, la mer monte et descend.</p>\n"),
            (MediaType::Html, "<p>Das Wasser fällt täglich zweimal.</p>\n".as_bytes()),
            (MediaType::Pdf, b"x"),
        ] {
            let needed = of(media_type, piece, 32);
            assert!(needed <= budget, "{needed} MiB of {budget} for {}", String::from_utf8_lossy(piece));
        }
    }

    #[test]
    fn a_hostile_document_needs_more_than_the_budget() {
        assert!(of(MediaType::Markdown, b"*a* ", 32) > 1000);
        assert!(of(MediaType::Plain, b"\xb9\xe9", 32) > 250);
    }

    #[test]
    fn control_characters_take_six_each_in_json() {
        assert_eq!(of(MediaType::Plain, b"\x12 ", 1), of(MediaType::Plain, b"a ", 1) + 2);
        let wide = "Прилив поднимается.\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        assert!(of(MediaType::Plain, &wide, 1) < 6, "0x04 is half of a Cyrillic letter there");
    }

    #[test]
    fn quotes_within_quotes_have_the_memory_of_their_tree() {
        // What 65,536 of them were measured to take.
        assert!(memory(MediaType::Markdown, &b">".repeat(65_536), 200) >= 9_971_736);
    }

    #[test]
    fn a_small_document_needs_no_reservation() {
        for media_type in [MediaType::Plain, MediaType::Html, MediaType::Markdown] {
            let document = "The *tide* [rises](/moon) twice a day.\n".repeat(500);
            let needed = memory(media_type, document.as_bytes(), 200);
            assert!(needed < 4 * MIB, "{needed} for {media_type:?} of {}", document.len());
        }
    }
}
