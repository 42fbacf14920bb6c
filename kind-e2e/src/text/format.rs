//! Documents that the worker refuses, or reads as something else than text in UTF-8: they are no part of a load.

use super::{Doubt, Kind};

/// How formats begin that are refused whatever the document is called, and that may be valid UTF-8.
const FORMATS: &[&str] = &["%!PS", "%PDF-", "BZh", "GIF8", "PK\u{3}\u{4}", "PK\u{5}\u{6}", "Rar!", "{\\rtf"];

/// Where a tar archive has its name, and that name.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// Whether the worker reads a document of this kind as text in UTF-8.
///
/// # Errors
/// It refuses it, or may.
pub(super) fn check(kind: Kind, text: &str) -> Result<(), Doubt> {
    let start = text.trim_start();
    let (place, name) = TAR;
    let is_tar = text.as_bytes().get(place..place + name.len()) == Some(name);
    if start.is_empty() || text.contains('\0') || is_tar || FORMATS.iter().any(|format| start.starts_with(format)) {
        return Err(Doubt::Format);
    }
    if kind == Kind::Html && text.to_ascii_lowercase().contains("2022-jp") {
        return Err(Doubt::Charset);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_worker_may_refuse_is_not_read() {
        for (kind, text, expected) in [
            (Kind::Plain, "text", Ok(())),
            (Kind::Plain, "A PDF begins with %PDF-.", Ok(())),
            (Kind::Plain, "", Err(Doubt::Format)),
            (Kind::Plain, " \n", Err(Doubt::Format)),
            (Kind::Plain, "\n%PDF-1.7", Err(Doubt::Format)),
            (Kind::Markdown, "a\0b", Err(Doubt::Format)),
            (Kind::Html, "<meta charset=ISO-2022-JP>x", Err(Doubt::Charset)),
            (Kind::Plain, "ISO-2022-JP", Ok(())),
        ] {
            assert_eq!(check(kind, text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_tar_archive_is_known_by_its_header() {
        let tar = format!("{}ustar", "a".repeat(257));
        assert_eq!(check(Kind::Plain, &tar), Err(Doubt::Format));
    }
}
