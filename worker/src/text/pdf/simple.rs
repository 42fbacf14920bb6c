//! The characters of a simple font, which has one byte per code: from its encoding, its glyph names, and the encoding
//! that is built into its program.
//!
//! lopdf knows the standard encodings and the glyph names. It drops a whole encoding for one unknown name, so names are
//! looked up one by one here.

use lopdf::{Dictionary, Document, Object, dictionary};
use ttf_parser::cff;

use super::{
    Budget, PoisonError,
    content::{Token, Tokens},
    layout::dictionary,
};

/// The characters of each of the 256 codes.
pub(super) type Characters = Vec<Option<Box<str>>>;

/// Maximum bytes of a Type 1 font program in which its encoding is looked for. The rest is encrypted glyphs.
const MAX_CLEAR_TEXT: usize = 64 << 10;

/// The font Symbol from code 32 and from code 161 (Unicode's mapping table for it).
const SYMBOL: [(usize, &str); 2] = [
    (32, " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼"),
    (160, "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪\0〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭"),
];

/// The characters of a font's codes. A font with a ToUnicode map needs no program.
pub(super) fn characters(
    document: &Document,
    font: &Dictionary,
    mapped: bool,
    budget: &mut Budget,
) -> Result<Characters, PoisonError> {
    let encoding = font.get_deref(b"Encoding", document).ok();
    let described = encoding.and_then(|encoding| encoding.as_dict().ok());
    let base = match described {
        Some(described) => described.get_deref(b"BaseEncoding", document).and_then(Object::as_name).ok(),
        None => encoding.and_then(|encoding| encoding.as_name().ok()),
    };
    let built_in = if base.is_none() && !mapped { built_in(document, font, budget)? } else { None };
    let mut characters = match (built_in, base.unwrap_or(b"StandardEncoding")) {
        (Some(built_in), _) => built_in,
        (None, base) => standard(document, base),
    };
    let differences = described.and_then(|described| described.get_deref(b"Differences", document).ok());
    let mut code = 0_usize;
    for entry in differences.and_then(|differences| differences.as_array().ok()).into_iter().flatten() {
        match document.dereference(entry).map(|(_, entry)| entry) {
            Ok(Object::Name(name)) => {
                // A name that says nothing, as programs invent them for pictures, leaves the code as it is.
                let named = of_name(document, code, name);
                if named != Named::Unknown {
                    set(&mut characters, code, named.text());
                }
                code = code.saturating_add(1);
            }
            Ok(number) => code = number.as_i64().ok().and_then(|code| usize::try_from(code).ok()).unwrap_or(256),
            Err(_) => {}
        }
    }
    Ok(characters)
}

fn set(characters: &mut Characters, code: usize, text: Option<String>) {
    if let Some(place) = characters.get_mut(code) {
        *place = text.map(String::into_boxed_str);
    }
}

/// An encoding that the format defines.
fn standard(document: &Document, name: &[u8]) -> Characters {
    let font = dictionary! { "Type" => "Font", "Encoding" => Object::Name(name.to_vec()) };
    let Ok(encoding) = font.get_font_encoding_with_limit(document, 0) else {
        return vec![None; 256];
    };
    let text = |byte: u8| encoding.bytes_to_string(&[byte]).ok().filter(|text| !text.is_empty());
    (0..=u8::MAX).map(|byte| text(byte).map(String::into_boxed_str)).collect()
}

/// What a glyph's name says.
#[derive(Debug, PartialEq)]
enum Named {
    /// Its characters.
    Text(String),
    /// That it has none, or is only numbered.
    Nothing,
    /// It is not known.
    Unknown,
}

impl Named {
    fn text(self) -> Option<String> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// The characters of a glyph's name (Adobe Glyph List Specification): `f_i.alt` is `fi`.
fn of_name(document: &Document, code: usize, name: &[u8]) -> Named {
    let name = String::from_utf8_lossy(name);
    let (plain, _) = name.split_once('.').unwrap_or((&name, ""));
    let text: Option<String> = plain.split('_').map(|part| of_part(document, part)).collect();
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        return Named::Text(text);
    }
    let digits = plain.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
    let letters = &plain[..plain.len() - digits.len()];
    // Programs number glyphs by their characters, as in `C85` and `G4B`, by their codes, as in `a73`, or otherwise.
    let character = match (letters, plain.get(1..), digits.parse::<usize>()) {
        ("G", Some(hex), _) if hex.len() == 2 => usize::from_str_radix(hex, 16).ok(),
        ("C" | "c", _, Ok(number)) => Some(number),
        (_, _, Ok(number)) if number == code => Some(code),
        _ => None,
    };
    let windows = character.and_then(|character| standard(document, b"WinAnsiEncoding").get(character)?.clone());
    match windows {
        Some(text) => Named::Text(text.into()),
        None if plain.is_empty() || !digits.is_empty() => Named::Nothing,
        None => Named::Unknown,
    }
}

fn of_part(document: &Document, part: &str) -> Option<String> {
    let hex = |digits: &str| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
    let listed = || {
        // Code 0 has no character in the standard encoding, which takes the place of an unknown name.
        let differences = Object::Array(vec![0.into(), Object::Name(part.as_bytes().to_vec())]);
        let font = dictionary! { "Type" => "Font", "Encoding" => dictionary! { "Differences" => differences } };
        let encoding = font.get_font_encoding_with_limit(document, 0).ok()?;
        encoding.bytes_to_string(&[0]).ok().filter(|text| !text.is_empty())
    };
    let units = || {
        let digits = part.strip_prefix("uni").filter(|digits| digits.len() % 4 == 0 && digits.is_ascii())?;
        digits.as_bytes().chunks(4).map(|unit| hex(std::str::from_utf8(unit).ok()?)).collect::<Option<String>>()
    };
    let point =
        || part.strip_prefix('u').filter(|digits| (4..=6).contains(&digits.len())).and_then(hex).map(String::from);
    listed().or_else(units).or_else(point)
}

/// The encoding of a font's program, or of a standard font that has its own.
fn built_in(document: &Document, font: &Dictionary, budget: &mut Budget) -> Result<Option<Characters>, PoisonError> {
    let name = font.get_deref(b"BaseFont", document).and_then(Object::as_name).unwrap_or_default();
    let program =
        |key: &[u8]| dictionary(document, font, b"FontDescriptor")?.get_deref(key, document).ok()?.as_stream().ok();
    // A font without its program still has text: its damage is none of the page.
    let damaged = budget.damaged;
    let characters = match (program(b"FontFile"), program(b"FontFile3"), name) {
        (Some(type1), ..) => of_type1(document, &budget.inflate(type1)?),
        (_, Some(cff), _) => of_cff(document, &budget.inflate(cff)?),
        (.., b"Symbol") => Some(symbol()),
        (.., b"ZapfDingbats") => Some(vec![None; 256]),
        _ => None,
    };
    budget.damaged = damaged;
    Ok(characters)
}

fn symbol() -> Characters {
    let mut characters = vec![None; 256];
    for (first, text) in SYMBOL {
        for (code, character) in (first..).zip(text.chars()) {
            set(&mut characters, code, (character != '\0').then(|| character.to_string()));
        }
    }
    characters
}

/// The encoding of a Type 1 program, which begins with PostScript: `dup 12 /fi put` for each code.
fn of_type1(document: &Document, program: &[u8]) -> Option<Characters> {
    let clear = &program[..memchr::memmem::find(program, b"eexec").unwrap_or(program.len()).min(MAX_CLEAR_TEXT)];
    let encoding = &clear[memchr::memmem::find(clear, b"/Encoding")? + b"/Encoding".len()..];
    let mut characters = vec![None; 256];
    let mut last = [const { None }; 3];
    for token in Tokens::of(encoding) {
        match (&token, &last) {
            (Token::Operator(b"StandardEncoding"), _) => return Some(standard(document, b"StandardEncoding")),
            (Token::Operator(b"def" | b"readonly"), _) => break,
            (Token::Operator(b"put"), [_, Some(Token::Number(code)), Some(Token::Name(name))]) => {
                let code = (0..=u8::MAX).find(|place| (f32::from(*place) - code).abs() < 0.5);
                if let Some(code) = code.map(usize::from) {
                    set(&mut characters, code, of_name(document, code, name).text());
                }
            }
            _ => {}
        }
        last.rotate_left(1);
        last[2] = Some(token);
    }
    Some(characters)
}

/// The encoding of a CFF program, alone or in an OpenType font.
fn of_cff(document: &Document, program: &[u8]) -> Option<Characters> {
    let wrapped = ttf_parser::RawFace::parse(program, 0).ok();
    let wrapped = wrapped.and_then(|face| face.table(ttf_parser::Tag::from_bytes(b"CFF ")));
    let table = cff::Table::parse(wrapped.unwrap_or(program))?;
    let mut characters = vec![None; 256];
    for code in 0..=u8::MAX {
        let name = table.glyph_index(code).and_then(|glyph| table.glyph_name(glyph));
        let text = name.and_then(|name| of_name(document, usize::from(code), name.as_bytes()).text());
        set(&mut characters, usize::from(code), text);
    }
    Some(characters)
}

#[cfg(test)]
mod tests {
    use lopdf::Stream;

    use super::*;

    fn read(document: &Document, font: &Dictionary) -> Vec<String> {
        let characters = characters(document, font, false, &mut Budget::of_file(0)).unwrap();
        characters.into_iter().map(|text| text.map(String::from).unwrap_or_default()).collect()
    }

    #[test]
    fn glyph_names_are_read_as_the_specification_says() {
        let text = |text: &str| Named::Text(text.to_owned());
        for (name, expected) in [
            ("eacute", text("é")),
            ("one.oldstyle", text("1")),
            ("f_f_i", text("ffi")),
            ("f_i.alt", text("fi")),
            ("uni0416", text("Ж")),
            ("uni00410301", text("A\u{301}")),
            ("u1F600", text("😀")),
            ("a73", text("I")),
            ("C85", text("U")),
            ("G4B", text("K")),
            ("g18", Named::Nothing),
            (".notdef", Named::Nothing),
            ("uniD800", Named::Nothing),
            ("square.small", Named::Unknown),
            ("f_nonsense", Named::Nothing),
        ] {
            assert_eq!(of_name(&Document::new(), 73, name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_spoils_no_other() {
        let differences: Vec<Object> =
            vec![65.into(), "eacute".into(), "g7".into(), "one.os".into(), 300.into(), "a".into(), Object::Null];
        let font = dictionary! {
            "Encoding" => dictionary! { "BaseEncoding" => "WinAnsiEncoding", "Differences" => differences },
        };
        assert_eq!(read(&Document::new(), &font)[65..69], ["é", "", "1", "D"]);
        let font = dictionary! { "Encoding" => dictionary! { "Differences" => vec![97.into(), "picture".into()] } };
        assert_eq!(read(&Document::new(), &font)[97], "a");
    }

    #[test]
    fn the_standard_fonts_with_symbols_have_their_own_encodings() {
        let document = Document::new();
        let read = |name: &str| read(&document, &dictionary! { "BaseFont" => Object::Name(name.into()) });
        let symbol = read("Symbol");
        assert_eq!([&symbol[97], &symbol[166], &symbol[254], &symbol[240]], ["α", "ƒ", "⎭", ""]);
        assert!(read("ZapfDingbats").iter().all(String::is_empty));
        assert_eq!(read("Helvetica")[65], "A");
    }

    fn embedded(key: &str, program: &[u8]) -> Vec<String> {
        let mut document = Document::new();
        let program = document.add_object(Stream::new(Dictionary::new(), program.to_vec()));
        let font = dictionary! { "FontDescriptor" => dictionary! { key => program } };
        read(&document, &font)
    }

    #[test]
    fn the_encoding_of_a_type1_program_is_read() {
        let program = b"%!PS-AdobeFont-1.0: CMR10\n/Encoding 256 array 0 1 255 {1 index exch /.notdef put} for\n\
            dup 12 /fi put dup 65/A put dup 300 /B put readonly def currentfile eexec dup 66 /B put";
        let read = embedded("FontFile", program);
        assert_eq!([&read[12], &read[65], &read[66]], ["\u{fb01}", "A", ""]);
        assert_eq!(embedded("FontFile", b"/Encoding StandardEncoding def eexec")[174], "\u{fb01}");
        assert_eq!(embedded("FontFile", b"no encoding")[65], "A");
    }

    #[test]
    fn a_program_that_is_none_has_the_standard_encoding() {
        assert_eq!(embedded("FontFile3", b"\x01\0\x04\x01 nonsense")[65], "A");
    }
}
