//! Runs the fuzz target that the variable `TARGET` names under libFuzzer.

#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fuzz::Target> = LazyLock::new(|| {
    fuzz::target(&std::env::var("TARGET").expect("TARGET names no fuzz target: set it, for example to pdf"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (*TARGET)(bytes);
});
