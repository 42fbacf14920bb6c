//! Tables for the reading: what a page says, and where that cannot be said.

use proptest::prelude::*;

use super::*;

fn html(page: &str) -> Result<Reading, Doubt> {
    try_read(Kind::Html, page)
}

fn words(kind: Kind, text: &str) -> Option<u64> {
    read(kind, text).map(|reading| reading.words)
}

/// Number and hash of words that are given with a space between them.
fn sequence(words: &str) -> (u64, String) {
    words_sequence_of_passages(words.split(' '))
}

#[test]
fn html_counts_what_a_reader_sees() {
    let table = [
        ("one two", 2, "plain text"),
        ("<p>one</p><p>two</p>", 2, "paragraphs separate"),
        ("<p>one<br>two</p>", 2, "line breaks separate"),
        ("un<b>believ</b>able", 1, "inline elements do not separate"),
        ("<table><td>a</td><td>b</td></table>", 2, "cells separate"),
        ("<td>a</td><td>b</td>", 1, "what is no cell, outside a table, does not"),
        ("<ul><li>a<li>b</ul>", 2, "list items separate, closed or not"),
        ("<head><title>no no</title><meta name=a></head><body>yes</body>", 1, "the head is not seen"),
        ("<html><title>no no</title><p>yes", 1, "nor a title whose head is implied"),
        ("<head><title>no</title><body>yes", 1, "a head left open ends where the body begins"),
        ("<script>if (a < b) { c(\"</p>\") }</script>yes", 1, "a script is raw text"),
        ("<style>p > a { color: red }</style>yes", 1, "a style, too"),
        ("<template><p>no</p><template>no</template>no</template>yes", 1, "templates nest"),
        ("<noscript><p>no</p></noscript>yes", 1, "noscript is for others"),
        ("caf&eacute; &amp; th&#233;", 2, "entities are their characters"),
        ("don't 3.14 naïve-ité", 6, "an apostrophe, a full stop and a hyphen end a word"),
        ("<!-- no --><!doctype html>yes", 1, "comments are not seen"),
        ("<!-- nothing -->", 0, "nothing is nothing"),
        ("日本語 text", 2, "letters of any script"),
        ("a</div>b", 1, "an end tag of nothing does not separate"),
        ("a</p>b", 2, "but that of a paragraph does"),
        ("a</body>b", 1, "the end of the body does not"),
        ("<span>a<div>b</span>c</div>d", 3, "a block is not ended by an inline element"),
        ("<table><tr><td>a<tr><td>b</table>c", 3, "rows and cells need no end tags"),
        ("<p><noframes>a</noframes><iframe>b</iframe><xmp>c<b></xmp>", 4, "raw text that is seen"),
        ("a<svg><g><text>b</text></g></svg>c<svg/>d", 1, "pictures are inline"),
        ("<select><option>a<option>b</select>", 2, "options separate"),
    ];
    for (page, count, why) in table {
        assert_eq!(words(Kind::Html, page), Some(count), "{why}: {page}");
    }
}

#[test]
fn markdown_counts_as_the_html_that_it_renders_to() {
    let table = [
        ("# A title\n\nand *some*thing", 4, "a heading and emphasis inside a word"),
        ("| a | b |\n|---|---|\n| c | d |\n", 4, "a table"),
        ("~~gone~~ here", 2, "strikethrough"),
        ("[text](http://example.org/path \"tip\")", 1, "a link's address and tip are attributes"),
        ("![alt](image.png)", 0, "an image's alternative text is an attribute"),
        ("```rust\nlet x = 1;\n```\n", 3, "code is text"),
        ("raw <span>inline</span> and <!-- no --> html", 4, "raw HTML"),
        ("- [ ] open\n", 1, "a task list is no extension of ours, and brackets are no words"),
        ("\u{feff}# word", 1, "a byte order mark is no text"),
    ];
    for (markdown, count, why) in table {
        assert_eq!(words(Kind::Markdown, markdown), Some(count), "{why}: {markdown}");
    }
}

#[test]
fn markdown_on_which_parsers_differ_has_no_reading() {
    // comrak misses the code spans after two backticks that nothing closes.
    let text = "a ``b` c `d` e (`f` g `h`) i `j` and `k` l `m` n";
    assert_eq!(try_read(Kind::Markdown, text), Err(Doubt::Parsers));
    assert_eq!(words(Kind::Plain, text), Some(15));
}

#[test]
fn the_words_keep_their_order() {
    for (kind, text, expected) in [
        (Kind::Plain, "one, two\nthree", "one two three"),
        (Kind::Html, "<p>one<p><b>t</b>wo <i>three", "one two three"),
        (Kind::Html, "<table><caption>one<tr><td>two<tfoot><td>three</table>", "one two three"),
        (Kind::Markdown, "# one\n\n- two\n- *thr*ee", "one two three"),
    ] {
        let reading = read(kind, text).unwrap_or_default();
        assert_eq!((reading.words, reading.sequence), sequence(expected), "{text}");
    }
}

#[test]
fn the_title_is_the_title_else_the_first_heading_of_level_one() {
    for (page, title) in [
        ("<title> A \n B </title><h1>C</h1>", Some("A B")),
        ("<title></title><h1>C <b>D</b></h1>", Some("C D")),
        ("<h2>B</h2><h1> </h1><h1>C<br>D</h1>", Some("C D")),
        ("<h1>C</h1><title>A &amp; B</title>", Some("A & B")),
        ("<title>A</title><svg><g/></svg><title>B</title>", Some("A")),
        ("<template><title>Row</title></template><h1>C</h1>", Some("C")),
        ("<p>x", None),
    ] {
        let read = html(page).map(|reading| reading.title);
        assert_eq!(read, Ok(title.map(str::to_owned)), "{page}");
    }
    assert_eq!(read(Kind::Markdown, "x\n\n# C\n").unwrap_or_default().title.as_deref(), Some("C"));
    assert_eq!(read(Kind::Plain, "# C\n").unwrap_or_default().title, None);
}

#[test]
fn headings_have_their_level_and_links_their_text() {
    let page = "<h1>One<br>line</h1><h3>Three <a href=/h>x</a></h3><h4></h4>\
                <template><h2>no</h2><a href=/no>no</a></template>\
                <p><a href=' /a?b=c&amp;d '>the <b>text</b></a> <a name=x>no</a>\
                <a href='#top'>no</a> <a href=/b><img></a>\
                <a name=y/><p>no<a href=/c>first<a href=/d>second</a>";
    let reading = html(page).unwrap_or_default();
    let headings = [(1, "One line"), (3, "Three x")].map(|(level, text)| (level, text.to_owned()));
    let links = [("/h", "x"), ("/a?b=c&d", "the text"), ("/b", ""), ("/c", "first"), ("/d", "second")];
    let links = links.map(|(target, text)| (target.to_owned(), text.to_owned()));
    assert_eq!((reading.heading_count, reading.headings.as_slice()), (2, &headings[..]));
    assert_eq!((reading.link_count, reading.links.as_slice()), (5, &links[..]));
}

#[test]
fn what_only_a_tree_can_say_is_a_doubt() {
    for (page, doubt) in [
        ("<table>text<tr><td>x</table>", Doubt::Foster),
        ("<table><tr><div>x</div></table>", Doubt::Foster),
        ("<b><span><div>x</b></div>", Doubt::Misnested),
        ("<a href=/x><div>x</a>y</div>", Doubt::Misnested),
        ("<p><a href=/x>x<p>y</a>", Doubt::OpenLink),
        ("<a href=/x><table><td><a href=/y>x</a></table></a>", Doubt::NestedLink),
        ("<h1>x<h2>y</h2>", Doubt::OpenHeading),
        ("<div><h1>x</div>", Doubt::OpenHeading),
        ("<h1>x</h2>", Doubt::OpenHeading),
        ("<form><p><form>x</form>", Doubt::Form),
        ("<form><b>x</form>y</b>", Doubt::Form),
        ("<select><p>x</select>", Doubt::Select),
        ("<svg><p>x</svg>", Doubt::Foreign),
        ("<svg><![CDATA[x]]></svg>", Doubt::Foreign),
        ("<h1>x", Doubt::Unclosed),
        ("<a href=/x>x", Doubt::Unclosed),
        ("<template>x", Doubt::Unclosed),
        ("<title>x", Doubt::Unclosed),
        ("<frameset><frame></frameset>", Doubt::Obsolete),
        ("<plaintext>x", Doubt::Obsolete),
        ("<meta charset=iso-2022-jp>x", Doubt::Charset),
        ("", Doubt::Format),
    ] {
        assert_eq!(html(page), Err(doubt), "{page}");
    }
    assert_eq!(html(&"<div>".repeat(3_000)), Err(Doubt::Limit));
    assert_eq!(html(&format!("<h1>{}</h1>", "x ".repeat(5_000))), Err(Doubt::Limit));
}

proptest! {
    #[test]
    fn any_text_is_read_or_doubted(
        text in "(<|</|>|<p>|<table>|<td>|<a href=x>|</a>|<h1>|</h1>|<b>|</b>|<svg>|<title>|\\PC|[ \n#*`|~>-]){0,40}",
    ) {
        for kind in [Kind::Html, Kind::Markdown, Kind::Plain] {
            let _ = try_read(kind, &text);
        }
    }

    #[test]
    fn markup_between_words_changes_no_word(
        words in proptest::collection::vec("[a-z]{1,8}", 1..20),
        cut in 0_usize..8,
    ) {
        let expected = sequence(&words.join(" "));
        let cuts: Vec<(&str, &str)> = words.iter().map(|word| word.split_at(cut.min(word.len()))).collect();
        let marked: String = cuts.iter().map(|(begin, end)| format!("<li>{begin}<i>{end}</i>")).collect();
        for page in [format!("<ul>{marked}</ul>"), format!("<p>{}", words.join("<br>")), words.join(" <hr> ")] {
            let reading = html(&page).unwrap_or_default();
            prop_assert_eq!((reading.words, reading.sequence), expected.clone(), "{}", page);
        }
    }
}
