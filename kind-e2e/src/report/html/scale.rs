//! Where a value lies on an axis, and which values the axis names. Pure.

/// An axis from its least to its greatest value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

/// Values further apart than this many times are drawn on a logarithmic axis: on a linear one the small ones lie on
/// the ground.
const WIDE: f64 = 30.0;
/// The least that a logarithmic axis begins with, in whatever unit.
const FLOOR: f64 = 0.01;

impl Scale {
    /// From `low` to `high` as they are: time.
    pub(super) fn exact(low: f64, high: f64) -> Self {
        Self { low, high: high.max(low + 1.0), log: false }
    }

    /// From 0 to a round value that `most` fits below.
    pub(super) fn from_zero(most: f64) -> Self {
        let most = most.max(1.0);
        let step = round_step(most, 3);
        Self { low: 0.0, high: (most * 1.02 / step).ceil() * step, log: false }
    }

    /// For values that are all above 0: linear, or logarithmic where they are too far apart for that.
    pub(super) fn of_positive(values: impl Iterator<Item = f64> + Clone) -> Self {
        let most = values.clone().fold(0.0, f64::max);
        let least = values.fold(f64::INFINITY, f64::min).max(FLOOR);
        match most > WIDE * least {
            false => Self::from_zero(most),
            true => Self { low: 10f64.powf(least.log10().floor()), high: 10f64.powf(most.log10().ceil()), log: true },
        }
    }

    /// The value's place: 0 at the least, 1 at the greatest, never outside.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.log {
            false => (value - self.low) / (self.high - self.low),
            true => (value.max(self.low) / self.low).log10() / (self.high / self.low).log10(),
        };
        place.clamp(0.0, 1.0)
    }

    /// About `count` round values, or the powers of ten.
    pub(super) fn ticks(&self, count: usize) -> Vec<f64> {
        if self.log {
            let (first, last) = (self.low.log10().round() as i32, self.high.log10().round() as i32);
            return (first..=last).map(|power| 10f64.powi(power)).collect();
        }
        let step = round_step(self.high - self.low, count);
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step + 1e-9).floor() as i64);
        (first..=last).map(|number| number as f64 * step).collect()
    }

    /// Whether the axis is logarithmic.
    pub(super) fn is_log(&self) -> bool {
        self.log
    }
}

/// The least of 1, 2, 5, 10, 20, 50 … that divides `span` into at most `count` parts.
fn round_step(span: f64, count: usize) -> f64 {
    let rough = span / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|round| round * power >= rough * (1.0 - 1e-9));
    round.unwrap_or(10.0) * power
}

/// Seconds that divide a time axis of `span` seconds into at most `count` parts of a length that people use.
pub(super) fn time_step(span: f64, count: usize) -> f64 {
    const STEPS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0];
    let fits = |step: &f64| span / step <= count as f64;
    STEPS.into_iter().find(fits).unwrap_or(3600.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_value_above_the_greatest() {
        let table = [
            (9.0, vec![0.0, 5.0, 10.0]),
            (20.0, vec![0.0, 10.0, 20.0, 30.0]),
            (60.0, vec![0.0, 20.0, 40.0, 60.0, 80.0]),
            (0.0, vec![0.0, 0.5, 1.0, 1.5]),
        ];
        for (most, ticks) in table {
            let scale = Scale::from_zero(most);
            assert_eq!(scale.ticks(4), ticks, "{most}");
            assert!(scale.place(most) < 1.0, "{most} touches the frame");
        }
    }

    #[test]
    fn values_far_apart_are_told_by_powers_of_ten() {
        let wide = Scale::of_positive([0.2, 4.0, 62.0].into_iter());
        assert_eq!(wide.ticks(4), [0.1, 1.0, 10.0, 100.0]);
        assert!((wide.place(1.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!((wide.place(0.0), wide.place(1e9)), (0.0, 1.0));
        assert!(wide.is_log() && !Scale::of_positive([2.0, 4.0].into_iter()).is_log());
        assert_eq!(Scale::of_positive(std::iter::empty()).ticks(3), Scale::from_zero(0.0).ticks(3));
    }

    #[test]
    fn time_is_divided_as_people_do() {
        assert_eq!(time_step(70.0, 8), 10.0);
        assert_eq!(time_step(331.0, 8), 60.0);
        assert_eq!(time_step(9000.0, 8), 1800.0);
        assert_eq!(Scale::exact(-10.0, 61.0).ticks(8), [-10.0, 0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    }
}
