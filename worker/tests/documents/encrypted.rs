//! Encrypted PDFs: those that open without a password are read, the others are refused. qpdf wrote the files from one
//! plain file, and one from `fpdf2.pdf`; pypdf wrote `password.pdf`.

use crate::{
    pdf::{TIDES, bomb, content, deflated, object, pdf_with_trailer, stream},
    support::{read, text},
};

/// RC4 with 40 bits.
const RC4_40: &[u8] = include_bytes!("files/rc4-40-owner.pdf");
/// AES with 128 bits, in object streams.
const AES_128: &[u8] = include_bytes!("files/aes-128-owner.pdf");
/// AES with 256 bits, in object streams.
const AES_256: &[u8] = include_bytes!("files/aes-256-owner.pdf");

#[test]
fn a_pdf_with_an_owner_password_only_is_read() {
    for (cipher, file) in [("RC4, 40 bits", RC4_40), ("AES, 128 bits", AES_128), ("AES, 256 bits", AES_256)] {
        let extract = read("a.pdf", file).unwrap_or_else(|kind| panic!("{cipher}: {kind}"));
        assert_eq!(extract.title.as_deref(), Some("Sealed tide tables"), "{cipher}");
        assert_eq!(extract.structure.links[0].target, "https://example.org/sealed", "{cipher}");
        let expected = "The tide tables are sealed. Nobody needs a password to read them.\nChecked at noon.";
        assert_eq!(text(file).as_deref(), Ok(expected), "{cipher}");
    }
    assert_eq!(text(include_bytes!("files/rc4-128-owner.pdf")), text(TIDES));
}

#[test]
fn a_pdf_that_needs_a_password_is_refused() {
    for file in [include_bytes!("files/password.pdf").as_slice(), include_bytes!("files/aes-256-user.pdf")] {
        assert_eq!(text(file), Err("EncryptedPdf"));
    }
    let unknown = "/Encrypt << /Filter /Unknown /V 4 >>";
    assert_eq!(text(&pdf_with_trailer(&[object("<< >>")], unknown)), Err("EncryptedPdf"));
}

#[test]
fn an_entry_that_hides_in_escapes_is_found() {
    let at = RC4_40.windows(8).position(|window| window == b"/Encrypt").unwrap();
    let escaped = [&RC4_40[..at], b"/#45ncryp#74", &RC4_40[at + 8..]].concat();
    assert_eq!(text(&escaped), text(RC4_40));
}

/// A PDF of these objects that is encrypted by its trailer, with a filter that leaves everything as it is. The values
/// are those of `aes-128-owner.pdf`, and fit the empty password.
fn sealed(objects: &[Vec<u8>]) -> Vec<u8> {
    let entry = |name: &[u8]| {
        let start = AES_128.windows(name.len()).position(|window| window == name).unwrap();
        let end = start + AES_128[start..].iter().position(|byte| *byte == b'>').unwrap();
        String::from_utf8(AES_128[start..=end].to_vec()).unwrap()
    };
    let identity = "/V 4 /R 4 /Length 128 /P -4 /StmF /Identity /StrF /Identity";
    let trailer = format!(
        "/Encrypt << /Filter /Standard {identity} {} {} >> {}]",
        entry(b"/O <"),
        entry(b"/U <"),
        entry(b"/ID [<")
    );
    pdf_with_trailer(objects, &trailer)
}

fn page_and(more: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut objects = vec![
        object("<< /Type /Catalog /Pages 2 0 R >>"),
        object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>"),
        object("<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"),
        content("BT /F1 10 Tf (sealed) Tj ET"),
        object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"),
    ];
    objects.extend(more);
    objects
}

#[test]
fn hostile_object_streams_of_an_encrypted_pdf_are_refused() {
    let members = |members: &[u8]| stream("/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode", members);
    let heavy = deflated(format!("9 0 [{}]", "[0]".repeat(500_000)).as_bytes());
    assert_eq!(text(&sealed(&page_and(vec![]))), Ok("sealed".into()));
    for (why, more, kind) in [
        ("a bomb", vec![members(&bomb(b' ', 4096))], "DecompressionBomb"),
        ("many large ones", vec![members(&bomb(b' ', 1)); 200], "DecompressionBomb"),
        ("many values", vec![members(&heavy)], "DocumentTooComplex"),
        ("runs", vec![stream("/Type /ObjStm /N 1 /First 4 /Filter /RunLengthDecode", b"\x81 ")], "CorruptPdf"),
    ] {
        assert_eq!(text(&sealed(&page_and(more))), Err(kind), "{why}");
    }
}
