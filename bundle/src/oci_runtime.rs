//! A wrapper of the OCI runtime runc, for hosts that lack capabilities.
//!
//! Docker gives a privileged container every capability, and runc fails if the host's bounding set lacks one. This
//! wrapper removes those from the container's configuration for `create` and `run`, or from the process file for
//! `exec`. Then it executes runc. It changes nothing else.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::host::{find_program, parse_bounding};

/// The file name of the copy of this program that the engine runs. Under this name the program is the wrapper.
pub const PROGRAM: &str = "slipway-oci-runtime";

/// The arguments for runc, if this process was started as the wrapper.
pub fn called() -> Option<Vec<OsString>> {
    let mut args = std::env::args_os();
    let program = PathBuf::from(args.next()?);
    (program.file_name() == Some(OsStr::new(PROGRAM))).then(|| args.collect())
}

/// The names of the capabilities, in the order of their bits in linux/capability.h.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Edits the file that runc will read, then replaces this process by runc. Returns only on failure.
///
/// # Errors
/// When the file cannot be read, parsed or written, or runc is not installed.
pub fn run(args: &[OsString]) -> Result<std::convert::Infallible> {
    use std::os::unix::process::CommandExt as _;
    if let Some(file) = file_to_edit(args) {
        let status = fs::read_to_string("/proc/self/status").context("read the capabilities of this process")?;
        let bounding = parse_bounding(&status).context("find CapBnd in /proc/self/status")?;
        edit(&file, bounding)?;
    }
    let runc = find_program("runc").context("find runc: install it (Debian: runc)")?;
    Err(std::process::Command::new(runc).args(args).exec()).context("execute runc")
}

/// The file that runc reads: `<bundle>/config.json`, or the process file of an exec.
fn file_to_edit(args: &[OsString]) -> Option<PathBuf> {
    let command = args.iter().find_map(|arg| arg.to_str().filter(|arg| ["create", "run", "exec"].contains(arg)))?;
    if command == "exec" {
        return option(args, "--process", "-p").map(PathBuf::from);
    }
    let bundle = option(args, "--bundle", "-b").map_or_else(|| PathBuf::from("."), PathBuf::from);
    Some(bundle.join("config.json"))
}

fn option<'a>(args: &'a [OsString], long: &str, short: &str) -> Option<&'a OsStr> {
    args.windows(2).find(|pair| pair[0] == long || pair[0] == short).map(|pair| pair[1].as_os_str())
}

fn edit(file: &Path, bounding: u64) -> Result<()> {
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let mut config: Value = serde_json::from_slice(&text).with_context(|| format!("parse {}", file.display()))?;
    drop_capabilities(&mut config, bounding);
    fs::write(file, serde_json::to_vec(&config)?).with_context(|| format!("write {}", file.display()))
}

/// Removes the capabilities that `bounding` lacks, from a configuration with `process` or from a process.
fn drop_capabilities(config: &mut Value, bounding: u64) {
    let process = if config.get("process").is_some() { &mut config["process"] } else { config };
    let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) else {
        return;
    };
    for set in sets.values_mut().filter_map(Value::as_array_mut) {
        set.retain(|name| name.as_str().is_none_or(|name| held(name, bounding)));
    }
}

fn held(name: &str, bounding: u64) -> bool {
    NAMES.iter().position(|known| *known == name).is_none_or(|bit| bounding & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WITHOUT_SYS_RESOURCE: u64 = 0x1ff_feff_ffff;

    #[test]
    fn only_what_the_host_lacks_is_dropped() {
        for wrap in [false, true] {
            let process = json!({"capabilities": {"bounding": ["CAP_KILL", "CAP_SYS_RESOURCE"]}, "cwd": "/"});
            let mut config = if wrap { json!({"process": process}) } else { process };
            drop_capabilities(&mut config, WITHOUT_SYS_RESOURCE);
            let process = if wrap { &config["process"] } else { &config };
            assert_eq!(process, &json!({"capabilities": {"bounding": ["CAP_KILL"]}, "cwd": "/"}));
        }
    }

    #[test]
    fn the_file_follows_the_subcommand() {
        let args = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let cases = [
            ("--root /r create --bundle /b --pid-file /p id", Some("/b/config.json")),
            ("--root /r exec --process /tmp/p.json --detach id", Some("/tmp/p.json")),
            ("--root /r kill id 9", None),
        ];
        for (line, file) in cases {
            assert_eq!(file_to_edit(&args(line)), file.map(PathBuf::from), "{line}");
        }
    }
}
