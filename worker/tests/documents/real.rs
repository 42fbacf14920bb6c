//! Files that other programs wrote, variants of page content, and a document for every kind of refusal.

use proptest::prelude::*;

use crate::{
    pdf::{REPORT, TIDES, bomb, content, deflated, object, one_page, pdf, pdf_with_trailer, stream},
    support::{read, text},
};

macro_rules! document {
    ($name:literal) => {
        include_bytes!(concat!("files/", $name)).as_slice()
    };
}

#[test]
fn a_pdf_with_standard_fonts_gives_text_title_bookmarks_and_links() {
    let extract = read("report.pdf", REPORT).unwrap();
    assert_eq!(extract.title.as_deref(), Some("Harbour Report"));
    assert_eq!((extract.pages, extract.charset), (Some(2), None));
    assert_eq!(extract.language.unwrap().code, "eng");
    let headings: Vec<_> =
        extract.structure.headings.iter().map(|heading| (heading.level, heading.text.as_str())).collect();
    assert_eq!(headings, [(1, "The harbour"), (2, "Launching"), (2, "Repairing")]);
    let links: Vec<_> = extract.structure.links.iter().map(|link| link.target.as_str()).collect();
    assert_eq!(links, ["https://example.org/launching?ship=1"]);
    // pypdf counts the same number.
    assert_eq!(extract.words, 159);
    let text = text(REPORT).unwrap();
    for line in [
        "The harbour",
        "More is at the page on launching; the officer waffled about a flight of fancy.",
        "Repairs take place at low tide; café naïve — done.",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is missing in:\n{text}");
    }
}

#[test]
fn a_pdf_with_an_embedded_font_is_read_by_its_map_to_unicode() {
    let extract = read("tides.pdf", TIDES).unwrap();
    assert_eq!(extract.title.as_deref(), Some("Приливы и отливы"));
    assert_eq!((extract.pages, extract.words), (Some(2), 31));
    assert_eq!(
        text(TIDES).unwrap().lines().next(),
        Some(
            "The tide rises and falls twice a day. Naïve sailors forget it; the café at the quay does not. Ångström, façade, œuvre."
        )
    );
    assert_eq!(extract.structure.heading_count, 2);
    assert_eq!(extract.structure.links[0].target, "https://example.org/tides");
}

#[test]
fn legacy_charsets_are_read_by_declaration_byte_order_mark_and_detection() {
    for (name, bytes, charset, words, found) in [
        ("windows-1252.html", document!("windows-1252.html"), "windows-1252", 24, "déjà vu à l’œuvre"),
        ("shift_jis.html", document!("shift_jis.html"), "Shift_JIS", 6, "潮の満ち引き"),
        ("utf-16le.html", document!("utf-16le.html"), "UTF-16LE", 12, "Ebbe und Flut – zweimal täglich"),
        ("koi8-r.txt", document!("koi8-r.txt"), "KOI8-U", 17, "Приливы и отливы"),
    ] {
        let extract = read(name, bytes).unwrap();
        assert_eq!(extract.charset.as_deref(), Some(charset), "{name}");
        let text: Vec<_> = extract.passages.iter().map(|passage| passage.text.as_str()).collect();
        assert!(text.concat().contains(found), "{found:?} is missing in {text:?}");
        assert_eq!(extract.words, words, "{name}: {text:?}");
    }
}

/// Text in UTF-16 or UTF-32 without a byte order mark.
fn wide(text: &str, unit: usize, little: bool) -> Vec<u8> {
    let units: Vec<u32> =
        if unit == 4 { text.chars().map(u32::from).collect() } else { text.encode_utf16().map(u32::from).collect() };
    let ordered = |value: u32| {
        let bytes = value.to_be_bytes()[4 - unit..].to_vec();
        if little { bytes.into_iter().rev().collect() } else { bytes }
    };
    units.into_iter().flat_map(ordered).collect()
}

#[test]
fn utf16_and_utf32_without_a_byte_order_mark_are_read() {
    let tides = "Приливы и отливы\nсменяются дважды в сутки.";
    let page = "<!doctype html><title>Ebbe</title><p>Ebbe und Flut – zweimal täglich";
    for (unit, little, charset) in
        [(2, true, "UTF-16LE"), (2, false, "UTF-16BE"), (4, true, "UTF-32LE"), (4, false, "UTF-32BE")]
    {
        for (name, text, words) in [("a.txt", tides, 7), ("a.html", page, 5), ("page", page, 5)] {
            let extract = read(name, &wide(text, unit, little)).unwrap();
            assert_eq!((extract.charset.as_deref(), extract.words), (Some(charset), words), "{name}");
        }
    }
    for binary in [b"text\0and more".as_slice(), b"\x01\0\x02\0\x03\0\x04\0"] {
        assert_eq!(read("a.txt", binary).map(|extract| extract.words), Err("UnknownDocumentType"));
    }
}

#[test]
fn a_bad_byte_in_what_declares_utf8_is_a_replacement_character() {
    for (name, bytes, expected) in [
        ("a.html", b"<meta charset=utf-8><p>one caf\xe9 more".as_slice(), "one caf\u{fffd} more"),
        ("a.txt", b"\xef\xbb\xbfone caf\xe9 more", "one caf\u{fffd} more"),
        ("a.md", b"na\xc3\xafve caf\xc3\xa9, cut \xe2\x80", "naïve café, cut \u{fffd}"),
    ] {
        let extract = read(name, bytes).unwrap();
        assert_eq!(extract.charset.as_deref(), Some("UTF-8"), "{name}");
        assert_eq!(extract.passages[0].text, expected, "{name}");
    }
}

#[test]
fn the_title_of_a_picture_or_a_template_is_not_the_pages() {
    let page = b"<svg><title>Logo</title></svg><template><title>Row</title></template><h1>Tides</h1><p>text";
    assert_eq!(read("a.html", page).unwrap().title.as_deref(), Some("Tides"));
}

#[test]
fn tabs_around_the_closing_sequence_of_a_heading_are_no_text() {
    let extract = read("a.md", b"# Tides\t#\n\n## Ebb #\t\n\ntext").unwrap();
    let headings: Vec<_> = extract.structure.headings.iter().map(|heading| heading.text.as_str()).collect();
    assert_eq!(headings, ["Tides", "Ebb"]);
}

#[test]
fn positions_make_spaces_lines_and_blocks() {
    let page = |operators: &str| text(&one_page(content(&format!("BT /F1 10 Tf {operators} ET")), "", &[]));
    for (operators, expected) in [
        ("(one) Tj 60 0 Td (two) Tj", "one two"),
        ("[(un) 20 (believ) -30 (able) -300 (story)] TJ", "unbelievable story"),
        ("(line) Tj 0 -12 Td (by) Tj 0 -12 Td (line) Tj", "line by line"),
        ("(block) Tj 0 -30 Td (block) Tj", "block\nblock"),
        ("12 TL (one) Tj T* (two) Tj (three) ' 1 0 (four) \"", "one two three four"),
        ("1 0 0 1 50 700 Tm (low) Tj 1 0 0 1 50 750 Tm (high) Tj", "low\nhigh"),
        ("0 1 -1 0 300 100 Tm (up) Tj 0 1 -1 0 300 140 Tm (wards) Tj", "up wards"),
        ("(e) Tj 5 Ts 5 0 Td (2) Tj", "e2"),
        ("(\\223quoted\\224 \\(\\351\\)) Tj", "“quoted” (é)"),
    ] {
        assert_eq!(page(operators), Ok(expected.into()), "{operators}");
    }
}

#[test]
fn forms_are_read_where_they_are_drawn_and_recursion_ends() {
    let form = stream(
        "/Type /XObject /Subtype /Form /Resources << /Font << /F1 5 0 R >> /XObject << /X 6 0 R >> >>",
        b"BT /F1 10 Tf (again) Tj ET /X Do",
    );
    let read = text(&one_page(content("/X Do"), "/XObject << /X 6 0 R >>", &[form])).unwrap();
    assert!(read.starts_with("again") && read.len() < 100, "{read}");
}

#[test]
fn objects_in_object_streams_are_read() {
    let packed =
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >> << /Type /Font /Subtype /Type1 /Encoding /WinAnsiEncoding >>";
    let index = "2 0 5 42 ";
    let packed = deflated(format!("{index}{packed}").as_bytes());
    let mut file = b"%PDF-1.7\n".to_vec();
    let mut offsets = [0_usize; 8];
    let objects = [
        (1, object("<< /Type /Catalog /Pages 2 0 R >>")),
        (3, object("<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>")),
        (4, content("BT /F1 10 Tf (packed) Tj ET")),
        (6, stream(&format!("/Type /ObjStm /N 2 /First {} /Filter /FlateDecode", index.len()), &packed)),
    ];
    for (number, object) in objects {
        offsets[number] = file.len();
        file.extend([format!("{number} 0 obj\n").as_bytes(), &object, b"\nendobj\n"].concat());
    }
    offsets[7] = file.len();
    let entry = |kind: u8, field: usize, index: u8| {
        [&[kind], &u32::try_from(field).unwrap().to_be_bytes()[..], &[index]].concat()
    };
    let entries: Vec<u8> = (0..8)
        .flat_map(|number| match number {
            0 => entry(0, 0, 0),
            2 => entry(2, 6, 0),
            5 => entry(2, 6, 1),
            _ => entry(1, offsets[number], 0),
        })
        .collect();
    let xref = stream("/Type /XRef /Size 8 /W [1 4 1] /Root 1 0 R /Filter /FlateDecode", &deflated(&entries));
    file.extend([b"7 0 obj\n".as_slice(), &xref, b"\nendobj\nstartxref\n"].concat());
    file.extend(format!("{}\n%%EOF\n", offsets[7]).into_bytes());
    assert_eq!(text(&file), Ok("packed".into()));
}

#[test]
fn a_file_with_a_wrong_cross_reference_table_is_read() {
    let file = one_page(content("BT /F1 10 Tf (found) Tj ET"), "", &[]);
    let shifted = [b"%PDF-1.7\n% a line that was not there\n", &file[9..]].concat();
    assert_eq!(text(&shifted), Ok("found".into()));
}

#[test]
fn each_fault_has_its_own_kind_of_poison() {
    let lines = content("0 0 m 100 100 l S");
    for (why, name, bytes, kind) in [
        ("empty", "a.pdf", Vec::new(), "EmptyDocument"),
        ("a page of lines", "a.pdf", one_page(lines, "", &[]), "PdfWithoutText"),
        ("a scan", "a.pdf", document!("pictures.pdf").to_vec(), "PdfWithoutText"),
        ("a password", "a.pdf", document!("password.pdf").to_vec(), "EncryptedPdf"),
        (
            "an unknown handler",
            "a.pdf",
            pdf_with_trailer(&[object("<< >>")], "/#45ncrypt << /Filter /X >>"),
            "EncryptedPdf",
        ),
        ("a header and nothing else", "a.pdf", b"%PDF-1.7\n".to_vec(), "TruncatedPdf"),
        (
            "no page",
            "a.pdf",
            pdf(&[object("<< /Type /Catalog /Pages 2 0 R >>"), object("<< /Type /Pages /Kids [] /Count 0 >>")]),
            "CorruptPdf",
        ),
        (
            "a page that is not there",
            "a.pdf",
            pdf(&[object("<< /Type /Catalog /Pages 2 0 R >>"), object("<< /Type /Pages /Kids [9 0 R] /Count 1 >>")]),
            "CorruptPdf",
        ),
        ("content in an unknown filter", "a.pdf", one_page(stream("/Filter /Nonsense", b"x"), "", &[]), "CorruptPdf"),
        ("a PDF named HTML", "a.html", REPORT.to_vec(), "DocumentTypeMismatch"),
        ("HTML named PDF", "a.pdf", b"<html>".to_vec(), "DocumentTypeMismatch"),
        ("an archive named HTML", "a.html", b"PK\x03\x04".to_vec(), "UnknownDocumentType"),
        ("a compressed page", "a.html", [b"\x1f\x8b\x08".as_slice(), &[0; 99]].concat(), "UnknownDocumentType"),
        ("a zip bomb", "a.zip", [b"PK\x03\x04".as_slice(), &bomb(0, 100)].concat(), "UnknownDocumentType"),
        ("not the UTF-8 that it declares", "a.html", b"<meta charset=utf-8>\xe9t\xe9".to_vec(), "InvalidUtf8"),
        ("a mark of UTF-8 before what is none", "a.txt", b"\xef\xbb\xbf\xe9t\xe9".to_vec(), "InvalidUtf8"),
        ("text of no charset", "a.txt", (1..=255).cycle().take(999).collect(), "UnknownCharset"),
    ] {
        assert_eq!(read(name, &bytes).map(|extract| extract.words), Err(kind), "{why}");
    }
}

#[test]
fn a_pdf_that_is_cut_off_anywhere_is_reported_as_truncated() {
    for document in [REPORT, TIDES] {
        for cut in (20..document.len() - 8).step_by(97) {
            assert_eq!(read("a.pdf", &document[..cut]).map(|extract| extract.words), Err("TruncatedPdf"), "at {cut}");
        }
    }
}

proptest! {
    #[test]
    fn drawn_text_is_read_back(words in proptest::collection::vec("[a-zA-Z]{1,12}", 1..30)) {
        let drawn = words.iter().enumerate().map(|(index, word)| format!("1 0 0 1 50 {} Tm ({word}) Tj ", 780 - 12 * index));
        let operators = format!("BT /F1 10 Tf {} ET", drawn.collect::<String>());
        prop_assert_eq!(text(&one_page(content(&operators), "", &[])), Ok(words.join(" ")));
    }
}
