//! Comparisons and roundings that ignore binary rounding error.
//!
//! Without them, 0.1 × 3 slots in use would need one worker more than 0.3 does.

/// Two figures whose relative difference is at most this are equal.
const TOLERANCE: f64 = 1e-9;

/// Whether `value` is at most `bound`.
pub(crate) fn at_most(value: f64, bound: f64) -> bool {
    value <= bound * (1.0 + TOLERANCE)
}

/// The smallest whole number that is at least `value`.
pub(crate) fn ceil(value: f64) -> u32 {
    (value * (1.0 - TOLERANCE)).ceil() as u32
}

/// The largest whole number that is at most `value`.
pub(crate) fn floor(value: f64) -> u32 {
    (value * (1.0 + TOLERANCE)).floor() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_error_is_neither_a_worker_nor_a_fault() {
        assert!(at_most(0.1 * 3.0, 0.3));
        assert!(!at_most(0.3001, 0.3));
        // In binary, 0.1 × 3 is a little more than 0.3, and 0.7 × 3 is a little less than 2.1.
        assert_eq!(ceil(0.1 * 3.0 / 0.3), 1);
        assert_eq!(floor(0.7 * 3.0 / 2.1), 1);
        assert_eq!((ceil(1.001), floor(1.999)), (2, 1));
    }
}
