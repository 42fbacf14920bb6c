//! Loads, observes and judges the cluster that `cluster.json` describes.
//!
//! The rooms, each using only those before it:
//!
//! * [`cluster`] is the cluster and its switches.
//! * [`observe`] writes down what happens in it.
//! * [`text`] reads documents as the oracle does.
//! * [`load`] calibrates and plays loads.
//! * [`judge`] answers checks from values.
//! * [`oracle`] compares what is stored with what was loaded.
//! * [`scenarios`] put these together.
//! * [`report`] tells a run.
//!
//! From the samples on everything is pure: a report can be made again from its folder.
//!
//! This crate shares `cluster.json` with the crate that makes clusters, the wire contract with the worker, and no code
//! with either.

pub mod cli;
pub mod cluster;
pub mod conclude;
pub mod facts;
pub mod judge;
pub mod load;
pub mod observe;
pub mod oracle;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod text;
