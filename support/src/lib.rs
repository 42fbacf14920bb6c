//! What the other crates of this workspace share: child processes, waits, interrupts, progress lines.
//!
//! The crate knows nothing of pins, clusters or documents, and has few dependencies. The async forms are behind the
//! feature `async`.

pub mod command;
pub mod interrupt;
pub mod progress;
pub mod usage;
pub mod wait;
