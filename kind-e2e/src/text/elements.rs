//! Names of HTML elements by what they do: lists of the HTML standard, and two of the contract.

/// Elements that begin and end a line (the contract): those that the standard's rendering section lays out as blocks,
/// list items or parts of tables, and `<br>`.
#[rustfmt::skip]
const BLOCKS: &[&str] = &[
    "address", "article", "aside", "audio", "blockquote", "body", "br", "caption", "center", "col", "colgroup", "dd",
    "details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "frameset",
    "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "html", "iframe", "legend", "li", "listing", "main",
    "menu", "nav", "noframes", "ol", "optgroup", "option", "p", "plaintext", "pre", "search", "section", "select",
    "summary", "table", "tbody", "td", "textarea", "tfoot", "th", "thead", "tr", "ul", "video", "xmp",
];

/// Elements whose text is not seen (the contract).
const HIDDEN: &[&str] = &["head", "noscript", "script", "style", "template", "title"];

/// Elements of the category "special" (13.2.4.2), less those that are never open.
#[rustfmt::skip]
const SPECIAL: &[&str] = &[
    "address", "applet", "article", "aside", "blockquote", "body", "button", "caption", "center", "colgroup", "dd",
    "details", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4",
    "h5", "h6", "header", "hgroup", "html", "li", "listing", "main", "marquee", "menu", "nav", "object", "ol", "p",
    "pre", "section", "select", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
];

/// Elements that end a paragraph where they begin, and that only their own end tag ends.
#[rustfmt::skip]
const CONTAINERS: &[&str] = &[
    "address", "article", "aside", "blockquote", "center", "details", "dialog", "dir", "div", "dl", "fieldset",
    "figcaption", "figure", "footer", "header", "hgroup", "listing", "main", "menu", "nav", "ol", "pre", "search",
    "section", "summary", "ul",
];

/// Formatting elements but `<a>` and `<nobr>`.
const FORMATTING: &[&str] = &["b", "big", "code", "em", "font", "i", "s", "small", "strike", "strong", "tt", "u"];

/// Elements without content.
#[rustfmt::skip]
const VOID: &[&str] = &[
    "area", "base", "basefont", "bgsound", "br", "embed", "hr", "image", "img", "input", "keygen", "link", "meta",
    "param", "source", "track", "wbr",
];

/// Elements that a head holds, of those without content.
const HEAD_VOID: &[&str] = &["base", "basefont", "bgsound", "link", "meta"];

/// Parts of a table: outside one their tags are passed over.
#[rustfmt::skip]
const TABLE_PARTS: &[&str] = &[
    "caption", "col", "colgroup", "tbody", "td", "tfoot", "th", "thead", "tr",
];

/// Elements that end where another element ends (13.2.6.3).
const IMPLIED: &[&str] = &["dd", "dt", "li", "optgroup", "option", "p", "rb", "rp", "rt", "rtc"];

/// Elements out of whose scope nothing is ended (13.2.4.2).
#[rustfmt::skip]
pub(super) const SCOPE: &[&str] = &[
    "applet", "caption", "html", "marquee", "object", "select", "table", "td", "template", "th",
];

/// HTML elements that end a picture or formula where they begin (13.2.6.5).
#[rustfmt::skip]
const BREAK_OUT: &[&str] = &[
    "b", "big", "blockquote", "body", "br", "center", "code", "dd", "div", "dl", "dt", "em", "embed", "font", "h1",
    "h2", "h3", "h4", "h5", "h6", "head", "hr", "i", "img", "li", "listing", "menu", "meta", "nobr", "ol", "p", "pre",
    "ruby", "s", "small", "span", "strike", "strong", "sub", "sup", "table", "tt", "u", "ul", "var",
];

/// Elements of SVG and MathML that hold HTML.
#[rustfmt::skip]
const INTEGRATION: &[&str] = &[
    "annotation-xml", "desc", "foreignobject", "mi", "mn", "mo", "ms", "mtext", "title",
];

/// Whether an element begins and ends a line.
pub(super) fn is_block(name: &str) -> bool {
    BLOCKS.contains(&name)
}

/// Whether an element is of the category "special".
pub(super) fn is_special(name: &str) -> bool {
    SPECIAL.contains(&name)
}

/// Whether only its own end tag ends an element, which ends a paragraph where it begins.
pub(super) fn is_container(name: &str) -> bool {
    CONTAINERS.contains(&name)
}

/// Whether an element is opened again in the next block where it was not closed.
pub(super) fn is_formatting(name: &str) -> bool {
    FORMATTING.contains(&name) || name == "a" || name == "nobr"
}

/// Whether an element has no content.
pub(super) fn is_void(name: &str) -> bool {
    VOID.contains(&name)
}

/// Whether an element has no content and belongs to the head.
pub(super) fn is_head_void(name: &str) -> bool {
    HEAD_VOID.contains(&name)
}

/// Whether an element is a part of a table.
pub(super) fn is_table_part(name: &str) -> bool {
    TABLE_PARTS.contains(&name)
}

/// Whether an element ends where another ends.
pub(super) fn is_implied(name: &str) -> bool {
    IMPLIED.contains(&name)
}

/// Whether an element within SVG or MathML makes its content uncertain: it ends the picture, holds HTML, or is
/// hidden, a block, raw text or a link where it is an HTML element.
pub(super) fn is_uncertain_in_foreign(name: &str) -> bool {
    let like_html = is_block(name) || HIDDEN.contains(&name) || name == "a" || name == "svg" || name == "math";
    like_html || BREAK_OUT.contains(&name) || INTEGRATION.contains(&name)
}

/// Level of a heading.
pub(super) fn heading_level(name: &str) -> Option<u8> {
    match name {
        "h1" => Some(1),
        "h2" => Some(2),
        "h3" => Some(3),
        "h4" => Some(4),
        "h5" => Some(5),
        "h6" => Some(6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_order_and_hold_no_name_twice() {
        for list in [
            BLOCKS,
            HIDDEN,
            SPECIAL,
            CONTAINERS,
            FORMATTING,
            VOID,
            HEAD_VOID,
            TABLE_PARTS,
            IMPLIED,
            SCOPE,
            BREAK_OUT,
            INTEGRATION,
        ] {
            assert!(list.is_sorted_by(|one, other| one < other), "{list:?}");
        }
    }
}
