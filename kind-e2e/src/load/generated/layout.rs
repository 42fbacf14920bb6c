//! The lines and pages of a PDF, and how a line is drawn.
//!
//! The contract (docs/documents.md, "The text of a PDF") says what separates words: a space that is drawn, a gap
//! along the line of 0.17 of the font's size, a step to another line. Every way that is used here keeps well away
//! from these bounds, so that the words are certain: gaps between words are 0.3, kerning within words is at most
//! 0.04, lines are 1.3 apart, blocks 2.4.

use std::collections::BTreeMap;

use encoding_rs::WINDOWS_1252;
use pdf_writer::{Content, Name, Str};

use super::draft::{Block, Draft};

/// The font in the resources of every page.
pub(super) const FONT: Name<'static> = Name(b"F1");
/// Width and height of a page (A4), in points.
pub(super) const PAGE: (f32, f32) = (595.0, 842.0);

/// Around the text, in points.
const MARGIN: f32 = 60.0;
/// Size of text and of headings, in points.
const TEXT: f32 = 11.0;
const HEADING: f32 = 16.0;
/// Steps down, in sizes of the font.
const NEXT_LINE: f32 = 1.3;
const NEXT_BLOCK: f32 = 2.4;
/// Characters of a full line.
const LINE: usize = 72;
/// Between words and within them, in thousandths of the font's size.
const GAP: f32 = -300.0;
const KERN: f32 = 40.0;

/// How words are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// By spaces, a line in one string, each line moved to from the line before.
    Spaces,
    /// By gaps, with no space in the file, and with kerning in each word.
    Gaps,
    /// By spaces, a string a word, each line placed on the page by itself.
    Placed,
}

/// The codes of a font.
pub(super) enum Codes {
    /// One byte: WinAnsiEncoding, which is windows-1252 for letters.
    WinAnsi,
    /// Two bytes, which mean nothing but for the map that the font has.
    Mapped(BTreeMap<char, u16>),
}

impl Codes {
    /// Codes of two bytes for all characters of a draft.
    pub(super) fn mapped(draft: &Draft) -> Self {
        let mut codes = BTreeMap::new();
        for character in lines(draft).iter().flat_map(|line| line.words.concat().chars().collect::<Vec<_>>()) {
            let next = u16::try_from(codes.len() + 1).unwrap_or(u16::MAX);
            codes.entry(character).or_insert(next);
        }
        let next = u16::try_from(codes.len() + 1).unwrap_or(u16::MAX);
        codes.entry(' ').or_insert(next);
        Self::Mapped(codes)
    }

    fn encode(&self, text: &str) -> Vec<u8> {
        match self {
            Self::WinAnsi => WINDOWS_1252.encode(text).0.into_owned(),
            Self::Mapped(codes) => text
                .chars()
                .flat_map(|character| codes.get(&character).copied().unwrap_or_default().to_be_bytes())
                .collect(),
        }
    }

    /// Bytes of one code.
    fn length(&self) -> usize {
        match self {
            Self::WinAnsi => 1,
            Self::Mapped(_) => 2,
        }
    }
}

/// One line of a page.
pub(super) struct Line<'d> {
    words: Vec<&'d str>,
    size: f32,
    /// The way down from the line before, in points.
    step: f32,
    /// Targets of the links that begin on it.
    pub(super) targets: Vec<&'d str>,
    /// Which heading it is, if it begins one.
    pub(super) heading: Option<usize>,
}

/// The lines of a draft.
pub(super) fn lines(draft: &Draft) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut headings = 0;
    for block in &draft.blocks {
        let first = lines.len();
        match block {
            Block::Heading(_, text) => {
                wrap(text.split(' ').map(|word| (word, None)), HEADING, &mut lines);
                lines[first].heading = Some(headings);
                headings += 1;
            }
            Block::Paragraph(runs) => {
                let words = runs.iter().flat_map(|run| {
                    let words = run.text().split(' ').enumerate();
                    words.map(move |(index, word)| (word, run.target().filter(|_| index == 0)))
                });
                wrap(words, TEXT, &mut lines);
            }
        }
        lines[first].step = NEXT_BLOCK * lines[first].size;
    }
    lines
}

/// Adds words, with the target of the link that each begins, in as many lines as they need.
fn wrap<'d>(words: impl Iterator<Item = (&'d str, Option<&'d str>)>, size: f32, lines: &mut Vec<Line<'d>>) {
    let mut length = LINE;
    for (word, target) in words {
        if length + word.len() >= LINE {
            length = 0;
            lines.push(Line { words: Vec::new(), size, step: NEXT_LINE * size, targets: Vec::new(), heading: None });
        }
        length += word.chars().count() + 1;
        if let Some(line) = lines.last_mut() {
            line.words.push(word);
            line.targets.extend(target);
        }
    }
}

/// The lines by page.
pub(super) fn pages<'l, 'd>(lines: &'l [Line<'d>]) -> Vec<&'l [Line<'d>]> {
    let mut left = 0.0;
    let mut begins: Vec<usize> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        left -= line.step;
        if left < 0.0 {
            begins.push(index);
            left = PAGE.1 - 3.0 * MARGIN;
        }
    }
    let ends = begins.iter().skip(1).copied().chain([lines.len()]);
    begins.iter().zip(ends).map(|(begin, end)| &lines[*begin..end]).collect()
}

/// The content stream of a page.
pub(super) fn drawn(page: &[Line<'_>], style: Style, codes: &Codes) -> Vec<u8> {
    let mut content = Content::new();
    content.begin_text();
    let (mut x, mut y) = (0.0, PAGE.1 - MARGIN);
    let mut size = 0.0;
    for line in page {
        if line.size != size {
            size = line.size;
            content.set_font(FONT, size);
        }
        y -= line.step;
        match style {
            Style::Placed => content.set_text_matrix([1.0, 0.0, 0.0, 1.0, MARGIN, y]),
            // The first move is from the corner of the page.
            _ if x == 0.0 => content.next_line(MARGIN, y),
            _ => content.next_line(0.0, -line.step),
        };
        x = MARGIN;
        show(&mut content, line, style, codes);
    }
    content.end_text();
    content.finish().into_vec()
}

fn show(content: &mut Content, line: &Line<'_>, style: Style, codes: &Codes) {
    match style {
        Style::Spaces => {
            content.show(Str(&codes.encode(&line.words.join(" "))));
        }
        Style::Placed => {
            for word in &line.words {
                content.show(Str(&codes.encode(&format!("{word} "))));
            }
        }
        Style::Gaps => {
            let mut shown = content.show_positioned();
            let mut items = shown.items();
            for word in &line.words {
                let word = codes.encode(word);
                let (before, after) = word.split_at(word.len() / codes.length() / 2 * codes.length());
                items.show(Str(before)).adjust(KERN).show(Str(after)).adjust(GAP);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexicon::Language;
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    #[test]
    fn pages_hold_all_lines_once_within_their_margins() {
        let draft = Draft::draw(Language::French, 20_000, &mut ChaCha8Rng::seed_from_u64(1));
        let lines = lines(&draft);
        let pages = pages(&lines);
        assert!(pages.len() > 3, "{}", pages.len());
        assert_eq!(pages.iter().map(|page| page.len()).sum::<usize>(), lines.len());
        for page in pages {
            let height: f32 = page.iter().map(|line| line.step).sum();
            assert!(height <= PAGE.1 - 2.0 * MARGIN, "{height}");
        }
    }

    #[test]
    fn every_style_draws_every_word() {
        let draft = Draft::draw(Language::English, 500, &mut ChaCha8Rng::seed_from_u64(2));
        let lines = lines(&draft);
        let pages = pages(&lines);
        let letters: usize = lines.iter().flat_map(|line| &line.words).map(|word| word.chars().count()).sum();
        for style in [Style::Spaces, Style::Gaps, Style::Placed] {
            let drawn = drawn(pages[0], style, &Codes::WinAnsi);
            let (mut inside, mut count) = (false, 0);
            for byte in drawn {
                match byte {
                    b'(' => inside = true,
                    b')' => inside = false,
                    byte => count += usize::from(inside && byte != b' '),
                }
            }
            assert_eq!((pages.len(), count), (1, letters), "{style:?}");
        }
    }
}
