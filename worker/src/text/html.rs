//! The visible text and the title of an HTML page, by a browser's own parsing rules (html5ever).

use ego_tree::{NodeRef, iter::Edge};
use scraper::{Html, Node};

use super::VisibleText;

/// Elements whose text nobody sees. A title is kept apart and is not part of the text.
const HIDDEN: &[&str] = &["head", "noscript", "script", "style", "template", "title"];

/// Elements that begin and end a line: those that a browser lays out as blocks, table cells, options and `<br>`.
#[rustfmt::skip]
const BLOCKS: &[&str] = &[
    "address", "article", "aside", "audio", "blockquote", "body", "br", "caption", "center", "col",
    "colgroup", "dd", "details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "frameset", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "html",
    "iframe", "legend", "li", "listing", "main", "menu", "nav", "noframes", "ol", "optgroup", "option", "p",
    "plaintext", "pre", "search", "section", "select", "summary", "table", "tbody", "td", "textarea",
    "tfoot", "th", "thead", "tr", "ul", "video", "xmp",
];

/// Title and visible text of a page, or of a fragment of one.
pub(super) fn read(page: &str) -> (Option<String>, VisibleText) {
    let html = Html::parse_document(page);
    let root = html.tree.root();
    let title = text_of_first(root, "title").or_else(|| text_of_first(root, "h1"));
    (title, visible_text(root))
}

/// Walks the tree without recursion: a page may be nested deeper than a stack is.
fn visible_text(root: NodeRef<'_, Node>) -> VisibleText {
    let mut visible = VisibleText::default();
    let mut hidden = 0_usize;
    for edge in root.traverse() {
        let opening = matches!(edge, Edge::Open(_));
        let (Edge::Open(node) | Edge::Close(node)) = edge;
        match node.value() {
            Node::Text(text) if opening && hidden == 0 => visible.push(text),
            Node::Element(element) if HIDDEN.contains(&element.name()) => {
                hidden = if opening {
                    hidden + 1
                } else {
                    hidden.saturating_sub(1)
                };
            }
            Node::Element(element) if hidden == 0 && BLOCKS.contains(&element.name()) => visible.end_block(),
            _ => {}
        }
    }
    visible
}

/// The text of the first element of a name that has any, on one line.
fn text_of_first(root: NodeRef<'_, Node>, name: &str) -> Option<String> {
    let elements = root.descendants().filter(|node| {
        node.value()
            .as_element()
            .is_some_and(|element| element.name() == name)
    });
    elements
        .map(|element| {
            let mut text = VisibleText::default();
            for node in element.descendants() {
                if let Node::Text(piece) = node.value() {
                    text.push(piece);
                }
            }
            text.into_string()
        })
        .find(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: &str) -> String {
        read(page).1.into_string()
    }

    #[test]
    fn what_nobody_sees_is_left_out() {
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
    fn the_title_is_the_title_else_the_first_heading_else_none() {
        assert_eq!(
            read("<title> A \n B </title><h1>C</h1>").0.as_deref(),
            Some("A B")
        );
        assert_eq!(
            read("<title></title><h1>C <b>D</b></h1>").0.as_deref(),
            Some("C D")
        );
        assert_eq!(read("<p>x").0, None);
    }
}
