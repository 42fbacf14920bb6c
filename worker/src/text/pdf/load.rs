//! Loads a PDF with lopdf, within limits.
//!
//! lopdf keeps every object of a file in memory, parsed, which takes many times the file's size. It also inflates
//! object streams and cross-reference streams at once. lopdf limits single streams and the nesting of objects. The
//! total is limited here, by a hook that lopdf calls for every object. The hook is a plain function, so its state
//! is in a thread-local. lopdf is built without threads and calls the hook on the current one.

use std::{borrow::Cow, cell::RefCell};

use lopdf::{DecompressError, Dictionary, Document, Error, LoadOptions, Object, ObjectId, Stream, xref::XrefRecovery};

use crate::text::{Cancel, ExtractError, PoisonError};

use super::{Budget, Limits, corrupt, decrypt, weigh};

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
pub(super) struct Admission {
    pub(super) cancel: Cancel,
    left: usize,
    /// Maximum memory of the objects.
    pub(super) limit: usize,
    refused: Option<ExtractError>,
    /// Whether the file may be encrypted, so that object streams are left alone.
    encrypted: bool,
    /// Inflated bytes of the object streams of an encrypted file, which [`super::guard`] could not measure.
    pub(super) inflated: Budget,
}

/// Loads a PDF that opens without a password.
pub(super) fn load(bytes: &[u8], cancel: &Cancel) -> Result<Document, ExtractError> {
    let readable = decrypt::hide_entry(bytes);
    let encrypted = matches!(readable, Cow::Owned(_));
    let mut document = load_admitted(&readable, encrypted, cancel, false)?;
    // The cross-reference table may be valid but wrong about the objects. Then it is rebuilt, as lopdf does by
    // itself without a hook.
    if document.page_iter().next().is_none() {
        document = load_admitted(&readable, encrypted, cancel, true)?;
    }
    if document.xref_recovery == Some(XrefRecovery::Reconstructed) && !has_end(bytes) {
        return Err(truncated("its last line is missing").into());
    }
    resolve_filters(&mut document);
    Ok(document)
}

/// Replaces references in the filters of streams, which lopdf does not follow.
fn resolve_filters(document: &mut Document) {
    /// Maximum values of all filters together.
    const MAX_VALUES: usize = 100_000;
    const KEYS: [&[u8]; 2] = [b"Filter", b"DecodeParms"];
    let refers = |object: &Object| matches!(object, Object::Reference(_));
    let mut left = MAX_VALUES;
    let mut resolved = Vec::new();
    for (id, object) in &document.objects {
        let Object::Stream(stream) = object else { continue };
        for key in KEYS {
            let entry = stream.dict.get(key).ok().filter(|entry| match entry {
                Object::Array(values) => values.iter().any(refers),
                Object::Dictionary(entries) => entries.iter().any(|(_, value)| refers(value)),
                other => refers(other),
            });
            resolved.extend(entry.and_then(|entry| Some((*id, key, small(document, entry, 3, &mut left)?))));
        }
    }
    for (id, key, value) in resolved {
        if let Ok(stream) = document.get_object_mut(id).and_then(Object::as_stream_mut) {
            stream.dict.set(key, value);
        }
    }
}

/// A copy of an object without references, of at most `left` values. `None` if it is larger than the filters of any
/// stream are.
fn small(document: &Document, object: &Object, depth: usize, left: &mut usize) -> Option<Object> {
    const MAX_ENTRIES: usize = 8;
    const MAX_NAME: usize = 64;
    let (_, object) = document.dereference(object).ok()?;
    let depth = depth.checked_sub(1)?;
    *left = left.checked_sub(1)?;
    Some(match object {
        Object::Array(values) if values.len() <= MAX_ENTRIES => {
            let values = values.iter().map(|value| small(document, value, depth, left));
            Object::Array(values.collect::<Option<_>>()?)
        }
        Object::Dictionary(entries) if entries.len() <= MAX_ENTRIES => {
            let entries = entries.iter().filter(|(key, _)| key.len() <= MAX_NAME);
            let entries = entries.map(|(key, value)| Some((key.clone(), small(document, value, depth, left)?)));
            Object::Dictionary(entries.collect::<Option<Dictionary>>()?)
        }
        Object::Name(name) if name.len() <= MAX_NAME => object.clone(),
        Object::Integer(_) | Object::Boolean(_) | Object::Null => object.clone(),
        _ => return None,
    })
}

fn load_admitted(
    bytes: &[u8],
    encrypted: bool,
    cancel: &Cancel,
    force_reconstruct: bool,
) -> Result<Document, ExtractError> {
    let limit = Limits::of(bytes.len() as u64).objects;
    let left = limit + bytes.len();
    let inflated = Budget::of_file(bytes.len());
    ADMISSION.set(Some(Admission { cancel: cancel.clone(), left, limit, refused: None, encrypted, inflated }));
    let options = LoadOptions {
        filter: Some(admit),
        max_decompressed_size: Some(MAX_LOADED_STREAM),
        force_reconstruct,
        ..LoadOptions::default()
    };
    let loaded = Document::load_mem_with_options(bytes, options);
    let mut admission = ADMISSION.take();
    if let Some(refused) = admission.as_mut().and_then(|admission| admission.refused.take()) {
        return Err(refused);
    }
    let mut document = loaded.map_err(|error| fault(bytes, &error))?;
    if let Some(admission) = admission.as_mut().filter(|_| encrypted) {
        decrypt::decrypt(&mut document, admission)?;
    }
    Ok(document)
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
            Object::Stream(stream) => {
                if admission.encrypted {
                    decrypt::hide_stream(stream);
                }
                Some((id, Object::Null))
            }
            other => Some((id, other.clone())),
        }
    })
}

impl Admission {
    /// Counts an object, and refuses it if it exceeds what is left.
    pub(super) fn weigh(&mut self, object: &Object) -> Result<(), ExtractError> {
        self.cancel.check()?;
        if let Object::Stream(stream) = object
            && stream.dict.has_type(b"ObjStm")
            && !self.encrypted
        {
            weigh_members(stream, self.limit)?;
        }
        let memory = memory(object);
        if memory > self.left {
            return Err(too_many_objects(self.limit).into());
        }
        self.left -= memory;
        Ok(())
    }
}

/// Estimates the memory of an object stream's members before they are parsed, and returns its inflated size. A stream
/// with other filters than deflate, which producers use, was not checked by [`super::guard`] and is refused.
pub(super) fn weigh_members(stream: &Stream, limit: usize) -> Result<usize, PoisonError> {
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
        if memory > limit || weight.read > left {
            return Err(too_many_objects(limit));
        }
        left -= weight.read;
    }
    Ok(content.len())
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

pub(super) fn too_many_objects(limit: usize) -> PoisonError {
    PoisonError::TooComplex { what: "bytes of objects in memory", limit }
}

/// Pictures, most font programs and metadata take up most of a file and are not needed. The programs of Type 1 fonts
/// have encodings that are.
fn is_never_read(dictionary: &Dictionary) -> bool {
    const SUBTYPES: [&[u8]; 3] = [b"Image", b"CIDFontType0C", b"XML"];
    let subtype = dictionary.get(b"Subtype").and_then(Object::as_name);
    let true_type = dictionary.has(b"Length1") && !dictionary.has(b"Length2");
    true_type || subtype.is_ok_and(|subtype| SUBTYPES.contains(&subtype))
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
    fn the_end_is_found_before_padding_and_not_in_the_middle() {
        assert!(has_end(b"%PDF-1.4\n%%EOF\r\n\0\0\0"));
        assert!(!has_end(&[b"%PDF-1.4\n%%EOF\n".as_slice(), &[b'x'; 2000]].concat()));
        assert!(!has_end(b""));
    }

    #[test]
    fn members_that_begin_at_the_same_place_all_count() {
        let weigh = |index: &str, members: &str| {
            let dictionary = lopdf::dictionary! { "Type" => "ObjStm", "First" => index.len() as i64 };
            weigh_members(&Stream::new(dictionary, format!("{index}{members}").into_bytes()), OBJECT_MEMORY)
        };
        let zeros = format!("[{}]", "0 ".repeat(10_000));
        assert!(weigh("1 0 % 7 7 7\n2 20003 ", &format!("{zeros} {zeros}")).is_ok());
        assert_eq!(weigh(&"1 0 ".repeat(1_000), &zeros), Err(too_many_objects(OBJECT_MEMORY)));
        assert!(weigh("1 x 2 99999999", "[0]").is_ok());
    }

    #[test]
    fn memory_includes_nested_objects() {
        let array = Object::Array(vec![Object::Integer(1); 10]);
        assert!(memory(&array) >= 11 * size_of::<Object>());
        assert!(memory(&Object::Array(vec![array; 10])) >= 110 * size_of::<Object>());
    }
}
