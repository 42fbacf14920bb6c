//! Loads, observes and judges a cluster that `cluster.json` describes.
//!
//! The flow, file by file: [`corpus`] reads documents, [`schedule`] says when they arrive, [`load`]
//! starts their workflows, [`observe`] writes down what happens, [`oracle`] compares what is stored
//! with what was loaded, [`judge`] turns all of that into a [`verdict`], and [`report`] tells it.
//! Everything from the samples on is pure: a report can be made again from its folder alone.
//! This crate shares `cluster.json` with the crate that makes clusters and the wire contract with the
//! worker, and no code with either.

pub mod agreement;
pub mod board;
pub mod bounds;
pub mod calm;
pub mod cli;
pub mod clock;
pub mod command;
pub mod controller;
pub mod corpus;
pub mod count;
pub mod evidence;
pub mod facts;
pub mod figures;
pub mod fixture;
pub mod guide;
pub mod judge;
pub mod load;
pub mod observe;
pub mod oracle;
pub mod plan;
pub mod progress;
pub mod reaction;
pub mod report;
pub mod run;
pub mod scalers;
pub mod scaling;
pub mod scenarios;
pub mod schedule;
pub mod settings;
pub mod sizing;
pub mod survey;
pub mod table;
pub mod temporal;
pub mod toxics;
pub mod verdict;
pub mod wait;
