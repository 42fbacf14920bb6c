//! Markdown as the HTML it renders to: CommonMark with tables and strikethrough, raw HTML passed on.

use pulldown_cmark::{Options, Parser, html};

/// Renders a Markdown text.
pub(super) fn to_html(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut rendered = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut rendered, Parser::new_ext(markdown, options));
    rendered
}
