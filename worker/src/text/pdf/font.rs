//! Fonts: the characters of a code, and the width of its glyph.
//!
//! Characters come from the PDF alone: from the font's ToUnicode map, else from its encoding, and never from the
//! font program. Missing widths, which the fourteen standard fonts may lack, are estimated, which is enough to
//! detect spaces.

use std::{collections::HashMap, rc::Rc};

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, SHIFT_JIS, UTF_16BE};
use lopdf::{Dictionary, Document, Object};

use super::{Budget, PoisonError, cmap::CMap};

/// Maximum memory of all cached maps, in entries of 16 bytes.
const MAX_MAP_ENTRIES: usize = 1 << 20;

/// Maximum number of cached fonts.
const MAX_FONTS: usize = 256;

/// Default width of a glyph, in thousandths of the font's size.
const DEFAULT_WIDTH: f32 = 500.0;

/// Width of an ideograph.
const IDEOGRAPH_WIDTH: f32 = 1000.0;

/// A cache of a document's fonts.
#[derive(Default)]
pub(super) struct Fonts {
    /// Keyed by the address of the font's dictionary. The document outlives this cache.
    read: HashMap<usize, Rc<Font>>,
    weight: usize,
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
        let font = Rc::new(Font::read(document, dictionary, budget)?);
        self.weight += font.to_unicode.as_ref().map_or(0, CMap::weight) + font.widths.ranges.len();
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
    Simple(Vec<Option<char>>),
    /// This number of bytes per code, without characters of their own.
    Composite(usize),
    /// Text in a charset, as the predefined maps for Chinese, Japanese and Korean define.
    Charset(&'static Encoding),
}

impl Font {
    fn read(document: &Document, font: &Dictionary, budget: &mut Budget) -> Result<Self, PoisonError> {
        let to_unicode = match font.get_deref(b"ToUnicode", document) {
            Ok(Object::Stream(stream)) => Some(CMap::parse(&budget.inflate(stream)?)),
            _ => None,
        };
        let subtype = font.get(b"Subtype").and_then(Object::as_name).unwrap_or_default();
        let descendant = (subtype == b"Type0").then(|| descendant(document, font)).flatten();
        let (codes, widths) = match descendant {
            Some(descendant) => (composite_codes(document, font, budget)?, Widths::composite(document, descendant)),
            None => (Codes::Simple(simple_codes(document, font, budget)?), Widths::simple(document, font)),
        };
        Ok(Self { to_unicode, codes, widths })
    }

    /// Calls `each` with each glyph of a string.
    pub(super) fn for_each_glyph(&self, string: &[u8], mut each: impl FnMut(Glyph)) {
        match &self.codes {
            Codes::Charset(encoding) if self.to_unicode.is_none() => {
                for character in encoding.decode_without_bom_handling(string).0.chars() {
                    let width = if character.is_ascii() { DEFAULT_WIDTH } else { IDEOGRAPH_WIDTH };
                    each(Glyph { text: character.to_string(), width: width / 1000.0, is_space: false });
                }
            }
            Codes::Simple(characters) => {
                for byte in string {
                    let own = characters.get(usize::from(*byte)).copied().flatten();
                    each(self.glyph(u32::from(*byte), 1, own));
                }
            }
            Codes::Composite(_) | Codes::Charset(_) => {
                let length = if let Codes::Composite(length) = self.codes { length } else { 2 };
                for code in string.chunks(length) {
                    let code = code.iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
                    each(self.glyph(code, length, None));
                }
            }
        }
    }

    fn glyph(&self, code: u32, length: usize, own: Option<char>) -> Glyph {
        let mapped = self.to_unicode.as_ref().and_then(|map| map.get(code));
        let text = mapped.or_else(|| own.map(String::from)).unwrap_or_default();
        Glyph {
            width: self.widths.get(code, text.chars().next()) * self.widths.unit,
            text,
            is_space: length == 1 && code == 32,
        }
    }
}

fn descendant<'d>(document: &'d Document, font: &'d Dictionary) -> Option<&'d Dictionary> {
    let descendants = font.get_deref(b"DescendantFonts", document).and_then(Object::as_array).ok()?;
    let first = document.dereference(descendants.first()?).ok()?.1;
    first.as_dict().ok()
}

/// The character of each byte in the font's encoding. lopdf knows the encodings and the glyph names.
fn simple_codes(document: &Document, font: &Dictionary, budget: &mut Budget) -> Result<Vec<Option<char>>, PoisonError> {
    // The ToUnicode map was read before; lopdf would use it as the encoding and expand it.
    let mut own = font.clone();
    own.remove(b"ToUnicode");
    own.set("Type", "Font");
    let limit = budget.limit;
    let encoding =
        own.get_font_encoding_with_limit(document, 0).map_err(|_| PoisonError::DecompressionBomb { limit })?;
    let character = |byte: u8| encoding.bytes_to_string(&[byte]).ok()?.chars().next();
    Ok((0..=u8::MAX).map(character).collect())
}

fn composite_codes(document: &Document, font: &Dictionary, budget: &mut Budget) -> Result<Codes, PoisonError> {
    match font.get_deref(b"Encoding", document) {
        Ok(Object::Name(name)) => Ok(charset_of(name).map_or(Codes::Composite(2), Codes::Charset)),
        Ok(Object::Stream(stream)) => {
            let map = CMap::parse(&budget.inflate(stream)?);
            Ok(Codes::Composite(map.code_bytes().unwrap_or(2)))
        }
        _ => Ok(Codes::Composite(2)),
    }
}

/// The charset of a predefined map, by the map's name (ISO 32000-1, table 118).
fn charset_of(map: &[u8]) -> Option<&'static Encoding> {
    let map = std::str::from_utf8(map).ok()?;
    let has = |part: &str| map.contains(part);
    Some(match map {
        _ if has("UCS2") || has("UTF16") => UTF_16BE,
        _ if has("RKSJ") => SHIFT_JIS,
        _ if has("GBK") || map.starts_with("GB-EUC") => GB18030,
        _ if has("B5") || has("ETen") => BIG5,
        _ if has("KSC") && !has("Johab") => EUC_KR,
        "EUC-H" | "EUC-V" => EUC_JP,
        _ => return None,
    })
}

/// Widths of glyphs.
struct Widths {
    /// First code, last code and width, sorted by the first code.
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
        let default = font.get_deref(b"DW", document).and_then(Object::as_float).unwrap_or(IDEOGRAPH_WIDTH);
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
    fn a_predefined_map_is_read_as_its_charset() {
        let document = Document::new();
        let dictionary = dictionary! {
            "Type" => "Font", "Subtype" => "Type0", "Encoding" => "90ms-RKSJ-H",
            "DescendantFonts" => vec![Object::Dictionary(Dictionary::new())],
        };
        let (bytes, ..) = SHIFT_JIS.encode("日本語");
        assert_eq!(shown(&font(&document, &dictionary), &bytes).0, "日本語");
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
