//! The reading of a page of HTML: html5gum's tokens, one after the other, put to the stack of open elements.

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{HtmlString, StartTag, State, Token, Tokenizer};

use super::tree::{Tag, Tree};
use super::{Doubt, Reading};

/// An element whose content is text, whatever looks like a tag in it.
pub(super) struct Raw {
    name: String,
    state: State,
    seen: bool,
    text: String,
}

impl Raw {
    /// The raw text that an element begins, if it does. It is part of the page where it is `seen`.
    pub(super) fn of(name: &str, seen: bool) -> Option<Self> {
        let state = match name {
            "textarea" | "title" => State::RcData,
            "script" => State::ScriptData,
            "iframe" | "noembed" | "noframes" | "noscript" | "style" | "xmp" => State::RawText,
            _ => return None,
        };
        let hidden = ["noscript", "script", "style", "title"];
        Some(Self { name: name.to_owned(), state, seen: seen && !hidden.contains(&name), text: String::new() })
    }
}

/// Reads a page, or a fragment of one.
///
/// # Errors
/// It is such that only a tree can say what it says.
pub(super) fn read(html: &str) -> Result<Reading, Doubt> {
    let mut tokens = Tokenizer::new_with_emitter(html, DefaultEmitter::default());
    let mut tree = Tree::new();
    let mut raw: Option<Raw> = None;
    while let Some(Ok(token)) = tokens.next() {
        match token {
            Token::StartTag(tag) => {
                raw = tree.start(&tag_of(&tag))?;
                if let Some(raw) = &raw {
                    tokens.set_state(raw.state);
                }
            }
            Token::EndTag(tag) => match raw.take() {
                Some(raw) => end_raw(&mut tree, &raw)?,
                None => tree.end_tag(&string(&tag.name))?,
            },
            Token::String(text) => match &mut raw {
                Some(raw) => raw.text.push_str(&string(&text.value)),
                None => tree.text(&string(&text.value))?,
            },
            Token::Comment(text) => tree.comment(&string(&text.value))?,
            Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    if raw.is_some() {
        return Err(Doubt::Unclosed);
    }
    tree.check_end()?;
    Ok(tree.page.finish())
}

fn end_raw(tree: &mut Tree, raw: &Raw) -> Result<(), Doubt> {
    if raw.name == "title" && tree.templates == 0 {
        tree.page.title(&raw.text);
    }
    if raw.seen {
        tree.page.text(&raw.text)?;
        tree.edge_of(&raw.name);
    }
    Ok(())
}

fn tag_of(tag: &StartTag<()>) -> Tag {
    let attribute = |name: &str| tag.attributes.get(name.as_bytes()).map(|value| string(&value.value));
    Tag {
        name: string(&tag.name),
        self_closing: tag.self_closing,
        href: attribute("href"),
        kind: attribute("type"),
        shadow: attribute("shadowrootmode").is_some(),
    }
}

fn string(bytes: &HtmlString) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
