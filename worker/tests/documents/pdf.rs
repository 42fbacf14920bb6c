//! PDFs: two that other programs wrote, and builders that write valid, unusual and hostile ones byte by byte.
//! Nothing here uses the worker's code.

use std::io::Write as _;

use flate2::{Compress, Compression, FlushCompress, write::ZlibEncoder};

/// A PDF that ReportLab wrote.
pub(crate) const REPORT: &[u8] = include_bytes!("files/reportlab.pdf");
/// A PDF that fpdf2 wrote.
pub(crate) const TIDES: &[u8] = include_bytes!("files/fpdf2.pdf");

/// A PDF of these objects, numbered from 1. The first is the catalog.
pub(crate) fn pdf(objects: &[Vec<u8>]) -> Vec<u8> {
    pdf_with_trailer(objects, "")
}

/// The same, with additional entries in its trailer.
pub(crate) fn pdf_with_trailer(objects: &[Vec<u8>], trailer: &str) -> Vec<u8> {
    let mut file = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut offsets = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        writeln!(file, "{} 0 obj", index + 1).unwrap();
        file.extend_from_slice(object);
        file.extend_from_slice(b"\nendobj\n");
    }
    let start = file.len();
    let size = objects.len() + 1;
    write!(file, "xref\n0 {size}\n0000000000 65535 f \n").unwrap();
    for offset in offsets {
        writeln!(file, "{offset:010} 00000 n ").unwrap();
    }
    write!(file, "trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n").unwrap();
    file
}

/// A PDF of one page with this content stream (object 4), a font `/F1`, and further objects from 6 on.
pub(crate) fn one_page(content: Vec<u8>, resources: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let mut objects = vec![
        object("<< /Type /Catalog /Pages 2 0 R >>"),
        object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>"),
        object(&format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R \
             /Resources << /Font << /F1 5 0 R >> {resources} >> >>"
        )),
        content,
        object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"),
    ];
    objects.extend_from_slice(more);
    pdf(&objects)
}

/// An object, written as text.
pub(crate) fn object(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// A stream object, with its length added to its dictionary.
pub(crate) fn stream(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let mut object = format!("<< {dictionary} /Length {} >>\nstream\n", data.len()).into_bytes();
    object.extend_from_slice(data);
    object.extend_from_slice(b"\nendstream");
    object
}

/// An uncompressed content stream.
pub(crate) fn content(operators: &str) -> Vec<u8> {
    stream("", operators.as_bytes())
}

/// Data, compressed by zlib.
pub(crate) fn deflated(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A zlib stream that inflates to this many mebibytes of one byte. It repeats one compressed block, so building it
/// is fast.
pub(crate) fn bomb(byte: u8, mebibytes: usize) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut block = Vec::with_capacity(64 << 10);
    compress.compress_vec(&vec![byte; 1 << 20], &mut block, FlushCompress::Full).unwrap();
    [b"\x78\xda".as_slice(), &block.repeat(mebibytes)].concat()
}
