//! Headings and links as the worker's tables keep them: all are counted, the first of them are kept, each on one line.

/// Headings that are kept, and links.
const KEPT: usize = 200;
/// Characters that are kept of a heading or of the text of a link.
const TEXT_LENGTH: usize = 200;
/// Characters that are kept of a title.
const TITLE_LENGTH: usize = 1000;
/// Bytes of the longest target that is kept.
const TARGET_LENGTH: usize = 2000;

/// Headings and links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Structure {
    /// Level and text of the first headings.
    pub headings: Vec<(u8, String)>,
    /// The number of all headings.
    pub heading_count: u64,
    /// Target and text of the first links.
    pub links: Vec<(String, String)>,
    /// The number of all links.
    pub link_count: u64,
}

impl Structure {
    /// Adds a heading; one without text is none.
    pub fn heading(&mut self, level: u8, text: &str) {
        let text = one_line(text, TEXT_LENGTH);
        if text.is_empty() {
            return;
        }
        self.heading_count += 1;
        if self.headings.len() < KEPT {
            self.headings.push((level.clamp(1, 6), text));
        }
    }

    /// Adds a link; a fragment of the same page and a script are none.
    pub fn link(&mut self, target: &str, text: &str) {
        let target = target.trim();
        if target.is_empty() || target.starts_with('#') || is_script(target) {
            return;
        }
        self.link_count += 1;
        if self.links.len() < KEPT && target.len() <= TARGET_LENGTH {
            self.links.push((one_line(target, TARGET_LENGTH), one_line(text, TEXT_LENGTH)));
        }
    }
}

fn is_script(target: &str) -> bool {
    let scheme = target.split(':').next().unwrap_or_default();
    scheme.len() < target.len() && scheme.eq_ignore_ascii_case("javascript")
}

/// A title as it is kept, if there is text in it.
pub(super) fn title(text: &str) -> Option<String> {
    Some(one_line(text, TITLE_LENGTH)).filter(|title| !title.is_empty())
}

/// Text with single spaces for white space and control characters, none around it, and at most so many characters.
fn one_line(text: &str, length: usize) -> String {
    let spaced: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let collapsed = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = collapsed.chars().take(length).collect();
    cut.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_on_one_line_and_cut() {
        for (text, length, kept) in [
            (" a\n\t b\u{0}c ", 100, "a b c"),
            ("abcdef", 3, "abc"),
            ("ab cd", 4, "ab c"),
            ("ab cd", 3, "ab"),
            ("é\u{a0}é", 2, "é"),
            ("\u{7f}", 9, ""),
        ] {
            assert_eq!(one_line(text, length), kept, "{text:?}, {length}");
        }
    }

    #[test]
    fn what_leads_nowhere_else_is_no_link() {
        for (target, links) in [
            ("/a", 1),
            (" a b ", 1),
            ("http://example.org/#x", 1),
            ("javascript.html", 1),
            ("", 0),
            ("  ", 0),
            ("#top", 0),
            (" #top", 0),
            ("JavaScript:void(0)", 0),
        ] {
            let mut structure = Structure::default();
            structure.link(target, "x");
            assert_eq!(structure.link_count, links, "{target:?}");
        }
    }

    #[test]
    fn a_heading_needs_text_and_has_a_level_up_to_six() {
        let mut structure = Structure::default();
        structure.heading(1, " \u{0} ");
        structure.heading(9, "deep");
        assert_eq!((structure.heading_count, structure.headings), (1, vec![(6, "deep".to_owned())]));
    }

    #[test]
    fn two_hundred_are_kept_and_all_are_counted() {
        let mut structure = Structure::default();
        for index in 0..205 {
            structure.heading(2, &format!("heading {index}"));
            structure.link(&format!("/{index}"), "here");
        }
        assert_eq!((structure.headings.len(), structure.links.len()), (200, 200));
        assert_eq!((structure.heading_count, structure.link_count), (205, 205));
    }

    #[test]
    fn a_target_that_is_too_long_is_counted_only() {
        let mut structure = Structure::default();
        structure.link(&"x".repeat(2001), "picture");
        structure.link(&"x".repeat(2000), "picture");
        assert_eq!((structure.link_count, structure.links.len()), (2, 1));
    }
}
