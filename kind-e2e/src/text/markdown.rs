//! The reading of Markdown: of the HTML that it renders to, by two renderers that must agree on all of it.
//!
//! In some places renderers go different ways and agree by chance. Where a text has one of those, there is no reading:
//! - which characters of a target are percent-encoded is left to the renderer;
//! - which tildes within a word strike text through is said by no specification of the extension;
//! - both renderers used here begin HTML where CommonMark continues the paragraph of a quotation or list item.

use std::panic::catch_unwind;

use super::elements::is_container;
use super::{Doubt, Reading, html};

/// Reads a Markdown text.
///
/// # Errors
/// The renderers do not agree, or what they render to cannot be read for certain.
pub(super) fn read(text: &str) -> Result<Reading, Doubt> {
    let one = html::read(&rendered(text, comrak_html)?)?;
    let other = html::read(&rendered(text, markdown_rs_html)?)?;
    let foreign_escape = one.links.iter().any(|(target, _)| has_foreign_escape(target, text));
    if one != other || foreign_escape || has_tilde_in_word(text) || has_lazy_html(text) {
        return Err(Doubt::Parsers);
    }
    Ok(one)
}

/// What a renderer makes of a text. One that panics, as markdown-rs does on some tag soup, has no answer.
fn rendered(text: &str, render: fn(&str) -> Option<String>) -> Result<String, Doubt> {
    catch_unwind(|| render(text)).ok().flatten().ok_or(Doubt::Parsers)
}

/// CommonMark with tables and strikethrough, raw HTML kept: the dialect of the contract.
fn comrak_html(text: &str) -> Option<String> {
    let mut options = comrak::Options::default();
    options.extension.table = true;
    options.extension.strikethrough = true;
    options.render.r#unsafe = true;
    Some(comrak::markdown_to_html(text, &options))
}

/// The same dialect by the other renderer.
fn markdown_rs_html(text: &str) -> Option<String> {
    let constructs =
        markdown::Constructs { gfm_table: true, gfm_strikethrough: true, ..markdown::Constructs::default() };
    let options = markdown::Options {
        parse: markdown::ParseOptions { constructs, ..markdown::ParseOptions::default() },
        compile: markdown::CompileOptions {
            allow_dangerous_html: true,
            allow_dangerous_protocol: true,
            ..markdown::CompileOptions::default()
        },
    };
    markdown::to_html_with_options(text, &options).ok()
}

/// Whether a target has an ASCII character percent-encoded that the text has as it is. A space is encoded by all
/// renderers.
fn has_foreign_escape(target: &str, text: &str) -> bool {
    target.match_indices('%').any(|(place, _)| {
        let escape = target.get(place..place + 3);
        let code = escape.and_then(|escape| u8::from_str_radix(&escape[1..], 16).ok());
        let graphic = code.is_some_and(|code| code.is_ascii_graphic());
        graphic && escape.is_some_and(|escape| !text.contains(escape))
    })
}

/// Whether a paragraph has one or two tildes in two places, one of them within a word: what is between may be struck
/// through.
fn has_tilde_in_word(text: &str) -> bool {
    text.split("\n\n").any(|paragraph| {
        let (mut places, mut in_word) = (0, false);
        let mut rest = paragraph;
        let mut before = ' ';
        while let Some(place) = rest.find('~') {
            before = rest[..place].chars().next_back().unwrap_or(before);
            let after = rest[place..].trim_start_matches('~');
            places += usize::from(rest.len() - place - after.len() <= 2);
            in_word |= before.is_alphanumeric() && after.starts_with(|character: char| !character.is_whitespace());
            before = '~';
            rest = after;
        }
        in_word && places > 1
    })
}

/// Whether a line is one tag that interrupts no paragraph, and stands further left than a line before it in its
/// paragraph.
fn has_lazy_html(text: &str) -> bool {
    let (mut deepest, mut in_code) = (0, false);
    text.lines().any(|line| {
        let content = without_markers(line);
        let depth = line.len() - content.len();
        let fence = content.starts_with("```") || content.starts_with("~~~");
        in_code ^= fence;
        let found = !in_code && depth < deepest && is_lone_tag(content);
        let ends = content.is_empty() || fence || in_code;
        deepest = if ends { 0 } else { depth.max(deepest) };
        found
    })
}

/// A line without the markers of quotations and items before it.
fn without_markers(line: &str) -> &str {
    let mut content = line.trim_start();
    loop {
        let after = content.trim_start_matches(|character: char| character.is_ascii_digit());
        let numbered = after.len() < content.len();
        let signs: &[char] = if numbered { &['.', ')'] } else { &['-', '*', '+'] };
        let item = after.strip_prefix(signs).filter(|rest| rest.starts_with([' ', '\t']));
        match item.or_else(|| content.strip_prefix('>')) {
            Some(rest) => content = rest.trim_start(),
            None => return content,
        }
    }
}

/// Whether a line is a tag, of another element than those that interrupt a paragraph.
fn is_lone_tag(line: &str) -> bool {
    let Some(tag) = line.strip_prefix('<').filter(|tag| tag.trim_end().ends_with('>')) else {
        return false;
    };
    let tag = tag.strip_prefix('/').unwrap_or(tag);
    let name = tag.split(|character: char| !character.is_ascii_alphanumeric()).next();
    let name = name.unwrap_or_default().to_ascii_lowercase();
    let interrupts = is_container(&name) || matches!(name.as_str(), "" | "p" | "li" | "tr" | "td" | "table");
    !interrupts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_of_the_renderer_is_told_from_one_of_the_text() {
        for (target, text, expected) in [
            ("/a%5Eb", "[x](/a^b)", true),
            ("/a%5Eb", "[x](/a%5Eb)", false),
            ("/a%20b", "[x](</a b>)", false),
            ("/%C3%A9", "[x](/é)", false),
            ("/100%", "[x](/100%)", false),
            ("/%zz%é", "[x](/%zz%é)", false),
        ] {
            assert_eq!(has_foreign_escape(target, text), expected, "{target} of {text}");
        }
    }

    #[test]
    fn tildes_within_words_are_found() {
        for (text, expected) in [
            ("~~gone~~ here", false),
            ("~/.config, a ~ b, a~ b", false),
            ("~~gone~~ or\n\n~~~\ncode\n~~~\n", false),
            ("HEAD~1\n\nHEAD~2", false),
            ("HEAD~1 and HEAD~2", true),
            ("un~~believ~~able", true),
            ("~r~a", true),
            ("HEAD~1", false),
        ] {
            assert_eq!(has_tilde_in_word(text), expected, "{text}");
        }
    }

    #[test]
    fn html_that_a_quotation_or_item_may_go_on_with_is_found() {
        for (text, expected) in [
            ("> a\n<b>", true),
            ("- a\nb\n</custom> ", true),
            ("  1. a\n  <b>", true),
            ("> a\n<b>c", false),
            ("> a\n<div>", false),
            ("> a\n<!-- b -->", false),
            ("> a\n> <b>", false),
            ("- a\n  <b>", false),
            ("- a\n\n<b>", false),
            ("a\n<b>", false),
            ("*a*\n<b>", false),
            ("```\n  a\n```\n<b>", false),
        ] {
            assert_eq!(has_lazy_html(text), expected, "{text}");
        }
    }

    #[test]
    fn a_renderer_that_panics_has_no_answer() {
        let panics = |_: &str| -> Option<String> { panic!("as markdown-rs does") };
        assert_eq!(rendered("x", panics), Err(Doubt::Parsers));
    }
}
