//! How many workers a fleet needs. Pure: nothing here reads a clock, a network or a file.
//!
//! `temporal-scaler` feeds [`Scaler`] with the readings of a real fleet once a second, and the simulator with those
//! of a simulated one.

mod bottleneck;
mod decision;
mod history;
mod readings;
pub mod simulator;
mod tuning;

pub use decision::{Answer, QueueAnswer, Scaler, Settings, Unknown};
pub use readings::{QueueReading, QueueSettings, Reading};
pub use tuning::Tuning;
