//! Rebuilds the crate when a migration changes, because the binary embeds the migrations. Passes the path of
//! Temporal's protobuf descriptors to the tests, which need them to parse histories in Temporal's JSON.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    if let Ok(path) = std::env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH") {
        println!("cargo:rustc-env=TEMPORAL_DESCRIPTORS={path}");
    }
}
