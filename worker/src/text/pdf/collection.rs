//! Codes of composite fonts, their glyphs, and the characters of these in the collections that Adobe defined for
//! Chinese, Japanese and Korean.
//!
//! A map leads from codes to glyphs: the identity, one of the predefined maps, or a stream of the file. Which
//! characters the glyphs of a collection are is public. So a font of a known collection needs no ToUnicode map.
//! `hayro-cmap` has the predefined maps and the collections.

use std::{collections::HashMap, rc::Rc};

use hayro_cmap::{BfString, CMap, CMapName, CidFamily, load_embedded};
use lopdf::{Dictionary, Document, Object};

use super::{Budget, PoisonError};

/// Maximum bytes of a file's own map that are read. It takes some ten times as much memory.
const MAX_BYTES: usize = 64 << 10;

/// The predefined maps that a document needed so far, by name.
#[derive(Default)]
pub(super) struct Predefined {
    parsed: HashMap<Vec<u8>, Option<Rc<CMap>>>,
}

impl Predefined {
    fn get(&mut self, name: CMapName<'_>) -> Option<Rc<CMap>> {
        let data = load_embedded(name)?;
        let parse = || CMap::parse(data, load_embedded).map(Rc::new);
        self.parsed.entry(name.to_bytes().to_vec()).or_insert_with(parse).clone()
    }
}

/// The codes of a composite font.
pub(super) struct Composite {
    /// From codes to glyphs; `None` for the identity of two bytes.
    encoding: Option<Rc<CMap>>,
    /// From glyphs to characters.
    characters: Option<Rc<CMap>>,
    /// Whether the codes are characters by themselves.
    unicode: bool,
    /// Memory of the file's own map, in units of 16 bytes.
    weight: usize,
}

impl Composite {
    /// Reads the codes of a font and of its descendant.
    pub(super) fn read(
        document: &Document,
        font: &Dictionary,
        descendant: &Dictionary,
        predefined: &mut Predefined,
        budget: &mut Budget,
    ) -> Result<Self, PoisonError> {
        let mut weight = 0;
        let encoding = match font.get_deref(b"Encoding", document) {
            Ok(Object::Name(name)) if !name.starts_with(b"Identity") => predefined.get(CMapName::from_bytes(name)),
            Ok(Object::Stream(stream)) => {
                let map = budget.inflate(stream)?;
                weight = map.len().min(MAX_BYTES);
                CMap::parse(&map[..weight], load_embedded).map(Rc::new)
            }
            _ => None,
        };
        let own = encoding.as_ref().and_then(|map| map.metadata().character_collection.as_ref());
        let known = own.map(|own| own.family.clone()).filter(|family| family.ucs2_cmap().is_some());
        let family = known.or_else(|| family_of(document, descendant));
        let characters = family.and_then(|family| predefined.get(family.ucs2_cmap()?));
        // Some programs write codes that are characters, and say so by a name. Others write the same name about codes
        // of glyphs, which need no table of the glyphs.
        let named = font.get_deref(b"ToUnicode", document).and_then(Object::as_name);
        let glyphs = descendant.get_deref(b"CIDToGIDMap", document).and_then(Object::as_stream);
        let unicode = named.is_ok_and(|name| name.starts_with(b"Identity")) && glyphs.is_ok();
        Ok(Self { encoding, characters, unicode, weight })
    }

    /// Memory of the file's own map, in units of 16 bytes.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Calls `each` with each code of a string, its number of bytes, and its glyph.
    pub(super) fn for_each_code(&self, string: &[u8], mut each: impl FnMut(u32, u8, u32)) {
        let mut rest = string;
        while !rest.is_empty() {
            let (code, length, glyph) = self.first_code(rest);
            each(code, length, glyph);
            rest = &rest[usize::from(length).clamp(1, rest.len())..];
        }
    }

    fn first_code(&self, string: &[u8]) -> (u32, u8, u32) {
        let join = |code: u32, byte: &u8| code << 8 | u32::from(*byte);
        let Some(encoding) = &self.encoding else {
            let code = string.iter().take(2).fold(0, join);
            return (code, 2, code);
        };
        let mut code = 0;
        for (length, byte) in (1..=4).zip(string) {
            code = join(code, byte);
            if let Some(glyph) = encoding.lookup_cid_code(code, length) {
                return (code, length, glyph);
            }
        }
        (string.iter().take(2).fold(0, join), 2, 0)
    }

    /// The characters of a glyph.
    pub(super) fn characters(&self, glyph: u32) -> Option<String> {
        if self.unicode {
            return char::from_u32(glyph).map(String::from);
        }
        Some(match self.characters.as_ref()?.lookup_bf_string(glyph)? {
            BfString::Char(character) => character.to_string(),
            BfString::String(text) => text,
        })
    }
}

/// The collection that the descendant font declares.
fn family_of(document: &Document, descendant: &Dictionary) -> Option<CidFamily> {
    let system = descendant.get_deref(b"CIDSystemInfo", document).and_then(Object::as_dict).ok()?;
    let text = |key: &[u8]| system.get_deref(key, document).and_then(Object::as_str).ok();
    Some(CidFamily::from_registry_ordering(text(b"Registry")?, text(b"Ordering")?))
}

#[cfg(test)]
mod tests {
    use lopdf::{Stream, StringFormat, dictionary};

    use super::*;

    fn composite(encoding: Object, ordering: &str) -> Composite {
        let mut document = Document::new();
        let encoding = document.add_object(encoding);
        let text = |text: &str| Object::String(text.as_bytes().to_vec(), StringFormat::Literal);
        let system = dictionary! { "Registry" => text("Adobe"), "Ordering" => text(ordering), "Supplement" => 0 };
        let descendant = dictionary! { "CIDSystemInfo" => system };
        let font = dictionary! { "Encoding" => encoding };
        let mut budget = Budget::of_file(0);
        Composite::read(&document, &font, &descendant, &mut Predefined::default(), &mut budget).unwrap()
    }

    fn shown(composite: &Composite, string: &[u8]) -> String {
        let mut text = String::new();
        composite.for_each_code(string, |_, _, glyph| {
            text.push_str(&composite.characters(glyph).unwrap_or_else(|| format!("[{glyph}]")));
        });
        text
    }

    fn name(name: &str) -> Object {
        Object::Name(name.as_bytes().to_vec())
    }

    #[test]
    fn the_predefined_maps_lead_to_characters() {
        for (map, ordering, string, text) in [
            ("90ms-RKSJ-H", "Japan1", b"\x93\xfa\x96{ ABC\xb1".as_slice(), "日本\u{2002}ABCｱ"),
            ("EUC-H", "Japan1", b"\xc6\xfc\xcb\xdc", "日本"),
            ("H", "Japan1", b"\x46\x7c\x4b\x5c", "日本"),
            ("UniJIS-UTF16-H", "Japan1", b"\x65\xe5\x67\x2c", "日本"),
            ("GBK-EUC-H", "GB1", b"\xd6\xd0\xce\xc4", "中文"),
            ("ETen-B5-V", "CNS1", b"\xa4\xa4\xa4\xe5", "中文"),
            ("KSCms-UHC-H", "Korea1", b"\xc7\xd1\xb1\xdb", "한글"),
            ("Identity-H", "Japan1", b"\x0c\xd4", "日"),
            ("Identity-V", "Identity", b"\0\x41", "[65]"),
        ] {
            assert_eq!(shown(&composite(name(map), ordering), string), text, "{map}");
        }
    }

    #[test]
    fn a_map_of_the_file_may_build_on_a_predefined_one() {
        let map = b"/90ms-RKSJ-H usecmap 1 begincidrange <f040> <f041> 3284 endcidrange endcmap".to_vec();
        let composite = composite(Object::Stream(Stream::new(Dictionary::new(), map)), "Japan1");
        assert!(composite.weight() > 0);
        assert_eq!(shown(&composite, b"A\x93\xfa").chars().next(), Some('A'));
    }

    #[test]
    fn a_string_that_ends_within_a_code_ends_there() {
        let composite = composite(name("90ms-RKSJ-H"), "Japan1");
        assert_eq!(shown(&composite, b"A\x93").chars().next(), Some('A'));
        assert_eq!(shown(&self::composite(name("Identity-H"), "Identity"), b"\0A\x42"), "[65][66]");
    }
}
