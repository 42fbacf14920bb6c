//! Markdown, read by way of its HTML: CommonMark with tables and strikethrough; raw HTML is passed through.

use std::borrow::Cow;

use memchr::memmem;
use pulldown_cmark::{Options, Parser, html};

use super::{Cancel, cancel::Cancelled};

/// Renders a Markdown text as HTML.
pub(super) fn to_html(markdown: &str, cancel: &Cancel) -> Result<String, Cancelled> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut rendered = String::with_capacity(markdown.len() * 3 / 2);
    let markdown = with_plain_headings(markdown);
    let events = Parser::new_ext(&markdown, options).take_while(|_| cancel.check().is_ok());
    html::push_html(&mut rendered, events);
    cancel.check()?;
    Ok(rendered)
}

/// The text with spaces instead of the tabs around the closing sequence of a heading, as in `# title<TAB>#`.
/// pulldown-cmark 0.13.6 takes such a sequence for a part of the title.
fn with_plain_headings(markdown: &str) -> Cow<'_, str> {
    let has = |pair: &[u8]| memmem::find(markdown.as_bytes(), pair).is_some();
    if !has(b"\t#") && !has(b"#\t") {
        return Cow::Borrowed(markdown);
    }
    let mut plain = String::with_capacity(markdown.len());
    for line in markdown.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        let (body, blanks) = content.split_at(content.trim_end_matches(BLANKS).len());
        let title = body.trim_end_matches('#');
        // White space is all the same in the text. So it does no harm where the line is no heading.
        let opened = title.trim_end_matches(BLANKS).contains('#');
        if !opened || title.len() == body.len() || !(title.ends_with('\t') || blanks.contains('\t')) {
            plain.push_str(line);
            continue;
        }
        plain.push_str(title.trim_end_matches(BLANKS));
        plain.push_str(if title.ends_with(BLANKS) { " " } else { "" });
        plain.push_str(&body[title.len()..]);
        plain.push_str(&line[content.len()..]);
    }
    Cow::Owned(plain)
}

/// What CommonMark allows around the closing sequence.
const BLANKS: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tabs_around_the_closing_sequence_of_a_heading_are_no_text() {
        for (markdown, expected) in [
            ("# title\t#", "<h1>title</h1>\n"),
            ("# title #\t", "<h1>title</h1>\n"),
            ("## a#b\t##  \t\r\n", "<h2>a#b</h2>\n"),
            ("# #\t", "<h1></h1>\n"),
            ("#\ttitle", "<h1>title</h1>\n"),
            ("# C#\t", "<h1>C#</h1>\n"),
            ("> # title\t#\ntext", "<blockquote>\n<h1>title</h1>\n</blockquote>\n<p>text</p>\n"),
            ("text\t#\nmore", "<p>text\t#\nmore</p>\n"),
        ] {
            assert_eq!(to_html(markdown, &Cancel::default()).unwrap(), expected, "{markdown:?}");
        }
    }
}
