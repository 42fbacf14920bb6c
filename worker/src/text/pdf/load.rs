//! Loads a PDF with lopdf, within limits.
//!
//! lopdf keeps every object of a file in memory, parsed, which takes many times the file's size. It also inflates
//! object streams and cross-reference streams at once. lopdf limits single streams and the nesting of objects. The
//! total is limited here, by a hook that lopdf calls for every object. The hook is a plain function, so its state
//! is in a thread-local. lopdf is built without threads and calls the hook on the current one.

use std::cell::RefCell;

use lopdf::{DecompressError, Dictionary, Document, Error, LoadOptions, Object, ObjectId, Stream, xref::XrefRecovery};

use crate::text::{Cancel, ExtractError, PoisonError};

use super::{corrupt, weigh};

/// Maximum inflated bytes of an object stream or a cross-reference stream. Producers put one or two hundred objects
/// into one.
pub(super) const MAX_LOADED_STREAM: usize = 2 << 20;

/// Maximum memory of a file's objects in bytes, in addition to the file's own length.
pub(super) const OBJECT_MEMORY: usize = 96 << 20;

/// Bytes at the end of a file in which readers look for its last line.
const TAIL_BYTES: usize = 1024;

thread_local! {
    static ADMISSION: RefCell<Option<Admission>> = const { RefCell::new(None) };
}

/// The state of the hook that decides whether an object is kept.
struct Admission {
    cancel: Cancel,
    left: usize,
    refused: Option<ExtractError>,
}

/// Loads a PDF that is not encrypted.
pub(super) fn load(bytes: &[u8], cancel: &Cancel) -> Result<Document, ExtractError> {
    if is_encrypted(bytes) {
        return Err(PoisonError::EncryptedPdf.into());
    }
    let mut document = load_admitted(bytes, cancel, false)?;
    // The cross-reference table may be valid but wrong about the objects. Then it is rebuilt, as lopdf does by
    // itself without a hook.
    if document.page_iter().next().is_none() {
        document = load_admitted(bytes, cancel, true)?;
    }
    if document.is_encrypted() || document.was_encrypted() {
        return Err(PoisonError::EncryptedPdf.into());
    }
    if document.xref_recovery == Some(XrefRecovery::Reconstructed) && !has_end(bytes) {
        return Err(truncated("its last line is missing").into());
    }
    Ok(document)
}

fn load_admitted(bytes: &[u8], cancel: &Cancel, force_reconstruct: bool) -> Result<Document, ExtractError> {
    ADMISSION.set(Some(Admission { cancel: cancel.clone(), left: OBJECT_MEMORY + bytes.len(), refused: None }));
    let options = LoadOptions {
        filter: Some(admit),
        max_decompressed_size: Some(MAX_LOADED_STREAM),
        force_reconstruct,
        ..LoadOptions::default()
    };
    let loaded = Document::load_mem_with_options(bytes, options);
    if let Some(refused) = ADMISSION.take().and_then(|admission| admission.refused) {
        return Err(refused);
    }
    loaded.map_err(|error| fault(bytes, &error).into())
}

/// The hook. Returns `None` for an object that is not kept. lopdf uses the returned object only for members of
/// object streams, which are never streams, and `object` otherwise. So a stream is not copied.
fn admit(id: ObjectId, object: &mut Object) -> Option<(ObjectId, Object)> {
    ADMISSION.with_borrow_mut(|admission| {
        let admission = admission.as_mut()?;
        if admission.refused.is_none() {
            admission.refused = admission.weigh(object).err();
        }
        if admission.refused.is_some() {
            return None;
        }
        match object {
            Object::Stream(stream) if is_never_read(&stream.dict) => None,
            Object::Stream(_) => Some((id, Object::Null)),
            other => Some((id, other.clone())),
        }
    })
}

impl Admission {
    fn weigh(&mut self, object: &Object) -> Result<(), ExtractError> {
        self.cancel.check()?;
        if let Object::Stream(stream) = object
            && stream.dict.has_type(b"ObjStm")
        {
            weigh_members(stream)?;
        }
        let memory = memory(object);
        if memory > self.left {
            return Err(too_many_objects().into());
        }
        self.left -= memory;
        Ok(())
    }
}

/// Estimates the memory of an object stream's members before they are parsed. A stream with other filters than
/// deflate, which producers use, was not checked by [`super::guard`] and is refused.
fn weigh_members(stream: &Stream) -> Result<(), PoisonError> {
    let deflate_only = |filters: &Vec<&[u8]>| matches!(filters.as_slice(), [] | [b"FlateDecode"]);
    if !stream.filters().is_ok_and(|filters| deflate_only(&filters)) && stream.dict.has(b"Filter") {
        return Err(corrupt("an object stream uses other filters than deflate"));
    }
    // A stream that cannot be inflated has no members. One that is too large fails when lopdf inflates it.
    let content = stream.get_plain_content_with_limit(MAX_LOADED_STREAM).unwrap_or_default();
    let mut memory = 0_usize;
    // Any number of members may begin at the same place, and each would be parsed.
    let mut left = 4 * content.len();
    for member in members(&stream.dict, &content).into_iter().flatten() {
        let weight = weigh::at_most(member);
        memory = memory.saturating_add(weight.memory);
        if memory > OBJECT_MEMORY || weight.read > left {
            return Err(too_many_objects());
        }
        left -= weight.read;
    }
    Ok(())
}

/// The members of an object stream, by its index of numbers and offsets.
fn members<'a>(dictionary: &Dictionary, content: &'a [u8]) -> Option<impl Iterator<Item = &'a [u8]>> {
    let first = dictionary.get(b"First").and_then(Object::as_i64).ok()?;
    let (index, rest) = content.split_at_checked(usize::try_from(first).ok()?)?;
    let lines = std::str::from_utf8(index).ok()?.split(['\r', '\n']);
    let numbers = lines.flat_map(|line| line.split('%').next().unwrap_or_default().split_whitespace());
    let offsets = numbers.skip(1).step_by(2);
    Some(offsets.filter_map(|offset| rest.get(offset.parse::<usize>().ok()?..)))
}

pub(super) fn too_many_objects() -> PoisonError {
    PoisonError::TooComplex { what: "bytes of objects in memory", limit: OBJECT_MEMORY }
}

/// Pictures, font programs and metadata take up most of a file and are not needed.
fn is_never_read(dictionary: &Dictionary) -> bool {
    const SUBTYPES: [&[u8]; 5] = [b"Image", b"Type1C", b"CIDFontType0C", b"OpenType", b"XML"];
    let subtype = dictionary.get(b"Subtype").and_then(Object::as_name);
    let font_program = dictionary.has(b"Length1");
    font_program || subtype.is_ok_and(|subtype| SUBTYPES.contains(&subtype))
}

/// Approximate memory of an object in bytes. lopdf limits the nesting to 100.
fn memory(object: &Object) -> usize {
    /// Overhead of a vector's allocation.
    const ALLOCATION: usize = 16;
    let of_dictionary = |dictionary: &Dictionary| -> usize {
        let entries = dictionary.iter();
        let entry = size_of::<(Vec<u8>, Object, usize)>() + 2 * ALLOCATION;
        entries.map(|(key, value)| entry + key.len() + memory(value)).sum()
    };
    let held = match object {
        Object::Name(text) | Object::String(text, _) => text.len() + ALLOCATION,
        Object::Array(elements) => ALLOCATION + elements.iter().map(memory).sum::<usize>(),
        Object::Dictionary(dictionary) => of_dictionary(dictionary),
        Object::Stream(stream) => stream.content.len() + of_dictionary(&stream.dict),
        Object::Null | Object::Boolean(_) | Object::Integer(_) | Object::Real(_) | Object::Reference(_) => 0,
    };
    size_of::<Object>() + held
}

/// Whether the file is encrypted. Loading would decrypt a file without a password and not call the hook. So the
/// trailer is read first, and only if the file contains the name.
fn is_encrypted(bytes: &[u8]) -> bool {
    if !names(bytes, b"Encrypt") {
        return false;
    }
    match Document::load_metadata_mem(bytes) {
        Ok(metadata) => metadata.encrypted,
        Err(error) => matches!(
            error,
            Error::Decryption(_)
                | Error::InvalidPassword
                | Error::UnsupportedSecurityHandler(_)
                | Error::Unimplemented(_)
        ),
    }
}

/// Whether a name occurs, plain or with `#xx` escapes.
fn names(bytes: &[u8], name: &[u8]) -> bool {
    memchr::memchr_iter(b'/', bytes).any(|at| {
        let mut rest = bytes[at + 1..].iter().copied();
        name.iter().all(|expected| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            match rest.next() {
                Some(b'#') => {
                    let digits = (rest.next().and_then(digit), rest.next().and_then(digit));
                    matches!(digits, (Some(high), Some(low)) if high * 16 + low == u32::from(*expected))
                }
                found => found == Some(*expected),
            }
        })
    })
}

fn fault(bytes: &[u8], error: &Error) -> PoisonError {
    match error {
        Error::Decompress(DecompressError::MemoryLimitExceeded { limit }) => {
            PoisonError::DecompressionBomb { limit: *limit }
        }
        error if has_end(bytes) => corrupt(error.to_string()),
        error => truncated(&error.to_string()),
    }
}

fn truncated(reason: &str) -> PoisonError {
    PoisonError::TruncatedPdf { reason: reason.to_owned() }
}

/// Whether the file has the last line of a PDF. Some producers add padding after it.
fn has_end(bytes: &[u8]) -> bool {
    let padding = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let end = bytes.iter().rposition(|byte| !padding(byte)).map_or(0, |last| last + 1);
    let tail = &bytes[end.saturating_sub(TAIL_BYTES)..end];
    memchr::memmem::find(tail, b"%%EOF").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_written() {
        for (bytes, found) in [
            (b"<< /Encrypt 5 0 R >>".as_slice(), true),
            (b"<< /#45ncr#79pt 5 0 R >>", true),
            (b"<< /Encryp", false),
            (b"<< /Encrypted", true),
            (b"Encrypt", false),
            (b"/#4", false),
        ] {
            assert_eq!(names(bytes, b"Encrypt"), found, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn the_end_is_found_before_padding_and_not_in_the_middle() {
        assert!(has_end(b"%PDF-1.4\n%%EOF\r\n\0\0\0"));
        assert!(!has_end(&[b"%PDF-1.4\n%%EOF\n".as_slice(), &[b'x'; 2000]].concat()));
        assert!(!has_end(b""));
    }

    #[test]
    fn members_that_begin_at_the_same_place_all_count() {
        let weigh = |index: &str, members: &str| {
            let dictionary = lopdf::dictionary! { "Type" => "ObjStm", "First" => index.len() as i64 };
            weigh_members(&Stream::new(dictionary, format!("{index}{members}").into_bytes()))
        };
        let zeros = format!("[{}]", "0 ".repeat(10_000));
        assert_eq!(weigh("1 0 % 7 7 7\n2 20003 ", &format!("{zeros} {zeros}")), Ok(()));
        assert_eq!(weigh(&"1 0 ".repeat(1_000), &zeros), Err(too_many_objects()));
        assert_eq!(weigh("1 x 2 99999999", "[0]"), Ok(()));
    }

    #[test]
    fn memory_includes_nested_objects() {
        let array = Object::Array(vec![Object::Integer(1); 10]);
        assert!(memory(&array) >= 11 * size_of::<Object>());
        assert!(memory(&Object::Array(vec![array; 10])) >= 110 * size_of::<Object>());
    }
}
