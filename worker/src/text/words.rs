//! Counts words. A word is a maximal run of alphanumeric Unicode characters.

/// Number of words in a text.
pub(super) fn count(text: &str) -> u64 {
    let mut inside = false;
    let mut words = 0;
    for character in text.chars() {
        let alphanumeric = character.is_alphanumeric();
        words += u64::from(alphanumeric && !inside);
        inside = alphanumeric;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits_of_any_script() {
        for (text, expected) in [
            ("", 0),
            ("-- !? --", 0),
            ("one", 1),
            ("don't stop", 3),
            ("a-b_c.d", 4),
            ("v1.36.3", 3),
            ("naïve café", 2),
            ("日本語 テキスト", 2),
            ("x²+y²", 2),
        ] {
            assert_eq!(count(text), expected, "{text:?}");
        }
    }
}
