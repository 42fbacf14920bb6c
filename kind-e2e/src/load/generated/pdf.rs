//! Drafts written as PDF: pages, fonts, document information, bookmarks and links.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_writer::types::{ActionType, AnnotationType, CidFontType, FontFlags, SystemInfo, UnicodeCmap};
use pdf_writer::{Filter, Name, Pdf, Rect, Ref, Str, TextStr};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::draft::Draft;
use super::layout::{Codes, FONT, Line, PAGE, Style, drawn, lines, pages};
use super::outline::{self, Bookmark};

/// Fonts that every reader has.
const STANDARD: &[&[u8]] = &[b"Helvetica", b"Times-Roman", b"Courier"];
/// A font that no reader has: what its codes mean, the map in the file says.
const MAPPED: Name<'static> = Name(b"AAAAAA+Known");

/// What kind of font a PDF has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Font {
    /// One of the fourteen standard fonts, in WinAnsiEncoding.
    Standard,
    /// A composite font with codes of its own and a ToUnicode map.
    Mapped,
}

/// A PDF, and what its reader must find out about it beside its text.
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) pages: u32,
    pub(super) title: Option<String>,
}

/// Writes a draft.
pub(super) fn write(draft: &Draft, font: Font, rng: &mut ChaCha8Rng) -> Written {
    let style = [Style::Spaces, Style::Gaps, Style::Placed][rng.random_range(0..3)];
    let codes = match font {
        Font::Standard => Codes::WinAnsi,
        Font::Mapped => Codes::mapped(draft),
    };
    let mut file = File::new();
    let base = STANDARD[rng.random_range(0..STANDARD.len())];
    file.font(&codes, Name(base));
    let lines = lines(draft);
    let pages = pages(&lines);
    for page in &pages {
        file.page(page, &drawn(page, style, &codes));
    }
    // Where the information has no title, the first bookmark is it.
    let titled = rng.random_ratio(3, 4);
    if titled {
        file.title(&draft.title);
    }
    let headings = draft.structure(false);
    let first = headings.headings.first().map(|(_, text)| text.clone());
    Written {
        pages: u32::try_from(pages.len()).unwrap_or(u32::MAX),
        title: if titled { Some(draft.title.clone()) } else { first },
        bytes: file.finish(&draft.headings(), rng.random_bool(0.5)),
    }
}

/// A file that is being written.
struct File {
    pdf: Pdf,
    next: Ref,
    catalog: Ref,
    tree: Ref,
    font: Ref,
    pages: Vec<Ref>,
    /// The page on which each heading stands.
    places: Vec<Ref>,
}

impl File {
    fn new() -> Self {
        let mut next = Ref::new(1);
        Self {
            pdf: Pdf::new(),
            catalog: next.bump(),
            tree: next.bump(),
            font: next.bump(),
            next,
            pages: Vec::new(),
            places: Vec::new(),
        }
    }

    fn stream(&mut self, content: &[u8]) -> Ref {
        let id = self.next.bump();
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        // Writing to memory does not fail.
        let packed = encoder.write_all(content).and_then(|()| encoder.finish()).unwrap_or_default();
        self.pdf.stream(id, &packed).filter(Filter::FlateDecode);
        id
    }

    fn font(&mut self, codes: &Codes, base: Name<'_>) {
        let Codes::Mapped(codes) = codes else {
            let mut font = self.pdf.type1_font(self.font);
            font.base_font(base).encoding_predefined(Name(b"WinAnsiEncoding"));
            return;
        };
        let system = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };
        let mut map = UnicodeCmap::new(Name(b"Known"), system);
        for (character, code) in codes {
            map.pair(*code, *character);
        }
        let map = self.stream(&map.finish().into_vec());
        let (descendant, descriptor) = (self.next.bump(), self.next.bump());
        let mut font = self.pdf.type0_font(self.font);
        font.base_font(MAPPED).encoding_predefined(Name(b"Identity-H"));
        font.descendant_font(descendant).to_unicode(map);
        drop(font);
        let mut font = self.pdf.cid_font(descendant);
        font.subtype(CidFontType::Type2).base_font(MAPPED).system_info(system);
        font.font_descriptor(descriptor).default_width(600.0);
        font.cid_to_gid_map_predefined(Name(b"Identity"));
        drop(font);
        let mut font = self.pdf.font_descriptor(descriptor);
        font.name(MAPPED).flags(FontFlags::NON_SYMBOLIC).bbox(Rect::new(0.0, -200.0, 600.0, 800.0));
        font.italic_angle(0.0).ascent(800.0).descent(-200.0).cap_height(700.0).stem_v(80.0);
    }

    fn page(&mut self, lines: &[Line<'_>], content: &[u8]) {
        let content = self.stream(content);
        let targets = lines.iter().flat_map(|line| &line.targets);
        let links: Vec<Ref> = targets.map(|target| self.link(target)).collect();
        let id = self.next.bump();
        self.pages.push(id);
        self.places.extend(lines.iter().filter(|line| line.heading.is_some()).map(|_| id));
        let mut page = self.pdf.page(id);
        page.parent(self.tree).media_box(Rect::new(0.0, 0.0, PAGE.0, PAGE.1)).contents(content);
        if !links.is_empty() {
            page.annotations(links);
        }
        page.resources().fonts().pair(FONT, self.font);
    }

    fn link(&mut self, target: &str) -> Ref {
        let id = self.next.bump();
        let mut link = self.pdf.annotation(id);
        link.subtype(AnnotationType::Link).rect(Rect::new(60.0, 60.0, 200.0, 80.0));
        link.action().action_type(ActionType::Uri).uri(Str(target.as_bytes()));
        id
    }

    fn title(&mut self, title: &str) {
        let id = self.next.bump();
        self.pdf.document_info(id).title(TextStr(title));
    }

    fn bookmarks(&mut self, headings: &[(u8, &str)]) -> Option<Ref> {
        let root = self.next.bump();
        let ids: Vec<Ref> = headings.iter().map(|_| self.next.bump()).collect();
        let levels: Vec<u8> = headings.iter().map(|(level, _)| *level).collect();
        let (first, last) = outline::ends(&levels)?;
        for (index, Bookmark { parent, before, after, children }) in outline::bookmarks(&levels).iter().enumerate() {
            let mut item = self.pdf.outline_item(ids[index]);
            item.title(TextStr(headings[index].1)).parent(parent.map_or(root, |parent| ids[parent]));
            if let Some(before) = before {
                item.prev(ids[*before]);
            }
            if let Some(after) = after {
                item.next(ids[*after]);
            }
            if let Some((first, last)) = children {
                item.first(ids[*first]).last(ids[*last]).count(-1);
            }
            item.dest().page(self.places[index]).fit();
        }
        self.pdf.outline(root).first(ids[first]).last(ids[last]);
        Some(root)
    }

    /// The file, with its table of objects as text or as a stream.
    fn finish(mut self, headings: &[(u8, &str)], table_as_stream: bool) -> Vec<u8> {
        let outline = self.bookmarks(headings);
        let count = i32::try_from(self.pages.len()).unwrap_or(i32::MAX);
        self.pdf.pages(self.tree).kids(self.pages.iter().copied()).count(count);
        let mut catalog = self.pdf.catalog(self.catalog);
        catalog.pages(self.tree);
        if let Some(outline) = outline {
            catalog.outlines(outline);
        }
        drop(catalog);
        if table_as_stream { self.pdf.finish_with_xref_stream(self.next) } else { self.pdf.finish() }
    }
}
