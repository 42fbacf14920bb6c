//! Rebuilds the crate when a migration changes, as they are embedded in the binary, and tells the tests where the descriptors
//! of Temporal's protocol are: histories are JSON as Temporal writes it, which is read by them.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    if let Ok(path) = std::env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH") {
        println!("cargo:rustc-env=TEMPORAL_DESCRIPTORS={path}");
    }
}
