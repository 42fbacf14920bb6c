//! Headings and links of a document. All are counted, and the first ones are kept with a maximum length, so that
//! the result is small however large or hostile the document is.

use serde::{Deserialize, Serialize};

/// Maximum number of kept headings, and of kept links.
const MAX_ENTRIES: usize = 200;

/// Maximum characters of a heading or of the text of a link.
const MAX_TEXT_CHARACTERS: usize = 200;

/// Maximum characters of a title.
pub(super) const MAX_TITLE_CHARACTERS: usize = 1_000;

/// Maximum bytes of a link's target. A longer one, such as a `data:` URL, is counted and not kept: truncated, it
/// would lead elsewhere.
const MAX_TARGET_BYTES: usize = 2_000;

/// A heading: an HTML heading, or a bookmark of a PDF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heading {
    /// Level from 1 (highest) to 6.
    pub level: u8,
    /// Text, on one line.
    pub text: String,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Target as in the document; may be relative.
    pub target: String,
    /// Text, on one line; empty if the link has no text, and in a PDF.
    pub text: String,
}

/// The structure of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Structure {
    /// The first headings.
    pub headings: Vec<Heading>,
    /// Number of all headings.
    pub heading_count: u32,
    /// The first links.
    pub links: Vec<Link>,
    /// Number of all links.
    pub link_count: u32,
}

impl Structure {
    /// Adds a heading. A heading without text is ignored.
    pub(super) fn heading(&mut self, level: usize, text: &str) {
        let text = one_line(text, MAX_TEXT_CHARACTERS);
        if text.is_empty() {
            return;
        }
        self.heading_count = self.heading_count.saturating_add(1);
        if self.headings.len() < MAX_ENTRIES {
            let level = u8::try_from(level.clamp(1, 6)).unwrap_or(6);
            self.headings.push(Heading { level, text });
        }
    }

    /// Adds a link. Fragments and scripts are ignored.
    pub(super) fn link(&mut self, target: &str, text: &str) {
        let target = target.trim();
        let script = target.get(..11).is_some_and(|scheme| scheme.eq_ignore_ascii_case("javascript:"));
        if target.is_empty() || target.starts_with('#') || script {
            return;
        }
        self.link_count = self.link_count.saturating_add(1);
        if self.links.len() < MAX_ENTRIES && target.len() <= MAX_TARGET_BYTES {
            let target = one_line(target, MAX_TARGET_BYTES);
            let text = one_line(text, MAX_TEXT_CHARACTERS);
            self.links.push(Link { target, text });
        }
    }
}

/// A text on one line, without control characters (Postgres stores no NUL), truncated to a number of characters.
pub(super) fn one_line(text: &str, longest: usize) -> String {
    let is_gap = |character: char| character.is_whitespace() || character.is_control();
    let mut line = String::new();
    let words = text.split(is_gap).filter(|word| !word.is_empty());
    let mut left = longest;
    for word in words {
        if !line.is_empty() && left > 1 {
            line.push(' ');
            left -= 1;
        }
        let kept = word.char_indices().nth(left).map_or(word, |(end, _)| &word[..end]);
        line.push_str(kept);
        left -= kept.chars().count();
        if left <= 1 {
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_kept() {
        let mut structure = Structure::default();
        for index in 0..MAX_ENTRIES + 5 {
            structure.heading(2, &format!("heading {index}"));
            structure.link(&format!("/{index}"), "here");
        }
        assert_eq!((structure.headings.len(), structure.links.len()), (MAX_ENTRIES, MAX_ENTRIES));
        assert_eq!((structure.heading_count, structure.link_count), (205, 205));
        assert_eq!(structure.headings[1].text, "heading 1");
    }

    #[test]
    fn fragments_scripts_and_empty_headings_are_ignored() {
        let mut structure = Structure::default();
        for target in ["", " ", "#top", "JavaScript:void(0)"] {
            structure.link(target, "x");
        }
        structure.heading(1, " \u{0} ");
        assert_eq!(structure, Structure::default());
    }

    #[test]
    fn a_target_that_is_too_long_is_counted_only() {
        let mut structure = Structure::default();
        structure.link(&"x".repeat(MAX_TARGET_BYTES + 1), "picture");
        assert_eq!((structure.link_count, structure.links.len()), (1, 0));
    }

    proptest! {
        #[test]
        fn a_line_is_short_and_has_no_control_characters(text in any::<String>(), longest in 1_usize..50) {
            let line = one_line(&text, longest);
            prop_assert!(line.chars().count() <= longest);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert_eq!(line.trim(), line.as_str());
        }
    }

    #[test]
    fn white_space_and_control_characters_become_one_space() {
        assert_eq!(one_line(" a\n\t b\u{0}c ", 100), "a b c");
        assert_eq!(one_line("abcdef", 3), "abc");
        assert_eq!(one_line("ab cd", 4), "ab c");
    }
}
