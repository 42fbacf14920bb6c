//! Adapts containerd's default OCI spec as kind does. Pure: JSON in, JSON out.

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// kind's hook, which hides the host's product name and id from each container.
const HOOK: &str = "/kind/bin/mount-product-files.sh";

/// The folder in which ctr masks a path for each processor of its machine.
const PER_CPU: &str = "/sys/devices/system/cpu/";

/// Adds kind's hook. Removes the limits on open files, so that a container has those of its node. Removes the masked
/// paths of processors, which depend on the machine of the build; the kubelet sets a container's masked paths anyway.
pub(super) fn adapt(defaults: &str) -> Result<String> {
    let mut spec: Value = serde_json::from_str(defaults).context("parse ctr's default OCI spec")?;
    let root = spec.as_object_mut().context("parse ctr's default OCI spec: it is not an object")?;
    let hooks = root.entry("hooks").or_insert_with(|| json!({})).as_object_mut();
    hooks
        .and_then(|hooks| hooks.entry("createContainer").or_insert_with(|| json!([])).as_array_mut())
        .context("parse ctr's default OCI spec: its hooks are not lists")?
        .push(json!({"path": HOOK}));
    if let Some(process) = root.get_mut("process").and_then(Value::as_object_mut) {
        process.remove("rlimits");
    }
    if let Some(masked) = root.get_mut("linux").and_then(|linux| linux["maskedPaths"].as_array_mut()) {
        masked.retain(|path| path.as_str().is_some_and(|path| !path.starts_with(PER_CPU)));
    }
    Ok(spec.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hook_is_added_and_limits_are_removed() {
        for defaults in [
            r#"{"process": {"rlimits": [{"type": "RLIMIT_NOFILE"}], "cwd": "/"}}"#,
            r#"{"process": {"cwd": "/"}, "hooks": {"createContainer": []}}"#,
        ] {
            let spec: Value = serde_json::from_str(&adapt(defaults).unwrap()).unwrap();
            assert_eq!(spec["hooks"]["createContainer"], json!([{"path": HOOK}]));
            assert_eq!(spec["process"], json!({"cwd": "/"}));
        }
    }

    #[test]
    fn masked_paths_of_processors_are_removed() {
        let defaults = r#"{"linux": {"maskedPaths": ["/proc/keys", "/sys/devices/system/cpu/cpu0/thermal_throttle"]}}"#;
        let spec: Value = serde_json::from_str(&adapt(defaults).unwrap()).unwrap();
        assert_eq!(spec["linux"]["maskedPaths"], json!(["/proc/keys"]));
    }

    #[test]
    fn input_that_is_no_spec_is_refused() {
        assert!(adapt("[]").is_err() && adapt("ctr: not found").is_err());
    }
}
