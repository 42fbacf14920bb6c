//! The shells of the cluster's nodes: signals to the processes of a pod, rules in its network, its memory, a small disk.
//!
//! A node of kind is a container, so whoever may run `docker exec` may do this. Every script takes its values as
//! arguments, and each that undoes something may run where nothing was done.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use super::{Cluster, Fixture};
use support::command::Cmd;

/// A script in a node ends within this time.
const ONE_SCRIPT: Duration = Duration::from_secs(120);

/// `processes UID` prints the processes of a pod. The process that holds the pod's namespaces is none of its own.
const PRELUDE: &str = r#"
set -uo pipefail
processes() {
    grep --files-with-matches --extended-regexp "$1|${1//-/_}" /proc/[0-9]*/cgroup 2> /dev/null |
        while IFS=/ read -r _ _ process _; do
            { [[ $(< "/proc/$process/comm") == pause ]] || echo "$process"; } 2> /dev/null
        done
}
network() { nsenter --target "$1" --net iptables --wait "${@:2}"; }
"#;

/// `signal NAME UID…`: one signal to every process of these pods.
const SIGNAL: &str = r#"
for pod in "${@:2}"; do
    for process in $(processes "$pod"); do kill "-$1" "$process" 2> /dev/null; done
done
true
"#;

/// `pulse SECONDS UID…`: the processes run for 100 ms of each 600 ms.
const PULSE: &str = r#"
end=$((SECONDS + $1))
while ((SECONDS < end)); do
    all=$(for pod in "${@:2}"; do processes "$pod"; done)
    kill -STOP $all 2> /dev/null
    sleep 0.5
    kill -CONT $all 2> /dev/null
    sleep 0.1
done
true
"#;

/// `cut PORT UID…`: every packet to this port that these pods send is dropped. The chain counts them. A pod may end
/// meanwhile.
const CUT: &str = r#"
for pod in "${@:2}"; do
    process=$(processes "$pod" | head -1)
    [[ $process ]] || continue
    network "$process" -N SLIPWAY &&
        network "$process" -A SLIPWAY --protocol tcp --dport "$1" -j DROP &&
        network "$process" -I OUTPUT -j SLIPWAY && continue
    [[ ! -d /proc/$process ]] || exit 1
done
"#;

/// `join UID…`: takes away what `cut` did, and prints how many packets were dropped.
const JOIN: &str = r#"
dropped=0
for pod in "$@"; do
    process=$(processes "$pod" | head -1)
    [[ $process ]] || continue
    while read -r packets _; do dropped=$((dropped + packets)); done \
        < <(network "$process" -nvxL SLIPWAY 2> /dev/null | grep DROP)
    network "$process" -D OUTPUT -j SLIPWAY 2> /dev/null
    network "$process" -F SLIPWAY 2> /dev/null
    network "$process" -X SLIPWAY 2> /dev/null
done
echo "$dropped"
"#;

/// `exhaust UID…`: lowers the memory of these pods' containers to what they have, and lets a small process take more of
/// it. The kernel then kills the pod's own process, which has most and the worst score. The next container has its own
/// limit again. Version 2 of cgroups takes a limit below what is in use, and version 1 does not.
const EXHAUST: &str = r#"
for pod in "$@"; do
    process=$(processes "$pod" | head -1)
    [[ $process ]] || continue
    if group=$(grep --only-matching ':memory:.*' "/proc/$process/cgroup"); then
        folder=/sys/fs/cgroup/memory${group#:memory:}
        end=$((SECONDS + 30))
        while [[ -d /proc/$process ]] && ((SECONDS < end)); do
            awk '$1 == "total_rss" { print $2 + 1048576 }' "$folder/memory.stat" > "$folder/memory.limit_in_bytes"
            (echo "$BASHPID" > "$folder/tasks" && head --bytes=32M /dev/zero | tail > /dev/null)
        done
    else
        group=$(sed --quiet 's/^0:://p' "/proc/$process/cgroup")
        echo 1M > "/sys/fs/cgroup$group/memory.max"
    fi
done 2> /dev/null
true
"#;

/// `shrink MEGABYTES`: moves the data of Postgres, which does not run, to a file system with so much free.
const SHRINK: &str = r#"
set -e
volume=$(echo /var/local-path-provisioner/*_storage_data-postgres-0)
[[ -d $volume ]] || exit 0
mountpoint --quiet "$volume" && exit 0
used=$(du --summarize --block-size=1M "$volume" | cut --fields=1)
truncate --size="$((used * 11 / 10 + $1))M" /var/slipway-disk
mkfs.ext4 -q -F -m 0 /var/slipway-disk
mkdir --parents /mnt/slipway-disk
mount -o loop /var/slipway-disk /mnt/slipway-disk
rmdir /mnt/slipway-disk/lost+found
cp --archive "$volume/." /mnt/slipway-disk/
umount /mnt/slipway-disk
mount -o loop /var/slipway-disk "$volume"
"#;

/// `grow`: moves the data back.
const GROW: &str = r#"
set -e
volume=$(echo /var/local-path-provisioner/*_storage_data-postgres-0)
mountpoint --quiet "$volume" || exit 0
rm --force "$volume/slipway-fill"
umount "$volume"
mount -o loop /var/slipway-disk /mnt/slipway-disk
find "$volume" -mindepth 1 -delete
cp --archive /mnt/slipway-disk/. "$volume/"
umount /mnt/slipway-disk
rm --force /var/slipway-disk
"#;

/// `fill`: a file that takes all that is free.
const FILL: &str = r#"
volume=$(echo /var/local-path-provisioner/*_storage_data-postgres-0)
[[ -d $volume ]] || exit 0
mountpoint --quiet "$volume" || { echo "$volume is not bounded"; exit 1; }
dd if=/dev/zero of="$volume/slipway-fill" bs=1M 2> /dev/null
df --output=avail "$volume" | tail -1
"#;

/// `free`: takes the file away.
const FREE: &str = r#"
rm --force /var/local-path-provisioner/*_storage_data-postgres-0/slipway-fill
"#;

/// `knock FROM=ADDRESS,…`: tries to open a connection to each address and port, all at once. FROM is the uid of the pod
/// in whose network it tries, or `node`. No process is root's, because what the node's root sends is subject to no
/// policy. Prints from, address and exit code of each: 0 if it opened, 124 if nobody answered.
const KNOCK: &str = r#"
for knocks in "$@"; do
    from=${knocks%%=*}
    if [[ $from == node ]]; then process=1; else process=$(processes "$from" | head -1); fi
    [[ $process ]] || { echo "pod $from has no process" >&2; exit 1; }
    for address in $(tr , ' ' <<< "${knocks#*=}"); do
        {
            nsenter --target "$process" --net --setuid 65532 --setgid 65532 timeout 5 \
                bash -c 'exec 3<> "/dev/tcp/$0/$1"' "${address%:*}" "${address#*:}" 2> /dev/null
            echo "$from $address $?"
        } &
    done
done
wait
"#;

/// A pod, and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its uid, which names its control groups.
    pub uid: String,
    /// Its node, which is a container of the same name.
    pub node: String,
}

/// The running pods of a namespace with a label, by name. Those that leave are not among them.
///
/// # Errors
/// The API server does not answer.
pub async fn places(fixture: &Fixture, namespace: &str, selector: &str) -> Result<Vec<Place>> {
    let pods: Api<Pod> = Api::namespaced(fixture.kube.clone(), namespace);
    let list = pods.list(&ListParams::default().labels(selector)).await;
    let list = list.with_context(|| format!("listing pods of {namespace} with {selector}"))?;
    let stays = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
    let mut places: Vec<Place> = list.items.iter().filter(stays).filter_map(place_of).collect();
    places.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(places)
}

fn place_of(pod: &Pod) -> Option<Place> {
    Some(Place {
        name: pod.metadata.name.clone()?,
        uid: pod.metadata.uid.clone()?,
        node: pod.spec.as_ref()?.node_name.clone()?,
    })
}

/// Sends a signal to every process of pods.
///
/// # Errors
/// A node does not answer.
pub async fn signal(fixture: &Fixture, name: &str, pods: &[Place]) -> Result<()> {
    on_each_node(fixture, SIGNAL, &[name], pods).await.map(drop)
}

/// Lets the processes of pods run for a sixth of the time, for so many seconds.
///
/// # Errors
/// A node does not answer.
pub async fn pulse(fixture: &Fixture, seconds: f64, pods: &[Place]) -> Result<()> {
    on_each_node(fixture, PULSE, &[&format!("{seconds:.0}")], pods).await.map(drop)
}

/// Drops what pods send to a port.
///
/// # Errors
/// A node does not answer, or refuses the rule.
pub async fn cut(fixture: &Fixture, port: u16, pods: &[Place]) -> Result<()> {
    on_each_node(fixture, CUT, &[&port.to_string()], pods).await.map(drop)
}

/// Lets pods send again, and returns how many packets were dropped.
///
/// # Errors
/// A node does not answer.
pub async fn join(fixture: &Fixture, pods: &[Place]) -> Result<u64> {
    let answers = on_each_node(fixture, JOIN, &[], pods).await?;
    Ok(answers.iter().filter_map(|answer| answer.trim().parse::<u64>().ok()).sum())
}

/// Takes the memory of pods away until the kernel kills a process of each.
///
/// # Errors
/// A node does not answer.
pub async fn exhaust(fixture: &Fixture, pods: &[Place]) -> Result<()> {
    on_each_node(fixture, EXHAUST, &[], pods).await.map(drop)
}

/// A connection to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knock {
    /// The node on which it begins.
    pub node: String,
    /// The uid of the pod in whose network it begins; none for the node's own.
    pub pod: Option<String>,
    /// Address and port.
    pub address: String,
}

/// How it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It opened.
    Open,
    /// It was answered that nobody listens, so it was let through.
    Refused,
    /// Nobody answered, within 5 s.
    Silent,
}

/// Tries connections, all at once.
///
/// # Errors
/// A pod has no process, or a node does not answer.
pub async fn knock(fixture: &Fixture, knocks: &[Knock]) -> Result<Vec<Answer>> {
    let mut nodes: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for knock in knocks {
        nodes.entry(&knock.node).or_default().entry(knock.from()).or_default().push(&knock.address);
    }
    let answers = try_join_all(nodes.iter().map(|(node, knocks)| async move {
        let knocks = knocks.iter().map(|(from, addresses)| format!("{from}={}", addresses.join(",")));
        let knocks: Vec<String> = knocks.collect();
        let text = run(&fixture.cluster, node, KNOCK, &knocks.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        anyhow::Ok(((*node).to_owned(), text))
    }));
    let answers: BTreeMap<String, String> = answers.await?.into_iter().collect();
    let of = |knock: &Knock| answer_of(answers.get(&knock.node)?, knock);
    knocks.iter().map(|knock| of(knock).with_context(|| format!("no answer about {knock:?}"))).collect()
}

impl Knock {
    fn from(&self) -> &str {
        self.pod.as_deref().unwrap_or("node")
    }
}

fn answer_of(lines: &str, knock: &Knock) -> Option<Answer> {
    let begin = format!("{} {} ", knock.from(), knock.address);
    match lines.lines().find_map(|line| line.strip_prefix(&begin))? {
        "0" => Some(Answer::Open),
        "124" => Some(Answer::Silent),
        "1" => Some(Answer::Refused),
        _ => None,
    }
}

/// What is done to the disk of Postgres. Every node is asked, and the one with the volume does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// Its data move to a disk with so many megabytes free. It must not run.
    Shrink(u32),
    /// They move back. It must not run.
    Grow,
    /// The disk is full.
    Fill,
    /// It is no longer.
    Free,
}

/// Changes the disk of Postgres.
///
/// # Errors
/// A node refuses it.
pub async fn disk(fixture: &Fixture, change: Disk) -> Result<()> {
    let megabytes = match change {
        Disk::Shrink(megabytes) => megabytes.to_string(),
        _ => String::new(),
    };
    let (script, arguments): (&str, &[&str]) = match change {
        Disk::Shrink(_) => (SHRINK, &[&megabytes]),
        Disk::Grow => (GROW, &[]),
        Disk::Fill => (FILL, &[]),
        Disk::Free => (FREE, &[]),
    };
    for node in &fixture.cluster.nodes {
        run(&fixture.cluster, node, script, arguments).await?;
    }
    Ok(())
}

/// Runs docker with these arguments.
///
/// # Errors
/// It refuses them.
pub async fn docker(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let mut docker = Cmd::new("docker").args(arguments).limit(ONE_SCRIPT).quiet();
    if let Some(host) = &cluster.docker_host {
        docker = docker.env("DOCKER_HOST", host);
    }
    Ok(docker.read_async().await?)
}

/// Runs a script on each node of these pods, with their uids after its own arguments.
async fn on_each_node(fixture: &Fixture, script: &str, arguments: &[&str], pods: &[Place]) -> Result<Vec<String>> {
    let mut nodes: Vec<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    try_join_all(nodes.into_iter().map(|node| {
        let own = pods.iter().filter(move |pod| pod.node == node).map(|pod| pod.uid.as_str());
        let all: Vec<&str> = arguments.iter().copied().chain(own).collect();
        async move { run(&fixture.cluster, node, script, &all).await }
    }))
    .await
}

/// Runs a script in a node.
pub(super) async fn run(cluster: &Cluster, node: &str, script: &str, arguments: &[&str]) -> Result<String> {
    let mut docker = Cmd::new("docker")
        .args(["exec", "--interactive", node, "bash", "-s", "--"])
        .args(arguments)
        .stdin(format!("{PRELUDE}{script}"))
        .limit(ONE_SCRIPT)
        .quiet();
    if let Some(host) = &cluster.docker_host {
        docker = docker.env("DOCKER_HOST", host);
    }
    docker.read_async().await.with_context(|| format!("in node {node}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_without_a_node_has_no_place() {
        let pod = |spec: serde_json::Value| -> Pod {
            let metadata = json!({"name": "w", "uid": "u"});
            serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
                .unwrap()
        };
        let found = place_of(&pod(json!({"containers": [], "nodeName": "n"})));
        assert_eq!(found, Some(Place { name: "w".to_owned(), uid: "u".to_owned(), node: "n".to_owned() }));
        assert_eq!(place_of(&pod(json!({"containers": []}))), None);
    }

    #[test]
    fn only_what_has_an_answer_opened_or_not() {
        let knock = |pod: Option<&str>, address: &str| Knock {
            node: "n".to_owned(),
            pod: pod.map(str::to_owned),
            address: address.to_owned(),
        };
        let lines = "u 10.0.0.1:53 0\nnode 10.0.0.1:53 124\nu 10.0.0.1:5 1\nu 10.0.0.2:5 126\n";
        for (from, address, expected) in [
            (Some("u"), "10.0.0.1:53", Some(Answer::Open)),
            (None, "10.0.0.1:53", Some(Answer::Silent)),
            (Some("u"), "10.0.0.1:5", Some(Answer::Refused)),
            (Some("u"), "10.0.0.2:5", None),
            (Some("v"), "10.0.0.1:53", None),
        ] {
            assert_eq!(answer_of(lines, &knock(from, address)), expected, "{from:?} {address}");
        }
    }
}
