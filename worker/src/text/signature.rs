//! A signature for finding near-duplicates: a 64-bit SimHash over shingles of three words.
//!
//! SimHash takes one `bigint` per document, and SQL compares two documents by the number of different bits
//! (`bit_count`). MinHash estimates the overlap better, but takes dozens of times the space, and finding
//! near-duplicates needs no estimate. The definition is fixed (docs/documents.md): a change would invalidate every
//! stored signature, so the tests compare with fixed values.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Words in a shingle.
const SHINGLE: usize = 3;

/// A signature. Similar texts differ in few bits, unrelated ones in about half of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub u64);

impl Signature {
    /// Number of different bits, 0 to 64. One changed word in a thousand changes one or two bits, and unrelated
    /// texts differ in about
    /// 32. A distance of up to 6 indicates a near-duplicate.
    #[must_use]
    pub fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

// Hex in JSON, because some readers lose precision above 2^53.
impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(D::Error::custom)
    }
}

/// The signature of a text; `None` without words. A text of one or two words is one shingle.
pub(super) fn of(text: &str) -> Option<Signature> {
    let mut tally = [0_i64; 64];
    let mut window = [0_u64; SHINGLE];
    let mut tokens = 0_usize;
    for_each_token(text, |hash| {
        window.rotate_left(1);
        window[SHINGLE - 1] = hash;
        tokens += 1;
        if tokens >= SHINGLE {
            count(&mut tally, shingle(&window));
        }
    });
    if (1..SHINGLE).contains(&tokens) {
        count(&mut tally, shingle(&window[SHINGLE - tokens..]));
    }
    (tokens > 0).then(|| Signature(majority(&tally)))
}

/// Calls `each` with the hash of each token: a word in lower case, or one character of a script without spaces.
fn for_each_token(text: &str, mut each: impl FnMut(u64)) {
    let mut word: Option<Fnv> = None;
    for character in text.chars() {
        if !character.is_alphanumeric() || is_ideographic(character) {
            if let Some(ended) = word.take() {
                each(ended.0);
            }
            if is_ideographic(character) {
                each(Fnv::default().with_char(character).0);
            }
            continue;
        }
        let begun = word.unwrap_or_default();
        word = Some(character.to_lowercase().fold(begun, Fnv::with_char));
    }
    if let Some(ended) = word {
        each(ended.0);
    }
}

/// Kana and Han.
fn is_ideographic(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
}

fn shingle(tokens: &[u64]) -> u64 {
    let bytes = tokens.iter().flat_map(|token| token.to_le_bytes());
    mix(bytes.fold(Fnv::default(), Fnv::with_byte).0)
}

fn count(tally: &mut [i64; 64], hash: u64) {
    for (bit, sum) in tally.iter_mut().enumerate() {
        *sum += if hash >> bit & 1 == 1 { 1 } else { -1 };
    }
}

fn majority(tally: &[i64; 64]) -> u64 {
    let bits = tally.iter().enumerate().filter(|(_, sum)| **sum > 0);
    bits.fold(0, |signature, (bit, _)| signature | 1 << bit)
}

/// FNV-1a of 64 bits.
#[derive(Clone, Copy)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn with_byte(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    fn with_char(self, character: char) -> Self {
        let mut buffer = [0; 4];
        character.encode_utf8(&mut buffer).bytes().fold(self, Self::with_byte)
    }
}

/// The finaliser of MurmurHash3. The high bits of FNV alone are too similar for a vote per bit.
fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pseudo-random words, the same in every run.
    fn text(words: usize, seed: u64) -> Vec<String> {
        (0..words as u64).map(|index| format!("w{}", mix(seed.wrapping_mul(1_000_003) + index) % 5_000)).collect()
    }

    fn signature(words: &[String]) -> Signature {
        of(&words.join(" ")).unwrap()
    }

    #[test]
    fn the_definition_does_not_change_between_releases() {
        for (text, expected) in [
            ("one", "138a0385c96fa640"),
            ("one two", "0995df61be72d7ef"),
            ("The quick brown fox jumps over the lazy dog", "9b23a51657046f95"),
            ("日本語のテキスト", "146d432241110024"),
        ] {
            assert_eq!(of(text).unwrap().to_string(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_text_without_words_has_no_signature() {
        assert_eq!(of(""), None);
        assert_eq!(of("— !?"), None);
    }

    #[test]
    fn case_white_space_and_punctuation_do_not_matter() {
        assert_eq!(of("One, two;\n THREE four"), of("one two three (four)"));
        assert_ne!(of("one two three four"), of("four three two one"));
    }

    #[test]
    fn the_json_is_hex() {
        let json = serde_json::to_string(&Signature(0xab)).unwrap();
        assert_eq!(json, "\"00000000000000ab\"");
        assert_eq!(serde_json::from_str::<Signature>(&json).unwrap(), Signature(0xab));
        assert!(serde_json::from_str::<Signature>("\"x\"").is_err());
    }

    proptest! {
        #[test]
        fn similar_texts_have_a_small_distance(seed in 0_u64..1_000_000, at in 0_usize..1_990) {
            let original = text(2_000, seed);
            let mut edited = original.clone();
            edited[at] = "edited".into();
            edited.remove(at + 5);
            prop_assert!(signature(&original).distance(signature(&edited)) <= 10);
        }

        #[test]
        fn different_texts_have_a_large_distance(seed in 0_u64..1_000_000) {
            let (one, other) = (text(1_000, seed), text(1_000, seed + 1_000_000));
            prop_assert!(signature(&one).distance(signature(&other)) >= 12);
        }

        #[test]
        fn any_text_with_a_word_has_a_signature(text in "\\PC{0,80}") {
            prop_assert_eq!(of(&text).is_some(), super::super::words::count(&text) > 0);
        }
    }
}
