//! Tables for the reading.
