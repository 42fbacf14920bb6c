//! What uses this host's CPU: the cluster's nodes, this program, and everything else.
//!
//! A scaling test on a host that is busy with something else judges the host. So each sample says how many cores
//! other programs took and how many the hypervisor took away (steal). Parsing is pure.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use support::command::Cmd;

/// The kernel's unit of CPU time in `/proc` is 1/100 s on every architecture (`USER_HZ`).
const TICKS: f64 = 100.0;
/// `docker inspect` answers within this time.
const INSPECTED: Duration = Duration::from_secs(10);

/// CPU used between two readings, in cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct HostUse {
    /// The cores that this program may use; the cluster's nodes are confined to the same.
    pub cores: f64,
    /// By all programs, on these cores.
    pub busy: f64,
    /// Taken by the hypervisor for other guests.
    pub steal: f64,
    /// By neither the cluster's nodes nor this program; none where the nodes run on another host.
    pub others: Option<f64>,
    /// Share of the time in which a program that could run waited for a CPU; none where the kernel does not say.
    pub pressure: Option<f64>,
}

/// Counters since the host began, in seconds of CPU time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counters {
    cores: f64,
    busy: f64,
    steal: f64,
    driver: f64,
    nodes: Option<f64>,
    pressure: Option<f64>,
}

/// Reads the host's counters again and again.
#[derive(Debug)]
pub struct Meter {
    nodes: Vec<PathBuf>,
    last: Option<(Instant, Counters)>,
}

impl Meter {
    /// A meter that knows the CPU accounts of the cluster's nodes, where they run on this host.
    pub async fn start(cluster: &Cluster) -> Self {
        let mut nodes = Vec::new();
        for node in &cluster.nodes {
            match account(cluster, node).await {
                Ok(path) => nodes.push(path),
                // Without the account of one node the others' share is unknown.
                Err(_) => {
                    nodes.clear();
                    break;
                }
            }
        }
        Self { nodes, last: None }
    }

    /// The use since the reading before.
    ///
    /// # Errors
    /// `/proc` cannot be read, or this is the first reading.
    pub fn read(&mut self) -> Result<HostUse> {
        let now = (Instant::now(), self.counters()?);
        let Some((before, earlier)) = self.last.replace(now) else { bail!("the first reading has none before it") };
        Ok(between(&earlier, &now.1, (now.0 - before).as_secs_f64()))
    }

    fn counters(&self) -> Result<Counters> {
        let text = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
        let allowed = allowed(&text("/proc/self/status")?).context("understanding /proc/self/status")?;
        let mut counters = of_stat(&text("/proc/stat")?, &allowed).context("understanding /proc/stat")?;
        counters.driver = of_process(&text("/proc/self/stat")?).context("understanding /proc/self/stat")?;
        counters.pressure = text("/proc/pressure/cpu").ok().and_then(|text| of_pressure(&text));
        let nodes = self.nodes.iter().map(|path| of_account(&fs::read_to_string(path).ok()?));
        counters.nodes = nodes.sum::<Option<f64>>().filter(|_| !self.nodes.is_empty());
        Ok(counters)
    }
}

fn between(earlier: &Counters, later: &Counters, seconds: f64) -> HostUse {
    let rate = |pick: fn(&Counters) -> f64| ((pick(later) - pick(earlier)) / seconds).max(0.0);
    let rate_of = |pick: fn(&Counters) -> Option<f64>| Some(((pick(later)? - pick(earlier)?) / seconds).max(0.0));
    let busy = rate(|counters| counters.busy);
    let driver = rate(|counters| counters.driver);
    HostUse {
        cores: later.cores,
        busy,
        steal: rate(|counters| counters.steal),
        others: rate_of(|counters| counters.nodes).map(|nodes| (busy - nodes - driver).max(0.0)),
        pressure: rate_of(|counters| counters.pressure).map(|share| share.min(1.0)),
    }
}

/// The CPUs that this process may use.
fn allowed(status: &str) -> Option<HashSet<u32>> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').map(range).collect::<Option<Vec<_>>>().map(|ranges| ranges.into_iter().flatten().collect())
}

/// Busy and stolen CPU time of these CPUs, and their number. A CPU that is offline has no line.
fn of_stat(stat: &str, allowed: &HashSet<u32>) -> Option<Counters> {
    let mut sum = Counters::default();
    for line in stat.lines() {
        let mut fields = line.split_whitespace();
        let cpu = fields.next().and_then(|name| name.strip_prefix("cpu")?.parse().ok());
        if cpu.is_none_or(|cpu| !allowed.contains(&cpu)) {
            continue;
        }
        // user nice system idle iowait irq softirq steal
        let ticks: Vec<f64> = fields.take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
        let [user, nice, system, _idle, _iowait, irq, softirq, steal] = ticks.try_into().ok()?;
        sum.cores += 1.0;
        sum.busy += (user + nice + system + irq + softirq) / TICKS;
        sum.steal += steal / TICKS;
    }
    (sum.cores > 0.0).then_some(sum)
}

/// CPU time of a process and its threads. Its name, in brackets, may hold anything.
fn of_process(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

/// Seconds in which at least one task waited for a CPU.
fn of_pressure(text: &str) -> Option<f64> {
    let some = text.lines().find(|line| line.starts_with("some"))?;
    let micros: f64 = some.rsplit_once("total=")?.1.trim().parse().ok()?;
    Some(micros / 1e6)
}

/// CPU time of a control group: `cpuacct.usage` (version 1) or `cpu.stat` (version 2).
fn of_account(text: &str) -> Option<f64> {
    match text.lines().find_map(|line| line.strip_prefix("usage_usec ")) {
        Some(micros) => Some(micros.trim().parse::<f64>().ok()? / 1e6),
        None => Some(text.trim().parse::<f64>().ok()? / 1e9),
    }
}

/// The file with the CPU account of a node's container.
async fn account(cluster: &Cluster, node: &str) -> Result<PathBuf> {
    let mut docker =
        Cmd::new("docker").args(["inspect", "--format", "{{.State.Pid}} {{.Id}}", node]).limit(INSPECTED).quiet();
    if let Some(host) = &cluster.docker_host {
        docker = docker.env("DOCKER_HOST", host);
    }
    let answer = docker.read_async().await?;
    let (pid, id) = answer.trim().split_once(' ').context("docker named no process")?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mounts = fs::read_to_string("/proc/mounts")?;
    account_of(&mounts, &groups, id).with_context(|| format!("{node} has no control group on this host"))
}

/// Where the control group of container `id` keeps its CPU account, of a process within it.
fn account_of(mounts: &str, groups: &str, id: &str) -> Option<PathBuf> {
    let mount = |kind: &str, option: Option<&str>| {
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let found = fields.into_iter().find(|fields| {
            fields.get(2) == Some(&kind) && option.is_none_or(|option| fields[3].split(',').any(|one| one == option))
        });
        found.map(|fields| PathBuf::from(fields[1]))
    };
    let group = |of: &dyn Fn(&str) -> bool| {
        let path = groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            of(controllers).then_some(path)
        })?;
        // The process may be in a group below its container's.
        let end = path.find(id)?;
        let end = path[end..].find('/').map_or(path.len(), |slash| end + slash);
        Some(path[1..end].to_owned())
    };
    match mount("cgroup", Some("cpuacct")) {
        Some(root) => {
            let group = group(&|controllers| controllers.split(',').any(|one| one == "cpuacct"))?;
            Some(root.join(group).join("cpuacct.usage"))
        }
        None => Some(mount("cgroup2", None)?.join(group(&str::is_empty)?).join("cpu.stat")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_the_clusters_nor_ours_is_of_others() {
        let stat = |user: u32, steal: u32| {
            // The first two of three CPUs share it; the third is busy, and is not ours.
            let each = |cpu: u32| format!("cpu{cpu} {} 0 50 450 5 0 0 {} 0 0\n", user / 2, steal / 2);
            let all =
                format!("cpu  1 2 3 4 5 6 7 8 9 0\n{}{}cpu2 {user}00 0 0 0 0 0 0 0 0 0\nintr 5\n", each(0), each(1));
            of_stat(&all, &allowed("Name:\tx\nCpus_allowed_list:\t0-1,7\n").unwrap()).unwrap()
        };
        let earlier = Counters { nodes: Some(1.0), ..stat(1000, 10) };
        let later = Counters { nodes: Some(2.0), driver: 0.2, pressure: Some(1.0), ..stat(1300, 60) };
        let used = between(&earlier, &later, 2.0);
        assert_eq!((used.cores, used.busy, used.steal), (2.0, 1.5, 0.25));
        assert!((used.others.unwrap() - 0.9).abs() < 1e-9, "{used:?}");
        assert_eq!(used.pressure, None, "the kernel said nothing before");
        assert_eq!(between(&stat(1, 1), &later, 2.0).others, None);
    }

    #[test]
    fn counters_are_read_as_the_kernel_writes_them() {
        let own = "42 (a) b) R 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(of_process(own), Some(3.0));
        let pressure = "some avg10=94.67 avg60=96.16 avg300=89.16 total=2500000\nfull avg10=0.00 total=0\n";
        assert_eq!(of_pressure(pressure), Some(2.5));
        assert_eq!(of_account("1500000000\n"), Some(1.5));
        assert_eq!(of_account("usage_usec 1500000\nuser_usec 1\n"), Some(1.5));
        assert_eq!(of_account("none"), None);
    }

    #[test]
    fn a_nodes_account_is_found_in_either_version_of_control_groups() {
        let one = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let groups = "4:cpu,cpuacct:/docker/abc/init.scope\n1:name=systemd:/docker/abc/init.scope\n0::/\n";
        assert_eq!(
            account_of(one, groups, "abc"),
            Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpuacct.usage"))
        );
        let two = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(
            account_of(two, "0::/system.slice/docker-abc.scope/init.scope\n", "abc"),
            Some(PathBuf::from("/sys/fs/cgroup/system.slice/docker-abc.scope/cpu.stat"))
        );
        assert_eq!(account_of(two, "0::/user.slice\n", "abc"), None);
    }
}
