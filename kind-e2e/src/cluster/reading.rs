//! One reading of one source. A reading that failed is a gap with its reason, never a zero.

use serde::{Deserialize, Serialize};

/// One reading of one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading<T> {
    /// The source answered.
    Seen(T),
    /// The source did not answer, or its answer could not be understood. Holds the reason.
    Gap(String),
}

impl<T> Reading<T> {
    /// The value, if there is one.
    pub fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(value) => Some(value),
            Self::Gap(_) => None,
        }
    }
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self::Gap("not read".to_owned())
    }
}

impl<T> From<anyhow::Result<T>> for Reading<T> {
    fn from(result: anyhow::Result<T>) -> Self {
        match result {
            Ok(value) => Self::Seen(value),
            Err(error) => Self::Gap(format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_survives_the_file_and_is_no_number() {
        let reading = Reading::<u64>::from(Err(anyhow::anyhow!("refused").context("reading documents")));
        let text = serde_json::to_string(&reading).unwrap();
        assert_eq!(text, r#"{"gap":"reading documents: refused"}"#);
        assert_eq!(serde_json::from_str::<Reading<u64>>(&text).unwrap(), reading);
        assert_eq!(reading.seen(), None);
    }
}
