//! Estimates the maximum memory of a PDF object from its text, without parsing it.
//!
//! lopdf turns each number of an array into a value of more than a hundred bytes, so 30 MB of zeros become 2 GB.
//! Parsing one object cannot be interrupted, so every place where an object may begin is checked before. The
//! estimate errs upwards: whatever lopdf could read as the beginning of a value counts as a value.

use lopdf::Object;

use super::content::{is_regular, is_space};

/// Memory of a value and its overhead.
const VALUE: usize = size_of::<Object>() + 16;

/// Memory of a vector's initial capacity.
const ARRAY: usize = 4 * size_of::<Object>();

/// Memory of a dictionary, which has a table, and a key per value.
const DICTIONARY: usize = 2 * ARRAY;

/// The estimated memory of an object, and the number of bytes read.
pub(super) struct Weight {
    pub(super) memory: usize,
    pub(super) read: usize,
}

/// Estimates the object at the start of a text. It ends with its last bracket, or where no object can continue.
pub(super) fn at_most(text: &[u8]) -> Weight {
    let mut memory = 0_usize;
    let mut at = 0;
    let mut open = 0_usize;
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        let doubled = rest.get(1) == Some(&byte);
        let (value, length) = match byte {
            b'(' => (VALUE, literal(rest)),
            b'<' if doubled => (VALUE + DICTIONARY, 2),
            b'<' => (VALUE, until(rest, |byte| byte == b'>') + 1),
            b'[' => (VALUE + ARRAY, 1),
            b'/' => (VALUE, 1 + until(&rest[1..], |byte| !is_regular(byte))),
            b'%' => (0, until(rest, |byte| matches!(byte, b'\r' | b'\n'))),
            b'>' if doubled => (0, 2),
            b'0'..=b'9' => (VALUE, until(rest, |byte| !byte.is_ascii_digit())),
            b'+' | b'-' | b'.' | b't' | b'f' | b'n' => (VALUE, 1),
            // The rest of `true`, `false` or `null`, and the `R` of a reference.
            b'a' | b'e' | b'l' | b'r' | b's' | b'u' | b'R' | b']' => (0, 1),
            other if is_space(other) => (0, 1),
            _ => break,
        };
        memory = memory.saturating_add(value);
        at += length;
        match byte {
            b'[' => open += 1,
            b'<' if doubled => open += 1,
            b']' => open = open.saturating_sub(1),
            b'>' => open = open.saturating_sub(1),
            _ => {}
        }
        // A number that begins a reference is counted as one value.
        if open == 0 && memory > 0 {
            break;
        }
    }
    Weight { memory, read: at.min(text.len()) }
}

/// Whether `obj` after this text begins an object: two numbers must precede it, possibly with comments between.
pub(super) fn is_header(before: &[u8]) -> bool {
    let number_before = |text| -> Option<&[u8]> {
        let text = without_space(text);
        let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        (digits > 0).then(|| &text[..text.len() - digits])
    };
    number_before(before).and_then(number_before).is_some()
}

/// Removes white space and comments at the end.
fn without_space(text: &[u8]) -> &[u8] {
    let mut text = text;
    loop {
        let length = text.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
        let (kept, space) = text.split_at(length);
        let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let line = kept.iter().rposition(is_line_end).map_or(0, |end| end + 1);
        let comment = kept[line..].iter().position(|byte| *byte == b'%');
        match comment {
            Some(comment) if space.iter().any(is_line_end) => text = &kept[..line + comment],
            _ => return kept,
        }
    }
}

/// Length of a literal string, with its parentheses.
fn literal(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' if depth == 1 => return at + 1,
            b')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

fn until(text: &[u8], ends: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|byte| ends(*byte)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> usize {
        at_most(text).read
    }

    #[test]
    fn an_object_ends_where_no_object_can_continue() {
        for (text, end) in [
            (b"<< /A [1 0 R true null] >>\nendobj\n2 0 obj".as_slice(), 26),
            (b" % a\n<< /Length 5 >> stream\nhello", 20),
            (b"[(] (]) \\) ]) <5D> /] % ]\n ] 1", 21),
            (b"[1 2 3 obj", 7),
            (b"12 0 R", 2),
            (b"null", 1),
            (b"(open", 5),
            (b"<", 1),
            (b"", 0),
        ] {
            assert_eq!(read(text), end, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn every_notation_of_many_values_counts() {
        for values in
            ["0 ", "-0", ".0", "0-0-", "[]", "[0]", "()", "<>", "/", "/a", "null", "nullnull", "true", "<<>>", "0 0 R "]
        {
            let text = format!("[{}]", values.repeat(1_000));
            let weight = at_most(text.as_bytes()).memory;
            assert!(weight >= 1_000 * VALUE, "{values:?}: {weight}");
        }
        assert!(
            at_most(format!("[{}]", "[0]".repeat(100)).as_bytes()).memory >= 100 * (2 * size_of::<Object>() + ARRAY)
        );
    }

    #[test]
    fn a_header_is_two_numbers_with_anything_blank_between_them() {
        for (before, header) in [
            (b"1 0 ".as_slice(), true),
            (b"endobj\n12 0", true),
            (b"1 % one\r\n0 % zero\n\n", true),
            (b"1 % 5 % x\n0 ", true),
            (b"end", false),
            (b"10", false),
            (b"\x8a 0 ", false),
            (b"", false),
        ] {
            assert_eq!(is_header(before), header, "{}", String::from_utf8_lossy(before));
        }
    }
}
