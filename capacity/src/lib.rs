//! Capacity planning: how much load a fleet of workers carries, calculated from its manifests alone.
//!
//! Everything here is pure, except [`manifests::read`], which reads files. Nothing here asks a cluster or a network.
//! Nothing here uses the worker's code; a rule that mirrors one of the worker names its source file.
//! The end-to-end tests measure the same values in a cluster and compare.
//!
//! A module uses only modules on the lines above its own:
//!
//! 1. `rounding`, `quantity`, `objects`: numbers, amounts of memory, the parts of Kubernetes objects that matter
//! 2. [`manifests`]: finds those objects in YAML
//! 3. [`settings`], [`database`]: read the values of the fleet and of its database
//! 4. [`table`], [`demand`]: multiply the values by the size of a fleet; calculate how many workers a load needs
//! 5. [`inputs`]: the inputs of a plan
//! 6. [`limits`]: the rate at which each resource is exhausted
//! 7. [`faults`]: the reasons to reject a plan
//! 8. [`plan`]: puts these together
//! 9. [`terminal`]: prints a plan

pub mod database;
pub mod demand;
pub mod faults;
#[cfg(test)]
mod fixture;
pub mod inputs;
pub mod limits;
pub mod manifests;
mod objects;
pub mod plan;
mod quantity;
mod rounding;
pub mod settings;
pub mod table;
pub mod terminal;

pub use quantity::bytes;
