//! The visible text, title, headings and links of an HTML page, parsed by the rules of browsers (html5ever).
//!
//! A page is parsed piece by piece, so that a cancelled extraction stops, and a hostile page is refused before it
//! uses up the memory. Such a page nests without end, or never closes formatting elements, which are then reopened
//! in every paragraph.

mod tree;

use html5ever::{
    driver::{ParseOpts, parse_document},
    tendril::{StrTendril, TendrilSink},
};
use tree::{Content, Edge, Id, Sink, Tree};

use super::{Cancel, ExtractError, PoisonError, Structure, VisibleText, structure};

/// Elements with invisible text. The title is kept separately and is not part of the text.
const HIDDEN: &[&str] = &["head", "noscript", "script", "style", "template", "title"];

/// Elements that begin and end a line: those that browsers lay out as blocks, table cells, options and `<br>`.
#[rustfmt::skip]
const BLOCKS: &[&str] = &[
    "address", "article", "aside", "audio", "blockquote", "body", "br", "caption", "center", "col",
    "colgroup", "dd", "details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "frameset", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "html",
    "iframe", "legend", "li", "listing", "main", "menu", "nav", "noframes", "ol", "optgroup", "option", "p",
    "plaintext", "pre", "search", "section", "select", "summary", "table", "tbody", "td", "textarea",
    "tfoot", "th", "thead", "tr", "ul", "video", "xmp",
];

/// Bytes that are parsed between two checks of the flag and of the tree. At the maximum depth, this is about sixty
/// paragraphs, each of which may reopen every formatting element.
const PIECE_BYTES: usize = 256;

/// Maximum number of nodes. A node takes 48 bytes; pages have one per 20 to 40 bytes.
const MAX_NODES: usize = 1_000_000;

/// Nodes that the smallest page may have. A larger one may have another for each three bytes, such as of `<p>`.
const MIN_NODES: usize = 10_000;

/// Maximum depth. The parser searches the open elements at every tag, so time grows with the square of the depth.
const MAX_DEPTH: usize = 12_000;

/// Maximum bytes that are kept of a title, a heading or the text of a link.
const MAX_CAPTURE_BYTES: usize = 8 << 10;

/// Maximum number of nodes of a page of this many bytes.
fn max_nodes(bytes: usize) -> usize {
    (MIN_NODES + bytes / 3).min(MAX_NODES)
}

/// Memory in bytes that a page takes at most, by the bytes of its text and by all of its bytes. A byte of text is in the
/// tree and in the visible text. A byte of an address may take two and a half in the tree.
pub(super) fn memory(text: u64, page: u64) -> u64 {
    let nodes = max_nodes(usize::try_from(page).unwrap_or(usize::MAX)) as u64;
    text * 5 / 2 + nodes * tree::NODE
}

/// Bytes of the visible text at most: a few entities are shorter than what they stand for.
pub(super) fn visible(text: u64) -> u64 {
    text * 6 / 5
}

/// The result of reading a page.
pub(super) struct Page {
    pub(super) title: Option<String>,
    pub(super) visible: VisibleText,
    pub(super) structure: Structure,
}

/// Reads a page or a fragment.
pub(super) fn read(page: &str, cancel: &Cancel) -> Result<Page, ExtractError> {
    let tree = parse(page, PIECE_BYTES, cancel)?;
    let mut reader = Reader::default();
    for (index, edge) in tree.edges().enumerate() {
        if index % 4096 == 0 {
            cancel.check()?;
        }
        match edge {
            Edge::Open(id) => reader.open(id, &tree),
            Edge::Close(id) => reader.close(id, &tree),
        }
    }
    Ok(reader.into_page())
}

/// Parses a page in pieces of this many bytes.
fn parse(page: &str, piece: usize, cancel: &Cancel) -> Result<Tree, ExtractError> {
    let mut parser = parse_document(Sink::default(), ParseOpts::default());
    let mut rest = page;
    while !rest.is_empty() {
        cancel.check()?;
        let (piece, more) = rest.split_at(rest.floor_char_boundary(piece));
        parser.process(StrTendril::from(piece));
        rest = more;
        check_size(&parser.tokenizer.sink.sink.0.borrow(), max_nodes(page.len()))?;
    }
    Ok(parser.finish())
}

fn check_size(tree: &Tree, max_nodes: usize) -> Result<(), PoisonError> {
    let too_complex = |what, limit| Err(PoisonError::TooComplex { what, limit });
    if tree.size() > max_nodes {
        return too_complex("elements and texts", max_nodes);
    }
    if tree.is_deeper_than(MAX_DEPTH) {
        return too_complex("nested elements", MAX_DEPTH);
    }
    Ok(())
}

/// The text read so far, and the elements that are open.
#[derive(Default)]
struct Reader {
    visible: VisibleText,
    structure: Structure,
    /// Number of open hidden elements.
    hidden: usize,
    /// Number of open templates.
    templates: usize,
    title: Option<String>,
    first_h1: Option<String>,
    open_title: Option<Capture>,
    open_heading: Option<(Capture, usize)>,
    open_link: Option<(Capture, String)>,
}

/// The text of an open element.
struct Capture {
    element: Id,
    text: String,
}

impl Capture {
    fn of(element: Id) -> Self {
        Self { element, text: String::new() }
    }

    fn push(&mut self, text: &str) {
        let room = MAX_CAPTURE_BYTES.saturating_sub(self.text.len());
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
    }
}

impl Reader {
    fn open(&mut self, id: Id, tree: &Tree) {
        match tree.content(id) {
            Content::Text(text) => self.text(text),
            Content::Element { name, html, link } => self.open_element(id, name, html, link),
            Content::Other => {}
        }
    }

    fn open_element(&mut self, id: Id, name: &str, html: bool, link: Option<&str>) {
        // A picture and a template have titles of their own.
        let of_page = html && self.templates == 0;
        if name == "title" && of_page && self.title.is_none() && self.open_title.is_none() {
            self.open_title = Some(Capture::of(id));
        }
        self.templates += usize::from(name == "template");
        if HIDDEN.contains(&name) {
            self.hidden += 1;
        } else if self.hidden == 0 {
            self.edge_of_block(name);
            if let (Some(level), None) = (heading_level(name), &self.open_heading) {
                self.open_heading = Some((Capture::of(id), level));
            }
            if let (Some(target), None) = (link, &self.open_link) {
                self.open_link = Some((Capture::of(id), target.to_owned()));
            }
        }
    }

    fn close(&mut self, id: Id, tree: &Tree) {
        let Content::Element { name, .. } = tree.content(id) else {
            return;
        };
        let name: &str = name;
        let ended = |capture: &mut Capture| capture.element == id;
        if let Some(title) = self.open_title.take_if(ended) {
            self.title = titled(&title.text);
        }
        if let Some((heading, level)) = self.open_heading.take_if(|(capture, _)| ended(capture)) {
            self.structure.heading(level, &heading.text);
            if level == 1 && self.first_h1.is_none() {
                self.first_h1 = titled(&heading.text);
            }
        }
        if let Some((link, target)) = self.open_link.take_if(|(capture, _)| ended(capture)) {
            self.structure.link(&target, &link.text);
        }
        self.templates = self.templates.saturating_sub(usize::from(name == "template"));
        if HIDDEN.contains(&name) {
            self.hidden = self.hidden.saturating_sub(1);
        } else if self.hidden == 0 {
            self.edge_of_block(name);
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(title) = &mut self.open_title {
            title.push(text);
        }
        if self.hidden == 0 {
            self.visible.push(text);
            self.capture(text);
        }
    }

    fn edge_of_block(&mut self, name: &str) {
        if BLOCKS.contains(&name) {
            self.visible.end_block();
            self.capture("\n");
        }
    }

    fn capture(&mut self, text: &str) {
        if let Some((heading, _)) = &mut self.open_heading {
            heading.push(text);
        }
        if let Some((link, _)) = &mut self.open_link {
            link.push(text);
        }
    }

    fn into_page(self) -> Page {
        Page { title: self.title.or(self.first_h1), visible: self.visible, structure: self.structure }
    }
}

fn heading_level(name: &str) -> Option<usize> {
    ["h1", "h2", "h3", "h4", "h5", "h6"].iter().position(|heading| *heading == name).map(|index| index + 1)
}

fn titled(text: &str) -> Option<String> {
    let title = structure::one_line(text, structure::MAX_TITLE_CHARACTERS);
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(page: &str) -> Page {
        read(page, &Cancel::default()).unwrap()
    }

    fn text(html: &str) -> String {
        page(html).visible.into_string()
    }

    #[test]
    fn invisible_text_is_left_out() {
        let page = "<head><title>T</title><style>a{}</style></head><body>seen<script>var x</script>\
                    <noscript>no</noscript><template><p>no</p></template><!-- no --> too</body>";
        assert_eq!(text(page), "seen too");
    }

    #[test]
    fn blocks_and_line_breaks_separate_words_and_inline_elements_do_not() {
        assert_eq!(text("<p>one</p><p>two<br>three</p>"), "one\ntwo\nthree");
        assert_eq!(text("<td>a</td>un<b>believ</b>able <i>x</i>"), "aunbelievable x");
        assert_eq!(text("<table><tr><td>a</td><td>b</td></tr></table>"), "a\nb");
        assert_eq!(text("<ul><li>a<li>b</ul>"), "a\nb");
    }

    #[test]
    fn entities_are_decoded() {
        assert_eq!(text("a&amp;b &lt;c&gt; &eacute;"), "a&b <c> é");
    }

    #[test]
    fn the_title_is_the_title_element_else_the_first_heading() {
        assert_eq!(page("<title> A \n B </title><h1>C</h1>").title.as_deref(), Some("A B"));
        assert_eq!(page("<title></title><h1>C <b>D</b></h1>").title.as_deref(), Some("C D"));
        assert_eq!(page("<h2>B</h2><h1></h1><h1>C</h1>").title.as_deref(), Some("C"));
        assert_eq!(page("<p>x").title, None);
    }

    #[test]
    fn the_title_of_a_picture_or_a_template_is_not_the_pages() {
        let picture = "<svg><title>Logo</title><text>x</text></svg>";
        let template = "<template><title>Row</title><template><title>Cell</title></template></template>";
        assert_eq!(page(&format!("{picture}{template}<p>x")).title, None);
        assert_eq!(page(&format!("{template}{picture}<h1>Tides</h1>")).title.as_deref(), Some("Tides"));
        assert_eq!(page(&format!("{picture}{template}<title>Tides</title>")).title.as_deref(), Some("Tides"));
    }

    #[test]
    fn headings_have_their_level_and_links_their_text() {
        let page = page(
            "<h1>One<br>line</h1><h3>Three</h3><template><h2>no</h2><a href=/no>no</a></template>\
             <p><a href=' /a?b=c '>the <b>text</b></a> <a name=x>no</a> <a href='#top'>no</a> <a href=/b><img></a>",
        );
        let headings: Vec<_> =
            page.structure.headings.iter().map(|heading| (heading.level, heading.text.as_str())).collect();
        assert_eq!(headings, [(1, "One line"), (3, "Three")]);
        let links: Vec<_> =
            page.structure.links.iter().map(|link| (link.target.as_str(), link.text.as_str())).collect();
        assert_eq!(links, [("/a?b=c", "the text"), ("/b", "")]);
        assert_eq!((page.structure.heading_count, page.structure.link_count), (2, 2));
    }

    fn refused(html: &str) -> ExtractError {
        match read(html, &Cancel::default()) {
            Ok(_) => panic!("the page was read"),
            Err(error) => error,
        }
    }

    #[test]
    fn a_page_that_nests_without_end_is_refused() {
        let limit = MAX_DEPTH;
        let what = "nested elements";
        assert_eq!(refused(&"<div>".repeat(1_000_000)), PoisonError::TooComplex { what, limit }.into());
    }

    #[test]
    fn a_page_whose_tree_explodes_is_refused() {
        let formatting: String = (0..1_000).map(|index| format!("<font size={index}>")).collect();
        let page = format!("<p>{formatting}{}", "<p>x".repeat(20_000));
        let limit = max_nodes(page.len());
        let what = "elements and texts";
        assert_eq!(refused(&page), PoisonError::TooComplex { what, limit }.into());
    }

    #[test]
    fn a_cancelled_reading_stops() {
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(matches!(read("<p>x", &cancel), Err(ExtractError::Cancelled(_))));
    }

    /// The elements and texts of a tree in order.
    fn outline(tree: &Tree) -> String {
        let mut outline = String::new();
        for edge in tree.edges() {
            match edge {
                Edge::Open(id) => match tree.content(id) {
                    Content::Element { name, .. } => outline += &format!("<{name}>"),
                    Content::Text(text) => outline += text,
                    Content::Other => {}
                },
                Edge::Close(id) => {
                    if let Content::Element { name, .. } = tree.content(id) {
                        outline += &format!("</{name}>");
                    }
                }
            }
        }
        outline
    }

    /// The same of another tree, by the same parser.
    fn expected(page: &str) -> String {
        use ego_tree::iter::Edge;
        let mut outline = String::new();
        for edge in scraper::Html::parse_document(page).tree.root().traverse() {
            match edge {
                Edge::Open(node) => match node.value() {
                    scraper::Node::Element(element) => outline += &format!("<{}>", element.name()),
                    scraper::Node::Text(text) => outline += text,
                    _ => {}
                },
                Edge::Close(node) => {
                    if let Some(element) = node.value().as_element() {
                        outline += &format!("</{}>", element.name());
                    }
                }
            }
        }
        outline
    }

    proptest! {
        #[test]
        fn a_page_read_in_pieces_is_the_page_read_at_once(
            parts in proptest::collection::vec(
                "(<p>|<b>|</b>|<i>|</p>|<a href=x>|</a>|<!-- |-->|&amp;|&am|<table>|</table>|<td>|<tr>|<li>|<template>|\
                 </template>|<select>|<option>|<svg>|é|\r\n|[a-z ]{0,9}){1,12}",
                1..8,
            ),
            padding in 0_usize..40,
        ) {
            let page = format!("{}{}", "x".repeat(PIECE_BYTES - 20 + padding), parts.concat());
            let pieces = parse(&page, PIECE_BYTES, &Cancel::default()).unwrap();
            let at_once = parse(&page, usize::MAX, &Cancel::default()).unwrap();
            prop_assert_eq!(outline(&pieces), outline(&at_once));
            prop_assert_eq!(outline(&pieces), expected(&page));
        }
    }
}
