//! Characters of fonts without a map to Unicode, and text in the order of reading.

use crate::{
    pdf::{content, deflated, object, one_page, pdf, stream},
    support::text,
};

/// A page that shows a string in a font of these entries, which may refer to further objects from 7 on.
fn shown(string: &str, font: &str, more: &[Vec<u8>]) -> Result<String, &'static str> {
    let font = object(&format!("<< /Type /Font /Subtype /Type1 /BaseFont /AAAAAA+CMR10 {font} >>"));
    let show = content(&format!("BT /F2 10 Tf 50 700 Td ({string}) Tj ET"));
    text(&one_page(show, "/Font << /F2 6 0 R >>", &[&[font], more].concat()))
}

#[test]
fn glyph_names_are_read_one_by_one() {
    let differences = "65 /eacute /g7 /one.oldstyle /f_f_i /uni0416 /u1F600 /nonsense";
    let encoding =
        format!("/Encoding << /Type /Encoding /BaseEncoding /WinAnsiEncoding /Differences [{differences}] >>");
    assert_eq!(shown("ABCDEFGH", &encoding, &[]).as_deref(), Ok("é 1ffiЖ😀GH"));
}

#[test]
fn the_encoding_built_into_a_type1_font_is_read() {
    let program = b"%!PS-AdobeFont-1.0: CMR10\n/Encoding 256 array\n0 1 255 {1 index exch /.notdef put} for\n\
        dup 12 /fi put\ndup 14 /ffi put\ndup 101 /e put\ndup 110 /n put\ndup 123 /endash put\n\
        readonly def\ncurrentfile eexec\n";
    let lengths = format!("/Length1 {} /Length2 0 /Length3 0 /Filter /FlateDecode", program.len());
    let more = [object("<< /Type /FontDescriptor /FontFile 8 0 R >>"), stream(&lengths, &deflated(program))];
    let descriptor = "/FontDescriptor 7 0 R";
    assert_eq!(shown("\\014ne{e\\016n", descriptor, &more).as_deref(), Ok("fine–effin"));
    // Names in the PDF win over those of the program.
    let encoding = "/FontDescriptor 7 0 R /Encoding << /Differences [12 /fl] >>";
    assert_eq!(shown("\\014ne", encoding, &more).as_deref(), Ok("flne"));
}

#[test]
fn filters_may_be_objects_of_their_own() {
    // Blanks, so that the text does not show through.
    let show = deflated(format!("BT /F1 10 Tf (behind a reference) Tj ET{}", " ".repeat(999)).as_bytes());
    assert!(!show.windows(6).any(|window| window == b"behind"));
    for (filter, objects) in [
        ("/Filter 6 0 R", vec![object("/FlateDecode")]),
        ("/Filter [6 0 R]", vec![object("/FlateDecode")]),
        ("/Filter 6 0 R /DecodeParms 7 0 R", vec![object("[/FlateDecode]"), object("[<< /Predictor 1 >>]")]),
    ] {
        assert_eq!(
            text(&one_page(stream(filter, &show), "", &objects)).as_deref(),
            Ok("behind a reference"),
            "{filter}"
        );
    }
    let endless = [object("[7 0 R]"), object("[6 0 R]")];
    assert_eq!(text(&one_page(stream("/Filter 6 0 R", &show), "", &endless)), Err("PdfWithoutText"));
}

#[test]
fn the_streams_of_a_page_may_end_within_an_operation() {
    let parts = ["BT /F1 10 Tf [(cut", " here) -300", "(and here) ] TJ 0 -12 Td", "(and there) Tj ET"];
    // A string ends with its stream, an array need not.
    let parts = [format!("{})", parts[0]), format!("({}", parts[1]), parts[2].into(), parts[3].into()];
    let mut objects = vec![
        object("<< /Type /Catalog /Pages 2 0 R >>"),
        object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>"),
        object(
            "<< /Type /Page /Parent 2 0 R /Contents [5 0 R 6 0 R 7 0 R 8 0 R] \
             /Resources << /Font << /F1 4 0 R >> >> >>",
        ),
        object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"),
    ];
    objects.extend(parts.iter().map(|part| content(part)));
    assert_eq!(text(&pdf(&objects)).as_deref(), Ok("cut here and here and there"));
}

#[test]
fn letters_spread_over_columns_are_no_word() {
    let page = |operators: &str| text(&one_page(content(&format!("BT /F1 10 Tf {operators} ET")), "", &[]));
    assert_eq!(page("30 Tc (12) Tj").as_deref(), Ok("1 2"));
    assert_eq!(page("3 Tc (spaced) Tj").as_deref(), Ok("spaced"));
}

/// A page that draws Hebrew letters at these places, in units of 10 points.
fn hebrew(letters: &[(char, i32)]) -> Result<String, &'static str> {
    let map: String = (0..27).map(|letter| format!("<{:02X}> <{:04X}> ", 65 + letter, 0x5d0 + letter)).collect();
    let font = object("<< /Type /Font /Subtype /Type1 /BaseFont /F /FirstChar 65 /Widths 8 0 R /ToUnicode 7 0 R >>");
    let widths = object(&format!("[{}]", "1000 ".repeat(27)));
    let draw = letters.iter().map(|(letter, place)| {
        let code = char::from_u32(65 + u32::from(*letter) - 0x5d0).unwrap();
        format!("1 0 0 1 {} 700 Tm ({code}) Tj ", 50 + 10 * place)
    });
    let show = content(&format!("BT /F2 10 Tf {} ET", draw.collect::<String>()));
    let map = stream("", format!("{map} endbfchar").as_bytes());
    text(&one_page(show, "/Font << /F2 6 0 R >>", &[font, map, widths]))
}

#[test]
fn hebrew_is_read_from_right_to_left_however_it_is_drawn() {
    // שלום עולם
    let read = "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{5e2}\u{5d5}\u{5dc}\u{5dd}";
    let letters: Vec<_> = read.chars().rev().zip(0..).filter(|(letter, _)| *letter != ' ').collect();
    assert_eq!(hebrew(&letters).as_deref(), Ok(read), "drawn from left to right");
    let leftwards: Vec<_> = letters.into_iter().rev().collect();
    assert_eq!(hebrew(&leftwards).as_deref(), Ok(read), "drawn from right to left");
}

#[test]
fn the_symbols_of_the_standard_fonts_are_no_latin_letters() {
    let font = |name: &str| object(&format!("<< /Type /Font /Subtype /Type1 /BaseFont /{name} >>"));
    let file = |name| {
        pdf(&[
            object("<< /Type /Catalog /Pages 2 0 R >>"),
            object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>"),
            object("<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"),
            content("BT /F1 10 Tf (abg) Tj ET"),
            font(name),
        ])
    };
    assert_eq!(text(&file("Symbol")).as_deref(), Ok("αβγ"));
    assert_eq!(text(&file("ZapfDingbats")), Err("PdfWithoutText"));
    assert_eq!(text(&file("Helvetica")).as_deref(), Ok("abg"));
}
