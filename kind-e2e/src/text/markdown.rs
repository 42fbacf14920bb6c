//! The reading of Markdown: of the HTML that it renders to, by two renderers that must agree on all of it.
//!
//! Two things are left to renderers by CommonMark and its extensions, and where they matter there is no reading: which
//! characters of a target are percent-encoded, and whether one tilde on each side strikes text through.

use std::panic::catch_unwind;

use super::{Doubt, Reading, html};

/// Reads a Markdown text.
///
/// # Errors
/// The renderers do not agree, or what they render to cannot be read for certain.
pub(super) fn read(text: &str) -> Result<Reading, Doubt> {
    let one = html::read(&rendered(text, comrak_html)?)?;
    let tilde = text.contains('~').then_some(false);
    for single_tilde in tilde.into_iter().chain([true]) {
        let other = html::read(&rendered(text, |text| markdown_rs_html(text, single_tilde))?)?;
        if one != other {
            return Err(Doubt::Parsers);
        }
    }
    if one
        .links
        .iter()
        .any(|(target, _)| has_foreign_escape(target, text))
    {
        return Err(Doubt::Parsers);
    }
    Ok(one)
}

/// What a renderer makes of a text. One that panics, as markdown-rs does on some tag soup, has no answer.
fn rendered(
    text: &str,
    render: impl Fn(&str) -> Option<String> + std::panic::RefUnwindSafe,
) -> Result<String, Doubt> {
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
fn markdown_rs_html(text: &str, single_tilde: bool) -> Option<String> {
    let constructs = markdown::Constructs {
        gfm_table: true,
        gfm_strikethrough: true,
        ..markdown::Constructs::default()
    };
    let options = markdown::Options {
        parse: markdown::ParseOptions {
            constructs,
            gfm_strikethrough_single_tilde: single_tilde,
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

/// Whether a target has an ASCII character percent-encoded that the text has as it is. A space is encoded by all renderers.
fn has_foreign_escape(target: &str, text: &str) -> bool {
    target.match_indices('%').any(|(place, _)| {
        let escape = target.get(place..place + 3);
        let code = escape.and_then(|escape| u8::from_str_radix(&escape[1..], 16).ok());
        let graphic = code.is_some_and(|code| code.is_ascii_graphic());
        graphic && escape.is_some_and(|escape| !text.contains(escape))
    })
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
    fn a_renderer_that_panics_has_no_answer() {
        let panics = |_: &str| -> Option<String> { panic!("as markdown-rs does") };
        assert_eq!(rendered("x", panics), Err(Doubt::Parsers));
    }
}
