//! The oracle's own count of a document's words, made with other parsers than the worker's.
//!
//! The worker builds a tree with html5ever and renders Markdown with pulldown-cmark. This file walks
//! html5gum's token stream and renders Markdown with comrak and again with markdown-rs, and shares only
//! the definition: a word is a maximal run of alphanumeric characters in the visible text; block-level
//! boundaries and `<br>` separate words, inline boundaries do not; head, script, style, template,
//! noscript and the title are not visible. Nothing here may be shared with, or copied from, the worker.
//!
//! Where the two Markdown parsers do not agree on a document, what its right count is cannot be said:
//! it has none, and is left out of the load. That makes an exact comparison fair. Of 9 400 Markdown
//! files in the modules that this repository builds, 11 are left out so.

use html5gum::Token;
use html5gum::emitters::default::DefaultEmitter;

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

/// The number of words in a document's visible text; none where the parsers do not agree on one.
pub fn words_of(kind: Kind, text: &str) -> Option<u64> {
    match kind {
        Kind::Html => Some(words_of_html(text)),
        Kind::Markdown => words_of_markdown(text),
        Kind::Plain => Some(words_of_text(text)),
    }
}

/// The number of words in text without markup.
pub fn words_of_text(text: &str) -> u64 {
    let mut words = Words::default();
    words.text(text);
    words.count
}

/// Elements whose text is not visible. The worker leaves out the same by contract.
const HIDDEN: &[&[u8]] = &[b"head", b"script", b"style", b"template", b"noscript", b"title"];

/// Elements that a head may hold (HTML standard, insertion mode "in head").
const OF_HEAD: &[&[u8]] = &[
    b"base",
    b"basefont",
    b"bgsound",
    b"head",
    b"html",
    b"link",
    b"meta",
    b"noframes",
    b"noscript",
    b"script",
    b"style",
    b"template",
    b"title",
];

/// Elements whose begin and end separate words: those that the HTML standard's rendering section gives
/// `display: block`, `list-item` or a table's displays, and `<br>`.
const BLOCKS: &[&[u8]] = &[
    b"address",
    b"article",
    b"aside",
    b"blockquote",
    b"body",
    b"br",
    b"caption",
    b"center",
    b"col",
    b"colgroup",
    b"dd",
    b"details",
    b"dialog",
    b"dir",
    b"div",
    b"dl",
    b"dt",
    b"fieldset",
    b"figcaption",
    b"figure",
    b"footer",
    b"form",
    b"frameset",
    b"h1",
    b"h2",
    b"h3",
    b"h4",
    b"h5",
    b"h6",
    b"header",
    b"hgroup",
    b"hr",
    b"html",
    b"legend",
    b"li",
    b"listing",
    b"main",
    b"menu",
    b"nav",
    b"noframes",
    b"ol",
    b"optgroup",
    b"option",
    b"p",
    b"plaintext",
    b"pre",
    b"search",
    b"section",
    b"select",
    b"summary",
    b"table",
    b"tbody",
    b"td",
    b"textarea",
    b"tfoot",
    b"th",
    b"thead",
    b"tr",
    b"ul",
    b"video",
    b"audio",
    b"iframe",
    b"xmp",
];

/// Counts maximal runs of alphanumeric characters over pieces of text that belong together.
#[derive(Default)]
struct Words {
    count: u64,
    inside: bool,
}

impl Words {
    fn text(&mut self, text: &str) {
        for character in text.chars() {
            let alphanumeric = character.is_alphanumeric();
            if alphanumeric && !self.inside {
                self.count += 1;
            }
            self.inside = alphanumeric;
        }
    }

    fn boundary(&mut self) {
        self.inside = false;
    }
}

fn words_of_html(html: &str) -> u64 {
    let mut emitter = DefaultEmitter::default();
    // Script, style, title and their like are raw text: what looks like a tag in them is none.
    emitter.naively_switch_states(true);
    let mut words = Words::default();
    let mut hidden = Hidden::default();
    for token in html5gum::Tokenizer::new_with_emitter(html, emitter) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                hidden.enter(&tag.name);
                separate(&mut words, &tag.name);
            }
            Token::EndTag(tag) => {
                hidden.leave(&tag.name);
                separate(&mut words, &tag.name);
            }
            Token::String(text) => {
                let text = String::from_utf8_lossy(&text.value);
                if !hidden.hides(&text) {
                    words.text(&text);
                }
            }
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    words.count
}

fn separate(words: &mut Words, name: &[u8]) {
    if BLOCKS.contains(&name) {
        words.boundary();
    }
}

/// The hidden elements that are open, the innermost last.
#[derive(Default)]
struct Hidden {
    open: Vec<Vec<u8>>,
}

impl Hidden {
    fn enter(&mut self, name: &[u8]) {
        if !OF_HEAD.contains(&name) {
            self.end_head();
        }
        if HIDDEN.contains(&name) {
            self.open.push(name.to_vec());
        }
    }

    fn leave(&mut self, name: &[u8]) {
        if let Some(place) = self.open.iter().rposition(|open| open == name) {
            self.open.truncate(place);
        }
    }

    /// Whether text that comes now is hidden.
    fn hides(&mut self, text: &str) -> bool {
        if !text.trim_ascii().is_empty() {
            self.end_head();
        }
        !self.open.is_empty()
    }

    /// Ends a head that is open where something came that a head cannot hold: `</head>` may be left
    /// out, and text or an element of the body ends a head in any case.
    fn end_head(&mut self) {
        if self.open.last().is_some_and(|open| open == b"head") {
            self.open.pop();
        }
    }
}

fn words_of_markdown(text: &str) -> Option<u64> {
    let one = words_of_html(&comrak_html(text));
    let other = words_of_html(&markdown_rs_html(text)?);
    (one == other).then_some(one)
}

/// CommonMark with tables and strikethrough, raw HTML kept: the dialect of the contract.
fn comrak_html(text: &str) -> String {
    let mut options = comrak::Options::default();
    options.extension.table = true;
    options.extension.strikethrough = true;
    options.render.r#unsafe = true;
    comrak::markdown_to_html(text, &options)
}

/// The same dialect by the other parser.
fn markdown_rs_html(text: &str) -> Option<String> {
    let constructs = markdown::Constructs {
        gfm_table: true,
        gfm_strikethrough: true,
        ..markdown::Constructs::default()
    };
    let options = markdown::Options {
        parse: markdown::ParseOptions {
            constructs,
            ..markdown::ParseOptions::default()
        },
        compile: markdown::CompileOptions {
            allow_dangerous_html: true,
            allow_dangerous_protocol: true,
            ..markdown::CompileOptions::default()
        },
    };
    markdown::to_html_with_options(text, &options).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_counts_what_a_reader_sees() {
        let table = [
            ("one two", 2, "plain text"),
            ("<p>one</p><p>two</p>", 2, "paragraphs separate"),
            ("<p>one<br>two</p>", 2, "line breaks separate"),
            ("un<b>believ</b>able", 1, "inline elements do not separate"),
            ("<td>a</td><td>b</td>", 2, "cells separate"),
            ("<ul><li>a<li>b</ul>", 2, "list items separate, closed or not"),
            (
                "<head><title>no no</title><meta name=a></head><body>yes</body>",
                1,
                "the head is not seen",
            ),
            (
                "<html><title>no no</title><p>yes",
                1,
                "nor a title whose head is implied",
            ),
            (
                "<head><title>no</title><body>yes",
                1,
                "a head left open ends where the body begins",
            ),
            (
                "<script>if (a < b) { c(\"</p>\") }</script>yes",
                1,
                "a script is raw text",
            ),
            ("<style>p > a { color: red }</style>yes", 1, "a style, too"),
            (
                "<template><p>no</p><template>no</template>no</template>yes",
                1,
                "templates nest",
            ),
            ("<noscript><p>no</p></noscript>yes", 1, "noscript is for others"),
            ("caf&eacute; &amp; th&#233;", 2, "entities are their characters"),
            (
                "don't 3.14 naïve-ité",
                6,
                "an apostrophe, a full stop and a hyphen end a word",
            ),
            ("<!-- no --><!doctype html>yes", 1, "comments are not seen"),
            ("", 0, "nothing is nothing"),
            ("日本語 text", 2, "letters of any script"),
        ];
        for (html, words, why) in table {
            assert_eq!(words_of(Kind::Html, html), Some(words), "{why}: {html}");
        }
    }

    #[test]
    fn markdown_counts_as_the_html_that_it_renders_to() {
        let table = [
            (
                "# A title\n\nand *some*thing",
                4,
                "a heading and emphasis inside a word",
            ),
            ("| a | b |\n|---|---|\n| c | d |\n", 4, "a table"),
            ("~~gone~~ here", 2, "strikethrough"),
            (
                "[text](http://example.org/path \"tip\")",
                1,
                "a link's address and tip are attributes",
            ),
            (
                "![alt](image.png)",
                0,
                "an image's alternative text is an attribute",
            ),
            ("```rust\nlet x = 1;\n```\n", 3, "code is text"),
            ("raw <span>inline</span> and <!-- no --> html", 4, "raw HTML"),
            (
                "- [ ] open\n",
                1,
                "a task list is no extension of ours, and brackets are no words",
            ),
        ];
        for (markdown, words, why) in table {
            assert_eq!(
                words_of(Kind::Markdown, markdown),
                Some(words),
                "{why}: {markdown}"
            );
        }
    }

    #[test]
    fn markdown_on_which_parsers_differ_has_no_count() {
        // comrak misses the code spans after two backticks that nothing closes.
        let text = "a ``b` c `d` e (`f` g `h`) i `j` and `k` l `m` n";
        assert_eq!(words_of(Kind::Markdown, text), None);
        assert_eq!(words_of(Kind::Plain, text), Some(15));
    }

    #[test]
    fn the_lists_hold_no_name_twice() {
        for (index, name) in BLOCKS.iter().enumerate() {
            assert!(
                !BLOCKS[..index].contains(name),
                "{}",
                String::from_utf8_lossy(name)
            );
        }
    }
}
