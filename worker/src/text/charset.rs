//! Decodes a document. The charset comes from, in this order: byte order mark, zero bytes of UTF-16 or UTF-32, valid
//! UTF-8, declaration, detection.
//!
//! Valid UTF-8 is read as UTF-8, whatever the document declares. Text of another charset with a letter beyond ASCII
//! is almost never valid UTF-8, while pages that declare the charset of their template are common. In text that
//! claims to be UTF-8, a few invalid bytes become replacement characters, as in a browser. With more of them it is
//! text in another charset, and is refused. Any other charset must fit completely.

use std::{borrow::Cow, iter};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE};
use memchr::memmem;

use super::{MediaType, PoisonError, wide::Wide};

/// Number of bytes at the start that are searched for a declaration. Browsers search 1024 bytes, and more if
/// necessary.
const DECLARED_WITHIN: usize = 4096;

/// Characters of a text that claims to be UTF-8, of which one may be invalid. A page in English that was pasted
/// together has about so many. Text in another charset of Western Europe has four times as many.
const CHARACTERS_PER_REPLACEMENT: usize = 100;

/// A document's text and the name of its charset.
pub(super) struct Decoded<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) charset: &'static str,
}

/// Decodes a text document.
pub(super) fn decode(media_type: MediaType, bytes: &[u8]) -> Result<Decoded<'_>, PoisonError> {
    // The mark of UTF-32 begins with that of UTF-16.
    if let Some(wide) = Wide::detect(bytes) {
        let text = wide.decode(bytes).ok_or(PoisonError::UnknownCharset)?;
        return Ok(Decoded { text: Cow::Owned(text), charset: wide.name() });
    }
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return decode_marked(encoding, bytes, mark);
    }
    let declared =
        if media_type == MediaType::Html { declared(&bytes[..bytes.len().min(DECLARED_WITHIN)]) } else { None };
    match std::str::from_utf8(bytes) {
        // ISO-2022-JP is ASCII with escape sequences, so it is always valid UTF-8 too.
        Ok(text) if declared != Some(ISO_2022_JP) => return Ok(utf8(text)),
        Err(_) if declared == Some(UTF_8) => return repaired_utf8(bytes, 0),
        Err(_) if declared.is_none() && Damage::of(bytes).is_minor() => return repaired_utf8(bytes, 0),
        _ => {}
    }
    let mut candidates = declared.into_iter().chain(iter::once_with(|| detect(bytes)));
    candidates.find_map(|encoding| decode_cleanly(encoding, bytes)).ok_or(PoisonError::UnknownCharset)
}

/// Decodes the text after a byte order mark. The mark is binding: no other charset is tried.
fn decode_marked<'a>(encoding: &'static Encoding, bytes: &'a [u8], mark: usize) -> Result<Decoded<'a>, PoisonError> {
    let rest = &bytes[mark..];
    if encoding != UTF_8 {
        return decode_cleanly(encoding, rest).ok_or(PoisonError::UnknownCharset);
    }
    match std::str::from_utf8(rest) {
        Ok(text) => Ok(utf8(text)),
        Err(_) => repaired_utf8(bytes, mark),
    }
}

/// Text that claims to be UTF-8 and has invalid bytes after its mark.
fn repaired_utf8(bytes: &[u8], mark: usize) -> Result<Decoded<'_>, PoisonError> {
    let rest = &bytes[mark..];
    let damage = Damage::of(rest);
    if damage.is_minor() || damage.is_rare() {
        return Ok(Decoded { text: String::from_utf8_lossy(rest), charset: UTF_8.name() });
    }
    Err(PoisonError::InvalidUtf8 { offset: mark + damage.first })
}

fn utf8(text: &str) -> Decoded<'_> {
    Decoded { text: Cow::Borrowed(text), charset: UTF_8.name() }
}

/// The text in one charset; `None` if a byte does not belong to it, or is a control character that text does not
/// have.
fn decode_cleanly<'a>(encoding: &'static Encoding, bytes: &'a [u8]) -> Option<Decoded<'a>> {
    let mut text = encoding.decode_without_bom_handling_and_without_replacement(bytes)?;
    // The decoder touches as much memory as the text might take at most, three times the bytes.
    if let Cow::Owned(text) = &mut text {
        text.shrink_to_fit();
    }
    // DOS ended files with Ctrl-Z.
    let body = text.strip_suffix('\x1a').unwrap_or(&text);
    let clean = !body.contains(is_control);
    clean.then_some(Decoded { text, charset: encoding.name() })
}

/// Whether a character is a control character that text does not have.
pub(super) fn is_control(character: char) -> bool {
    character.is_control() && !matches!(character, '\t' | '\n' | '\r' | '\x0c')
}

fn detect(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Deny)
}

/// What is invalid in a text as UTF-8.
struct Damage {
    characters: usize,
    /// Valid characters beyond ASCII.
    sound: usize,
    broken: usize,
    /// Offset of the first invalid byte.
    first: usize,
}

impl Damage {
    fn of(bytes: &[u8]) -> Self {
        let mut damage = Self { characters: 0, sound: 0, broken: 0, first: bytes.len() };
        let mut offset = 0;
        for chunk in bytes.utf8_chunks() {
            let valid = chunk.valid();
            let ascii = valid.bytes().filter(u8::is_ascii).count();
            let characters = valid.chars().count();
            damage.characters += characters;
            damage.sound += characters - ascii;
            offset += valid.len();
            if !chunk.invalid().is_empty() {
                damage.broken += 1;
                damage.first = damage.first.min(offset);
            }
            offset += chunk.invalid().len();
        }
        damage
    }

    /// Whether most characters beyond ASCII are valid. Then another charset would spoil these.
    fn is_minor(&self) -> bool {
        self.sound > 0 && self.sound >= self.broken
    }

    /// Whether so few are invalid that the text can be read without them.
    fn is_rare(&self) -> bool {
        self.broken <= 1.max(self.characters / CHARACTERS_PER_REPLACEMENT)
    }
}

/// The charset that the start of an HTML document declares: in a `<meta>`, else in an XML declaration.
fn declared(head: &[u8]) -> Option<&'static Encoding> {
    let head = head.to_ascii_lowercase();
    let found = declared_by_meta(&head).or_else(|| declared_by_xml(&head))?;
    // A declaration that was read as ASCII cannot be in UTF-16 (HTML standard, 13.2.3.2).
    Some(if found == UTF_16LE || found == UTF_16BE { UTF_8 } else { found })
}

fn declared_by_meta(head: &[u8]) -> Option<&'static Encoding> {
    let mut rest = head;
    loop {
        rest = &rest[memchr::memchr(b'<', rest)?..];
        if rest.starts_with(b"<!--") {
            rest = &rest[memmem::find(rest, b"-->")?..];
        } else if let Some(tag) = rest.strip_prefix(b"<meta") {
            let tag = &tag[..memchr::memchr(b'>', tag)?];
            let described = memmem::find(tag, b"name=").is_some() || memmem::find(tag, b"property=").is_some();
            if let Some(found) = (!described).then(|| labelled(tag, b"charset")).flatten() {
                return Some(found);
            }
            rest = &rest[1..];
        } else {
            rest = &rest[1..];
        }
    }
}

fn declared_by_xml(head: &[u8]) -> Option<&'static Encoding> {
    let declaration = head.trim_ascii_start().strip_prefix(b"<?xml")?;
    labelled(&declaration[..memmem::find(declaration, b"?>")?], b"encoding")
}

/// The charset of `key = label` in a tag, quoted or not.
fn labelled(tag: &[u8], key: &[u8]) -> Option<&'static Encoding> {
    let after = &tag[memmem::find(tag, key)? + key.len()..];
    let value = after.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let value = value.strip_prefix(b"\"").or(value.strip_prefix(b"'")).unwrap_or(value);
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b';' | b'/');
    let label = &value[..value.iter().position(ends).unwrap_or(value.len())];
    Encoding::for_label_no_replacement(label)
}

#[cfg(test)]
mod tests {
    use encoding_rs::{BIG5, EUC_KR, GBK, KOI8_R, SHIFT_JIS, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252};
    use proptest::prelude::*;

    use super::*;

    fn kind(media_type: MediaType, bytes: &[u8]) -> Result<(String, &'static str), &'static str> {
        decode(media_type, bytes)
            .map(|decoded| (decoded.text.into_owned(), decoded.charset))
            .map_err(|error| error.kind())
    }

    fn plain(bytes: &[u8]) -> Result<(String, &'static str), &'static str> {
        kind(MediaType::Plain, bytes)
    }

    #[test]
    fn declarations_are_found_where_browsers_find_them() {
        for (head, expected) in [
            ("<meta charset=windows-1252>", Some(WINDOWS_1252)),
            ("<META CharSet='Shift_JIS' />", Some(SHIFT_JIS)),
            ("<meta http-equiv=\"Content-Type\" content=\"text/html; charset=koi8-r\">", Some(KOI8_R)),
            ("<?xml version='1.0' encoding='windows-1251'?><html>", Some(WINDOWS_1251)),
            ("<meta charset=utf-16>", Some(UTF_8)),
            ("<!-- <meta charset=big5> --><meta charset=gbk>", Some(GBK)),
            ("<meta name=description content='charset=big5'>", None),
            ("<meta charset=no-such-charset>", None),
            ("<meta charset", None),
            ("charset=big5", None),
            ("", None),
        ] {
            assert_eq!(declared(head.as_bytes()), expected, "{head}");
        }
    }

    #[test]
    fn a_byte_order_mark_decides() {
        assert_eq!(plain(b"\xff\xfeh\0i\0"), Ok(("hi".into(), "UTF-16LE")));
        assert_eq!(plain(b"\xfe\xff\0h\0i"), Ok(("hi".into(), "UTF-16BE")));
        assert_eq!(plain(b"\xef\xbb\xbfhi"), Ok(("hi".into(), "UTF-8")));
        assert_eq!(plain(b"\xef\xbb\xbfhi \xff"), Ok(("hi \u{fffd}".into(), "UTF-8")));
        assert_eq!(plain(b"\xef\xbb\xbfhi \xff \xff"), Err("InvalidUtf8"));
        assert_eq!(plain(b"\xff\xfeh\0\0\xd8"), Err("UnknownCharset"));
    }

    #[test]
    fn valid_utf8_is_utf8_whatever_it_declares() {
        let page = "<meta charset=iso-8859-1><p>café";
        assert_eq!(kind(MediaType::Html, page.as_bytes()), Ok((page.into(), "UTF-8")));
    }

    #[test]
    fn iso_2022_jp_has_to_be_declared() {
        let page = b"<meta charset=iso-2022-jp>\x1b$B$O$$\x1b(B";
        let read = "<meta charset=iso-2022-jp>はい".to_owned();
        assert_eq!(kind(MediaType::Html, page), Ok((read, "ISO-2022-JP")));
        assert_eq!(plain(b"\x1b$B$O$$\x1b(B"), Ok(("\x1b$B$O$$\x1b(B".into(), "UTF-8")));
    }

    #[test]
    fn a_few_invalid_bytes_in_what_claims_to_be_utf8_are_replaced() {
        let page = b"<meta charset=utf-8>caf\xe9 au lait".as_slice();
        let read = "<meta charset=utf-8>caf\u{fffd} au lait".to_owned();
        assert_eq!(kind(MediaType::Html, page), Ok((read, "UTF-8")));
        assert_eq!(
            plain("naïve café \u{2013} née".as_bytes().split_last().unwrap().1),
            Ok(("naïve café – né".into(), "UTF-8"))
        );
        assert_eq!(plain(b"na\xc3\xafve caf\xc3\xa9 \xe2\x80"), Ok(("naïve café \u{fffd}".into(), "UTF-8")));
        let quoted = [b"<meta charset=utf-8>".as_slice(), &b"tide ".repeat(100), b"\x93high\x94 \x85"].concat();
        assert!(kind(MediaType::Html, &quoted).is_ok());
    }

    #[test]
    fn text_that_claims_to_be_utf8_and_is_not_is_poison() {
        let Err(error) = decode(MediaType::Html, b"<meta charset=utf-8>caf\xe9 cr\xe8me") else {
            panic!("the document was accepted");
        };
        assert_eq!(error, PoisonError::InvalidUtf8 { offset: 23 });
    }

    #[test]
    fn utf16_and_utf32_need_no_byte_order_mark() {
        assert_eq!(plain(b"h\0i\0"), Ok(("hi".into(), "UTF-16LE")));
        assert_eq!(plain(b"\0h\0i"), Ok(("hi".into(), "UTF-16BE")));
        assert_eq!(plain(b"h\0\0\0i\0\0\0"), Ok(("hi".into(), "UTF-32LE")));
        assert_eq!(plain(b"\xff\xfe\0\0h\0\0\0i\0\0\0"), Ok(("hi".into(), "UTF-32LE")));
    }

    #[test]
    fn bytes_that_are_not_text_in_any_charset_are_poison() {
        let junk: Vec<u8> = (0..=255).cycle().take(2048).filter(|byte| *byte != 0).collect();
        assert_eq!(plain(&junk), Err("UnknownCharset"));
    }

    #[test]
    fn an_undeclared_charset_is_detected() {
        for (encoding, text) in [
            (WINDOWS_1252, "Le café était fermé à Noël; là-bas, on préférait déjà l'été. Où êtes-vous allés?"),
            (WINDOWS_1251, "Быстрая коричневая лиса прыгает через ленивую собаку, пока остальные смотрят издалека."),
            (SHIFT_JIS, "これは日本語の文章です。文字コードを正しく判定できるかどうかを確かめるために書かれました。"),
            (GBK, "这是一段中文文本，用来检验字符编码的自动识别是否正确。希望一切顺利，没有乱码。"),
            (BIG5, "這是一段中文文字，用來檢驗字元編碼的自動辨識是否正確。希望一切順利，沒有亂碼。"),
            (EUC_KR, "이것은 문자 인코딩을 올바르게 감지하는지 확인하기 위해 작성된 한국어 문장입니다."),
            (WINDOWS_1250, "Příliš žluťoučký kůň úpěl ďábelské ódy, a proto se všichni smáli až do rána."),
        ] {
            let (bytes, _, _) = encoding.encode(text);
            assert_eq!(plain(&bytes), Ok((text.into(), encoding.name())));
        }
    }

    proptest! {
        #[test]
        fn utf8_stays_what_it_is(text in any::<String>()) {
            prop_assume!(!text.starts_with('\u{feff}') && !text.contains(['\x1b', '\0']));
            prop_assert_eq!(plain(text.as_bytes()), Ok((text.clone(), "UTF-8")));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for media_type in [MediaType::Html, MediaType::Plain] {
                if let Err(error) = kind(media_type, &bytes) {
                    prop_assert!(["InvalidUtf8", "UnknownCharset"].contains(&error));
                }
            }
        }

        #[test]
        fn a_declared_charset_is_read_back(text in "[ a-zà-ÿ]{1,60}é") {
            let (bytes, _, failed) = WINDOWS_1252.encode(&text);
            prop_assume!(!failed);
            let page = [b"<meta charset=windows-1252><p>".as_slice(), &bytes].concat();
            let read = kind(MediaType::Html, &page).map(|(text, _)| text);
            let expected = match std::str::from_utf8(&page) {
                Ok(text) => text.to_owned(),
                Err(_) => format!("<meta charset=windows-1252><p>{text}"),
            };
            prop_assert_eq!(read, Ok(expected));
        }
    }
}
