//! Markdown, read by way of its HTML: CommonMark with tables and strikethrough; raw HTML is passed through.

use pulldown_cmark::{Options, Parser, html};

use super::{Cancel, cancel::Cancelled};

/// Renders a Markdown text as HTML.
pub(super) fn to_html(markdown: &str, cancel: &Cancel) -> Result<String, Cancelled> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut rendered = String::with_capacity(markdown.len() * 3 / 2);
    let events = Parser::new_ext(markdown, options).take_while(|_| cancel.check().is_ok());
    html::push_html(&mut rendered, events);
    cancel.check()?;
    Ok(rendered)
}
