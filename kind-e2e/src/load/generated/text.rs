//! Drafts written as HTML and plain text, in the charset of their choice.

use encoding_rs::{SHIFT_JIS, WINDOWS_1252};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::draft::{Block, Draft, Run};

/// A charset to write in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8 without a byte order mark.
    Utf8,
    /// The charset of Western Europe before UTF-8.
    Windows1252,
    /// The charset of Japan before UTF-8.
    ShiftJis,
    /// UTF-16, little-endian, with a byte order mark.
    Utf16Le,
    /// The same without one.
    Utf16LeUnmarked,
}

impl Charset {
    /// Its name in the Encoding Standard.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Windows1252 => "windows-1252",
            Self::ShiftJis => "Shift_JIS",
            Self::Utf16Le | Self::Utf16LeUnmarked => "UTF-16LE",
        }
    }

    /// Text in this charset.
    ///
    /// # Panics
    /// Where it lacks a character, which none of the word lists has.
    pub(super) fn encode(self, text: &str) -> Vec<u8> {
        let encoding = match self {
            Self::Utf8 => return text.as_bytes().to_vec(),
            Self::Utf16Le => {
                return [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
            }
            Self::Utf16LeUnmarked => return text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Windows1252 => WINDOWS_1252,
            Self::ShiftJis => SHIFT_JIS,
        };
        let (bytes, _, unmappable) = encoding.encode(text);
        assert!(!unmappable, "{} lacks a character of the text", self.name());
        bytes.into_owned()
    }
}

/// Blocks with an empty line between them, and lines of some words.
pub(super) fn plain(draft: &Draft, charset: Charset) -> Vec<u8> {
    let mut text = String::new();
    for block in &draft.blocks {
        match block {
            Block::Heading(_, heading) => text.push_str(heading),
            Block::Paragraph(runs) => text.push_str(&lines(runs)),
        }
        text.push_str("\n\n");
    }
    charset.encode(&text)
}

/// Runs in lines of at least so many characters.
fn lines(runs: &[Run]) -> String {
    const LINE: usize = 72;
    let mut length = 0;
    let text = runs.iter().map(Run::text).collect::<Vec<_>>().join(" ");
    let broken = text.chars().map(|character| {
        length += 1;
        if character == ' ' && length > LINE {
            length = 0;
            '\n'
        } else {
            character
        }
    });
    broken.collect()
}

/// A page with a head, and with what nobody sees.
pub(super) fn html(draft: &Draft, charset: Charset, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut page = String::from("<!DOCTYPE html>\n<html>\n<head>\n");
    page.push_str(&declaration(charset, rng));
    page.push_str(&format!(
        "<title>\n  {}\n</title>\n<style>p > a {{ color: red }}</style>\n</head>\n<body>\n",
        escaped(&draft.title)
    ));
    for block in &draft.blocks {
        page.push_str(&block_of(block, rng));
    }
    page.push_str("<script>if (1 < 2) document.write(\"<p>unseen</p>\")</script>\n</body>\n</html>\n");
    charset.encode(&page)
}

fn declaration(charset: Charset, rng: &mut ChaCha8Rng) -> String {
    let label = charset.name().to_ascii_lowercase();
    match charset {
        // Its byte order says it.
        Charset::Utf16Le | Charset::Utf16LeUnmarked => String::new(),
        _ if rng.random_bool(0.5) => format!("<meta charset=\"{label}\">\n"),
        _ => format!("<meta http-equiv=Content-Type content='text/html; charset={label}'>\n"),
    }
}

fn block_of(block: &Block, rng: &mut ChaCha8Rng) -> String {
    let runs = match block {
        Block::Heading(level, text) => return format!("<h{level}>{}</h{level}>\n", escaped(text)),
        Block::Paragraph(runs) => runs,
    };
    let parts: Vec<String> = runs.iter().map(|run| run_of(run, rng)).collect();
    match rng.random_range(0..5) {
        0 => format!("<ul>\n<li>{}\n</ul>\n", parts.join("\n<li>")),
        1 => format!("<table><tr><td>{}</table>\n", parts.join("<td>")),
        2 => format!("<div>{}</div>\n", parts.join("<br>")),
        3 => format!("<p>{}\n", parts.join(" <!-- unseen -->")),
        _ => format!("<p>{}</p>\n", parts.join(" ")),
    }
}

fn run_of(run: &Run, rng: &mut ChaCha8Rng) -> String {
    match run {
        Run::Link(target, text) => format!("<a href=\"{}\">{}</a>", escaped(target), escaped(text)),
        Run::Text(text) => emphasised(&escaped(text), rng),
    }
}

/// Text with a part of it in `<em>`, which may begin and end within a word.
fn emphasised(text: &str, rng: &mut ChaCha8Rng) -> String {
    let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
    let begin = rng.random_range(0..places.len());
    let end = rng.random_range(begin..places.len());
    let (begin, end) = (places[begin], places[end]);
    format!("{}<em>{}</em>{}", &text[..begin], &text[begin..end], &text[end..])
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_bytes_of_its_charset() {
        for (charset, text, bytes) in [
            (Charset::Utf8, "é", b"\xc3\xa9".as_slice()),
            (Charset::Windows1252, "é", b"\xe9"),
            (Charset::ShiftJis, "あ", b"\x82\xa0"),
            (Charset::Utf16Le, "да", b"\xff\xfe\x34\x04\x30\x04"),
            (Charset::Utf16LeUnmarked, "да", b"\x34\x04\x30\x04"),
        ] {
            assert_eq!(charset.encode(text), bytes, "{charset:?}");
        }
    }

    #[test]
    #[should_panic(expected = "windows-1252 lacks a character")]
    fn a_charset_that_lacks_a_character_is_a_fault_of_the_word_lists() {
        Charset::Windows1252.encode("да");
    }
}
