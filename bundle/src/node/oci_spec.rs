//! containerd's default container, adapted as kind adapts it. JSON in, JSON out.

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Hides the host's product name and id from each container.
const HOOK: &str = "/kind/bin/mount-product-files.sh";

/// Where ctr masks a path for each processor of the machine it runs on.
const PER_CPU: &str = "/sys/devices/system/cpu/";

/// Adds kind's hook, drops the limits on open files (a container's are its node's), and drops what depends on the
/// machine that the image is made on (the kubelet gives each container its masked paths anyway).
pub(super) fn adapt(defaults: &str) -> Result<String> {
    let mut spec: Value = serde_json::from_str(defaults).context("read ctr's container defaults")?;
    let root = spec
        .as_object_mut()
        .context("read ctr's container defaults: not an object")?;
    let hooks = root.entry("hooks").or_insert_with(|| json!({})).as_object_mut();
    hooks
        .and_then(|hooks| {
            hooks
                .entry("createContainer")
                .or_insert_with(|| json!([]))
                .as_array_mut()
        })
        .context("read ctr's container defaults: crooked hooks")?
        .push(json!({"path": HOOK}));
    if let Some(process) = root.get_mut("process").and_then(Value::as_object_mut) {
        process.remove("rlimits");
    }
    if let Some(masked) = root
        .get_mut("linux")
        .and_then(|linux| linux["maskedPaths"].as_array_mut())
    {
        masked.retain(|path| path.as_str().is_some_and(|path| !path.starts_with(PER_CPU)));
    }
    Ok(spec.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hook_is_added_and_limits_go() {
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
    fn paths_of_this_machines_processors_go() {
        let defaults =
            r#"{"linux": {"maskedPaths": ["/proc/keys", "/sys/devices/system/cpu/cpu0/thermal_throttle"]}}"#;
        let spec: Value = serde_json::from_str(&adapt(defaults).unwrap()).unwrap();
        assert_eq!(spec["linux"]["maskedPaths"], json!(["/proc/keys"]));
    }

    #[test]
    fn what_is_not_a_container_is_refused() {
        assert!(adapt("[]").is_err() && adapt("ctr: not found").is_err());
    }
}
