//! Amounts of memory in the notation of Kubernetes.

use anyhow::{Context, Result};

const BINARY: [(&str, f64); 4] = [
    ("Ki", 1024.0),
    ("Mi", 1024.0 * 1024.0),
    ("Gi", 1024.0 * 1024.0 * 1024.0),
    ("Ti", 1024.0 * 1024.0 * 1024.0 * 1024.0),
];
const DECIMAL: [(&str, f64); 4] = [("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)];

/// Parses an amount of memory, such as `300Mi`, `1.5Gi`, `500M` or `1048576`, into bytes.
///
/// # Errors
/// The text is not an amount of memory, or the amount is below one byte.
pub fn bytes(text: &str) -> Result<u64> {
    let unit = BINARY.iter().chain(&DECIMAL).find(|(suffix, _)| text.ends_with(suffix));
    let (number, factor) = unit.map_or((text, 1.0), |(suffix, factor)| (text.trim_end_matches(suffix), *factor));
    number
        .parse::<f64>()
        .ok()
        .map(|number| number * factor)
        .filter(|bytes| bytes.is_finite() && *bytes >= 1.0)
        .map(|bytes| bytes as u64)
        .with_context(|| format!("{text:?} is no amount of memory: write 300Mi, 1.5Gi or a number of bytes"))
}

/// Formats bytes for people: in Mi below 10 Gi, in Gi from there on.
pub(crate) fn readable(bytes: u64) -> String {
    let mi = bytes as f64 / BINARY[1].1;
    if mi < 10.0 * 1024.0 { format!("{mi:.0}Mi") } else { format!("{:.1}Gi", mi / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("300Mi", 314_572_800),
            ("1.5Gi", 1_610_612_736),
            ("500M", 500_000_000),
            ("64k", 64_000),
            ("1048576", 1_048_576),
        ] {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for text in ["", "Mi", "300MB", "-1Gi", "0", "NaN", "inf", "three"] {
            let error = bytes(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn amounts_are_printed_in_the_unit_that_suits_them() {
        assert_eq!(readable(314_572_800), "300Mi");
        assert_eq!(readable(10 * 1024 * 1024 * 1024), "10.0Gi");
    }
}
