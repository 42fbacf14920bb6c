//! What a document is, by its name and by its first bytes. Where the two disagree, it is refused, not guessed.

use serde::{Deserialize, Serialize};

use super::PoisonError;

/// Bytes that are looked at.
const SNIFFED: usize = 1024;

/// First bytes of formats that are not processed, with the name that the error gives them.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"\x7fELF", "application/x-elf"),
    (b"\xd0\xcf\x11\xe0", "application/x-ole-storage"),
];

/// A type that is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaType {
    /// HTML, also where the name says XHTML.
    #[serde(rename = "text/html")]
    Html,
    /// CommonMark with tables and strikethrough.
    #[serde(rename = "text/markdown")]
    Markdown,
    /// Text without markup.
    #[serde(rename = "text/plain")]
    Plain,
}

impl MediaType {
    /// The type of a document.
    ///
    /// # Errors
    /// [`PoisonError::Empty`] for nothing but white space, [`PoisonError::UnknownType`] for what is not processed.
    pub fn detect(name: &str, bytes: &[u8]) -> Result<Self, PoisonError> {
        if bytes.trim_ascii().is_empty() {
            return Err(PoisonError::Empty);
        }
        let unknown = |found: &str| PoisonError::UnknownType {
            name: name.to_owned(),
            found: found.to_owned(),
        };
        if let Some(found) = binary(bytes) {
            return Err(unknown(found));
        }
        match extension(name).as_deref() {
            Some("html" | "htm" | "xhtml") => Ok(Self::Html),
            Some("md" | "markdown" | "mdown" | "mkd") => Ok(Self::Markdown),
            Some("txt" | "text") => Ok(Self::Plain),
            _ if looks_like_html(bytes) => Ok(Self::Html),
            None => Ok(Self::Plain),
            Some(other) => Err(unknown(&format!("of the unknown type .{other}"))),
        }
    }

    /// The registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Html => "text/html",
            Self::Markdown => "text/markdown",
            Self::Plain => "text/plain",
        }
    }
}

/// The name of a binary format that the bytes begin with.
fn binary(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(SNIFFED)];
    let signature = SIGNATURES
        .iter()
        .find(|(signature, _)| head.starts_with(signature));
    signature
        .map(|(_, name)| *name)
        .or_else(|| head.contains(&0).then_some("binary data"))
}

fn looks_like_html(bytes: &[u8]) -> bool {
    let head = bytes
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(bytes)
        .trim_ascii_start();
    let starts = |prefix: &[u8]| {
        head.get(..prefix.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(prefix))
    };
    starts(b"<!doctype html") || starts(b"<html")
}

/// What follows the last dot of the last part of a path, in lower case; a leading dot begins a name, not an extension.
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
    fn the_extension_decides_and_the_content_where_there_is_none() {
        assert_eq!(kind("a/b.html", b"x"), Ok(MediaType::Html));
        assert_eq!(kind("README.MD", b"# x"), Ok(MediaType::Markdown));
        assert_eq!(kind("notes.txt", b"x"), Ok(MediaType::Plain));
        assert_eq!(kind("v1.2/LICENSE", b"x"), Ok(MediaType::Plain));
        assert_eq!(kind("page", b"\n<!DOCTYPE HTML><p>x"), Ok(MediaType::Html));
        assert_eq!(kind("page.php", b"<html>"), Ok(MediaType::Html));
    }

    #[test]
    fn poison_is_told_apart_by_kind() {
        assert_eq!(kind("a.html", b""), Err("EmptyDocument"));
        assert_eq!(kind("a.txt", b" \n\t"), Err("EmptyDocument"));
        assert_eq!(kind("a.html", b"%PDF-1.7"), Err("UnknownDocumentType"));
        assert_eq!(kind("a.md", b"text\0binary"), Err("UnknownDocumentType"));
        assert_eq!(kind("a.docx", b"PK\x03\x04"), Err("UnknownDocumentType"));
        assert_eq!(kind("a.json", b"{}"), Err("UnknownDocumentType"));
    }

    #[test]
    fn the_error_names_the_document_and_what_it_is() {
        let error = MediaType::detect("report.html", b"%PDF-1.7").unwrap_err();
        assert!(
            error.to_string().contains("\"report.html\" is application/pdf"),
            "{error}"
        );
    }
}
