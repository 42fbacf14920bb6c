//! Reads files that are encrypted and open without a password: those with an owner password only.
//!
//! lopdf decrypts such a file by itself while it loads it. It would then not call the hook of [`super::load`], and
//! keep every object twice. So the trailer's entry is hidden from lopdf, which loads the objects as they are. They
//! are decrypted and their object streams are read here, within the same limits.

use std::borrow::Cow;

use lopdf::{
    DecompressError, Document, EncryptionState, Error, Object, ObjectId, ObjectStream, Stream,
    encryption::decrypt_object, xref::XrefEntry,
};

use super::load::{Admission, MAX_LOADED_STREAM, weigh_members};
use crate::text::{ExtractError, PoisonError};

/// The entry of an encrypted file's trailer.
const ENTRY: &[u8] = b"Encrypt";

/// What it is renamed to.
const HIDDEN_ENTRY: &[u8] = b"Encrypx";

/// What the type of an object stream is renamed to, so that lopdf does not read its encrypted members.
const HIDDEN_STREAM: &[u8] = b"EncryptedObjStm";

/// The file with the entry hidden, however it is written. Without such an entry, this is the file itself.
pub(super) fn hide_entry(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut hidden = Cow::Borrowed(bytes);
    for last in last_bytes(bytes, ENTRY) {
        // `t` or the escape of it: 74 in hex. `x` is 78.
        let byte = &mut hidden.to_mut()[last];
        *byte = if *byte == b't' { b'x' } else { b'8' };
    }
    hidden
}

/// Whether a file has the entry of an encrypted one.
pub(super) fn has_entry(bytes: &[u8]) -> bool {
    last_bytes(bytes, ENTRY).next().is_some()
}

/// Where a name's last byte is, at each place where it occurs, plain or with `#xx` escapes.
fn last_bytes(bytes: &[u8], name: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memchr_iter(b'/', bytes).filter_map(move |slash| {
        let mut at = slash;
        for expected in name {
            let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
            at += 1;
            match *bytes.get(at)? {
                b'#' if digit(at + 1)? * 16 + digit(at + 2)? == u32::from(*expected) => at += 2,
                byte if byte == *expected => {}
                _ => return None,
            }
        }
        let ends = bytes.get(at + 1).is_none_or(|next| !super::content::is_regular(*next));
        ends.then_some(at)
    })
}

/// Hides an object stream from lopdf.
pub(super) fn hide_stream(stream: &mut Stream) {
    if stream.dict.has_type(b"ObjStm") {
        stream.dict.set("Type", Object::Name(HIDDEN_STREAM.to_vec()));
    }
}

/// Decrypts a file whose entry was hidden, and reads its object streams.
///
/// # Errors
/// Poison if a password is needed, or if its objects exceed the limits.
pub(super) fn decrypt(document: &mut Document, admission: &mut Admission) -> Result<(), ExtractError> {
    if let Some(entry) = document.trailer.remove(HIDDEN_ENTRY) {
        let id = entry.as_reference().unwrap_or_else(|_| document.add_object(entry));
        document.trailer.set(ENTRY, Object::Reference(id));
        let state = EncryptionState::decode(document, "").map_err(|_| PoisonError::EncryptedPdf)?;
        document.trailer.remove(ENTRY);
        for (object_id, object) in document.objects.iter_mut().filter(|(object_id, _)| **object_id != id) {
            admission.cancel.check()?;
            // What cannot be decrypted cannot be decoded either, which its page reports.
            let _ = decrypt_object(&state, *object_id, object);
        }
    }
    let is_hidden = |object: &Object| object.as_stream().is_ok_and(|stream| stream.dict.has_type(HIDDEN_STREAM));
    let streams = document.objects.iter().filter(|(_, object)| is_hidden(object));
    for id in streams.map(|(id, _)| *id).collect::<Vec<_>>() {
        admission.cancel.check()?;
        if let Some(Object::Stream(stream)) = document.objects.remove(&id) {
            add_members(document, admission, id, &stream)?;
        }
    }
    Ok(())
}

/// Adds the members of an object stream that the cross-reference table does not place elsewhere.
fn add_members(
    document: &mut Document,
    admission: &mut Admission,
    container: ObjectId,
    stream: &Stream,
) -> Result<(), ExtractError> {
    admission.inflated.count(weigh_members(stream, admission.limit)?)?;
    let members = match ObjectStream::new_with_limit(stream, Some(MAX_LOADED_STREAM)) {
        Ok(stream) => stream.objects,
        Err(Error::Decompress(DecompressError::MemoryLimitExceeded { limit })) => {
            return Err(PoisonError::DecompressionBomb { limit }.into());
        }
        Err(_) => return Ok(()),
    };
    for (id, member) in members {
        let placed_here = match document.reference_table.get(id.0) {
            Some(XrefEntry::Compressed { container: place, .. }) => *place == container.0,
            Some(XrefEntry::Free | XrefEntry::UnusableFree) => false,
            Some(XrefEntry::Normal { .. }) | None => !document.objects.contains_key(&id),
        };
        if placed_here {
            admission.weigh(&member)?;
            document.objects.insert(id, member);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_is_hidden_however_it_is_written() {
        for (bytes, hidden) in [
            (b"<< /Encrypt 5 0 R >>".as_slice(), b"<< /Encrypx 5 0 R >>".as_slice()),
            (b"/#45ncr#79pt<<", b"/#45ncr#79px<<"),
            (b"/Encryp#74", b"/Encryp#78"),
            (b"/EncryptMetadata true", b"/EncryptMetadata true"),
            (b"Encrypt", b"Encrypt"),
            (b"/#4", b"/#4"),
            (b"/Encryp", b"/Encryp"),
        ] {
            let found = hide_entry(bytes);
            assert_eq!(found, hidden, "{}", String::from_utf8_lossy(&found));
        }
    }
}
