//! The type of a document, from its name and its first bytes. If they disagree, the document is refused.

use encoding_rs::{Encoding, UTF_8};
use serde::{Deserialize, Serialize};

use super::{PoisonError, shortened, wide::Wide};

/// Number of bytes that are examined.
const SNIFFED_BYTES: usize = 1024;

/// Start of a PDF. Readers accept it anywhere in the first 1024 bytes.
const PDF: &[u8] = b"%PDF-";

/// First bytes of unsupported formats, with the name for the error.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"PK\x07\x08", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"(\xb5/\xfd", "application/zstd"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"%!PS", "application/postscript"),
    (b"{\\rtf", "application/rtf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\x7fELF", "application/x-elf"),
    (b"\xd0\xcf\x11\xe0", "application/x-ole-storage"),
];

/// A supported type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaType {
    /// HTML, or XHTML.
    #[serde(rename = "text/html")]
    Html,
    /// CommonMark with tables and strikethrough.
    #[serde(rename = "text/markdown")]
    Markdown,
    /// Text without markup.
    #[serde(rename = "text/plain")]
    Plain,
    /// PDF with text.
    #[serde(rename = "application/pdf")]
    Pdf,
}

impl MediaType {
    /// The type of a document.
    ///
    /// # Errors
    /// [`PoisonError::Empty`] if there is only white space. [`PoisonError::UnknownType`] for an unsupported type.
    /// [`PoisonError::TypeMismatch`] if only one of name and content says PDF.
    pub fn detect(name: &str, bytes: &[u8]) -> Result<Self, PoisonError> {
        let marked = Encoding::for_bom(bytes);
        let content = &bytes[marked.map_or(0, |(_, length)| length)..];
        if content.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) {
            return Err(PoisonError::Empty);
        }
        let named = extension(name);
        let unknown = |found: &str| PoisonError::UnknownType { name: shortened(name), found: shortened(found) };
        let mismatch = |found| PoisonError::TypeMismatch { name: shortened(name), found };
        if let Some(found) = signature(bytes) {
            return Err(unknown(found));
        }
        if is_pdf(bytes, named.as_deref()) {
            return match Self::of_extension(named.as_deref()) {
                None | Some(Self::Pdf) => Ok(Self::Pdf),
                Some(_) => Err(mismatch(Self::Pdf.as_str())),
            };
        }
        // UTF-16 of ASCII is half NULs, as binary data may be.
        let wide = marked.is_some_and(|(encoding, _)| encoding != UTF_8) || Wide::detect(bytes).is_some();
        if !wide && head(bytes).contains(&0) {
            return Err(unknown("binary data"));
        }
        match (Self::of_extension(named.as_deref()), named) {
            (Some(Self::Pdf), _) => Err(mismatch("not a PDF")),
            (Some(named), _) => Ok(named),
            (None, _) if looks_like_html(content) => Ok(Self::Html),
            (None, None) => Ok(Self::Plain),
            (None, Some(other)) => Err(unknown(&format!("of the unknown type .{other}"))),
        }
    }

    fn of_extension(extension: Option<&str>) -> Option<Self> {
        match extension? {
            "html" | "htm" | "xhtml" => Some(Self::Html),
            "md" | "markdown" | "mdown" | "mkd" => Some(Self::Markdown),
            "txt" | "text" => Some(Self::Plain),
            "pdf" => Some(Self::Pdf),
            _ => None,
        }
    }

    /// The registered media type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Html => "text/html",
            Self::Markdown => "text/markdown",
            Self::Plain => "text/plain",
            Self::Pdf => "application/pdf",
        }
    }
}

fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(SNIFFED_BYTES)]
}

/// The name of the unsupported format that the bytes begin with, if any.
fn signature(bytes: &[u8]) -> Option<&'static str> {
    let known = SIGNATURES.iter().find(|(first, _)| bytes.starts_with(first));
    let bzip2 = bytes.starts_with(b"BZh") && bytes.get(4..10) == Some(b"1AY&SY");
    let tar = bytes.get(257..262) == Some(b"ustar");
    known.map(|(_, name)| *name).or(bzip2.then_some("application/x-bzip2")).or(tar.then_some("application/x-tar"))
}

/// A text may mention `%PDF-`, so the mark counts after the start only if the name says PDF.
fn is_pdf(bytes: &[u8], named: Option<&str>) -> bool {
    let somewhere = || memchr::memmem::find(head(bytes), PDF).is_some();
    bytes.trim_ascii_start().starts_with(PDF) || (named == Some("pdf") && somewhere())
}

/// Whether the content after a byte order mark begins as HTML, in whatever number of bytes a character.
fn looks_like_html(content: &[u8]) -> bool {
    let ascii: Vec<u8> = head(content).iter().copied().filter(|byte| *byte != 0).collect();
    let start = ascii.trim_ascii_start();
    let starts = |prefix: &[u8]| start.get(..prefix.len()).is_some_and(|found| found.eq_ignore_ascii_case(prefix));
    starts(b"<!doctype html") || starts(b"<html")
}

/// The extension of the last part of a path, in lower case. A leading dot begins a name, not an extension.
fn extension(name: &str) -> Option<String> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let (stem, extension) = file.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, bytes: &[u8]) -> Result<MediaType, &'static str> {
        MediaType::detect(name, bytes).map_err(|error| error.kind())
    }

    #[test]
    fn the_extension_decides_else_the_content() {
        assert_eq!(kind("a/b.html", b"x"), Ok(MediaType::Html));
        assert_eq!(kind("README.MD", b"# x"), Ok(MediaType::Markdown));
        assert_eq!(kind("notes.txt", b"x"), Ok(MediaType::Plain));
        assert_eq!(kind("v1.2/LICENSE", b"x"), Ok(MediaType::Plain));
        assert_eq!(kind("page", b"\n<!DOCTYPE HTML><p>x"), Ok(MediaType::Html));
        assert_eq!(kind("page", b"\xff\xfe<\0h\0t\0m\0l\0>\0"), Ok(MediaType::Html));
        assert_eq!(kind("page.php", b"<html>"), Ok(MediaType::Html));
        assert_eq!(kind("a.pdf", b"%PDF-1.7"), Ok(MediaType::Pdf));
        assert_eq!(kind("a.PDF", b"\x00\x00junk\n%PDF-1.4"), Ok(MediaType::Pdf));
        assert_eq!(kind("download", b"%PDF-1.7"), Ok(MediaType::Pdf));
        assert_eq!(kind("pdf.md", b"A PDF begins with %PDF-."), Ok(MediaType::Markdown));
    }

    #[test]
    fn utf16_and_utf32_are_text_with_and_without_a_byte_order_mark() {
        assert_eq!(kind("a.txt", b"\xfe\xff\0h\0i"), Ok(MediaType::Plain));
        assert_eq!(kind("a.txt", b"\0h\0i"), Ok(MediaType::Plain));
        assert_eq!(kind("a.txt", b"\0\0\0h\0\0\0i"), Ok(MediaType::Plain));
        assert_eq!(kind("a.txt", b"\xff\xfe\0\0h\0\0\0"), Ok(MediaType::Plain));
        assert_eq!(kind("page", b"<\0h\0t\0m\0l\0>\0"), Ok(MediaType::Html));
        assert_eq!(kind("a.txt", b"\0h\0i\0"), Err("UnknownDocumentType"));
    }

    #[test]
    fn poison_has_kinds() {
        for (name, bytes, expected) in [
            ("a.html", b"".as_slice(), "EmptyDocument"),
            ("a.txt", b" \n\t", "EmptyDocument"),
            ("a.txt", b"\xef\xbb\xbf \n", "EmptyDocument"),
            ("a.html", b"%PDF-1.7", "DocumentTypeMismatch"),
            ("a.pdf", b"<html>", "DocumentTypeMismatch"),
            ("a.pdf", b"PK\x03\x04", "UnknownDocumentType"),
            ("a.md", b"text\0binary", "UnknownDocumentType"),
            ("a.docx", b"PK\x03\x04", "UnknownDocumentType"),
            ("a.html.gz", b"\x1f\x8b\x08", "UnknownDocumentType"),
            ("a.html", b"\x1f\x8b\x08", "UnknownDocumentType"),
            ("a.txt", b"(\xb5/\xfd", "UnknownDocumentType"),
            ("a.txt", b"BZh91AY&SY", "UnknownDocumentType"),
            ("a.json", b"{}", "UnknownDocumentType"),
        ] {
            assert_eq!(kind(name, bytes), Err(expected), "{name}");
        }
    }

    #[test]
    fn a_tar_is_known_by_its_header() {
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let error = MediaType::detect("a.txt", &tar).unwrap_err();
        assert!(error.to_string().contains("application/x-tar"), "{error}");
    }

    #[test]
    fn the_error_names_the_document_and_what_it_is() {
        for (name, bytes, expected) in [
            ("report.html", b"%PDF-1.7".as_slice(), "\"report.html\" is application/pdf"),
            ("bundle.md", b"\x1f\x8b\x08", "\"bundle.md\" is application/gzip"),
        ] {
            let error = MediaType::detect(name, bytes).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
