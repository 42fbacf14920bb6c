//! What has been read of a page: its words, its title, its headings and links, and those of them that are open.

use super::structure::{self, Structure};
use super::{Doubt, Reading, Words};

/// Bytes of a heading's or link's text beyond which it is not looked at.
const LONGEST: usize = 8 << 10;

/// What has been read so far.
#[derive(Default)]
pub(super) struct Page {
    words: Words,
    structure: Structure,
    title: Option<String>,
    first_h1: Option<String>,
    heading: Option<(u8, String)>,
    link: Option<(String, String)>,
}

impl Page {
    /// Visible text.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Doubt> {
        self.words.push(text);
        for open in self.captures() {
            if open.len() + text.len() > LONGEST {
                return Err(Doubt::Limit);
            }
            open.push_str(text);
        }
        Ok(())
    }

    /// The beginning or end of a line.
    pub(super) fn edge(&mut self) {
        self.words.boundary();
        self.captures().for_each(|open| open.push('\n'));
    }

    fn captures(&mut self) -> impl Iterator<Item = &mut String> {
        let heading = self.heading.as_mut().map(|(_, text)| text);
        heading.into_iter().chain(self.link.as_mut().map(|(_, text)| text))
    }

    /// The text of a `<title>`: the first that is not empty is the page's.
    pub(super) fn title(&mut self, text: &str) {
        if self.title.is_none() {
            self.title = structure::title(text);
        }
    }

    /// Opens a heading.
    pub(super) fn begin_heading(&mut self, level: u8) -> Result<(), Doubt> {
        match self.heading.replace((level, String::new())) {
            None => Ok(()),
            Some(_) => Err(Doubt::OpenHeading),
        }
    }

    /// Closes the heading that is open.
    pub(super) fn end_heading(&mut self) {
        let Some((level, text)) = self.heading.take() else {
            return;
        };
        self.structure.heading(level, &text);
        if level == 1 && self.first_h1.is_none() {
            self.first_h1 = structure::title(&text);
        }
    }

    /// Opens a link.
    pub(super) fn begin_link(&mut self, target: &str) -> Result<(), Doubt> {
        match self.link.replace((target.to_owned(), String::new())) {
            None => Ok(()),
            Some(_) => Err(Doubt::NestedLink),
        }
    }

    /// Closes the link that is open.
    pub(super) fn end_link(&mut self) {
        if let Some((target, text)) = self.link.take() {
            self.structure.link(&target, &text);
        }
    }

    /// Whether a link is open.
    pub(super) fn in_link(&self) -> bool {
        self.link.is_some()
    }

    /// Whether a heading is open.
    pub(super) fn in_heading(&self) -> bool {
        self.heading.is_some()
    }

    /// What was read.
    pub(super) fn finish(self) -> Reading {
        Reading::of(self.words, self.title.or(self.first_h1), self.structure)
    }
}
