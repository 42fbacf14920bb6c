//! Facts about this host, how a run adapts to them, and the faults that prevent a run. Changes nothing.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use support::command::Cmd;

use crate::pins::{Pins, at_least};

/// Bit of CAP_SYS_RESOURCE in a capability set (linux/capability.h).
const CAP_SYS_RESOURCE: u32 = 24;
/// The minimum memory in bytes: the control plane, Temporal, Postgres and twenty workers must fit. The node with three
/// workers was measured at 2.3 GiB, and the guide allows 300 MB for each of twenty workers.
const MEMORY_NEEDED: u64 = 6 << 30;
/// Disk in bytes for a first build: build caches, parts, images, and the engine's copy of the node image.
const DISK_NEEDED_COLD: u64 = 30 << 30;
/// The oldest Go that can fetch the pinned version of itself.
const GO_NEEDED: &str = "1.21.0";
/// Disk in bytes for a run that finds every part in the cache.
const DISK_NEEDED_WARM: u64 = 6 << 30;

/// Facts about the host.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// Operating system, in Rust's naming.
    pub os: &'static str,
    /// Processor architecture, in Rust's naming.
    pub arch: &'static str,
    /// Processors that this process may use.
    pub cores: usize,
    /// The same as a list, such as `0,2-3`, where this process may use some of the host's processors and not all.
    pub confined_to: Option<String>,
    /// Memory in bytes. Absent if it cannot be read.
    pub memory_bytes: Option<u64>,
    /// Free bytes on the disk that holds the cache.
    pub disk_free_bytes: Option<u64>,
    /// Whether this process runs as root.
    pub root: bool,
    /// The bounding set: the capabilities that a child process can get. Absent if there is no /proc.
    pub capabilities: Option<u64>,
    /// `v1` or `v2`. Absent if there are no cgroups.
    pub cgroup: Option<&'static str>,
    /// Go's version, as `1.26.8`.
    pub go: Option<String>,
    /// Version of the Docker engine that answers.
    pub docker: Option<String>,
    /// Whether `apt-get` is installed.
    pub apt: bool,
}

/// Something that a run does differently on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adaptation {
    /// What the run does.
    pub what: String,
    /// The fact of the host that requires it.
    pub why: String,
}

/// What a command does on the host.
#[derive(Debug, Clone, Copy)]
pub enum Work<'a> {
    /// It builds from pins. With `cold`, parts are missing in the cache.
    Build {
        /// The pins.
        pins: &'a Pins,
        /// Whether parts are missing in the cache.
        cold: bool,
    },
    /// It runs what a bundle has, and builds nothing.
    Run,
}

impl Host {
    /// Reads the facts of this host. `cache` is the folder whose disk is measured.
    pub fn look(cache: &Path) -> Self {
        Self {
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            confined_to: fs::read_to_string("/proc/self/status").ok().and_then(|status| {
                let online = fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
                parse_confinement(&status, &online)
            }),
            memory_bytes: fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_memory(&text)),
            disk_free_bytes: disk_free(cache),
            root: rustix::process::geteuid().is_root(),
            capabilities: fs::read_to_string("/proc/self/status").ok().and_then(|text| parse_bounding(&text)),
            cgroup: cgroup_version(),
            go: crate::parts::go_version().ok(),
            docker: docker_server(),
            apt: find_program("apt-get").is_some(),
        }
    }

    /// Whether containers can get CAP_SYS_RESOURCE on this host. If the bounding set is unknown, they can.
    pub fn has_sys_resource(&self) -> bool {
        self.capabilities.is_none_or(|set| set & (1 << CAP_SYS_RESOURCE) != 0)
    }

    /// How a run adapts to this host.
    pub fn adaptations(&self) -> Vec<Adaptation> {
        let mut found = Vec::new();
        let mut adapt = |what: &str, why: &str| {
            found.push(Adaptation { what: what.into(), why: why.into() });
        };
        if self.docker.is_none() && self.root {
            adapt(
                "a private Docker engine is started, and stopped at the end",
                "no Docker engine answers, and this is root",
            );
        }
        if !self.has_sys_resource() {
            if self.docker.is_none() {
                adapt(
                    "an OCI runtime wrapper drops the capabilities that the host lacks",
                    "CAP_SYS_RESOURCE is not in the bounding set: `docker run --privileged` would fail",
                );
            }
            adapt(
                "containerd restricts oom_score_adj, the kubelet runs as in a user namespace, and kube-proxy does not \
                 set conntrack limits",
                "without CAP_SYS_RESOURCE no process can lower oom_score_adj or raise limits",
            );
        }
        if let Some(cpus) = &self.confined_to {
            adapt(
                &format!("the cluster's nodes get only CPU {cpus}"),
                "this process may use no other CPU, and what it measures is what it may use",
            );
        }
        if self.cgroup == Some("v1") {
            adapt(
                "the kubelet accepts cgroup v1 (failCgroupV1: false) and manages cgroups itself (cgroupfs)",
                "the host mounts cgroup v1, where runc sometimes fails to freeze a cgroup through systemd",
            );
        }
        found
    }

    /// The faults that make the work impossible, each with what to do.
    pub fn faults(&self, work: Work<'_>) -> Vec<String> {
        let mut faults = self.platform_faults(work);
        if let Work::Build { pins, .. } = work {
            faults.extend(self.toolchain_fault(pins));
        }
        if self.docker.is_none() && !self.root {
            faults.push("no Docker engine answers: start Docker, or run as root, which starts a private engine".into());
        }
        if let Some(memory) = self.memory_bytes.filter(|memory| *memory < MEMORY_NEEDED) {
            faults.push(format!("{} of memory: at least {} are needed", gib(memory), gib(MEMORY_NEEDED)));
        }
        let cold = matches!(work, Work::Build { cold: true, .. });
        let needed = if cold { DISK_NEEDED_COLD } else { DISK_NEEDED_WARM };
        if let Some(free) = self.disk_free_bytes.filter(|free| *free < needed) {
            faults.push(format!(
                "{} free on the cache's disk: at least {} are needed; free some, or set {} to a folder on another disk",
                gib(free),
                gib(needed),
                crate::workspace::CACHE_VARIABLE
            ));
        }
        faults
    }

    /// The faults that no installation repairs. With one of them, nothing else is of interest.
    pub fn platform_faults(&self, work: Work<'_>) -> Vec<String> {
        let mut faults = Vec::new();
        if self.os != "linux" {
            faults.push(format!("the system is {}: use a Linux machine, real or virtual", self.os));
        }
        if self.arch != "x86_64" {
            faults.push(format!("the processor is {}: everything is built for x86_64, and runs there only", self.arch));
        }
        if matches!(work, Work::Build { .. }) && self.os == "linux" && !self.apt {
            faults.push(
                "there is no apt-get, which fetches Debian's packages: use Debian or Ubuntu, or a container of one; a \
                 bundle needs neither"
                    .into(),
            );
        }
        faults
    }

    fn toolchain_fault(&self, pins: &Pins) -> Option<String> {
        let wanted = &pins.toolchain.go;
        match &self.go {
            None => Some(format!("no Go on PATH: install Go {wanted}")),
            Some(found) if !at_least(found, GO_NEEDED) => Some(format!(
                "Go {found} is too old to fetch the pinned version {wanted}: install that or Go {GO_NEEDED} or newer"
            )),
            Some(_) => None,
        }
    }
}

/// Bytes as GiB with one decimal.
pub fn gib(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let value = bytes as f64 / f64::from(1 << 30);
    format!("{value:.1} GiB")
}

/// A program's path, if it is on PATH or in a folder of the system's programs.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

/// Whether standard input and standard error are a terminal, so that the user can be asked.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// The version of the Docker engine at DOCKER_HOST or the default socket, if it answers.
pub fn docker_server() -> Option<String> {
    Cmd::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .quiet()
        .read()
        .ok()
        .filter(|version| !version.is_empty())
}

fn cgroup_version() -> Option<&'static str> {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        Some("v2")
    } else if Path::new("/sys/fs/cgroup/memory").exists() {
        Some("v1")
    } else {
        None
    }
}

pub(crate) fn disk_free(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

fn parse_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// The bounding set in the text of /proc/self/status.
pub fn parse_bounding(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The CPUs that the text of /proc/self/status allows, if those are not all that are online.
fn parse_confinement(status: &str, online: &str) -> Option<String> {
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    (allowed.trim() != online.trim()).then(|| allowed.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            os: "linux",
            arch: "x86_64",
            cores: 8,
            confined_to: None,
            memory_bytes: Some(16 << 30),
            disk_free_bytes: Some(100 << 30),
            root: true,
            capabilities: Some(0x1ff_ffff_ffff),
            cgroup: Some("v2"),
            go: Some("1.27.0".into()),
            docker: Some("28.0".into()),
            apt: true,
        }
    }

    fn pins() -> Pins {
        Pins::parse("components = {}\n[toolchain]\ngo = \"1.26.8\"\nrust = \"1.95.0 (x)\"\n[debian]\nsuite = \"x\"")
            .unwrap()
    }

    #[test]
    fn host_that_lacks_nothing_needs_no_adaptation_and_has_no_fault() {
        assert_eq!(host().adaptations(), []);
        assert_eq!(host().faults(Work::Build { pins: &pins(), cold: true }), Vec::<String>::new());
        let bare = Host { go: None, disk_free_bytes: Some(DISK_NEEDED_WARM), ..host() };
        assert_eq!(bare.faults(Work::Run), Vec::<String>::new(), "a bundle needs no Go, and less disk");
        let foreign = Host { apt: false, ..host() };
        assert_eq!(foreign.faults(Work::Run), Vec::<String>::new(), "a bundle needs no apt");
    }

    #[test]
    fn a_missing_capability_and_cgroup_v1_are_adapted_to() {
        let status = "CapEff:\t000001fffeffffff\nCapBnd:\t000001fffeffffff\n";
        let host = Host { capabilities: parse_bounding(status), cgroup: Some("v1"), ..host() };
        let text = format!("{:?}", host.adaptations());
        assert!(text.contains("CAP_SYS_RESOURCE") && text.contains("failCgroupV1"), "{text}");
        assert!(!text.contains("wrapper"), "the runtime of a running engine is not changed: {text}");
    }

    #[test]
    fn each_fault_says_what_to_do() {
        let cases = [
            (Host { os: "macos", apt: false, ..host() }, "the system is macos: use a Linux machine"),
            (Host { arch: "aarch64", ..host() }, "the processor is aarch64: everything is built for x86_64"),
            (
                Host { apt: false, ..host() },
                "there is no apt-get, which fetches Debian's packages: use Debian or Ubuntu",
            ),
            (Host { go: None, ..host() }, "install Go 1.26.8"),
            (Host { go: Some("1.20.1".into()), ..host() }, "Go 1.20.1 is too old"),
            (Host { docker: None, root: false, ..host() }, "start Docker"),
            (Host { memory_bytes: Some(1 << 30), ..host() }, "1.0 GiB of memory"),
            (Host { disk_free_bytes: Some(1 << 30), ..host() }, "SLIPWAY_CACHE"),
        ];
        for (host, wanted) in cases {
            let faults = host.faults(Work::Build { pins: &pins(), cold: true });
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].contains(wanted), "{faults:?} lacks {wanted}");
        }
    }
}
