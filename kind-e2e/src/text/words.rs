//! Words, and the hash of their order.
//!
//! A word is a maximal run of alphanumeric characters. The hash is over all of them in their order. So passages in
//! another order give another hash, as do another document's text of the same length and one changed word.

use sha2::{Digest, Sha256};

/// Counts and hashes the words of text that comes in pieces.
#[derive(Debug, Clone, Default)]
pub struct Words {
    count: u64,
    hash: Sha256,
    word: String,
}

impl Words {
    /// Adds text. It continues the word before it, unless a boundary comes between.
    pub fn push(&mut self, text: &str) {
        for character in text.chars() {
            if character.is_alphanumeric() {
                self.word.push(character);
            } else {
                self.boundary();
            }
        }
    }

    /// Ends the word, if there is one.
    pub fn boundary(&mut self) {
        if self.word.is_empty() {
            return;
        }
        self.count += 1;
        self.hash.update(self.word.as_bytes());
        self.hash.update(b"\n");
        self.word.clear();
    }

    /// The number of words, and SHA-256 in hex over them, each followed by a line feed.
    pub fn finish(mut self) -> (u64, String) {
        self.boundary();
        (self.count, hex::encode(self.hash.finalize()))
    }
}

/// Number and hash of the words of stored passages, which come in the order of their ordinals.
///
/// A passage ends a word: the contract cuts passages between words only.
pub fn words_sequence_of_passages<'a>(texts: impl Iterator<Item = &'a str>) -> (u64, String) {
    let mut words = Words::default();
    for text in texts {
        words.push(text);
        words.boundary();
    }
    words.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequence(texts: &[&str]) -> (u64, String) {
        words_sequence_of_passages(texts.iter().copied())
    }

    #[test]
    fn the_hash_is_over_words_and_line_feeds() {
        let hash = |text: &[u8]| hex::encode(Sha256::digest(text));
        for (text, count, hashed) in [
            ("", 0, ""),
            ("-- !? --", 0, ""),
            ("one", 1, "one\n"),
            ("don't stop", 3, "don\nt\nstop\n"),
            ("v1.36.3", 3, "v1\n36\n3\n"),
            (" naïve,\ncafé ", 2, "naïve\ncafé\n"),
            ("日本語 x²", 2, "日本語\nx²\n"),
        ] {
            assert_eq!(sequence(&[text]), (count, hash(hashed.as_bytes())), "{text:?}");
        }
    }

    #[test]
    fn another_order_another_word_and_a_missing_one_give_another_hash() {
        let right = sequence(&["one two.", "three four"]);
        assert_eq!(right, sequence(&["one two", "three, four"]));
        for (passages, why) in [
            (["three four", "one two"], "passages in another order"),
            (["two one", "three four"], "words in another order"),
            (["one two", "three fear"], "another word"),
            (["one two", "threefour"], "two words as one"),
            (["one two", "three"], "a missing word"),
            (["One two", "three four"], "another case"),
        ] {
            assert_ne!(right, sequence(&passages), "{why}");
        }
    }

    proptest! {
        #[test]
        fn where_text_is_cut_between_words_makes_no_difference(
            pieces in proptest::collection::vec("\\PC{0,20}", 0..8),
        ) {
            let texts: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(sequence(&texts), sequence(&[&pieces.join(" ")]));
        }

        #[test]
        fn pieces_without_a_boundary_are_one_text(pieces in proptest::collection::vec("\\PC{0,20}", 0..8)) {
            let mut words = Words::default();
            pieces.iter().for_each(|piece| words.push(piece));
            prop_assert_eq!(words.finish(), sequence(&[&pieces.concat()]));
        }
    }
}
