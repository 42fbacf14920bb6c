//! From pins to a running cluster, in one direction:
//! [`pins`] → [`parts`] → [`images`] → [`node`] → [`cluster`].
//!
//! The crate builds and starts things. It never judges a cluster, which `kind-e2e` does, and holds no async code.

pub mod action;
pub mod assemble;
pub mod cache;
pub mod checks;
pub mod cluster;
pub mod corpus;
pub mod crates;
pub mod debian;
pub mod difference;
pub mod docker;
pub mod file;
pub mod host;
pub mod images;
pub mod manifests;
pub mod node;
pub mod oci;
pub mod oci_runtime;
pub mod outputs;
pub mod packages;
pub mod parts;
pub mod pins;
pub mod rebuild;
pub mod release;
pub mod rustc;
pub mod shared;
pub mod steps;
pub mod sysroot;
pub mod workspace;
