//! Passages for retrieval: pieces of the text with about a given number of words, which cover it once, in order.
//!
//! A cut is at the end of a block if one is near, else between two words. So the words of the passages add up to
//! the words of the text, and equal texts give equal passages with equal hashes.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Cancel, cancel::Cancelled, words};

/// One piece of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Position in the document, from 0.
    pub ordinal: u32,
    /// The text, without white space around it.
    pub text: String,
    /// Words in the text.
    pub words: u32,
    /// SHA-256 of the text, in hex.
    pub sha256: String,
}

/// Cuts a text into passages.
pub(super) fn cut(text: &str, target_words: usize, cancel: &Cancel) -> Result<Vec<Passage>, Cancelled> {
    let mut passages = Vec::new();
    let mut start = 0;
    for end in boundaries(text, target_words).chain([text.len()]) {
        cancel.check()?;
        let piece = text[start..end].trim();
        start = end;
        if !piece.is_empty() {
            passages.push(passage(passages.len(), piece));
        }
    }
    Ok(passages)
}

fn passage(ordinal: usize, text: &str) -> Passage {
    Passage {
        ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
        text: text.to_owned(),
        words: u32::try_from(words::count(text)).unwrap_or(u32::MAX),
        sha256: hex::encode(Sha256::digest(text)),
    }
}

/// Positions of the cuts. From three quarters of the target on, the end of a block is a cut. From the target on,
/// white space is one too, and from five quarters on any gap between words. The last rule limits a long line
/// without white space.
fn boundaries(text: &str, target: usize) -> impl Iterator<Item = usize> + '_ {
    let near = target - target / 4;
    let far = target + target / 4;
    let mut words = 0;
    let mut inside = false;
    text.char_indices().filter_map(move |(index, character)| {
        let alphanumeric = character.is_alphanumeric();
        words += usize::from(alphanumeric && !inside);
        inside = alphanumeric;
        let cut = !alphanumeric
            && ((words >= near && character == '\n') || (words >= target && character.is_whitespace()) || words >= far);
        if cut {
            words = 0;
        }
        cut.then_some(index)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str, target_words: usize) -> Vec<Passage> {
        super::cut(text, target_words, &Cancel::default()).unwrap()
    }

    fn without_white_space(text: &str) -> String {
        text.split_whitespace().collect()
    }

    proptest! {
        #[test]
        fn passages_cover_the_text_once_and_in_order(text in "(\\PC{0,12}[ \n,.a-z]){0,120}", target in 1_usize..40) {
            let passages = cut(&text, target);
            let total: u64 = passages.iter().map(|passage| u64::from(passage.words)).sum();
            prop_assert_eq!(total, words::count(&text));
            let joined: String = passages.iter().map(|passage| without_white_space(&passage.text)).collect();
            prop_assert_eq!(joined, without_white_space(&text));
            let longest = target + target / 4;
            for (ordinal, passage) in passages.iter().enumerate() {
                prop_assert_eq!(passage.ordinal as usize, ordinal);
                prop_assert!(!passage.text.is_empty());
                prop_assert!(passage.words as usize <= longest);
                prop_assert_eq!(&passage.sha256, &hex::encode(Sha256::digest(&passage.text)));
            }
        }
    }

    #[test]
    fn a_cut_prefers_the_end_of_a_block() {
        let block = |words: usize| vec!["word"; words].join(" ");
        let text = format!("{}\n{}", block(160), block(100));
        let sizes: Vec<u32> = cut(&text, 200).iter().map(|passage| passage.words).collect();
        assert_eq!(sizes, [160, 100]);
    }

    #[test]
    fn a_long_block_is_cut_at_the_target() {
        let text = vec!["word"; 450].join(" ");
        let sizes: Vec<u32> = cut(&text, 200).iter().map(|passage| passage.words).collect();
        assert_eq!(sizes, [200, 200, 50]);
    }

    #[test]
    fn a_cancelled_cut_stops() {
        let cancel = Cancel::default();
        cancel.cancel();
        assert_eq!(super::cut("one two", 200, &cancel), Err(Cancelled));
    }

    #[test]
    fn a_text_without_words_is_kept_and_an_empty_one_is_not() {
        assert_eq!(cut("—", 200).len(), 1);
        assert!(cut("", 200).is_empty());
    }
}
