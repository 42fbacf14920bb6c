//! The text that form fields and notes show on a page.

use crate::{
    pdf::{content, object, pdf, stream},
    support::text,
};

/// A page that says `page`, with annotations from object 6 on, and further objects after these.
fn with_annotations(annotations: &[&str], more: &[Vec<u8>]) -> Vec<u8> {
    let listed: String = (0..annotations.len()).map(|index| format!("{} 0 R ", index + 6)).collect();
    let mut objects = vec![
        object("<< /Type /Catalog /Pages 2 0 R /AcroForm << /DR << /Font << /Helv 5 0 R >> >> >> >>"),
        object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>"),
        object(&format!(
            "<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> /Annots [{listed}] >>"
        )),
        content("BT /F1 10 Tf (page) Tj ET"),
        object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"),
    ];
    objects.extend(annotations.iter().map(|annotation| object(&format!("<< /Type /Annot {annotation} >>"))));
    objects.extend_from_slice(more);
    pdf(&objects)
}

fn shown(annotation: &str, more: &[Vec<u8>]) -> String {
    let text = text(&with_annotations(&[annotation], more)).unwrap();
    text.strip_prefix("page").unwrap().trim_start().to_owned()
}

/// An appearance with a font of the form, and one without resources.
fn appearances() -> Vec<Vec<u8>> {
    vec![
        stream(
            "/Type /XObject /Subtype /Form /BBox [0 0 90 9]",
            b"/Tx BMC q BT /Helv 9 Tf (on the ) Tj (page) Tj ET Q EMC",
        ),
        stream("/Type /XObject /Subtype /Form /BBox [0 0 90 9]", b"q 0 0 m 9 9 l S Q"),
    ]
}

#[test]
fn what_form_fields_show_is_read() {
    for (why, field, expected) in [
        ("a field with an appearance", "/Subtype /Widget /FT /Tx /V (value) /AP << /N 7 0 R >>", "on the page"),
        ("one whose appearance is empty", "/Subtype /Widget /FT /Tx /V (value) /AP << /N 8 0 R >>", "value"),
        ("one without an appearance", "/Subtype /Widget /FT /Tx /V (value)", "value"),
        ("one of several lines", "/Subtype /Widget /FT /Tx /V (two\\nlines)", "two lines"),
        ("in UTF-16", "/Subtype /Widget /FT /Tx /V <FEFF00E90074>", "ét"),
        (
            "the state of a box",
            "/Subtype /Widget /FT /Btn /AS /On /AP << /N << /On 7 0 R /Off 8 0 R >> >>",
            "on the page",
        ),
        ("the other state", "/Subtype /Widget /FT /Btn /AS /Off /AP << /N << /On 7 0 R /Off 8 0 R >> >>", ""),
        ("a choice of several", "/Subtype /Widget /FT /Ch /V [(one) (two)]", "one two"),
        ("a password", "/Subtype /Widget /FT /Tx /Ff 8192 /V (secret)", ""),
        ("a hidden field", "/Subtype /Widget /FT /Tx /F 2 /V (hidden)", ""),
        ("a field that is only printed", "/Subtype /Widget /FT /Tx /F 32 /V (printed)", ""),
    ] {
        assert_eq!(shown(field, &appearances()).replace('\n', " "), expected, "{why}");
    }
}

#[test]
fn a_field_inherits_its_value() {
    let parent = object("<< /FT /Tx /V (of the parent) /Kids [6 0 R] >>");
    assert_eq!(shown("/Subtype /Widget /Parent 7 0 R", &[parent]), "of the parent");
    let cycle = object("<< /Parent 7 0 R >>");
    assert_eq!(shown("/Subtype /Widget /Parent 7 0 R", &[cycle]), "");
}

#[test]
fn notes_on_the_page_are_read_and_remarks_about_it_are_not() {
    for (note, expected) in [
        ("/Subtype /FreeText /Contents (Checked at noon.)", "Checked at noon."),
        ("/Subtype /FreeText /Contents (old) /AP << /N 7 0 R >>", "on the page"),
        ("/Subtype /Stamp /AP << /N 7 0 R >>", "on the page"),
        ("/Subtype /Text /Contents (a remark)", ""),
        ("/Subtype /Highlight /Contents (a remark)", ""),
        ("/Subtype /Popup /AP << /N 7 0 R >>", ""),
    ] {
        assert_eq!(shown(note, &appearances()), expected, "{note}");
    }
}

#[test]
fn a_value_that_many_fields_share_uses_up_the_budget() {
    let field = object(&format!("<< /FT /Tx /V ({}) >>", "value ".repeat(20_000)));
    let widgets = vec!["/Subtype /Widget /Parent 2006 0 R"; 2_000];
    assert_eq!(text(&with_annotations(&widgets, &[field])), Err("DecompressionBomb"));
}

#[test]
fn every_annotation_is_a_block_after_the_page() {
    let file = with_annotations(
        &[
            "/Subtype /FreeText /Contents (one)",
            "/Subtype /Widget /FT /Tx /V (two)",
            "/Subtype /Widget /FT /Tx /V (three)",
        ],
        &[],
    );
    assert_eq!(text(&file), Ok("page\none\ntwo\nthree".into()));
}

#[test]
fn an_appearance_that_draws_itself_ends() {
    let form = "/Type /XObject /Subtype /Form /Resources << /Font << /Helv 5 0 R >> /XObject << /X 7 0 R >> >>";
    let form = stream(form, b"BT /Helv 9 Tf (again) Tj ET /X Do");
    let read = shown("/Subtype /Stamp /AP << /N 7 0 R >>", &[form]);
    assert!(read.starts_with("again") && read.len() < 100, "{read}");
}
