//! Reads documents as the worker does.

use worker::text::{Cancel, Extract, ExtractError, MediaType, extract};

/// Reads a document as the worker does: by its name and its bytes.
pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<Extract, &'static str> {
    let media_type = MediaType::detect(name, bytes).map_err(|poison| poison.kind())?;
    extract(media_type, bytes, 200, &Cancel::default()).map_err(|error| match error {
        ExtractError::Poison(poison) => poison.kind(),
        ExtractError::Cancelled(_) => "cancelled",
    })
}

/// The text of a PDF.
pub(crate) fn text(bytes: &[u8]) -> Result<String, &'static str> {
    let passages = read("a.pdf", bytes)?.passages;
    Ok(passages.into_iter().map(|passage| passage.text).collect::<Vec<_>>().join("\n"))
}
