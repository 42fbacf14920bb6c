//! What a fleet of workers carries, told from its manifests before there is a cluster.
//!
//! [`manifests`] finds what matters in YAML, [`settings`] and [`database`] make values of it, [`table`] multiplies them by the
//! size of a fleet, [`demand`] says how many workers a load needs, [`limits`] what gives out first, [`faults`] what does not hold,
//! and [`plan`] puts these together. All of it is pure but for [`manifests::read`].
//!
//! It uses no code of the worker: where it mirrors a rule of the worker's, it says which. And it knows no cluster: that the plan
//! is true is for the end-to-end tests to show, which measure the same values.

pub mod database;
pub mod demand;
pub mod faults;
#[cfg(test)]
mod fixture;
pub mod limits;
pub mod manifests;
mod objects;
pub mod plan;
mod quantity;
pub mod settings;
pub mod table;
pub mod terminal;

pub use quantity::bytes;

/// Figures that agree to this share are the same: 0.1 × 3 slots must not ask for one worker more than 0.3 does.
const ROUNDING: f64 = 1e-9;

/// Whether a value is within its bound, but for what is only rounding.
fn at_most(value: f64, bound: f64) -> bool {
    value <= bound * (1.0 + ROUNDING)
}
