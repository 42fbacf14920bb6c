//! kind's configuration for this host. Pure functions, so that tests can show what each host gets.

use serde_json::{Value, json};

use crate::host::Host;
use crate::node::API_SERVER_FOLDER;
use crate::release::Tags;

/// The services that are reachable from the host: name and NodePort.
pub const NODE_PORTS: [(&str, u16); 6] = [
    ("temporal", 30233),
    ("temporal_http", 30243),
    ("postgres", 30432),
    ("prometheus", 30090),
    ("s3", 30070),
    ("toxiproxy", 30474),
];

/// The addresses of all pods. Each node gets a /24 of it.
pub const POD_SUBNET: &str = "10.244.0.0/16";

/// The folder of the audit log in the control plane's node, and the log in it.
const AUDIT_FOLDER: &str = "/var/log/kubernetes";
pub(super) const AUDIT_LOG: &str = "/var/log/kubernetes/audit.log";

/// The configuration of a cluster with `nodes` nodes. `ports` are the host's ports, in the order of [`NODE_PORTS`].
/// `hpa_sync` is the HPA's sync period in seconds.
pub fn config(host: &Host, tags: &Tags, nodes: usize, ports: &[u16], hpa_sync: u8) -> Value {
    let mappings: Vec<Value> = NODE_PORTS
        .iter()
        .zip(ports)
        .map(|((_, node_port), port)| {
            json!({"containerPort": node_port, "hostPort": port, "listenAddress": "127.0.0.1"})
        })
        .collect();
    let mut all = vec![json!({"role": "control-plane", "extraPortMappings": mappings})];
    all.extend((1..nodes).map(|_| json!({"role": "worker"})));
    let mut config = json!({
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {"disableDefaultCNI": true, "podSubnet": POD_SUBNET},
        "kubeadmConfigPatches": [
            kubelet(host).to_string(),
            kube_proxy(host).to_string(),
            control_plane(tags, hpa_sync).to_string(),
        ],
        "nodes": all,
    });
    config["containerdConfigPatches"] = json!(containerd(host));
    config
}

fn containerd(host: &Host) -> Vec<String> {
    const CRI: &str = "plugins.\"io.containerd.grpc.v1.cri\"";
    let mut patches = Vec::new();
    if !host.has_sys_resource() {
        patches.push(format!("[{CRI}]\n  restrict_oom_score_adj = true\n"));
    }
    if host.cgroup == Some("v1") {
        patches.push(format!("[{CRI}.containerd.runtimes.runc.options]\n  SystemdCgroup = false\n"));
    }
    patches
}

fn kubelet(host: &Host) -> Value {
    let mut kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "podPidsLimit": 4096,
        "seccompDefault": true,
        "tlsMinVersion": "VersionTLS13",
    });
    if host.cgroup == Some("v1") {
        kubelet["failCgroupV1"] = json!(false);
        // With systemd's driver, runc freezes a v1 cgroup to change it. On a busy host this sometimes fails with
        // "unable to freeze", and the container does not start.
        kubelet["cgroupDriver"] = json!("cgroupfs");
    }
    if !host.has_sys_resource() {
        kubelet["featureGates"] = json!({"KubeletInUserNamespace": true});
    }
    kubelet
}

fn kube_proxy(host: &Host) -> Value {
    let mut proxy = json!({"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"});
    if !host.has_sys_resource() {
        proxy["conntrack"] = json!({"maxPerCore": 0});
    }
    proxy
}

/// What the CIS benchmark asks of the API server beyond kubeadm's defaults; `kind-e2e/benchmark.toml` has the rows. The
/// audit log takes 100 MB, and ten older ones are compressed.
fn api_server() -> Value {
    let own = |file: &str| format!("{API_SERVER_FOLDER}/{file}");
    let arguments = [
        ("audit-log-compress", "true".to_owned()),
        ("audit-log-maxage", "30".to_owned()),
        ("audit-log-maxbackup", "10".to_owned()),
        ("audit-log-maxsize", "100".to_owned()),
        ("audit-log-path", AUDIT_LOG.to_owned()),
        ("audit-policy-file", own("audit-policy.yaml")),
        ("authentication-config", own("authentication.yaml")),
        ("enable-admission-plugins", "NodeRestriction,DenyServiceExternalIPs".to_owned()),
        ("encryption-provider-config", own("encryption.yaml")),
        ("profiling", "false".to_owned()),
        ("service-account-extend-token-expiration", "false".to_owned()),
        ("tls-min-version", "VersionTLS13".to_owned()),
    ];
    let volume = |name: &str, path: &str| json!({"name": name, "hostPath": path, "mountPath": path});
    let mut settings = volume("api-server", API_SERVER_FOLDER);
    settings["readOnly"] = json!(true);
    let mut log = volume("audit", AUDIT_FOLDER);
    log["pathType"] = json!("DirectoryOrCreate");
    json!({
        "extraArgs": arguments.map(|(name, value)| json!({"name": name, "value": value})),
        "extraVolumes": [settings, log],
    })
}

/// Sets the HPA's sync period and the versions of etcd and CoreDNS, and what the CIS benchmark asks. Lets etcd write
/// without fsync: a new worker takes a dozen writes. The cluster does not have to survive a crash of the host. It
/// survives a crash of etcd, because the kernel has the written data.
fn control_plane(tags: &Tags, hpa_sync: u8) -> Value {
    json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "dns": {"imageTag": tags.coredns},
        "etcd": {"local": {
            "imageTag": tags.etcd,
            "extraArgs": [{"name": "unsafe-no-fsync", "value": "true"}],
        }},
        "apiServer": api_server(),
        "controllerManager": {"extraArgs": [
            {"name": "horizontal-pod-autoscaler-sync-period", "value": format!("{hpa_sync}s")},
            {"name": "profiling", "value": "false"},
            {"name": "terminated-pod-gc-threshold", "value": "100"},
        ]},
        "scheduler": {"extraArgs": [{"name": "profiling", "value": "false"}]},
    })
}

/// The pod network of one node: a veth pair and an address for each pod, without an overlay or NAT between pods.
pub fn cni(pod_cidr: &str) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "slipway",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-ipam-state",
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "ranges": [[{"subnet": pod_cidr}]],
                },
                "mtu": 1500,
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(capabilities: u64, cgroup: &'static str) -> Host {
        Host { capabilities: Some(capabilities), cgroup: Some(cgroup), ..Host::look(std::path::Path::new("/")) }
    }

    fn tags() -> Tags {
        Tags { etcd: "v3.7.3".into(), coredns: "v1.15.0".into() }
    }

    #[test]
    fn kubeadm_is_told_the_versions_of_etcd_and_coredns() {
        let config = control_plane(&tags(), 1);
        assert_eq!(config["etcd"]["local"]["imageTag"], "v3.7.3");
        assert_eq!(config["dns"]["imageTag"], "v1.15.0");
    }

    #[test]
    fn each_file_that_the_api_server_names_is_in_a_volume_and_the_log_can_be_written() {
        let server = api_server();
        let list = |name: &str| server[name].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let paths: Vec<String> = list("extraArgs").iter().map(|one| text(&one["value"])).collect();
        let paths: Vec<&String> = paths.iter().filter(|value| value.starts_with('/')).collect();
        assert_eq!(paths.len(), 4);
        for path in paths {
            let volume = list("extraVolumes").iter().find(|one| path.starts_with(&text(&one["mountPath"])));
            assert_eq!(volume.unwrap()["readOnly"] == true, path != AUDIT_LOG, "{path}");
        }
    }

    #[test]
    fn host_with_every_capability_gets_no_patches() {
        let text = config(&host(u64::MAX, "v2"), &tags(), 1, &[1, 2, 3, 4, 5, 6], 15).to_string();
        for patch in [
            "failCgroupV1",
            "cgroupfs",
            "SystemdCgroup",
            "KubeletInUserNamespace",
            "restrict_oom_score_adj",
            "maxPerCore",
        ] {
            assert!(!text.contains(patch), "{patch} in {text}");
        }
    }

    #[test]
    fn host_without_capabilities_gets_every_patch_and_all_ports() {
        let config = config(&host(0, "v1"), &tags(), 2, &[1, 2, 3, 4, 5, 6], 1);
        let text = config.to_string();
        for patch in [
            "failCgroupV1",
            "cgroupfs",
            "SystemdCgroup",
            "KubeletInUserNamespace",
            "restrict_oom_score_adj",
            "maxPerCore",
        ] {
            assert!(text.contains(patch), "no {patch} in {text}");
        }
        assert_eq!(config["nodes"].as_array().unwrap().len(), 2);
        assert_eq!(config["nodes"][0]["extraPortMappings"].as_array().unwrap().len(), NODE_PORTS.len());
    }
}
