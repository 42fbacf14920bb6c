//! ToUnicode maps from a font's codes to characters. lopdf has such maps too, but expands every range, and one
//! hostile range can have four billion codes. Here a range stays a range.

use super::content::{Token, Tokens};

/// Maximum number of ranges and single codes: every two-byte code, once.
const MAX_ENTRIES: usize = 1 << 16;

/// Maximum bytes of a map that are read. The largest ordinary maps have some hundred thousand.
const MAX_BYTES: usize = 2 << 20;

/// Maximum UTF-16 units of one code: a ligature has three or four.
const MAX_TARGET_UNITS: usize = 16;

/// A map from codes to characters.
#[derive(Debug, Default)]
pub(super) struct CMap {
    /// Sorted by the first code.
    entries: Vec<Entry>,
    /// The targets of all entries in UTF-16, concatenated.
    units: Vec<u16>,
}

/// Codes from `first` to `last`. A code's characters are the target, with the distance from `first` added to the
/// last unit.
#[derive(Debug, Clone, Copy)]
struct Entry {
    first: u32,
    last: u32,
    target: u32,
    length: u8,
}

impl CMap {
    /// Parses a map. Invalid parts are ignored.
    pub(super) fn parse(stream: &[u8]) -> Self {
        let mut map = Self::default();
        let mut operands = Vec::new();
        for token in Tokens::of(&stream[..stream.len().min(MAX_BYTES)]) {
            match token {
                Token::Operator(b"endbfchar") => map.characters(&operands),
                Token::Operator(b"endbfrange") => map.ranges(&operands),
                Token::Operator(_) => {}
                operand => {
                    operands.push(operand);
                    continue;
                }
            }
            operands.clear();
        }
        map.entries.sort_by_key(|entry| entry.first);
        map
    }

    /// Memory of the map, in entries.
    pub(super) fn weight(&self) -> usize {
        self.entries.len()
    }

    /// The characters of a code.
    pub(super) fn get(&self, code: u32) -> Option<String> {
        /// Entries that are searched backwards: a code may be in a range that begins before some single codes.
        const OVERLAPPING: usize = 8;
        let after = self.entries.partition_point(|entry| entry.first <= code);
        let before = self.entries[..after].iter().rev().take(OVERLAPPING);
        let entry = before.copied().find(|entry| entry.last >= code)?;
        let start = entry.target as usize;
        let mut units = self.units.get(start..start + usize::from(entry.length))?.to_vec();
        let last = units.last_mut()?;
        *last = u16::try_from(u32::from(*last).checked_add(code - entry.first)?).ok()?;
        String::from_utf16(&units).ok()
    }

    fn characters(&mut self, operands: &[Token<'_>]) {
        for pair in operands.chunks_exact(2) {
            if let [Token::String(code), Token::String(target)] = pair {
                let code = number(code);
                self.add(code, code, target);
            }
        }
    }

    fn ranges(&mut self, operands: &[Token<'_>]) {
        let mut operands = operands.iter();
        while let (Some(Token::String(first)), Some(Token::String(last))) = (operands.next(), operands.next()) {
            let (first, last) = (number(first), number(last));
            match operands.next() {
                Some(Token::String(target)) => self.add(first, last, target),
                Some(Token::ArrayStart) => {
                    let mut code = first;
                    for operand in operands.by_ref() {
                        match operand {
                            Token::String(target) if code <= last => {
                                self.add(code, code, target);
                                code = code.saturating_add(1);
                            }
                            Token::ArrayEnd => break,
                            _ => {}
                        }
                    }
                }
                _ => return,
            }
        }
    }

    fn add(&mut self, first: u32, last: u32, target: &[u8]) {
        if self.entries.len() >= MAX_ENTRIES || target.is_empty() || last < first {
            return;
        }
        let start = self.units.len();
        let units = target.chunks(2).map(|pair| match *pair {
            [high, low] => u16::from_be_bytes([high, low]),
            [single] => u16::from(single),
            _ => 0,
        });
        self.units.extend(units.take(MAX_TARGET_UNITS));
        let (Ok(target), Ok(length)) = (u32::try_from(start), u8::try_from(self.units.len() - start)) else {
            return;
        };
        self.entries.push(Entry { first, last, target, length });
    }
}

/// A code of up to four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |code: u32, byte| code << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAP: &[u8] = b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap
        1 begincodespacerange <0000> <FFFF> endcodespacerange
        2 beginbfchar <0003> <0020> <0011> <00660069> endbfchar
        3 beginbfrange <0024> <0026> <0041> <0030> <0031> [<0061> <D83DDE00>] <0040> <0041> <00390041>
        endbfrange endcmap";

    fn get(code: u32) -> Option<String> {
        CMap::parse(MAP).get(code)
    }

    #[test]
    fn codes_ranges_and_arrays_are_looked_up() {
        for (code, shown) in [
            (0x03, Some(" ")),
            (0x11, Some("fi")),
            (0x24, Some("A")),
            (0x26, Some("C")),
            (0x27, None),
            (0x30, Some("a")),
            (0x31, Some("😀")),
            (0x41, Some("9B")),
            (0x42, None),
        ] {
            assert_eq!(get(code).as_deref(), shown, "{code:#x}");
        }
    }

    #[test]
    fn a_range_of_all_codes_takes_one_entry() {
        let map = CMap::parse(b"<00000000> <FFFFFFFF> <0041> endbfrange");
        assert_eq!((map.weight(), map.get(1).as_deref(), map.get(u32::MAX)), (1, Some("B"), None));
    }

    #[test]
    fn an_array_with_more_targets_than_codes_does_not_break_the_next_range() {
        let map = CMap::parse(b"<01> <01> [<0061> <0062> <0063>] <05> <05> <0064> endbfrange");
        assert_eq!((map.get(1).as_deref(), map.get(5).as_deref()), (Some("a"), Some("d")));
    }

    proptest! {
        #[test]
        fn any_input_gives_a_map(stream in "([<>\\[\\]0-9A-F ]{0,12}(endbfrange|endbfchar|endcodespacerange)?){0,12}", code: u32) {
            let map = CMap::parse(stream.as_bytes());
            let _ = (map.get(code), map.get(code % 300));
            prop_assert!(map.weight() <= stream.len());
        }
    }
}
