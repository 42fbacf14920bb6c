//! Text as a reader sees it: one block per line, white space collapsed to single spaces.

/// Collects the text of a document.
#[derive(Debug, Default)]
pub(super) struct VisibleText {
    text: String,
    gap: Gap,
}

/// Separator between the text so far and the next character.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    Block,
}

impl VisibleText {
    /// Text without markup, where each line is a block.
    pub(super) fn of_plain(text: &str) -> Self {
        let mut visible = Self::default();
        for line in text.lines() {
            visible.push(line);
            visible.end_block();
        }
        visible
    }

    /// Appends inline text. It joins the word before it unless white space separates them.
    pub(super) fn push(&mut self, text: &str) {
        for character in text.chars() {
            // Postgres cannot store a NUL, and it is invisible.
            if character.is_whitespace() || character == '\0' {
                self.gap = self.gap.max(Gap::Space);
            } else {
                self.close_gap();
                self.text.push(character);
            }
        }
    }

    /// Ends the block: the next text begins a new line.
    pub(super) fn end_block(&mut self) {
        self.gap = Gap::Block;
    }

    /// The text so far.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The complete text.
    pub(super) fn into_string(self) -> String {
        self.text
    }

    fn close_gap(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        if self.text.is_empty() {
            return;
        }
        match gap {
            Gap::None => {}
            Gap::Space => self.text.push(' '),
            Gap::Block => self.text.push('\n'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_collapses_and_blocks_are_lines() {
        assert_eq!(VisibleText::of_plain("  a\t b \n\n\n c\0d ").into_string(), "a b\nc d");
    }

    #[test]
    fn inline_pieces_join() {
        let mut visible = VisibleText::default();
        visible.push("un");
        visible.push("believable ");
        visible.push("story");
        assert_eq!(visible.into_string(), "unbelievable story");
    }
}
