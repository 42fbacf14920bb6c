//! The language of a text and the confidence, from its letters and trigrams (whatlang).

use serde::{Deserialize, Serialize};

/// Minimum number of letters. whatlang compares profiles of trigrams, and a title has too few of them.
const MIN_LETTERS: usize = 40;

/// Maximum bytes that are examined. More text takes more time and does not change the result.
const SAMPLE_BYTES: usize = 16 << 10;

/// The language of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Language {
    /// ISO 639-3 code, for example `eng`.
    pub code: String,
    /// Confidence in percent. Below 90, another language is nearly as likely.
    pub confidence: u8,
}

/// The language of a text; `None` if the text has too few letters.
pub(super) fn detect(text: &str) -> Option<Language> {
    let sample = &text[..text.floor_char_boundary(SAMPLE_BYTES)];
    let letters = sample.chars().filter(|character| character.is_alphabetic());
    if letters.take(MIN_LETTERS).count() < MIN_LETTERS {
        return None;
    }
    let found = whatlang::detect(sample)?;
    Some(Language { code: found.lang().code().to_owned(), confidence: percent(found.confidence()) })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100")]
fn percent(share: f64) -> u8 {
    (share * 100.0).round().clamp(0.0, 100.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<String> {
        detect(text).map(|language| language.code)
    }

    #[test]
    fn languages_of_several_scripts_are_detected() {
        for (text, expected) in [
            ("The quick brown fox jumps over the lazy dog while the others are watching from afar.", "eng"),
            ("Der schnelle braune Fuchs springt über den faulen Hund, während die anderen zuschauen.", "deu"),
            ("Le renard brun et rapide saute par-dessus le chien paresseux pendant que les autres regardent.", "fra"),
            ("Быстрая коричневая лиса прыгает через ленивую собаку, пока остальные смотрят издалека.", "rus"),
            (
                "いろはにほへと散りぬるを我が世誰ぞ常ならむ有為の奥山今日越えて浅き夢見じ酔ひもせず。これは日本語の文章です。",
                "jpn",
            ),
        ] {
            assert_eq!(code(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_short_text_and_one_without_letters_have_none() {
        assert_eq!(code("Hello, world"), None);
        assert_eq!(code(&"1234 ".repeat(100)), None);
        assert_eq!(code(""), None);
    }

    #[test]
    fn the_confidence_is_a_percentage() {
        for (share, expected) in [(0.0, 0), (0.994, 99), (1.0, 100), (7.0, 100), (f64::NAN, 0)] {
            assert_eq!(percent(share), expected, "{share}");
        }
    }
}
