//! The locks and the pins. What is read and written again is read as the same, and is written the same.

use std::fmt::Debug;

use bundle::{debian::Lock, outputs::Outputs, pins::Pins};

use crate::Outcome;

pub(crate) fn debian(bytes: &[u8]) -> Outcome {
    is_read_again(bytes, Lock::parse, Lock::render)
}

pub(crate) fn outputs(bytes: &[u8]) -> Outcome {
    is_read_again(bytes, Outputs::parse, Outputs::render)
}

/// Pins are written by hand, so serde writes them here.
pub(crate) fn pins(bytes: &[u8]) -> Outcome {
    let written = |text: &str| Pins::parse(text).map(|pins| toml::to_string(&pins).unwrap());
    is_read_again(bytes, written, String::clone)
}

fn is_read_again<T: PartialEq + Debug>(
    bytes: &[u8],
    parse: impl Fn(&str) -> anyhow::Result<T>,
    render: impl Fn(&T) -> String,
) -> Outcome {
    let Some(Ok(lock)) = std::str::from_utf8(bytes).ok().map(&parse) else { return Outcome::Refused };
    let text = render(&lock);
    let again = parse(&text).unwrap_or_else(|error| panic!("{error:?} in\n{text}"));
    assert_eq!((&again, render(&again)), (&lock, text));
    Outcome::Read
}
