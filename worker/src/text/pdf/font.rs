//! Fonts: the characters of a code, and the width of its glyph.
//!
//! Characters come from the font's ToUnicode map, else from its encoding. Missing widths, which the fourteen standard
//! fonts may lack, are estimated, which is enough to detect spaces.

use std::{collections::HashMap, rc::Rc};

use lopdf::{Dictionary, Document, Object};

use super::{
    Budget, PoisonError,
    cmap::CMap,
    collection::{Composite, Predefined},
    simple::{self, Characters},
};

/// Maximum memory of all cached maps in bytes, but for the last one.
pub(super) const MAX_MEMORY: usize = 16 << 20;

/// The same in entries.
const MAX_MAP_ENTRIES: usize = MAX_MEMORY / 16;

/// Maximum number of cached fonts.
const MAX_FONTS: usize = 256;

/// Default width of a glyph, in thousandths of the font's size.
const DEFAULT_WIDTH: f32 = 500.0;

/// Default width of a glyph of a composite font.
const COMPOSITE_WIDTH: f32 = 1000.0;

/// A cache of a document's fonts.
#[derive(Default)]
pub(super) struct Fonts {
    /// Keyed by the address of the font's dictionary. The document outlives this cache.
    read: HashMap<usize, Rc<Font>>,
    weight: usize,
    predefined: Predefined,
}

impl Fonts {
    /// The font of a dictionary.
    pub(super) fn get(
        &mut self,
        document: &Document,
        dictionary: &Dictionary,
        budget: &mut Budget,
    ) -> Result<Rc<Font>, PoisonError> {
        let address = std::ptr::from_ref(dictionary).addr();
        if let Some(font) = self.read.get(&address) {
            return Ok(Rc::clone(font));
        }
        if self.weight > MAX_MAP_ENTRIES || self.read.len() >= MAX_FONTS {
            self.read.clear();
            self.weight = 0;
        }
        let font = Rc::new(Font::read(document, dictionary, &mut self.predefined, budget)?);
        self.weight += font.weight();
        self.read.insert(address, Rc::clone(&font));
        Ok(font)
    }
}

/// One glyph.
pub(super) struct Glyph {
    /// Its characters; empty if the font does not map them.
    pub(super) text: String,
    /// Advance width, in units of the font's size.
    pub(super) width: f32,
    /// Whether it is the one-byte code 32, to which word spacing applies.
    pub(super) is_space: bool,
}

/// A font.
pub(super) struct Font {
    to_unicode: Option<CMap>,
    codes: Codes,
    widths: Widths,
}

/// How codes are read, and their characters if the ToUnicode map has none.
enum Codes {
    /// One byte per code.
    Simple(Characters),
    /// One to four bytes per code.
    Composite(Composite),
}

impl Font {
    fn read(
        document: &Document,
        font: &Dictionary,
        predefined: &mut Predefined,
        budget: &mut Budget,
    ) -> Result<Self, PoisonError> {
        let to_unicode = match font.get_deref(b"ToUnicode", document) {
            Ok(Object::Stream(stream)) => Some(CMap::parse(&budget.inflate(stream)?)),
            _ => None,
        };
        let subtype = font.get(b"Subtype").and_then(Object::as_name).unwrap_or_default();
        let descendant = (subtype == b"Type0").then(|| descendant(document, font)).flatten();
        let (codes, widths) = match descendant {
            Some(descendant) => (
                Codes::Composite(Composite::read(document, font, descendant, predefined, budget)?),
                Widths::composite(document, descendant),
            ),
            None => {
                let characters = simple::characters(document, font, to_unicode.is_some(), budget)?;
                (Codes::Simple(characters), Widths::simple(document, font))
            }
        };
        Ok(Self { to_unicode, codes, widths })
    }

    /// Memory of its maps, in entries of 16 bytes.
    fn weight(&self) -> usize {
        let own = match &self.codes {
            Codes::Simple(_) => 0,
            Codes::Composite(composite) => composite.weight(),
        };
        own + self.to_unicode.as_ref().map_or(0, CMap::weight) + self.widths.ranges.len()
    }

    /// Calls `each` with each glyph of a string.
    pub(super) fn for_each_glyph(&self, string: &[u8], mut each: impl FnMut(Glyph)) {
        match &self.codes {
            Codes::Simple(characters) => {
                for byte in string {
                    let code = u32::from(*byte);
                    let own = || characters.get(usize::from(*byte))?.as_deref().map(str::to_owned);
                    let text = self.mapped(code).or_else(own).unwrap_or_default();
                    let width = self.widths.get(code, text.chars().next()) * self.widths.unit;
                    each(Glyph { width, text, is_space: code == 32 });
                }
            }
            Codes::Composite(composite) => composite.for_each_code(string, |code, length, glyph| {
                let own = || composite.characters(glyph);
                let text = self.mapped(code).or_else(own).unwrap_or_default();
                let width = self.widths.get(glyph, None) * self.widths.unit;
                each(Glyph { width, text, is_space: length == 1 && code == 32 });
            }),
        }
    }

    /// The characters of a code in the ToUnicode map.
    fn mapped(&self, code: u32) -> Option<String> {
        self.to_unicode.as_ref()?.get(code)
    }
}

fn descendant<'d>(document: &'d Document, font: &'d Dictionary) -> Option<&'d Dictionary> {
    let descendants = font.get_deref(b"DescendantFonts", document).and_then(Object::as_array).ok()?;
    let first = document.dereference(descendants.first()?).ok()?.1;
    first.as_dict().ok()
}

/// Widths of glyphs.
struct Widths {
    /// First code, last code and width, sorted by the first code. For a composite font, codes of glyphs (CIDs).
    ranges: Vec<(u32, u32, f32)>,
    /// Width of codes outside the ranges; `None` to estimate it.
    default: Option<f32>,
    /// Unit of the widths, relative to the font's size.
    unit: f32,
}

impl Widths {
    fn simple(document: &Document, font: &Dictionary) -> Self {
        let first = integer(document, font, b"FirstChar").unwrap_or(0);
        let widths = font.get_deref(b"Widths", document).and_then(Object::as_array);
        let widths = widths.map_or(&[][..], Vec::as_slice).iter().take(256);
        let ranges = (first..).zip(widths).filter_map(|(code, width)| {
            let width = document.dereference(width).ok()?.1.as_float().ok()?;
            Some((code, code, width))
        });
        // Glyphs of Type 3 fonts have a coordinate system of their own.
        let matrix = font.get_deref(b"FontMatrix", document).and_then(Object::as_array);
        let unit = matrix.ok().and_then(|matrix| matrix.first()?.as_float().ok());
        Self { ranges: ranges.collect(), default: None, unit: unit.filter(|unit| *unit > 0.0).unwrap_or(0.001) }
    }

    /// `/W` contains `first [width …]` and `first last width`, mixed.
    fn composite(document: &Document, font: &Dictionary) -> Self {
        let default = font.get_deref(b"DW", document).and_then(Object::as_float).unwrap_or(COMPOSITE_WIDTH);
        let mut ranges = Vec::new();
        let listed = font.get_deref(b"W", document).and_then(Object::as_array);
        let resolved = |object| document.dereference(object).ok().map(|(_, object)| object);
        let mut listed = listed.map_or(&[][..], Vec::as_slice).iter().filter_map(resolved);
        while let (Some(first), Some(second)) = (listed.next(), listed.next()) {
            let Some(first) = code(first) else { break };
            if let Object::Array(widths) = second {
                let widths = widths.iter().take(1 << 16).filter_map(|width| width.as_float().ok());
                ranges.extend((first..).zip(widths).map(|(code, width)| (code, code, width)));
            } else if let (Some(last), Some(width)) = (code(second), listed.next()) {
                ranges.push((first, last, width.as_float().unwrap_or(default)));
            }
            if ranges.len() > 1 << 16 {
                break;
            }
        }
        ranges.sort_by_key(|(first, ..)| *first);
        Self { ranges, default: Some(default), unit: 0.001 }
    }

    fn get(&self, code: u32, character: Option<char>) -> f32 {
        let after = self.ranges.partition_point(|(first, ..)| *first <= code);
        let range = after.checked_sub(1).map(|before| self.ranges[before]);
        let listed = range.filter(|(_, last, _)| *last >= code).map(|(.., width)| width);
        listed.or(self.default).unwrap_or_else(|| estimated(character))
    }
}

/// An estimate that is close to common sans-serif and serif fonts.
fn estimated(character: Option<char>) -> f32 {
    match character {
        Some(
            'i' | 'j' | 'l' | 't' | 'f' | 'r' | 'I' | ' ' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | '(' | ')' | '-',
        ) => 290.0,
        Some('m' | 'w' | 'M' | 'W' | '@' | '%') => 830.0,
        Some(character) if character.is_uppercase() => 680.0,
        _ => DEFAULT_WIDTH,
    }
}

fn integer(document: &Document, dictionary: &Dictionary, key: &[u8]) -> Option<u32> {
    dictionary.get_deref(key, document).ok().and_then(code)
}

fn code(object: &Object) -> Option<u32> {
    object.as_i64().ok().and_then(|code| u32::try_from(code).ok())
}

#[cfg(test)]
mod tests {
    use lopdf::{Stream, dictionary};

    use super::*;

    fn font(document: &Document, dictionary: &Dictionary) -> Rc<Font> {
        let mut budget = Budget::of_file(0);
        Fonts::default().get(document, dictionary, &mut budget).unwrap()
    }

    fn shown(font: &Font, string: &[u8]) -> (String, Vec<f32>) {
        let (mut text, mut widths) = (String::new(), Vec::new());
        font.for_each_glyph(string, |glyph| {
            text.push_str(&glyph.text);
            widths.push(glyph.width);
        });
        (text, widths)
    }

    #[test]
    fn a_simple_font_uses_its_encoding_and_its_widths() {
        let document = Document::new();
        let dictionary = dictionary! {
            "Type" => "Font", "Subtype" => "Type1", "FirstChar" => 65, "Widths" => vec![250.into(), 500.into()],
            "Encoding" => dictionary! { "BaseEncoding" => "WinAnsiEncoding", "Differences" => vec![66.into(), "eacute".into()] },
        };
        let font = font(&document, &dictionary);
        assert_eq!(shown(&font, b"AB\xe8"), ("Aéè".into(), vec![0.25, 0.5, 0.5]));
    }

    #[test]
    fn a_to_unicode_map_takes_precedence_over_the_encoding() {
        let mut document = Document::new();
        let map = Stream::new(Dictionary::new(), b"<41> <005A> endbfchar".to_vec());
        let map = document.add_object(map);
        let dictionary = dictionary! {
            "Type" => "Font", "Subtype" => "TrueType", "ToUnicode" => map, "Encoding" => "WinAnsiEncoding",
        };
        assert_eq!(shown(&font(&document, &dictionary), b"AB").0, "ZB");
    }

    #[test]
    fn a_composite_font_has_codes_of_two_bytes_and_ranges_of_widths() {
        let mut document = Document::new();
        let map = Stream::new(Dictionary::new(), b"<0001> <0002> <0061> endbfrange".to_vec());
        let map = document.add_object(map);
        let descendant = dictionary! {
            "DW" => 700, "W" => vec![1.into(), Object::Array(vec![300.into()]), 2.into(), 9.into(), 400.into()],
        };
        let dictionary = dictionary! {
            "Type" => "Font", "Subtype" => "Type0", "ToUnicode" => map, "Encoding" => "Identity-H",
            "DescendantFonts" => vec![Object::Dictionary(descendant)],
        };
        let (text, widths) = shown(&font(&document, &dictionary), b"\0\x01\0\x02\0\x0a");
        assert_eq!(text, "ab");
        let expected = [0.3, 0.4, 0.7];
        assert!(widths.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-6), "{widths:?}");
    }

    #[test]
    fn a_font_without_a_mapping_has_no_characters_but_a_width() {
        let document = Document::new();
        let dictionary = dictionary! {
            "Subtype" => "Type0", "Encoding" => "Identity-H",
            "DescendantFonts" => vec![Object::Dictionary(Dictionary::new())],
        };
        assert_eq!(shown(&font(&document, &dictionary), b"\0A"), (String::new(), vec![1.0]));
    }
}
