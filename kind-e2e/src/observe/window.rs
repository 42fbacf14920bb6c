//! Windows of a run, and what was seen in them. Pure.
//!
//! A window in which a source was not seen for longer than [`MAX_GAP`] shows nothing of that source.

use serde::{Deserialize, Serialize};

use super::sample::{Sample, changes};
use crate::cluster::kubernetes::Fleet;

/// The longest time between two readings of one source, in seconds.
///
/// A fleet that grows and shrinks again needs two decisions of the HPA. At the default sync period of 15 s,
/// nothing that the HPA did can hide in a third of it.
pub const MAX_GAP: f64 = 5.0;

/// A window of the run, in seconds since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its first second.
    pub from: f64,
    /// Its last second.
    pub to: f64,
}

impl Window {
    /// Its length in seconds.
    pub fn seconds(self) -> f64 {
        self.to - self.from
    }

    /// Whether second `at` of the run is within it, both ends included.
    pub fn has(self, at: f64) -> bool {
        (self.from..=self.to).contains(&at)
    }

    /// The samples taken within it.
    pub fn of(self, samples: &[Sample]) -> impl Iterator<Item = &Sample> {
        samples.iter().filter(move |sample| self.has(sample.at))
    }

    /// Its last `seconds`, or all of it where it is shorter.
    #[must_use]
    pub fn last(self, seconds: f64) -> Self {
        let from = self.from.max(self.to - seconds);
        Self { from, ..self }
    }

    /// From its beginning to the end of `other`.
    #[must_use]
    pub fn until(self, other: Self) -> Self {
        Self { to: other.to, ..self }
    }
}

/// The readings of one source in a window, with their times.
///
/// # Errors
/// The first stretch of more than [`MAX_GAP`] seconds without a reading.
pub fn seen<'a, T: ?Sized>(
    samples: &'a [Sample],
    window: Window,
    pick: impl Fn(&'a Sample) -> Option<&'a T>,
) -> Result<Vec<(f64, &'a T)>, String> {
    let readings: Vec<(f64, &T)> = window.of(samples).filter_map(|sample| Some((sample.at, pick(sample)?))).collect();
    let mut last = window.from;
    for at in readings.iter().map(|(at, _)| *at).chain([window.to]) {
        if at - last > MAX_GAP {
            return Err(format!("nothing was seen from second {last:.0} to {at:.0}"));
        }
        last = at;
    }
    Ok(readings)
}

/// The workers' counts in a window, changes between two samples included.
///
/// # Errors
/// As [`seen`].
pub fn fleets(samples: &[Sample], window: Window) -> Result<Vec<(f64, Fleet)>, String> {
    seen(samples, window, |sample| sample.fleet.seen())?;
    Ok(inside(samples, window).collect())
}

/// The workers' counts in a window, changes between two samples included, whatever is missing.
pub fn inside(samples: &[Sample], window: Window) -> impl Iterator<Item = (f64, Fleet)> {
    changes(samples).into_iter().filter(move |(at, _)| window.has(*at))
}
