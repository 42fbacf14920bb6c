//! UTF-16 and UTF-32: with the byte order mark of UTF-32, which the Encoding Standard does not know, or without any.
//!
//! Text in these charsets is full of zero bytes, and so is binary data. What tells them apart is that a text, read in
//! the right byte order, has no control characters, no private characters and no lone surrogates.

use super::charset::is_control;

/// Bytes that are examined for zeros. A text in any script has spaces and line ends in them.
const SAMPLE_BYTES: usize = 4096;

/// A charset of two or four bytes a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wide {
    unit: usize,
    little: bool,
    /// Length of the byte order mark.
    mark: usize,
}

impl Wide {
    /// The charset of a document, if it is UTF-32, or UTF-16 without a byte order mark.
    pub(super) fn detect(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xff, 0xfe, 0, 0, ..] => return Some(Self { unit: 4, little: true, mark: 4 }),
            [0, 0, 0xfe, 0xff, ..] => return Some(Self { unit: 4, little: false, mark: 4 }),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0xef, 0xbb, 0xbf, ..] => return None,
            _ => {}
        }
        let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
        if !sample.contains(&0) {
            return None;
        }
        let orders = [4, 2].into_iter().flat_map(|unit| [true, false].map(|little| Self { unit, little, mark: 0 }));
        let likely = orders.filter_map(|wide| wide.evidence(bytes, sample).map(|evidence| (evidence, wide)));
        likely.max_by_key(|(evidence, _)| *evidence).map(|(_, wide)| wide)
    }

    /// The charset's name: for UTF-16 in the Encoding Standard, which has no UTF-32.
    pub(super) fn name(self) -> &'static str {
        match (self.unit, self.little) {
            (4, true) => "UTF-32LE",
            (4, false) => "UTF-32BE",
            (_, true) => "UTF-16LE",
            (_, false) => "UTF-16BE",
        }
    }

    /// The text without its byte order mark; `None` if it is not text in this charset.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<String> {
        let bytes = bytes.get(self.mark..)?;
        if !bytes.len().is_multiple_of(self.unit) {
            return None;
        }
        let characters = self.characters(bytes);
        let mut text = String::with_capacity(bytes.len() / 2);
        for character in characters {
            text.push(character.filter(|character| is_text(*character))?);
        }
        Some(text)
    }

    /// The characters; `None` for what is none.
    fn characters(self, bytes: &[u8]) -> Box<dyn Iterator<Item = Option<char>> + '_> {
        let units = self.units(bytes);
        match self.unit {
            4 => Box::new(units.map(char::from_u32)),
            _ => {
                let units = units.map(|unit| u16::try_from(unit).unwrap_or_default());
                Box::new(char::decode_utf16(units).map(Result::ok))
            }
        }
    }

    fn units(self, bytes: &[u8]) -> impl Iterator<Item = u32> {
        bytes.chunks_exact(self.unit).map(move |unit| {
            let join = |value: u32, byte: &u8| value << 8 | u32::from(*byte);
            if self.little { unit.iter().rev().fold(0, join) } else { unit.iter().fold(0, join) }
        })
    }

    /// How well the start of a document fits: the number of blanks, then of characters of Latin-1. `None` if it is
    /// not text in this charset.
    fn evidence(self, bytes: &[u8], sample: &[u8]) -> Option<(usize, usize)> {
        if !bytes.len().is_multiple_of(self.unit) {
            return None;
        }
        let sample = &sample[..sample.len() / self.unit * self.unit];
        // The sample may end within a surrogate pair.
        let last = self.units(sample).last().is_some_and(|unit| (0xd800..0xdc00).contains(&unit));
        let sample = &sample[..sample.len() - if last { self.unit } else { 0 }];
        if !self.characters(sample).all(|character| character.is_some_and(is_text)) {
            return None;
        }
        let count = |belongs: fn(u32) -> bool| self.units(sample).filter(|unit| belongs(*unit)).count();
        let (blanks, latin) = (count(|unit| matches!(unit, 9..=13 | 32)), count(|unit| unit < 0x100));
        let mostly = |count: usize| 2 * count >= sample.len() / self.unit;
        // A text in any script has a blank, a digit or a point. Small numbers in binary data have none. A text in one
        // byte a character with a stray zero has pairs that happen to be ideographs.
        let one_byte = || sample.iter().all(|byte| *byte == 0 || (byte.is_ascii() && !is_control(char::from(*byte))));
        let plausible = match self.unit {
            4 => mostly(count(|unit| unit < 0x1_0000)),
            _ => latin > 0 && (mostly(latin) || !one_byte()),
        };
        plausible.then_some((blanks, latin))
    }
}

/// Whether text has this character: no control, private or unassigned one.
fn is_text(character: char) -> bool {
    let private = matches!(character, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}');
    let no_character = u32::from(character) & 0xfffe == 0xfffe || matches!(character, '\u{fdd0}'..='\u{fdef}');
    !private && !no_character && !is_control(character)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Wide; 4] = [
        Wide { unit: 2, little: true, mark: 0 },
        Wide { unit: 2, little: false, mark: 0 },
        Wide { unit: 4, little: true, mark: 0 },
        Wide { unit: 4, little: false, mark: 0 },
    ];

    fn encoded(wide: Wide, text: &str) -> Vec<u8> {
        let units: Vec<u32> = match wide.unit {
            4 => text.chars().map(u32::from).collect(),
            _ => text.encode_utf16().map(u32::from).collect(),
        };
        let bytes = units.into_iter().map(|unit| match (wide.unit, wide.little) {
            (4, true) => unit.to_le_bytes().to_vec(),
            (4, false) => unit.to_be_bytes().to_vec(),
            (_, true) => unit.to_le_bytes()[..2].to_vec(),
            (_, false) => unit.to_be_bytes()[2..].to_vec(),
        });
        bytes.collect::<Vec<_>>().concat()
    }

    #[test]
    fn text_in_many_scripts_is_detected_in_both_byte_orders() {
        for text in [
            "The tide rises and falls twice a day.\r\n",
            "Le café était fermé à Noël; là-bas, on préférait déjà l'été.",
            "Приливы и отливы сменяются дважды в сутки.\n",
            "Η παλίρροια ανεβαίνει και κατεβαίνει δύο φορές την ημέρα.",
            "潮の満ち引きは一日に二回起こります。\n月の引力が海水を引き寄せるためです。\n",
            "조수는 하루에 두 번 오르내립니다. 달의 인력 때문입니다.",
            "المد والجزر يحدثان مرتين في اليوم.",
            "😀 emoji need two units of UTF-16",
        ] {
            for wide in ALL {
                let bytes = encoded(wide, text);
                assert_eq!(Wide::detect(&bytes), Some(wide), "{text}");
                assert_eq!(wide.decode(&bytes).as_deref(), Some(text));
            }
        }
    }

    #[test]
    fn utf32_is_known_by_its_byte_order_mark() {
        for (bytes, name) in
            [(b"\xff\xfe\0\0h\0\0\0i\0\0\0".as_slice(), "UTF-32LE"), (b"\0\0\xfe\xff\0\0\0h\0\0\0i", "UTF-32BE")]
        {
            let wide = Wide::detect(bytes).unwrap();
            assert_eq!((wide.name(), wide.decode(bytes).as_deref()), (name, Some("hi")));
        }
    }

    #[test]
    fn other_text_and_binary_data_are_not_wide() {
        for bytes in [
            b"plain text".as_slice(),
            b"text\0binary!",
            b"a line\nanother line\0\0",
            b"fixed\0\0\0width\0\0\0",
            b"\x01\0\x02\0\x03\0\x04\0",
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0\x01\0\0\0",
            b"\xff\xfeh\0i\0",
            b"h\0i",
            b"",
        ] {
            assert_eq!(Wide::detect(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(wide) = Wide::detect(&bytes) {
                prop_assert!(wide.decode(&bytes).is_none_or(|text| !text.contains('\0')));
            }
        }

        #[test]
        fn latin_text_is_read_back(text in "[a-zA-Z à-ÿ.\n]{1,300} end", order in 0_usize..4) {
            let bytes = encoded(ALL[order], &text);
            prop_assert_eq!(Wide::detect(&bytes).and_then(|wide| wide.decode(&bytes)), Some(text));
        }
    }
}
