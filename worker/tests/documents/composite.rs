//! Fonts for Chinese, Japanese and Korean that name a predefined map and have no map to Unicode.

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, SHIFT_JIS, UTF_16BE};

use crate::{
    pdf::{content, object, one_page, stream},
    support::text,
};

/// A page that shows a string in a font of this map and collection.
fn page(map: &str, ordering: &str, string: &[u8]) -> Vec<u8> {
    let hex: String = string.iter().map(|byte| format!("{byte:02x}")).collect();
    let font = format!("<< /Type /Font /Subtype /Type0 /BaseFont /F /Encoding /{map} /DescendantFonts [7 0 R] >>");
    let system = format!("<< /Registry (Adobe) /Ordering ({ordering}) /Supplement 2 >>");
    let descendant = format!("<< /Type /Font /Subtype /CIDFontType0 /BaseFont /F /CIDSystemInfo {system} >>");
    let show = content(&format!("BT /F2 10 Tf 50 700 Td <{hex}> Tj ET"));
    one_page(show, "/Font << /F2 6 0 R >>", &[object(&font), object(&descendant)])
}

fn in_charset(charset: &'static Encoding, text: &str) -> Vec<u8> {
    if charset == UTF_16BE {
        return text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    }
    charset.encode(text).0.into_owned()
}

#[test]
fn a_predefined_map_is_enough_to_read_a_font() {
    for (map, ordering, charset, shown) in [
        ("90ms-RKSJ-H", "Japan1", SHIFT_JIS, "潮の満ち引きABC"),
        ("EUC-H", "Japan1", EUC_JP, "潮の満ち引き"),
        ("UniJIS-UTF16-H", "Japan1", UTF_16BE, "潮の満ち引き"),
        ("UniJIS-UCS2-V", "Japan1", UTF_16BE, "潮の満ち引き"),
        ("GBK-EUC-H", "GB1", GB18030, "潮汐每天两次"),
        ("UniGB-UCS2-H", "GB1", UTF_16BE, "潮汐每天两次"),
        ("ETen-B5-H", "CNS1", BIG5, "潮汐每天兩次"),
        ("UniCNS-UTF16-H", "CNS1", UTF_16BE, "潮汐每天兩次"),
        ("KSCms-UHC-H", "Korea1", EUC_KR, "조수는하루에두번"),
        ("UniKS-UCS2-H", "Korea1", UTF_16BE, "조수는하루에두번"),
    ] {
        assert_eq!(text(&page(map, ordering, &in_charset(charset, shown))).as_deref(), Ok(shown), "{map}");
    }
}

#[test]
fn codes_that_are_glyphs_of_a_known_collection_are_read() {
    // 日本 in Adobe-Japan1.
    assert_eq!(text(&page("Identity-H", "Japan1", b"\x0c\xd4\x0e\x8a")).as_deref(), Ok("日本"));
    assert_eq!(text(&page("Identity-H", "Identity", b"\x0c\xd4\x0e\x8a")), Err("PdfWithoutText"));
}

#[test]
fn codes_that_are_characters_are_read_if_the_glyphs_have_a_table() {
    let page = |glyphs: &str| {
        let font = "/Type /Font /Subtype /Type0 /Encoding /Identity-H /ToUnicode /Identity-H /DescendantFonts [7 0 R]";
        let descendant = format!("<< /Type /Font /Subtype /CIDFontType2 /CIDToGIDMap {glyphs} >>");
        let more = [object(&format!("<< {font} >>")), object(&descendant), stream("", &[0; 16])];
        one_page(content("BT /F2 10 Tf <0041004200E9> Tj ET"), "/Font << /F2 6 0 R >>", &more)
    };
    assert_eq!(text(&page("8 0 R")).as_deref(), Ok("ABé"));
    assert_eq!(text(&page("/Identity")), Err("PdfWithoutText"));
}
