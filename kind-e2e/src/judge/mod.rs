//! The judge: from values to checks and verdicts. Pure: no file, no clock, no cluster.
//!
//! [`verdict`] has what a check is. [`bounds`] and [`statistics`] derive bounds, [`fleet`], [`load`], [`reaction`],
//! [`host`] and [`survey`] read values and answer checks. [`simulation`] plays a load again in the simulator. A scenario
//! puts them together in its `judge`.

pub mod bounds;
pub mod fleet;
pub mod host;
pub mod load;
pub mod part;
pub mod reaction;
pub mod search;
pub mod simulation;
pub mod statistics;
pub mod survey;
pub mod table;
pub mod verdict;
