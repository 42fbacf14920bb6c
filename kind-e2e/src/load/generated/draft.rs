//! What a document is to say, before it is written in a format: drawn from a generator, so that a seed gives the same
//! again.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::lexicon::Language;
use crate::text::{Structure, Words};

/// Levels of headings that are drawn.
const DEEPEST: u8 = 3;

/// What a document is to say.
pub(super) struct Draft {
    pub(super) language: Language,
    /// Beside the text: the title that a format has a place for.
    pub(super) title: String,
    pub(super) blocks: Vec<Block>,
}

/// A part of it that stands by itself.
pub(super) enum Block {
    /// A heading. The first of all is of level 1, and none is more than one level below the one before it.
    Heading(u8, String),
    /// A paragraph. Between its runs are spaces.
    Paragraph(Vec<Run>),
}

/// A part of a paragraph.
pub(super) enum Run {
    /// Some sentences.
    Text(String),
    /// A target and the text that links to it.
    Link(String, String),
}

impl Draft {
    /// Draws a document of about so many characters.
    pub(super) fn draw(language: Language, characters: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut pen = Pen { language, words: language.words(), rng };
        let title = pen.words_of_sentence(3..7);
        let opening = format!("{}.", language.opening());
        let mut blocks = vec![Block::Paragraph(vec![Run::Text(opening)])];
        let mut level = 0;
        let mut written = 0;
        while written < characters {
            level = pen.rng.random_range(1..=DEEPEST.min(level + 1));
            let heading = pen.words_of_sentence(1..6);
            written += heading.chars().count();
            blocks.push(Block::Heading(level, heading));
            for _ in 0..pen.rng.random_range(1..4) {
                let runs = pen.paragraph();
                written += runs.iter().map(|run| run.text().chars().count()).sum::<usize>();
                blocks.push(Block::Paragraph(runs));
            }
        }
        Self { language, title, blocks }
    }

    /// The words of its text, in their order.
    pub(super) fn words(&self) -> Words {
        let mut words = Words::default();
        for text in self.texts() {
            words.push(text);
            words.boundary();
        }
        words
    }

    /// Its headings and links. A format that has no text for links gives none.
    pub(super) fn structure(&self, with_link_text: bool) -> Structure {
        let mut structure = Structure::default();
        for block in &self.blocks {
            match block {
                Block::Heading(level, text) => structure.heading(*level, text),
                Block::Paragraph(runs) => {
                    for run in runs {
                        if let Run::Link(target, text) = run {
                            structure.link(target, if with_link_text { text } else { "" });
                        }
                    }
                }
            }
        }
        structure
    }

    /// Level and text of all its headings.
    pub(super) fn headings(&self) -> Vec<(u8, &str)> {
        let headings = self.blocks.iter().filter_map(|block| match block {
            Block::Heading(level, text) => Some((*level, text.as_str())),
            Block::Paragraph(_) => None,
        });
        headings.collect()
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.blocks.iter().flat_map(|block| {
            let (heading, runs) = match block {
                Block::Heading(_, text) => (Some(text.as_str()), &[][..]),
                Block::Paragraph(runs) => (None, runs.as_slice()),
            };
            heading.into_iter().chain(runs.iter().map(Run::text))
        })
    }
}

impl Run {
    /// Where it leads, if it is a link.
    pub(super) fn target(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Link(target, _) => Some(target),
        }
    }

    /// What it says.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Link(_, text) => text,
        }
    }
}

/// Writes sentences of one language.
struct Pen<'r> {
    language: Language,
    words: Vec<&'static str>,
    rng: &'r mut ChaCha8Rng,
}

impl Pen<'_> {
    /// Some sentences, with a link between them now and then.
    fn paragraph(&mut self) -> Vec<Run> {
        let mut runs = Vec::new();
        for _ in 0..self.rng.random_range(1..4) {
            let sentences: Vec<String> = (0..self.rng.random_range(1..5)).map(|_| self.sentence()).collect();
            runs.push(Run::Text(sentences.join(self.space())));
            if self.rng.random_ratio(1, 4) {
                let target = format!("https://example.org/{}?a=1&b=2", self.rng.random_range(0..100_000));
                runs.push(Run::Link(target, self.words_of_sentence(1..4)));
            }
        }
        runs
    }

    fn sentence(&mut self) -> String {
        let mut text = self.words_of_sentence(3..14);
        if self.rng.random_ratio(1, 3) {
            text = format!("{text}{} {}", self.comma(), self.words_of_sentence(2..8));
        }
        if self.rng.random_ratio(1, 12) {
            let (whole, part) = (self.rng.random_range(0..2000), self.rng.random_range(0..100));
            text = format!("{text} {whole}.{part}");
        }
        let ends = if self.language == Language::Japanese { ["。", "。", "！"] } else { [".", ".", "!"] };
        text + ends[self.rng.random_range(0..3)]
    }

    fn words_of_sentence(&mut self, lengths: std::ops::Range<usize>) -> String {
        let count = self.rng.random_range(lengths);
        let drawn: Vec<&str> = (0..count).map(|_| self.words[self.rng.random_range(0..self.words.len())]).collect();
        drawn.join(self.space())
    }

    fn space(&self) -> &'static str {
        if self.language == Language::Japanese { "" } else { " " }
    }

    fn comma(&self) -> &'static str {
        if self.language == Language::Japanese { "、" } else { "," }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn draft(seed: u64) -> Draft {
        Draft::draw(Language::German, 5_000, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn a_seed_gives_the_same_words_and_another_seed_others() {
        assert_eq!(draft(1).words().finish(), draft(1).words().finish());
        assert_ne!(draft(1).words().finish(), draft(2).words().finish());
    }

    #[test]
    fn no_heading_is_more_than_one_level_below_the_one_before() {
        let mut above = 0;
        for (level, _) in draft(3).structure(true).headings {
            assert!((1..=above + 1).contains(&level), "{level} after {above}");
            above = level;
        }
        assert!(above > 0, "there is no heading");
    }
}
