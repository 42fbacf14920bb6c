//! A line of a page, whose right-to-left text is put into the order in which it is read.
//!
//! Most programs draw Arabic and Hebrew from left to right like everything else, so that its letters come in reverse.
//! The Unicode Bidirectional Algorithm, applied to what is drawn, gives the order of reading. Programs that draw from
//! right to left need nothing.

use unicode_bidi::{BidiClass, BidiInfo, Level, bidi_class};

use crate::text::VisibleText;

/// Bytes after which a line is cut, so that a page without lines is not kept twice.
const MAX_BYTES: usize = 16 << 10;

/// The text of a line so far.
#[derive(Default)]
pub(super) struct Line {
    text: String,
    /// Steps from one right-to-left letter to the next, to the right and to the left.
    rightwards: usize,
    leftwards: usize,
}

impl Line {
    pub(super) fn push(&mut self, text: &str, out: &mut VisibleText) {
        if self.text.len() + text.len() > MAX_BYTES {
            self.end(out);
        }
        self.text.push_str(text);
    }

    /// Notes where a right-to-left letter is from the one before it.
    pub(super) fn step(&mut self, rightwards: bool) {
        if rightwards {
            self.rightwards += 1;
        } else {
            self.leftwards += 1;
        }
    }

    /// Appends the line and begins another.
    pub(super) fn end(&mut self, out: &mut VisibleText) {
        let line = std::mem::take(self);
        if line.rightwards > line.leftwards {
            out.push(&in_reading_order(&line.text));
        } else {
            out.push(&line.text);
        }
    }
}

/// Whether a text begins with a letter that is written from right to left.
pub(super) fn is_right_to_left(text: &str) -> bool {
    let first = text.chars().next();
    // Nothing before Hebrew is.
    first.is_some_and(|first| first >= '\u{590}' && matches!(bidi_class(first), BidiClass::R | BidiClass::AL))
}

/// A line that is given from left to right, in the order in which it is read. It is a line of the script with which it
/// begins on the left.
fn in_reading_order(line: &str) -> String {
    let first = line.chars().find(|letter| letter.is_alphabetic());
    let right_to_left = first.is_some_and(|first| is_right_to_left(first.encode_utf8(&mut [0; 4])));
    let bidi = BidiInfo::new(line, Some(if right_to_left { Level::rtl() } else { Level::ltr() }));
    bidi.paragraphs.iter().map(|paragraph| bidi.reorder_line(paragraph, paragraph.range.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(drawn: &str, rightwards: bool) -> String {
        let (mut line, mut out) = (Line::default(), VisibleText::default());
        line.step(rightwards);
        line.push(drawn, &mut out);
        line.end(&mut out);
        out.into_string()
    }

    #[test]
    fn right_to_left_text_is_read_from_the_right() {
        for (drawn, expected) in [
            ("םלוע םולש", "שלום עולם"),
            ("Arabic: ملاعلاب ابحرم", "Arabic: مرحبا بالعالم"),
            ("12 םולש 1990 ץרא", "ארץ 1990 שלום 12"),
            ("plain text", "plain text"),
        ] {
            assert_eq!(read(drawn, true), expected);
        }
        assert_eq!(read("שלום", false), "שלום");
    }

    #[test]
    fn a_long_line_is_cut() {
        let (mut line, mut out) = (Line::default(), VisibleText::default());
        for _ in 0..MAX_BYTES {
            line.push("ab", &mut out);
        }
        line.end(&mut out);
        assert_eq!(out.into_string().len(), 2 * MAX_BYTES);
    }
}
