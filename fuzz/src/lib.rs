//! The fuzz targets: each reader of what others write, as a function of bytes that panics when the reader is wrong.
//!
//! `fuzz/libfuzzer` runs a target under libFuzzer. `fuzz/tests/seeds.rs` runs each on its seeds and on mutations of
//! them, with the pinned toolchain and no flag.

mod bundles;
mod documents;
mod heap;
mod locks;
mod metrics;
#[expect(dead_code, reason = "one PDF needs few of the builders")]
#[path = "../../worker/tests/documents/pdf.rs"]
mod pdf;
mod wire;

// `temporal-scaler` is a program without a library.
#[expect(dead_code, reason = "the limit of a page is its caller's")]
#[path = "../../temporal-scaler/src/page.rs"]
mod page;
#[path = "../../temporal-scaler/src/queue.rs"]
mod queue;

/// What a reader made of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is valid, and what was read was checked.
    Read,
    /// It is invalid, and the error was checked.
    Refused,
}

/// A target.
pub type Target = fn(&[u8]) -> Outcome;

/// All targets by name. `fuzz/corpus` has a folder for each.
pub const TARGETS: [(&str, Target); 12] = [
    ("bundle", bundles::bundle),
    ("debian_lock", locks::debian),
    ("html", documents::html),
    ("long_text", documents::long_text),
    ("markdown", documents::markdown),
    ("metrics_page", metrics::page),
    ("outputs_lock", locks::outputs),
    ("pdf", documents::pdf),
    ("pdf_page", documents::pdf_page),
    ("pins", locks::pins),
    ("plain", documents::plain),
    ("wire", wire::wire),
];

/// The target with this name.
///
/// # Panics
/// There is none.
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let names = || TARGETS.map(|(name, _)| name).join(", ");
    let (_, target) = found.unwrap_or_else(|| panic!("no target is named {name:?}: take one of {}", names()));
    *target
}
